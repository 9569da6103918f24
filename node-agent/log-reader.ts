// Reads the logs of one sandbox for somebody far away: chunks of some ranks' streams, each from the offset that the reader
// has, exact to the byte, following what still grows. It waits for the reader, never the rank for it.
import type { LogPosition } from '../wire/agent-types.ts';
import type { LogStream } from './log-stream.ts';
import type { SandboxLogs } from './output.ts';

export interface LogChunk {
  readonly rank: number;
  readonly stream: number;
  readonly offset: number;
  readonly data: Buffer;
  readonly end: boolean;
  /** All positions that the reading begins at have been told, in chunks without data where it does not begin at the first byte. */
  readonly begun: boolean;
}

export interface LogRequest {
  readonly wants: (stream: LogStream) => boolean;
  readonly from: readonly LogPosition[];
  readonly follow: boolean;
  /** -1: all. */
  readonly tailLines: number;
}

const chunkBytes = 128 * 1024;

export async function* readLogs(
  logs: SandboxLogs,
  request: LogRequest,
  signal: AbortSignal,
): AsyncGenerator<LogChunk> {
  // By name: when the sandbox ends, its streams are read from disk anew.
  const positions = new Map<string, number>();
  const done = new Set<string>();
  let wake: () => void = () => undefined;
  const onGrow = () => {
    wake();
  };
  logs.listeners.add(onGrow);
  logs.onComplete.add(onGrow);
  signal.addEventListener('abort', onGrow);
  const begins = { data: Buffer.alloc(0), end: false, begun: false };
  try {
    // A stream that comes later is read from its beginning.
    for (const stream of [...logs.streams]) {
      if (!request.wants(stream)) continue;
      const offset = startOf(stream, request);
      positions.set(nameOf(stream), offset);
      if (request.tailLines >= 0) yield { ...begins, rank: stream.rank, stream: stream.stream, offset };
    }
    yield { ...begins, rank: 0, stream: 0, offset: 0, begun: true };
    while (!signal.aborted) {
      const grown = new Promise<void>((resolve) => (wake = resolve));
      const complete = logs.complete;
      let idle = true;
      for (const stream of [...logs.streams]) {
        const name = nameOf(stream);
        if (done.has(name) || !request.wants(stream)) continue;
        const at = positions.get(name) ?? givenOf(stream, request) ?? stream.first;
        const { offset, data } = stream.read(at, chunkBytes);
        const next = offset + data.length;
        positions.set(name, next);
        const end = stream.ended && next >= stream.length;
        if (end) done.add(name);
        if (data.length === 0 && !end) continue;
        idle = false;
        yield { rank: stream.rank, stream: stream.stream, offset, data, end, begun: false };
        if (signal.aborted) return;
      }
      if (!idle) continue;
      if (!request.follow || complete) return;
      await grown;
    }
  } finally {
    logs.listeners.delete(onGrow);
    logs.onComplete.delete(onGrow);
    signal.removeEventListener('abort', onGrow);
  }
}

const nameOf = ({ rank, stream }: LogStream): string => `${String(rank)}.${String(stream)}`;

function givenOf(stream: LogStream, request: LogRequest): number | undefined {
  return request.from.find((each) => each.rank === stream.rank && each.stream === stream.stream)?.offset;
}

function startOf(stream: LogStream, request: LogRequest): number {
  const given = givenOf(stream, request);
  if (given !== undefined) return given;
  return request.tailLines >= 0 ? stream.tailOffset(request.tailLines) : stream.first;
}
