/**
 * Standard input on its way to sandboxes on other machines. What an agent has not said to be safe in its spool is kept here,
 * at most `keptBytes`, and sent again when the agent, or the way to it, was away: no byte is lost or doubled. It knows offsets
 * and nothing of who writes.
 */
import type { Chunk } from '../../wire/agent-types.ts';
import type { StreamCall } from '../../wire/load.ts';

/** As much as a front keeps of what it has relayed: what is not safe yet never reaches further. */
export const keptBytes = 256 * 1024;

/** As an agent says it of a window, and FRONT_NOBODY_READS of native/front/protocol.h. */
export const nobodyReads = Number.MAX_SAFE_INTEGER;

export interface StdinTarget {
  /** Opens the stream anew; throws when there is none to be had for good. */
  readonly open: (signal: AbortSignal) => Promise<{ call: StreamCall; first: Chunk; streamId: number }>;
  /** Settles when another try may help; false: never. */
  readonly again: (signal: AbortSignal) => Promise<boolean>;
}

interface Channel {
  safe: number;
  window: number;
  call: StreamCall | undefined;
  streamId: number;
  sent: number;
  /** What was in the spool when it was first opened; undefined: not told yet. */
  begins: number | undefined;
  done: boolean;
}

export class StdinStream {
  readonly #channels: readonly Channel[];
  readonly #giveUp = new AbortController();
  #windowMoved = Promise.withResolvers<void>();
  /** Bytes from `#keptFrom` on, in pieces. */
  #kept: Buffer[] = [];
  #keptFrom: number | undefined;
  #ended = false;
  readonly #begins = Promise.withResolvers<number | undefined>();

  constructor(targets: readonly StdinTarget[], signal: AbortSignal) {
    const both = AbortSignal.any([signal, this.#giveUp.signal]);
    this.#channels = targets.map(() => ({
      safe: 0,
      window: 0,
      call: undefined,
      streamId: 0,
      sent: 0,
      begins: undefined,
      done: false,
    }));
    targets.forEach((target, index) => void this.#serve(this.#channels[index]!, target, both));
  }

  /** Input may be sent up to here; `nobodyReads` once every reader has gone. */
  get window(): number {
    const open = this.#channels.filter((channel) => !channel.done && channel.window < nobodyReads);
    if (open.length === 0) return nobodyReads;
    return Math.min(...open.map(({ safe, window }) => Math.min(window, safe + keptBytes)));
  }

  /** Input before this is in every spool. */
  get safe(): number {
    const open = this.#channels.filter((channel) => !channel.done);
    return open.length === 0 ? this.#length : Math.min(...open.map((channel) => channel.safe));
  }

  /** What had been written before, once all spools have told; undefined when they differ, or it was closed before. */
  get begins(): Promise<number | undefined> {
    return this.#begins.promise;
  }

  /** Settles when the window has moved, or the stream is closed. */
  get windowMoved(): Promise<void> {
    return this.#windowMoved.promise;
  }

  write(offset: number, data: Uint8Array, end = false): void {
    this.#keptFrom ??= offset;
    const fresh = Buffer.from(data.subarray(Math.max(0, this.#length - offset)));
    if (offset > this.#length)
      throw new Error(`MUSTER_STDIN_GAP: expected offset ${this.#length}, got ${offset}`);
    if (fresh.length > 0) this.#kept.push(fresh);
    if (end) this.#ended = true;
    for (const channel of this.#channels) this.#send(channel);
    this.#trim();
  }

  close(): void {
    this.#giveUp.abort();
    for (const { call } of this.#channels) call?.end();
    this.#begins.resolve(undefined);
    this.#moved();
  }

  get #length(): number {
    return (this.#keptFrom ?? 0) + this.#kept.reduce((sum, piece) => sum + piece.length, 0);
  }

  async #serve(channel: Channel, target: StdinTarget, signal: AbortSignal): Promise<void> {
    while (!signal.aborted && !channel.done) {
      try {
        const { call, first, streamId } = await target.open(signal);
        channel.streamId = streamId;
        await this.#converse(channel, call, first, signal);
      } catch {
        // Broken; what is not safe is sent again.
      }
      channel.call = undefined;
      if (!signal.aborted && !channel.done) channel.done = !(await target.again(signal));
    }
    this.#begin();
    this.#moved();
  }

  async #converse(channel: Channel, call: StreamCall, first: Chunk, signal: AbortSignal): Promise<void> {
    const stop = (): void => void call.destroy();
    signal.addEventListener('abort', stop, { once: true });
    try {
      this.#told(channel, first);
      channel.sent = channel.safe;
      channel.call = call;
      this.#send(channel, true);
      for await (const chunk of call) this.#told(channel, chunk as Chunk);
    } finally {
      signal.removeEventListener('abort', stop);
      call.end();
    }
  }

  #told(channel: Channel, chunk: Chunk): void {
    if (chunk.allEnded) channel.done = true;
    if (chunk.error) return;
    channel.safe = Math.max(channel.safe, chunk.offset);
    channel.window = Math.max(channel.window, chunk.window);
    channel.begins ??= chunk.offset;
    this.#begin();
    this.#trim();
    this.#moved();
  }

  #send(channel: Channel, anew = false): void {
    const { call, streamId } = channel;
    if (!call || this.#keptFrom === undefined) return;
    let offset = this.#keptFrom;
    for (const piece of this.#kept) {
      const known = Math.max(0, channel.sent - offset);
      if (known < piece.length) {
        call.write({ streamId, stream: 0, offset: offset + known, data: piece.subarray(known), end: false });
        channel.sent = offset + piece.length;
      }
      offset += piece.length;
    }
    const endIsNews = anew || channel.sent < Infinity;
    if (this.#ended && endIsNews) {
      call.write({ streamId, stream: 0, offset, data: Buffer.alloc(0), end: true });
      channel.sent = Infinity;
    }
  }

  /** Drops what is safe everywhere. */
  #trim(): void {
    const open = this.#channels.filter((channel) => !channel.done);
    const safe = open.length === 0 ? Infinity : Math.min(...open.map((channel) => channel.safe));
    while (this.#kept[0] && this.#keptFrom! + this.#kept[0].length <= safe)
      this.#keptFrom! += this.#kept.shift()!.length;
  }

  #begin(): void {
    const open = this.#channels.filter((channel) => !channel.done);
    if (open.some(({ begins }) => begins === undefined)) return;
    const [first = 0, ...others] = open.map(({ begins }) => begins);
    this.#begins.resolve(others.every((other) => other === first) ? first : undefined);
  }

  #moved(): void {
    this.#windowMoved.resolve();
    this.#windowMoved = Promise.withResolvers<void>();
  }
}
