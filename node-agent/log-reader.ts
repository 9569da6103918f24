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
  const positions = new Map<LogStream, number>();
  const done = new Set<LogStream>();
  let wake: () => void = () => undefined;
  const onGrow = () => {
    wake();
  };
  logs.listeners.add(onGrow);
  logs.onComplete.add(onGrow);
  signal.addEventListener('abort', onGrow);
  try {
    while (!signal.aborted) {
      const grown = new Promise<void>((resolve) => (wake = resolve));
      const complete = logs.complete;
      let idle = true;
      for (const stream of [...logs.streams]) {
        if (done.has(stream) || !request.wants(stream)) continue;
        const at = positions.get(stream) ?? startOf(stream, request);
        const { offset, data } = stream.read(at, chunkBytes);
        const next = offset + data.length;
        positions.set(stream, next);
        const end = stream.ended && next >= stream.length;
        if (end) done.add(stream);
        if (data.length === 0 && !end) continue;
        idle = false;
        yield { rank: stream.rank, stream: stream.stream, offset, data, end };
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

function startOf(stream: LogStream, request: LogRequest): number {
  const given = request.from.find((each) => each.rank === stream.rank && each.stream === stream.stream);
  if (given) return given.offset;
  return request.tailLines >= 0 ? stream.tailOffset(request.tailLines) : stream.first;
}
