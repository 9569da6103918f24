/**
 * What a client has read of its own standard input and the server has not said to be safe: kept, and sent again on another
 * connection, so that no byte is lost or doubled. Its first byte follows whatever the ranks have been given before. Pure: it neither
 * reads nor sends.
 */
import type { FromClient } from '../wire/attach-frames.ts';

const pieceBytes = 64 * 1024;
const keptAtMostBytes = 256 * 1024;

export class KeptInput {
  #pieces: Buffer[] = [];
  #bytes = 0;
  /** Offset of the first kept byte; undefined until the server has told where it stands. */
  #from: number | undefined;
  #sent = 0;
  #mostSent = 0;
  #connected = false;
  #upTo = 0;
  #ended = false;
  #endSent = false;

  /** No more is to be read for now. */
  get isFull(): boolean {
    return this.#bytes >= keptAtMostBytes;
  }

  /** Everything, the end too, is with the server and safe. */
  get isDone(): boolean {
    return this.#endSent && this.#bytes === 0;
  }

  push(bytes: Buffer): void {
    this.#pieces.push(bytes);
    this.#bytes += bytes.length;
  }

  end(): void {
    this.#ended = true;
  }

  /** A new connection: until its first window nothing may be sent on it. */
  disconnected(): void {
    this.#upTo = 0;
    this.#endSent = false;
    this.#connected = false;
  }

  /** Throws when the server lacks bytes that it had said to be safe, or has some that are not of here. */
  window(safe: number, upTo: number): void {
    this.#from ??= this.#mostSent = safe;
    if (safe > this.#mostSent)
      throw new Error(`MUSTER_INPUT_LOST: somebody else has written input from ${this.#mostSent} to ${safe}`);
    if (safe < this.#from)
      throw new Error(
        `MUSTER_INPUT_LOST: the server has input up to ${safe}, after it had told of ${this.#from}`,
      );
    if (!this.#connected) this.#sent = safe;
    this.#connected = true;
    this.#upTo = upTo;
    this.#drop(safe - this.#from);
  }

  /** What may be sent now. */
  take(): FromClient[] {
    const messages: FromClient[] = [];
    if (this.#from === undefined || !this.#connected) return messages;
    const end = this.#from + this.#bytes;
    const until = Math.min(end, this.#upTo);
    while (this.#sent < until) {
      const bytes = this.#slice(this.#sent, Math.min(until, this.#sent + pieceBytes));
      messages.push({ kind: 'input', offset: this.#sent, bytes });
      this.#sent += bytes.length;
      this.#mostSent = Math.max(this.#mostSent, this.#sent);
    }
    if (this.#ended && !this.#endSent && this.#sent === end) {
      messages.push({ kind: 'inputEnd', length: end });
      this.#endSent = true;
    }
    return messages;
  }

  #slice(from: number, to: number): Buffer {
    const all = Buffer.concat(this.#pieces);
    this.#pieces = [all];
    const first = this.#from ?? 0;
    return all.subarray(from - first, to - first);
  }

  #drop(count: number): void {
    let left = Math.min(count, this.#bytes);
    this.#from = (this.#from ?? 0) + left;
    this.#bytes -= left;
    for (let piece = this.#pieces[0]; piece && left > 0; piece = this.#pieces[0]) {
      if (piece.length > left) {
        this.#pieces[0] = piece.subarray(left);
        return;
      }
      left -= piece.length;
      this.#pieces.shift();
    }
  }
}
