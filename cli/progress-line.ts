/** How far something has come, in one line that is written over on a terminal, and in none elsewhere. It knows text only. */
export class ProgressLine {
  readonly #stream: NodeJS.WriteStream;
  #width = 0;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  show(text: string): void {
    if (!this.#stream.isTTY) return;
    const columns = Math.max(20, this.#stream.columns || 80) - 1;
    const line = text.length > columns ? `${text.slice(0, columns - 3)}...` : text;
    this.#stream.write(`\r${line.padEnd(this.#width)}`);
    this.#width = Math.max(this.#width, line.length);
  }

  /** The line is free for what comes. */
  end(): void {
    if (this.#width === 0) return;
    this.show('');
    this.#stream.write('\r');
  }
}
