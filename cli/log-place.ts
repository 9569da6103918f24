/**
 * Where a reader of a job's output stands: what it says when it connects, anew after every lost connection, so that it gets each byte
 * once. Pure.
 */
import { formatPositions, type LogFrame } from '../wire/log-frames.ts';

export interface Reading {
  readonly ranks?: string | undefined;
  /** 1 stdout, 2 stderr. */
  readonly streams?: readonly (1 | 2)[];
  /** Lines before the end to begin with; all when left out. */
  readonly tail?: string | undefined;
}

export class LogPlace {
  readonly #reading: Reading;
  readonly #positions = new Map<string, number>();
  /** The server has told of every stream where it begins: one that it tells of later is new. */
  #begun = false;

  constructor(reading: Reading) {
    this.#reading = reading;
  }

  /** False for a frame that holds nothing for a reader. */
  took(frame: LogFrame): boolean {
    if (frame.begun === true) this.#begun = true;
    else if (!frame.error && frame.stream > 0)
      this.#positions.set(`${frame.rank}.${frame.stream}`, frame.offset + frame.bytes.length);
    return frame.begun !== true;
  }

  /** RANK.STREAM and the offset up to which it has been taken. */
  get positions(): ReadonlyMap<string, number> {
    return this.#positions;
  }

  /** That of the frame's stream alone; empty when the frame has none. */
  positionOf({ rank, stream }: LogFrame): ReadonlyMap<string, number> {
    const key = `${rank}.${stream}`;
    const offset = this.#positions.get(key);
    return new Map(offset === undefined ? [] : [[key, offset]]);
  }

  query(): URLSearchParams {
    const { ranks, streams = [1, 2], tail } = this.#reading;
    const query = new URLSearchParams({ streams: streams.join(',') });
    if (ranks !== undefined) query.set('ranks', ranks);
    if (tail !== undefined && !this.#begun) query.set('tail', tail);
    if (this.#positions.size > 0) query.set('from', formatPositions(this.#positions));
    return query;
  }
}
