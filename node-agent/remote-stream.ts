// Streams that the hub asks for: the agent dials back, names the stream, then sends log chunks as fast as they are taken,
// or takes standard input at exact offsets and says how far it may go. A broken stream is asked for again by the hub,
// with the positions it has.
import type { ClientDuplexStream } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { RankSet } from '../crds/rank-set.ts';
import type { Chunk, OpenStream, Sent } from '../wire/agent-types.ts';
import type { HubClient } from '../wire/load.ts';
import { messageOf } from './agent-error.ts';
import { serveExec } from './exec-stream.ts';
import { readLogs } from './log-reader.ts';
import type { Sandbox } from './sandbox.ts';

type Call = ClientDuplexStream<Sent<Chunk>, Chunk>;

export function serveStream(
  order: OpenStream,
  sandbox: Sandbox | null,
  client: HubClient,
  log: Logger,
  signal: AbortSignal,
): void {
  const call = client.stream();
  const ended = new AbortController();
  call.on('error', () => {
    ended.abort();
  });
  call.on('end', () => {
    if (order.kind === 'Logs') ended.abort();
  });
  const both = AbortSignal.any([signal, ended.signal]);
  const { streamId } = order;
  if (!sandbox) {
    call.write({ streamId, error: 'MUSTER_NO_SANDBOX: this node does not hold the sandbox', allEnded: true });
    call.end();
    return;
  }
  if (order.kind === 'Logs') {
    call.write({ streamId });
    call.resume();
    sendLogs(order, sandbox, call, both).catch((error: unknown) => {
      log.warn({ sandbox: sandbox.key, err: error }, 'log stream failed');
      call.write({ streamId, error: messageOf(error) });
      call.end();
    });
  } else if (order.kind === 'Exec') serveExec(order, sandbox, call, both);
  else takeInput(streamId, sandbox, call, both);
}

async function sendLogs(order: OpenStream, sandbox: Sandbox, call: Call, signal: AbortSignal): Promise<void> {
  const ranks = order.ranks === '' ? null : RankSet.parse(order.ranks);
  const wants = (stream: { rank: number; stream: number }) =>
    (ranks === null || ranks.has(stream.rank)) &&
    (order.streams.length === 0 || order.streams.includes(stream.stream));
  const chunks = readLogs(
    sandbox.logs,
    { wants, from: order.from, follow: order.follow, tailLines: order.tailLines },
    signal,
  );
  for await (const chunk of chunks) {
    if (!call.write({ streamId: order.streamId, ...chunk })) await drained(call, signal);
    if (signal.aborted) return;
  }
  if (signal.aborted) return;
  if (!sandbox.logs.moved) call.write({ streamId: order.streamId, allEnded: true });
  call.end();
}

function takeInput(streamId: number, sandbox: Sandbox, call: Call, signal: AbortSignal): void {
  const input = sandbox.openInput();
  if (!input) {
    call.write({
      streamId,
      error: 'MUSTER_NO_STDIN: no rank of this sandbox takes standard input',
      allEnded: true,
    });
    call.end();
    return;
  }
  if (input.isHeld) {
    call.write({ streamId, error: 'MUSTER_MOVING: the ranks that read are on their way to another node' });
    call.end();
    return;
  }
  let told = -1;
  let safe = -1;
  const tell = () => {
    const { window, length } = input;
    if (input.isHeld) return; // what is not told is sent again
    if (window <= told && length <= safe) return;
    [told, safe] = [window, length];
    call.write({ streamId, offset: length, window });
  };
  const anew = () => {
    input.listeners.delete(tell);
    input.onLetGo.delete(anew);
    call.end();
  };
  input.listeners.add(tell);
  input.onLetGo.add(anew);
  signal.addEventListener('abort', anew);
  call.on('data', (chunk: Chunk) => {
    if (input.isHeld || !input.onLetGo.has(anew)) return;
    if (!input.ended && !input.write(chunk.offset, chunk.data)) {
      call.write({
        streamId,
        error: `MUSTER_STDIN_GAP: expected offset ${String(input.length)}, got ${String(chunk.offset)}`,
        window: input.window,
      });
      call.end();
      return;
    }
    if (chunk.end && chunk.offset + chunk.data.length === input.length) input.end();
    tell();
  });
  call.on('end', anew);
  tell();
}

function drained(call: Call, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      call.off('drain', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    call.on('drain', done);
    signal.addEventListener('abort', done);
  });
}
