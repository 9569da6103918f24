/**
 * Output and input of ranks through the hub. An agent is asked to open a stream and dials back; readers pull, so a slow
 * reader slows only itself. A log stream that breaks is taken up again where the reader stands: no byte is lost or
 * doubled, whatever dies in between. Nothing is stored here.
 */
import { RankSet } from '../../crds/rank-set.ts';
import type { Chunk, LogPosition, OpenStream, SandboxId, Sent } from '../../wire/agent-types.ts';
import type { StreamCall } from '../../wire/load.ts';
import type { Clock } from '../runtime/clock.ts';
import { pause } from '../runtime/object-source.ts';
import type { Entry } from './desired-book.ts';
import { HubError } from './hub-error.ts';
import { StdinStream } from './stdin-stream.ts';

export interface LogOptions {
  readonly ranks?: string;
  /** 1 stdout, 2 stderr; both when left out. */
  readonly streams?: readonly (1 | 2)[];
  readonly from?: readonly LogPosition[];
  readonly follow?: boolean;
  /** Lines before the end to begin with; all when left out. */
  readonly tailLines?: number;
}

export interface LogChunk {
  readonly node: string;
  readonly ordinal: number;
  readonly rank: number;
  readonly stream: number;
  readonly offset: number;
  readonly data: Buffer;
  /** The rank's stream has ended. */
  readonly end: boolean;
  /** What could not be read, and why; then there is no data. */
  readonly error: string;
  /** The positions at which all sandboxes' streams are read from have been told, in chunks without data; told once. */
  readonly begun: boolean;
}

export interface ExecOptions {
  readonly command: readonly string[];
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly rows: number;
  readonly columns: number;
}

/** A program that runs beside a rank; its chunks come from `call`, after `first`. */
export interface ExecCall {
  readonly call: StreamCall;
  readonly first: Chunk;
  readonly streamId: number;
  readonly node: string;
}

export interface StreamPorts {
  readonly clock: Clock;
  readonly send: (node: string, order: Sent<OpenStream>) => boolean;
  readonly isConnected: (node: string) => boolean;
  /** Whether the node's agent has said that it can do this. */
  readonly hasFeature: (node: string, feature: string) => boolean;
  /** Settles at the next change of the node's connection or facts. */
  readonly nodeChange: (node: string, signal: AbortSignal) => Promise<void>;
  readonly sandboxesOf: (uid: string) => readonly Entry[];
}

interface Expected {
  readonly node: string;
  readonly opened: (call: StreamCall, first: Chunk) => void;
}

const dialBackWithinMs = 10_000;

export class Streams {
  readonly #ports: StreamPorts;
  readonly #expected = new Map<number, Expected>();
  #next = 1;

  constructor(ports: StreamPorts) {
    this.#ports = ports;
  }

  /** An agent dialled back; `node` is who its certificate says it is. */
  accept(node: string, call: StreamCall): void {
    call.once('data', (first: Chunk) => {
      call.pause();
      const expected = this.#expected.get(first.streamId);
      if (expected?.node !== node) return void call.end();
      this.#expected.delete(first.streamId);
      expected.opened(call, first);
    });
    call.on('error', () => call.end());
  }

  /** Chunks of all sandboxes as they come, each rank's stream in order. Ends when all have ended, or `signal` aborts. */
  async *logs(uid: string, options: LogOptions, signal: AbortSignal): AsyncGenerator<LogChunk> {
    const inner = new AbortController();
    const both = AbortSignal.any([signal, inner.signal]);
    const readers = this.#ports.sandboxesOf(uid).map((entry) => this.#sandboxLogs(entry, options, both));
    const next = new Map(readers.map((reader) => [reader, step(reader)]));
    const notBegun = new Set(readers);
    try {
      while (next.size > 0) {
        const { reader, result } = await Promise.race(next.values());
        if (result.done) {
          next.delete(reader);
          continue;
        }
        next.delete(reader);
        next.set(reader, step(reader));
        if (!result.value.begun) yield result.value;
        else if (notBegun.delete(reader) && notBegun.size === 0) yield result.value;
      }
    } finally {
      inner.abort();
    }
  }

  /** Runs a program beside a rank, for as long as the call lives. */
  async openExec(uid: string, rank: number, options: ExecOptions, signal: AbortSignal): Promise<ExecCall> {
    const entry = this.#ports.sandboxesOf(uid).find(({ spec }) => RankSet.parse(spec.ranks ?? '').has(rank));
    if (!entry) {
      throw new HubError(
        'MUSTER_GROUP_NOT_PLACED',
        `ProcessGroup with uid ${uid} has no rank ${rank} on any node`,
      );
    }
    const { node, spec } = entry;
    if (!this.#ports.hasFeature(node, 'exec')) {
      const message = `node ${node}: its agent cannot run programs beside ranks, or is not connected; start or update it`;
      throw new HubError('MUSTER_NODE_NOT_CONNECTED', message);
    }
    const order: Sent<OpenStream> = { kind: 'Exec', ranks: String(rank), ...options };
    return { ...(await this.#open(node, spec.id, order, signal)), node };
  }

  openStdin(uid: string, signal: AbortSignal): StdinStream {
    const entries = this.#ports.sandboxesOf(uid).filter(({ spec }) => takesInput(spec.stdin, spec.ranks));
    if (entries.length === 0) {
      throw new HubError(
        'MUSTER_GROUP_NOT_PLACED',
        `ProcessGroup with uid ${uid} has no rank that takes input`,
      );
    }
    const targets = entries.map((entry) => {
      const now = (): Entry => this.#ports.sandboxesOf(uid)[entry.spec.id.ordinal] ?? entry;
      return {
        open: async (until: AbortSignal) => {
          const { node, spec } = now();
          const opened = await this.#open(node, spec.id, { kind: 'Stdin' as const }, until);
          if (!opened.first.error || !this.#isElsewhere(spec.id)) return opened;
          opened.call.end();
          throw new HubError('MUSTER_STREAM_FAILED', `node ${node}: ${opened.first.error}`);
        },
        again: (until: AbortSignal) => this.#again(now().node, now().spec.id, until),
      };
    });
    return new StdinStream(targets, signal);
  }

  /** Follows the sandbox wherever it goes. */
  async *#sandboxLogs(first: Entry, options: LogOptions, signal: AbortSignal): AsyncGenerator<LogChunk> {
    const { groupUid, ordinal } = first.spec.id;
    const positions = new Map<string, LogPosition>();
    for (const position of options.from ?? []) positions.set(`${position.rank}/${position.stream}`, position);
    let begun = false;
    while (!signal.aborted) {
      const { node, spec } = this.#ports.sandboxesOf(groupUid)[ordinal] ?? first;
      const chunk = { node, ordinal, begun: false };
      try {
        const order: Sent<OpenStream> = {
          kind: 'Logs',
          ranks: options.ranks ?? '',
          streams: options.streams ?? [1, 2],
          from: [...positions.values()],
          follow: options.follow ?? false,
          tailLines: begun ? -1 : (options.tailLines ?? -1),
        };
        const { call, first: chunk0 } = await this.#open(node, spec.id, order, signal);
        for await (const received of chunksOf(call, chunk0, signal)) {
          // Of a sandbox that has gone elsewhere meanwhile this node has nothing to say.
          if ((received.error || received.allEnded) && this.#isElsewhere(spec.id)) break;
          if (received.error) {
            yield { ...chunk, ...pick(received), data: Buffer.alloc(0), end: false, error: received.error };
          }
          const key = `${received.rank}/${received.stream}`;
          const have = positions.get(key)?.offset ?? received.offset;
          const data = received.data.subarray(Math.max(0, have - received.offset));
          if (received.begun && !begun) {
            begun = true;
            yield { ...chunk, rank: 0, stream: 0, offset: 0, data, end: false, error: '', begun };
          }
          const isPosition = !begun && received.stream > 0;
          if (data.length > 0 || received.end || isPosition) {
            const offset = received.offset + received.data.length - data.length;
            positions.set(key, {
              rank: received.rank,
              stream: received.stream,
              offset: offset + data.length,
            });
            yield { ...chunk, ...pick(received), offset, data, end: received.end, error: '' };
          }
          if (received.allEnded) return;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof HubError) || !options.follow) {
          const text = error instanceof Error ? error.message : String(error);
          yield { ...chunk, rank: 0, stream: 0, offset: 0, data: Buffer.alloc(0), end: false, error: text };
          return;
        }
      }
      if (!(await this.#again(node, spec.id, signal))) return;
    }
  }

  #isElsewhere({ groupUid, ordinal, incarnation }: SandboxId): boolean {
    const now = this.#ports.sandboxesOf(groupUid)[ordinal];
    return now !== undefined && now.spec.id.incarnation !== incarnation;
  }

  /** Waits until a stream that broke may be opened again; false when the sandbox is no more. */
  async #again(node: string, id: SandboxId, signal: AbortSignal): Promise<boolean> {
    if (!this.#ports.sandboxesOf(id.groupUid).some(({ spec }) => spec.id.ordinal === id.ordinal))
      return false;
    if (this.#ports.isConnected(node)) await pause(this.#ports.clock, 100, signal);
    else await this.#ports.nodeChange(node, signal);
    return true;
  }

  async #open(
    node: string,
    id: SandboxId,
    order: Sent<OpenStream>,
    signal: AbortSignal,
  ): Promise<{ call: StreamCall; first: Chunk; streamId: number }> {
    const streamId = this.#next++;
    const { promise, resolve, reject } = Promise.withResolvers<{ call: StreamCall; first: Chunk }>();
    this.#expected.set(streamId, { node, opened: (call, first) => resolve({ call, first }) });
    const message = `node ${node}: no stream of sandbox ${id.ordinal} within ${dialBackWithinMs / 1000} s; see its agent's log`;
    using _timer = this.#ports.clock.after(dialBackWithinMs, () =>
      reject(new HubError('MUSTER_STREAM_FAILED', message)),
    );
    const gone = (): void => reject(new HubError('MUSTER_STREAM_FAILED', 'given up by the reader'));
    signal.addEventListener('abort', gone, { once: true });
    try {
      if (signal.aborted) gone();
      else if (!this.#ports.send(node, { ...order, streamId, id })) {
        reject(
          new HubError(
            'MUSTER_NODE_NOT_CONNECTED',
            `node ${node}: its agent is not connected; output kept there can be read when it is back`,
          ),
        );
      }
      return { ...(await promise), streamId };
    } finally {
      signal.removeEventListener('abort', gone);
      this.#expected.delete(streamId);
    }
  }
}

async function step<T>(
  reader: AsyncGenerator<T>,
): Promise<{ reader: AsyncGenerator<T>; result: IteratorResult<T> }> {
  return { reader, result: await reader.next() };
}

async function* chunksOf(call: StreamCall, first: Chunk, signal: AbortSignal): AsyncGenerator<Chunk> {
  const stop = (): void => void call.destroy();
  signal.addEventListener('abort', stop, { once: true });
  try {
    yield first;
    for await (const chunk of call) yield chunk as Chunk;
  } catch (error) {
    throw new HubError(
      'MUSTER_STREAM_FAILED',
      `the stream broke: ${error instanceof Error ? error.message : String(error)}`,
    );
  } finally {
    signal.removeEventListener('abort', stop);
    call.end();
  }
}

function pick({ rank, stream, offset }: Chunk): { rank: number; stream: number; offset: number } {
  return { rank, stream, offset };
}

function takesInput(stdin: string | undefined, ranks: string | undefined): boolean {
  if (stdin === 'All') return true;
  return stdin === 'Rank0' && /^0(?:[-,]|$)/.test(ranks ?? '');
}
