// CRIU as the engine of checkpoints: its options for a sandbox of ours, and what its failures mean. Network namespaces,
// mounts of the host and the spool of standard input are external to its images; control groups are ours to make.
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { AgentError, messageOf } from '../agent-error.ts';
import { manageCgroupsIgnore, networkLocks, type CriuOptions } from './criu-messages.ts';
import { complaintOf, firstDescriptor, runCriu, type CriuHost } from './criu-process.ts';
import type { CheckpointEngine, DumpRequest, Probe, RestoreRequest } from './engine.ts';

const leastVersion = [4, 2] as const;
/** As much as the field holds: unlinked files of MPI libraries are some megabytes, those of programs what they like. */
const ghostLimitBytes = 0xffffffff;
const logLevel = 3;
const networkKey = 'network';

const common = {
  tcpEstablished: true,
  fileLocks: true,
  logLevel,
  manageCgroups: true,
  manageCgroupsMode: manageCgroupsIgnore,
  ghostLimit: ghostLimitBytes,
  networkLock: networkLocks.nftables,
} as const satisfies Partial<CriuOptions>;

const mountKey = (target: string): string => `outer${target.replaceAll('/', ':')}`;

export class CriuEngine implements CheckpointEngine {
  readonly name = 'criu';
  readonly #host: CriuHost | null;

  /** Null: there is no CRIU on this node. */
  constructor(host: CriuHost | null) {
    this.#host = host;
  }

  async probe(signal: AbortSignal): Promise<Probe> {
    if (this.#host === null)
      return { version: null, why: 'there is no CRIU on this node: "make setup" brings one' };
    try {
      const { version } = await runCriu(this.#host, { type: 'version', options: null, cgroups: [] }, signal);
      const [major, minor] = [version?.major ?? 0, version?.minor ?? 0];
      const text = `${String(major)}.${String(minor)}${version?.sublevel ? `.${String(version.sublevel)}` : ''}`;
      const [leastMajor, leastMinor] = leastVersion;
      if (major < leastMajor || (major === leastMajor && minor < leastMinor))
        return {
          version: null,
          why: `CRIU ${text} is too old, ${leastVersion.join('.')} or later is needed: "make setup" brings one`,
        };
      return { version: `criu ${text}`, why: '' };
    } catch (error) {
      return { version: null, why: `${this.#host.program} does not run: ${messageOf(error)}` };
    }
  }

  async dump(request: DumpRequest, signal: AbortSignal): Promise<void> {
    const host = this.#present();
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
        logFile: 'dump.log',
        freezeCgroup: request.frozenCgroup,
        external,
      };
      const guarded = request.frozenCgroup;
      await runCriu(host, { type: 'dump', options, cgroups: request.cgroups, guarded }, signal);
    } catch (error) {
      throw failureOf('dump', error, `${request.directory}/dump.log`, signal);
    } finally {
      closeSync(directory);
    }
  }

  async restore(request: RestoreRequest, signal: AbortSignal): Promise<number> {
    const host = this.#present();
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
          descriptors: inherited.map(({ own }) => own),
          onNotify: async (script, pid) => {
            if (script === 'post-restore') request.onPlaced(pid);
            if (script === 'network-unlock') await request.onReachable();
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

  #present(): CriuHost {
    if (this.#host !== null) return this.#host;
    throw new AgentError(
      'refused',
      'EngineMissing',
      'MUSTER_CRIU_MISSING',
      'there is no CRIU on this node: "make setup" brings one',
    );
  }
}

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
