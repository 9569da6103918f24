// Memory of a sandbox that has left and stands still, for the node where its ranks run already: read from the processes themselves, which
// are frozen and kept for that. So nothing is held between two requests, and an agent that was started anew goes on. They go over the
// link beside the call once somebody has come to it, straight from that memory. Who may ask is decided elsewhere.
import { open, readFile, type FileHandle } from 'node:fs/promises';
import type { PagesCall } from '../../wire/load.ts';
import type { PagesRequest } from '../../wire/agent-types.ts';
import { messageOf } from '../agent-error.ts';
import { innermostPidOf } from '../monitor/process-text.ts';
import type { LinkServer } from './link.ts';

const mostBytes = 1 << 20;
/** What nobody waits for is asked for in larger pieces. */
const mostFaultBytes = 64 << 10;
/** Given to the link at once: whoever waits for a page waits for no more than that before it. */
const mostGivenBytes = 2 << 20;

/** Answers until the caller goes; `pids`: of the machine. `link`: null, all goes by the call. */
export function servePages(
  call: PagesCall,
  pids: () => readonly number[],
  link: LinkServer | null,
): (request: PagesRequest) => void {
  if (link) call.write({ linkPort: link.port });
  const memories = new Map<number, Promise<FileHandle>>();
  const waiting: PagesRequest[] = [];
  let givenBytes = 0;
  const memoryOf = (pid: number): Promise<FileHandle> => {
    let memory = memories.get(pid);
    if (!memory) memories.set(pid, (memory = openMemory(pid, pids())));
    return memory;
  };
  call.on('close', () => {
    for (const memory of memories.values())
      memory.then(
        (handle) => void handle.close(),
        () => undefined,
      );
    memories.clear();
    waiting.length = 0;
    link?.[Symbol.dispose]();
  });
  const answer = async ({ pid, address, bytes }: PagesRequest): Promise<void> => {
    if (bytes > mostBytes) throw new Error(`MUSTER_TOO_MUCH: ${String(bytes)} bytes at once`);
    const memory = await memoryOf(pid);
    if (link?.isOpen) {
      call.write({ pid, address, carried: bytes });
      await link.send(memory.fd, address, bytes);
    } else call.write({ pid, address, data: await read(memory, { pid, address, bytes }) });
  };
  const next = (): void => {
    while (waiting.length > 0 && givenBytes < mostGivenBytes) {
      const fault = waiting.findIndex(({ bytes }) => bytes <= mostFaultBytes);
      const [request] = waiting.splice(Math.max(0, fault), 1);
      if (!request) return;
      givenBytes += request.bytes;
      answer(request)
        .finally(() => (givenBytes -= request.bytes))
        .then(next)
        .catch((error: unknown) => {
          call.destroy(error instanceof Error ? error : new Error(messageOf(error)));
        });
    }
  };
  return (request) => {
    if (request.bytes > 0) waiting.push(request);
    next();
  };
}

async function read(
  memory: FileHandle,
  { pid, address, bytes }: Pick<PagesRequest, 'pid' | 'address' | 'bytes'>,
): Promise<Buffer> {
  const data = Buffer.allocUnsafe(bytes);
  for (let done = 0; done < bytes;) {
    const { bytesRead } = await memory.read(data, done, bytes - done, address + done);
    if (bytesRead === 0)
      throw new Error(
        `MUSTER_PAGES_LOST: process ${String(pid)} has nothing at ${(address + done).toString(16)}`,
      );
    done += bytesRead;
  }
  return data;
}

/** `wanted`: the process's number in the sandbox. */
async function openMemory(wanted: number, pids: readonly number[]): Promise<FileHandle> {
  for (const pid of pids) {
    const status = await readFile(`/proc/${String(pid)}/status`, 'utf8');
    if (innermostPidOf(status) === wanted) return open(`/proc/${String(pid)}/mem`, 'r');
  }
  throw new Error(`MUSTER_PAGES_LOST: process ${String(wanted)} of the sandbox is gone`);
}
