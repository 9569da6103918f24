// A stream on which somebody far away runs a program in a sandbox: input and the terminal's size come in, output and the end go
// out. When the stream breaks, the program is ended: there is no coming back to it.
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { RankSet } from '../crds/rank-set.ts';
import type { Chunk, OpenStream, Sent } from '../wire/agent-types.ts';
import { messageOf } from './agent-error.ts';
import type { Execution } from './execution.ts';
import type { Sandbox } from './sandbox.ts';

export function serveExec(
  order: OpenStream,
  sandbox: Sandbox,
  call: ClientDuplexStream<Sent<Chunk>, Chunk>,
  signal: AbortSignal,
): void {
  const { streamId, command, tty, stdin, rows, columns } = order;
  const rank = RankSet.parse(order.ranks).first ?? 0;
  let execution: Execution | undefined;
  let gone = false;
  const abandon = (): void => {
    gone = true;
    execution?.abandon();
  };
  signal.addEventListener('abort', abandon, { once: true });
  const end = (chunk: Sent<Chunk>): void => {
    signal.removeEventListener('abort', abandon);
    call.write({ streamId, ...chunk, allEnded: true });
    call.end();
  };
  call.on('end', abandon);
  call.on('drain', () => execution?.resume());
  call.write({ streamId });
  const wish = { command, tty, stdin, rows, columns };
  sandbox
    .execute(rank, wish, {
      output: (stream, bytes) => call.write({ streamId, stream, data: bytes }),
      ended: ({ waitStatus, message }) => end({ waitStatus, error: message }),
    })
    .then(
      (started) => {
        execution = started;
        if (gone) return started.abandon();
        call.on('data', (chunk: Chunk) => {
          if (chunk.rows > 0) started.resize(chunk.rows, chunk.columns);
          if (chunk.data.length > 0 && !started.write(chunk.data, () => call.resume())) call.pause();
          if (chunk.end) started.endInput();
        });
      },
      (error: unknown) => end({ error: messageOf(error) }),
    );
}
