// Memory of a sandbox that has left and stands still, for the node where its ranks run already: read from the processes themselves, which
// are frozen and kept for that. So nothing is held between two requests, and an agent that was started anew goes on. Who may ask is
// decided elsewhere.
import { open, readFile, type FileHandle } from 'node:fs/promises';
import type { PagesCall } from '../../wire/load.ts';
import type { PagesRequest } from '../../wire/agent-types.ts';
import { messageOf } from '../agent-error.ts';
import { innermostPidOf } from '../monitor/process-text.ts';

const mostBytes = 1 << 20;

/** Answers until the caller goes; `pids`: of the machine. */
export function servePages(call: PagesCall, pids: () => readonly number[]): (request: PagesRequest) => void {
  const memories = new Map<number, Promise<FileHandle>>();
  const memoryOf = (pid: number): Promise<FileHandle> => {
    let memory = memories.get(pid);
    if (!memory) memories.set(pid, (memory = openMemory(pid, pids())));
    return memory;
  };
  const close = (): void => {
    for (const memory of memories.values())
      memory.then(
        (handle) => void handle.close(),
        () => undefined,
      );
    memories.clear();
  };
  call.on('close', close);
  const answer = async ({ pid, address, bytes }: PagesRequest): Promise<void> => {
    if (bytes === 0) return;
    if (bytes > mostBytes) throw new Error(`MUSTER_TOO_MUCH: ${String(bytes)} bytes at once`);
    const memory = await memoryOf(pid);
    const data = Buffer.allocUnsafe(bytes);
    for (let done = 0; done < bytes;) {
      const { bytesRead } = await memory.read(data, done, bytes - done, address + done);
      if (bytesRead === 0)
        throw new Error(
          `MUSTER_PAGES_LOST: process ${String(pid)} has nothing at ${(address + done).toString(16)}`,
        );
      done += bytesRead;
    }
    call.write({ pid, address, data });
  };
  return (request) => {
    answer(request).catch((error: unknown) => {
      call.destroy(error instanceof Error ? error : new Error(messageOf(error)));
    });
  };
}

/** `wanted`: the process's number in the sandbox. */
async function openMemory(wanted: number, pids: readonly number[]): Promise<FileHandle> {
  for (const pid of pids) {
    const status = await readFile(`/proc/${String(pid)}/status`, 'utf8');
    if (innermostPidOf(status) === wanted) return open(`/proc/${String(pid)}/mem`, 'r');
  }
  throw new Error(`MUSTER_PAGES_LOST: process ${String(wanted)} of the sandbox is gone`);
}
