// native/pager, which brings the ranks of a sandbox their memory once they run here: started beside the restore, moved into the sandbox's
// cgroups, so that it ends with the sandbox, and spoken with on a socket in the image's directory, also by an agent that comes later.
import { spawnSync } from 'node:child_process';
import { closeSync, constants, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import type { Backend } from '../backend.ts';
import type { CgroupRequest } from '../cgroups.ts';
import type { Image } from '../checkpoint/image.ts';
import { missingPagesOf, processOfPagemap, tableOf } from '../checkpoint/pagemap.ts';
import { moveIntoCgroup } from '../host-root.ts';
import { until } from '../until.ts';

/** What an image lacks, as native programs read it. */
export const pagesTable = 'pages.table';
const engineSocketName = 'lazy-pages.socket';
const agentSocketName = 'pages';
const doneName = 'pages.done';
const readyWithinMs = 10_000;

const kinds = { want: 1, left: 2, data: 3, go: 4 } as const;
const headBytes = 24;

/** Bytes of a process as they were where it left. */
export interface Wanted {
  readonly pid: number;
  readonly address: number;
  readonly bytes: number;
}

/** Files of the pager's among those of an image. */
export const pagerFiles: readonly string[] = [pagesTable, engineSocketName, agentSocketName, doneName];

/** Why memory cannot follow ranks to this node; null: it can. Tried, not assumed. */
export function pagerTrouble(nativeDir: string): string | null {
  const { status, stderr, error } = spawnSync(`${nativeDir}/pager`, ['--probe'], { encoding: 'utf8' });
  if (status === 0) return null;
  const why = error?.message ?? stderr.trim();
  return `pages cannot follow ranks here: ${why}; the kernel needs CONFIG_USERFAULTFD, and the agent root's rights`;
}

/** All pages are there. */
export const isDone = (image: Image): boolean => existsSync(image.pathOf(doneName));

/** Notes what is missing; gives how many bytes that is. */
export function writeTable(image: Image): number {
  const missing = new Map(
    image.names().flatMap((name) => {
      const pid = processOfPagemap(name);
      return pid === undefined ? [] : ([[pid, missingPagesOf(readFileSync(image.pathOf(name)))]] as const);
    }),
  );
  writeFileSync(image.pathOf(pagesTable), tableOf(missing), { mode: 0o600 });
  return [...missing.values()].flat().reduce((bytes, { pages }) => bytes + pages * 4096, 0);
}

/** Runs until all pages are there, or what was restored is gone; until all is restored, as long as somebody speaks with it. */
export class Pager implements Disposable {
  readonly #native: Backend['native'];
  readonly #pidfd: number;
  #hasEnded = false;

  /** `killFile`: of the sandbox's cgroup, there once it is restored. */
  static async start({ native, config }: Backend, image: Image, killFile: string): Promise<Pager> {
    const nothing = native.memfd('nothing', Buffer.alloc(0), true);
    const said = native.memfd('pager', Buffer.alloc(0), false);
    let pidfd: number;
    try {
      pidfd = native.spawnProgram(`${config.nativeDir}/pager`, [image.path, killFile], [nothing, said, said]);
    } finally {
      native.close(nothing);
      native.close(said);
    }
    const pager = new Pager(native, pidfd);
    await until(() => existsSync(image.pathOf(agentSocketName)), readyWithinMs, 'the pager to listen');
    return pager;
  }

  private constructor(native: Backend['native'], pidfd: number) {
    this.#native = native;
    this.#pidfd = pidfd;
    const watch = native.watch(pidfd, () => {
      watch.stop();
      this.#hasEnded = true;
      native.reap(pidfd);
      native.close(pidfd);
    });
  }

  /** With what it has left behind to guard the memory. */
  enter(cgroups: readonly CgroupRequest[]): void {
    for (const each of this.#pids())
      for (const { mount, path } of cgroups) moveIntoCgroup(this.#native, `${mount}/${path}`, each);
  }

  /** The first, and once that is dealt with, whatever it has started. */
  *#pids(): Generator<number> {
    if (this.#hasEnded) return; // nothing was missing
    const text = readFileSync(`/proc/self/fdinfo/${String(this.#pidfd)}`, 'utf8');
    const pid = Number(/^Pid:\s*(\d+)/m.exec(text)?.[1] ?? -1);
    if (pid <= 0) return;
    yield pid;
    for (const child of readFileSync(`/proc/${String(pid)}/task/${String(pid)}/children`, 'utf8').split(' '))
      if (child.trim() !== '') yield Number(child);
  }

  /** Of a restore that has failed. */
  [Symbol.dispose](): void {
    for (const pid of [...this.#pids()].reverse()) process.kill(pid, 'SIGKILL');
  }
}

/** Throws ENOENT or ECONNREFUSED when there is no pager any more. */
export async function connectPager(image: Image): Promise<Socket> {
  // Paths of sockets are short, those of directories need not be.
  const directory = openSync(image.path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const socket = connect(`/proc/self/fd/${String(directory)}/${agentSocketName}`);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return socket;
  } finally {
    closeSync(directory);
  }
}

/** What the pager says, from the bytes of its socket. */
export class PagerReader {
  #rest: Buffer = Buffer.alloc(0);
  readonly #events: { wanted: (wanted: Wanted) => void; left: (bytes: number) => void };

  constructor(events: { wanted: (wanted: Wanted) => void; left: (bytes: number) => void }) {
    this.#events = events;
  }

  receive(bytes: Buffer): void {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    let at = 0;
    for (; at + headBytes <= all.length; at += headBytes) {
      const kind = all.readUInt32LE(at);
      const size = Number(all.readBigUInt64LE(at + 16));
      if (kind === kinds.left) this.#events.left(size);
      if (kind === kinds.want)
        this.#events.wanted({
          pid: all.readUInt32LE(at + 4),
          address: Number(all.readBigUInt64LE(at + 8)),
          bytes: size,
        });
    }
    this.#rest = all.subarray(at);
  }
}

/** Says that they run. */
export function goMessage(): Buffer {
  const head = Buffer.alloc(headBytes);
  head.writeUInt32LE(kinds.go, 0);
  return head;
}

export function dataHead(pid: number, address: number, bytes: number): Buffer {
  const head = Buffer.alloc(headBytes);
  head.writeUInt32LE(kinds.data, 0);
  head.writeUInt32LE(pid, 4);
  head.writeBigUInt64LE(BigInt(address), 8);
  head.writeBigUInt64LE(BigInt(bytes), 16);
  return head;
}
