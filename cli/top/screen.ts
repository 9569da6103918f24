/**
 * A terminal that is drawn anew again and again: only lines that changed are written, all in one piece, so that a slow line is not
 * kept busy; what does not fit is cut. It is as before on every way out. Knows text and rows, not what they say.
 */

const enter = '\u001b[?1049h\u001b[?25l\u001b[2J';
const leave = '\u001b[?25h\u001b[?1049l';

export interface Terminal {
  write(text: string): void;
  readonly columns: number;
  readonly rows: number;
}

export class LiveScreen implements Disposable {
  readonly #terminal: Terminal;
  #lines: string[] = [];
  #size = '';
  #open = true;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
    terminal.write(enter);
  }

  draw(lines: readonly string[]): void {
    const { columns, rows } = this.#terminal;
    const size = `${columns}x${rows}`;
    let text = '';
    if (size !== this.#size) {
      this.#size = size;
      this.#lines = [];
      text = '\u001b[2J';
    }
    const next = lines.slice(0, rows).map((line) => fitted(line, columns));
    for (let row = 0; row < Math.max(next.length, this.#lines.length); row++) {
      const line = next[row] ?? '';
      if (line !== (this.#lines[row] ?? '')) text += `\u001b[${row + 1};1H${line}\u001b[K`;
    }
    this.#lines = next;
    if (text !== '') this.#terminal.write(text);
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    this.#terminal.write(leave);
  }
}

/** To so many characters; what colours a line takes no room. */
function fitted(line: string, columns: number): string {
  let shown = 0;
  let at = 0;
  const pieces = line.split(/(\u001b\[[0-9;]*m)/);
  for (const piece of pieces) {
    if (piece.startsWith('\u001b')) {
      at += piece.length;
      continue;
    }
    if (shown + piece.length > columns) return `${line.slice(0, at + columns - shown)}\u001b[0m`;
    shown += piece.length;
    at += piece.length;
  }
  return line;
}
