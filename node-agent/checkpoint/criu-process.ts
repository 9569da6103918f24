// One run of CRIU: started by native/engine in the cgroups it is to run in, asked one thing over its RPC (`criu swrk` on a
// packet socket), its notifications answered, its end awaited. It may be started before it can be asked, since that takes time. A run
// that is aborted is killed with all it has started. It knows nothing of sandboxes; why a run failed is in CRIU's log, of which
// `complaintOf` picks the lines that say it.
import { readFileSync } from 'node:fs';
import type { Native, PacketSocket } from '../../native/addon/index.ts';
import { errnoOf } from '../agent-error.ts';
import type { CgroupRequest, Cgroups, SandboxCgroup } from '../cgroups.ts';
import { until } from '../until.ts';
import {
  decodeResponse,
  encodeNotified,
  encodeRequest,
  requestTypes,
  type CriuOptions,
  type CriuResponse,
  type RequestType,
} from './criu-messages.ts';

/** Where and as what it runs. */
export interface CriuHost {
  readonly native: Native;
  readonly nativeDir: string;
  readonly program: string;
  readonly keepNamespaces: boolean;
  /** Loaded into it: the library native/criu-beside, and what CRIU has found out of the kernel; none: it does without. */
  readonly beside?: readonly [library: number, kernel: number] | undefined;
}

export interface CriuStart {
  /** Made if need be, and entered. */
  readonly cgroups: readonly CgroupRequest[];
  /** A root to restore on: `root` alone is bound at `stage`, for CRIU only. */
  readonly stage?: { readonly root: string; readonly at: string };
  /** That root, and what else is staged, are of the mounts of this process. */
  readonly carrier?: { readonly pidfd: number; readonly stage: ReadonlyMap<string, string> };
  /** CRIU's descriptors from 4 on. */
  readonly descriptors?: readonly number[];
  /** Memory that CRIU does not see: what native/criu-beside reads, and what it writes (pages-apart.ts). */
  readonly apart?: readonly [ranges: number, found: number];
  /**
   * The frozen cgroup of what CRIU traces: it is frozen again when CRIU dies. When it is aborted it is made to fail and to tidy up, and killed
   * only if it does not. The first of its cgroups is its own.
   */
  readonly guarded?: string;
  /** It is not frozen yet: `goes` says when. */
  readonly isAhead?: boolean;
}

export interface CriuQuestion {
  readonly type: RequestType;
  readonly options: CriuOptions | null;
  /** It has been asked. */
  readonly onWork?: (() => void) | undefined;
  /** False makes CRIU give up. */
  readonly onNotify?: (script: string, pid: number) => Promise<boolean>;
}

export type CriuRun = CriuStart & CriuQuestion;

/** The first number of a descriptor of `descriptors` in CRIU. */
export const firstDescriptor = 4;
const mostComplaintBytes = 1 << 16;
const tidyWithinMs = 5000;

const engineCgroup = 'criu-';

/** The name of the cgroup that the engine runs in for a sandbox; never that of a sandbox. */
export const engineCgroupOf = (key: string): string => `${engineCgroup}${key}`;
export const engineCgroupsFor = (cgroups: Cgroups | null, key: string): readonly CgroupRequest[] =>
  cgroups?.requestsFor(engineCgroupOf(key), { memoryBytes: 0, cpuMilli: 0, processes: 0 }) ?? [];
export const isEngineCgroup = (name: string): boolean => name.startsWith(engineCgroup);

/** Makes whatever of CRIU is in a cgroup fail, and gives it time to tidy up. */
export async function tidyUp(native: Native, cgroup: SandboxCgroup): Promise<void> {
  for (const pid of cgroup.pids()) quietly(() => native.limitFileSize(pid, 0));
  await until(() => !cgroup.populated(), tidyWithinMs, 'CRIU to tidy up').catch(() => undefined);
}

export class CriuFailure extends Error {
  readonly response: CriuResponse | null;

  constructor(message: string, response: CriuResponse | null = null) {
    super(message);
    this.response = response;
  }
}

function engineArguments(
  { program, keepNamespaces, beside }: CriuHost,
  { cgroups, stage, guarded, isAhead, carrier, apart, descriptors = [] }: CriuStart,
): string[] {
  const next = firstDescriptor + descriptors.length + (carrier ? 1 : 0);
  const last = next + (beside?.length ?? 0) + (apart?.length ?? 0);
  const args = [
    ...(guarded === undefined ? [] : ['--guard', guarded, ...(isAhead ? ['--go', String(last)] : [])]),
    ...(beside
      ? ['--beside', [...beside, ...(apart ?? [])].map((_, at) => String(next + at)).join(':')]
      : []),
    ...['--init', program],
  ];
  for (const { mount, path, values } of cgroups) {
    args.push('--cgroup', `${mount}:${path}`);
    for (const [file, value] of values) args.push('--cgroup-set', `${file}=${value}`);
  }
  if (stage) args.push(carrier ? '--carrier-bind' : '--bind', `${stage.root}:${stage.at}`);
  if (carrier) {
    args.push('--carrier', String(firstDescriptor + descriptors.length));
    for (const [source, at] of carrier.stage) args.push('--carrier-bind', `${source}:${at}`);
  }
  if (keepNamespaces) args.push('--keep-namespaces');
  return args;
}

/** Settles once CRIU has ended, with its answer; throws CriuFailure when there is none or it is no success. */
export async function runCriu(host: CriuHost, run: CriuRun, signal: AbortSignal): Promise<CriuResponse> {
  signal.throwIfAborted();
  using criu = new StartedCriu(host, run);
  return await criu.ask(run, signal);
}

/** It waits to be asked, and ends when it is not. */
export class StartedCriu implements Disposable {
  readonly #native: Native;
  readonly #start: CriuStart;
  readonly #pidfd: number;
  readonly #socket: PacketSocket;
  readonly #go: PacketSocket | null;
  /** What it says on its standard output. */
  readonly #said: number;
  readonly #ended: Promise<void>;

  constructor(host: CriuHost, start: CriuStart) {
    const { native } = host;
    const [own, theirs] = native.socketPair(true);
    const [ownGo, theirGo] = start.isAhead === true ? native.socketPair(true) : [null, null];
    const nothing = native.memfd('nothing', Buffer.alloc(0), true);
    this.#native = native;
    this.#start = start;
    this.#said = native.memfd('engine', Buffer.alloc(0), false);
    this.#socket = native.packetSocket(own);
    this.#go = ownGo === null ? null : native.packetSocket(ownGo);
    try {
      this.#pidfd = native.spawnProgram(`${host.nativeDir}/engine`, engineArguments(host, start), [
        nothing,
        this.#said,
        this.#said,
        theirs,
        ...(start.descriptors ?? []),
        ...(start.carrier ? [start.carrier.pidfd] : []),
        ...(host.beside ? [...host.beside, ...(start.apart ?? [])] : []),
        ...(theirGo === null ? [] : [theirGo]),
      ]);
    } catch (error) {
      this.#socket.close();
      this.#go?.close();
      native.close(this.#said);
      throw error;
    } finally {
      native.close(nothing);
      native.close(theirs);
      if (theirGo !== null) native.close(theirGo);
    }
    this.#ended = ended(native, this.#pidfd);
  }

  /** Whom it guards stands still from now on: settles when they are guarded. */
  async goes(): Promise<void> {
    const go = this.#go;
    if (go === null) return;
    await new Promise<void>((resolve, reject) => {
      go.onPacket = () => resolve();
      go.onClose = () => reject(new CriuFailure(this.#words('the engine has ended before it was needed')));
      go.send(Buffer.alloc(1));
    });
  }

  async ask({ type, options, onWork, onNotify }: CriuQuestion, signal: AbortSignal): Promise<CriuResponse> {
    signal.throwIfAborted();
    const native = this.#native;
    let late: NodeJS.Timeout | undefined;
    const kill = () => {
      const pids = this.#guards();
      for (const pid of pids) quietly(() => process.kill(pid, 'SIGKILL'));
      if (pids.length === 0) quietly(() => native.pidfdSignal(this.#pidfd, 9));
    };
    const stop = () => {
      const pids = this.#guards();
      if (pids.length === 0) {
        kill();
        return;
      }
      late = setTimeout(kill, tidyWithinMs);
      for (const pid of pids) quietly(() => native.limitFileSize(pid, 0));
    };
    const stillThere = new AbortController();
    signal.addEventListener('abort', stop, { signal: stillThere.signal });
    try {
      const answer = answered(this.#socket, onNotify);
      this.#socket.send(encodeRequest(type, options));
      onWork?.();
      const [response] = await Promise.all([answer, this.#ended.finally(() => stillThere.abort())]);
      signal.throwIfAborted();
      if (response?.success === true) return response;
      const why = response === null ? 'CRIU was killed in the middle of its work' : response.errorMessage;
      throw new CriuFailure(this.#words(why), response);
    } finally {
      stillThere.abort();
      clearTimeout(late);
    }
  }

  [Symbol.dispose](): void {
    this.#socket.close();
    this.#go?.close();
    this.#native.close(this.#said);
    void this.#ended.then(() => this.#native.close(this.#pidfd));
  }

  /** What of it may be at work on those whom it guards. */
  #guards(): number[] {
    return this.#start.guarded === undefined ? [] : pidsIn(this.#start.cgroups[0]);
  }

  #words(why: string): string {
    const words = this.#native.readAll(this.#said, mostComplaintBytes).toString('utf8').trim();
    return [why, words].filter((part) => part !== '').join(': ');
  }
}

/** The answer that is no notification; null when the connection ended without. */
function answered(socket: PacketSocket, onNotify: CriuQuestion['onNotify']): Promise<CriuResponse | null> {
  return new Promise((resolve, reject) => {
    socket.onClose = () => {
      resolve(null);
    };
    socket.onPacket = ({ bytes }) => {
      try {
        const response = decodeResponse(bytes);
        if (response.type !== requestTypes.notify) {
          resolve(response);
          socket.close();
          return;
        }
        const { script = '', pid = 0 } = response.notify ?? {};
        void Promise.resolve(onNotify?.(script, pid) ?? true).then(
          (goOn) => {
            send(socket, encodeNotified(goOn));
          },
          () => {
            send(socket, encodeNotified(false));
          },
        );
      } catch (error) {
        reject(error instanceof Error ? error : new Error(String(error)));
      }
    };
  });
}

function send(socket: PacketSocket, bytes: Buffer): void {
  try {
    socket.send(bytes);
  } catch {
    // It has ended meanwhile: that is told by its end.
  }
}

function pidsIn(cgroup: CgroupRequest | undefined): number[] {
  if (!cgroup) return [];
  try {
    const text = readFileSync(`${cgroup.mount}/${cgroup.path}/cgroup.procs`, 'utf8');
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map(Number);
  } catch {
    return []; // not made yet
  }
}

/** Does something to a process that may have ended. */
function quietly(act: () => void): void {
  try {
    act();
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}

function ended(native: Native, pidfd: number): Promise<void> {
  return new Promise((resolve) => {
    const watch = native.watch(pidfd, () => {
      watch.stop();
      native.reap(pidfd);
      resolve();
    });
  });
}

const mostLines = 6;
/** Said of every run where root lacks CAP_SYS_RESOURCE, and never why one fails. */
const harmless = /^rlimit: Can't setup RLIMIT_NOFILE for self/;

/** What CRIU's log says of a failure: its first errors, without times and places in its source. */
export function complaintOf(log: string): string {
  const errors: string[] = [];
  for (const line of log.split('\n')) {
    const words = /Error \([^)]*\):? *(.*)$/.exec(line)?.[1];
    if (words === undefined || harmless.test(words) || errors.includes(words)) continue;
    errors.push(words);
    if (errors.length === mostLines) break;
  }
  return errors.join('; ');
}
