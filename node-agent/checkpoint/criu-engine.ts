// CRIU as the engine of checkpoints: its options for a sandbox of ours, and what its failures mean. Network namespaces,
// mounts of the host and the spool of standard input are external to its images; control groups are ours to make.
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { release } from 'node:os';
import { setTimeout as after } from 'node:timers/promises';
import { AgentError, messageOf } from '../agent-error.ts';
import { cloneNewNet, manageCgroupsIgnore, networkLocks, type CriuOptions } from './criu-messages.ts';
import { complaintOf, firstDescriptor, runCriu, StartedCriu, type CriuHost } from './criu-process.ts';
import type { CriuPrograms } from './criu-programs.ts';
import { askAll } from './callbacks.ts';
import { checkImageRights } from './image-rights.ts';
import { withoutOuterSizes } from './outer-sizes.ts';
import { PagesApart, tellsOfPages } from './pages-apart.ts';
import { moveIntoCgroup } from '../host-root.ts';
import { hostPathOf } from './rollback.ts';
import type {
  CheckpointEngine,
  DumpRequest,
  DumpStart,
  Probe,
  RestoreRequest,
  SettleRequest,
  StartedDump,
} from './engine.ts';

const leastVersion = [4, 2] as const;
/** As much as the field holds: unlinked files of MPI libraries are some megabytes, those of programs what they like. */
const ghostLimitBytes = 0xffffffff;
const logLevel = 3;
/** Of CRIU for seizing the processes; its own 10 s are too few on a node that is overloaded. Whoever asks has a deadline besides. */
const seizedWithinSeconds = 60;
const networkKey = 'network';
const callbacksWithinMs = 60_000;

const common = {
  tcpEstablished: true,
  fileLocks: true,
  logLevel,
  manageCgroups: true,
  manageCgroupsMode: manageCgroupsIgnore,
  ghostLimit: ghostLimitBytes,
  networkLock: networkLocks.nftables,
} as const satisfies Partial<CriuOptions>;

export type CriuPlaces = Omit<CriuHost, 'program'> & { readonly programs: CriuPrograms };

const missing = 'there is no CRIU on this node: "make setup" brings one';

const mountKey = (target: string): string => `outer${target.replaceAll('/', ':')}`;

export class CriuEngine implements CheckpointEngine {
  readonly name = 'criu';
  readonly savesProcesses = true;
  readonly #host: CriuPlaces;

  constructor(host: CriuPlaces) {
    this.#host = { ...host, beside: host.beside ?? besideOf(host) };
  }

  /** Changes when another probe may find something else. */
  get identity(): string {
    return this.#host.programs.identity;
  }

  async probe(signal: AbortSignal): Promise<Probe> {
    let name = 'CRIU';
    try {
      const host = await this.#find();
      if (host === null) return { version: null, why: missing };
      name = host.program;
      const { version } = await runCriu(host, { type: 'version', options: null, cgroups: [] }, signal);
      const [major, minor] = [version?.major ?? 0, version?.minor ?? 0];
      const text = `${String(major)}.${String(minor)}${version?.sublevel ? `.${String(version.sublevel)}` : ''}`;
      const [leastMajor, leastMinor] = leastVersion;
      if (major < leastMajor || (major === leastMajor && minor < leastMinor))
        return {
          version: null,
          why: `CRIU ${text} is too old, ${leastVersion.join('.')} or later is needed: "make setup" brings one`,
        };
      // What it finds out of the kernel it knows then, before anybody stands still. One that cannot say so here will say so in its turn.
      if (host.beside)
        await runCriu(host, { type: 'features', options: null, cgroups: [] }, signal).catch(() => undefined);
      return { version: `criu ${text}`, why: '' };
    } catch (error) {
      return { version: null, why: `${name} does not run: ${messageOf(error)}` };
    }
  }

  /** Those who want to be told, or signalled, are; and get time to let go of what cannot be saved. */
  async settle(
    { initPid, number, signalRanks, signalMs }: SettleRequest,
    signal: AbortSignal,
  ): Promise<void> {
    signalRanks();
    await after(signalMs, undefined, { signal });
    await askAll(initPid, number, callbacksWithinMs, signal);
  }

  goOn(): void {
    // Nothing was asked of them that the callbacks are not told.
  }

  async startDump(start: DumpStart): Promise<StartedDump> {
    return new CriuDump(await this.#present(), start, start.leavesPages && this.#keepsApart, true);
  }

  async dump(request: DumpRequest, signal: AbortSignal): Promise<void> {
    const leavesPages = request.withoutPages !== undefined;
    const keepsApart = leavesPages && this.#keepsApart;
    using dump = new CriuDump(await this.#present(), { ...request, leavesPages }, keepsApart, false);
    await dump.dump(request, signal);
  }

  async restore(request: RestoreRequest, signal: AbortSignal): Promise<number> {
    const host = await this.#present();
    const { root, mounts } = request;
    await checkImageRights(
      request.directory,
      request.rights,
      {
        mountKeys: new Set(mounts.map(({ target }) => mountKey(target))),
        hostPathOf: (path) => (request.carrier ? null : hostPathOf(path, root.path, mounts)),
        networkKey: request.netns === null ? null : networkKey,
      },
      signal,
    );
    await request.joined;
    const directory = openSync(request.directory, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      const inherited = [
        ...request.files.map(({ key, fd }) => ({ key, own: fd })),
        ...(request.netns === null ? [] : [{ key: networkKey, own: request.netns }]),
      ];
      const options: CriuOptions = {
        ...common,
        imagesDirFd: directory,
        logFile: 'restore.log',
        notifyScripts: true,
        root: request.root.at,
        // Unsent bytes are sent while sockets are restored, and a peer on the same node that is not there yet would reset them: so CRIU
        // locks the network again until all are there, which it does by itself only in namespaces that it has made.
        ...(request.netns === null ? {} : { emptyNs: cloneNewNet }),
        ...(request.pagesFollow === true ? { lazyPages: true } : {}),
        external: request.mounts.map(({ source, target }) => `mnt[${mountKey(target)}]:${source}`),
        inheritFd: inherited.map(({ key }, index) => ({ key, fd: firstDescriptor + index })),
      };
      const response = await runCriu(
        host,
        {
          type: 'restore',
          options,
          cgroups: request.cgroups,
          stage: { root: request.root.path, at: request.root.at },
          ...(request.carrier === undefined ? {} : { carrier: request.carrier }),
          descriptors: inherited.map(({ own }) => own),
          onNotify: async (script, pid) => {
            if (script === 'post-restore') {
              await request.whole;
              request.onPlaced(pid);
            }
            if (script === 'network-unlock') await request.onReachable();
            if (script === 'pre-resume' && request.standStill)
              standStill(host.native, request, request.standStill);
            return true;
          },
        },
        signal,
      );
      return response.restore?.pid ?? 0;
    } catch (error) {
      throw failureOf('restore', error, `${request.directory}/restore.log`, signal);
    } finally {
      closeSync(directory);
    }
  }

  /** It has loaded the library: what it knows of the kernel is where that puts it. */
  get #keepsApart(): boolean {
    const [, kernel] = this.#host.beside ?? [];
    return kernel !== undefined && fstatSync(kernel).size > 0 && tellsOfPages(release());
  }

  async #present(): Promise<CriuHost> {
    const host = await this.#find();
    if (host !== null) return host;
    throw new AgentError('refused', 'EngineMissing', 'MUSTER_CRIU_MISSING', missing);
  }

  async #find(): Promise<CriuHost | null> {
    const { programs, ...host } = this.#host;
    const program = await programs.find();
    return program === null ? null : { ...host, program };
  }
}

class CriuDump implements StartedDump {
  readonly #start: DumpStart;
  readonly #ending: DisposableStack;
  readonly #criu: StartedCriu;
  readonly #apart: PagesApart | null;

  constructor(host: CriuHost, start: DumpStart, keepsApart: boolean, isAhead: boolean) {
    const { native } = host;
    const { frozenCgroup: guarded, cgroups } = start;
    this.#start = start;
    using ending = new DisposableStack();
    this.#apart = keepsApart ? ending.use(new PagesApart(native)) : null;
    const descriptors =
      start.leavesPages && !keepsApart ? [ending.adopt(closedSocket(native), native.close)] : [];
    const more = this.#apart ? { apart: this.#apart.descriptors } : {};
    this.#criu = ending.use(new StartedCriu(host, { guarded, cgroups, descriptors, isAhead, ...more }));
    this.#ending = ending.move();
  }

  goes(): Promise<void> {
    return this.#criu.goes();
  }

  async dump(request: Omit<DumpRequest, 'frozenCgroup' | 'cgroups'>, signal: AbortSignal): Promise<void> {
    const { withoutPages, onWork } = request;
    const isUnseen = withoutPages !== undefined && this.#apart === null;
    const directory = openSync(request.directory, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      const external = [
        ...request.mounts.map(({ target }) => `mnt[${target}]:${mountKey(target)}`),
        ...request.files.map(({ key }) => key),
        ...(request.netns === null ? [] : [`net[${String(request.netns.inode)}]:${networkKey}`]),
      ];
      const options: CriuOptions = {
        ...common,
        imagesDirFd: directory,
        pid: request.pid,
        leaveRunning: true,
        timeout: seizedWithinSeconds,
        logFile: 'dump.log',
        freezeCgroup: this.#start.frozenCgroup,
        external,
        ...(isUnseen ? { configFile: withoutPagesFile(request.directory) } : {}),
      };
      if (withoutPages) this.#apart?.keep(withoutPages);
      await this.#criu.ask({ type: 'dump', options, onWork }, signal);
      this.#apart?.note(request.directory);
      if (request.files.length > 0) {
        const path = `${request.directory}/files.img`;
        writeFileSync(path, withoutOuterSizes(readFileSync(path)));
      }
    } catch (error) {
      throw failureOf('dump', error, `${request.directory}/dump.log`, signal);
    } finally {
      closeSync(directory);
    }
  }

  [Symbol.dispose](): void {
    this.#ending.dispose();
  }
}

/** Of CRIU's files; of no use to anybody else. */
export const dumpOptionsName = 'dump.conf';

/**
 * CRIU would stay and serve the pages that it has left out, to whoever is at the other end of this socket: nobody is, so it ends at once.
 * Pages are read from the processes themselves instead, which stay frozen whatever becomes of CRIU or the agent. It takes no socket for
 * that but by its options.
 */
function withoutPagesFile(directory: string): string {
  const path = `${directory}/${dumpOptionsName}`;
  writeFileSync(path, `lazy-pages\nps-socket ${String(firstDescriptor)}\n`, { mode: 0o600 });
  return path;
}

/** As long as this process lives. */
function besideOf({ native, nativeDir }: CriuPlaces): CriuHost['beside'] {
  const path = `${nativeDir}/criu-beside.so`;
  if (!existsSync(path)) return undefined;
  return [openSync(path, constants.O_RDONLY), native.memfd('kernel', Buffer.alloc(0), false)];
}

function closedSocket(native: CriuHost['native']): number {
  const [own, theirs] = native.socketPair(false);
  native.close(own);
  return theirs;
}

/** CRIU lives in the cgroup that it restores into: it leaves it first, or it would be frozen too. */
function standStill(
  native: CriuHost['native'],
  { cgroups }: RestoreRequest,
  { aside: engines, freeze }: NonNullable<RestoreRequest['standStill']>,
): void {
  const own = pidNamespaceOf('self');
  for (const { mount, path } of cgroups) {
    const freezers = ['cgroup.freeze', 'freezer.state'].map((file) => `${mount}/${path}/${file}`);
    if (!freezers.some((file) => existsSync(file))) continue;
    const engine = engines.find((each) => each.mount === mount);
    if (!engine) throw new Error(`MUSTER_BUG: the engine has no control group in ${mount}`);
    const aside = `${mount}/${engine.path}`;
    mkdirSync(aside, { recursive: true });
    const pids = readFileSync(`${mount}/${path}/cgroup.procs`, 'utf8').split('\n');
    for (const pid of pids) if (pid !== '' && pidNamespaceOf(pid) === own) moveIntoCgroup(native, aside, pid);
  }
  freeze();
}

const pidNamespaceOf = (pid: string): number => statSync(`/proc/${pid}/ns/pid`).ino;

function failureOf(
  what: 'dump' | 'restore',
  cause: unknown,
  logPath: string,
  signal: AbortSignal,
): AgentError {
  if (cause instanceof AgentError) return cause;
  const [reason, code] =
    what === 'dump'
      ? (['DumpFailed', 'MUSTER_CRIU_DUMP_FAILED'] as const)
      : (['RestoreFailed', 'MUSTER_CRIU_RESTORE_FAILED'] as const);
  if (signal.aborted) {
    const why: unknown = signal.reason;
    if (why instanceof AgentError) return why;
    return new AgentError('failed', reason, code, `CRIU was stopped: ${messageOf(why)}`, { cause });
  }
  const said = complaintOf(read(logPath));
  if (what === 'dump' && /No space left on device|ENOSPC/.test(said))
    return new AgentError('failed', 'StorageFull', 'MUSTER_NO_ROOM', `the image does not fit: ${said}`, {
      cause,
    });
  return new AgentError(
    'failed',
    reason,
    code,
    said === '' ? messageOf(cause) : `${said} (${messageOf(cause)})`,
    {
      cause,
    },
  );
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
