// What the agent asks of whatever saves and restores one sandbox. Its ranks run when `settle` is called; it is frozen and its pipes
// are read by nobody when `dump` is, and stays so afterwards; `goOn` comes once they may run on, whatever was made of it. `restore`
// brings back what was dumped, in the cgroups given, running, or says that the ranks are to be started anew. Which engine it is
// stands in the image; images of one are of no use to another.
import type { CgroupRequest } from '../cgroups.ts';
import type { RankSlot } from '../monitor/rank-sampler.ts';
import type { Rights } from './image-rights.ts';
import type { Owner } from './own-saves.ts';

/** A mount of the host's that a sandbox sees: not part of an image, to be there again at the same place. */
export interface OuterMount {
  readonly source: string;
  readonly target: string;
}

/** A description of a file outside of the sandbox that its first process holds. */
export interface OuterFile {
  /** The engine's name for it, which stands in the image. */
  readonly key: string;
  readonly path: string;
}

export interface SettleRequest {
  /** The host's number of the sandbox's first process. */
  readonly initPid: number;
  /** Another one for each checkpoint of the sandbox. */
  readonly number: number;
  /** As they are at the moment. */
  readonly ranks: () => readonly RankSlot[];
  /** Sends each of them the signal that was asked for, if any, after which they have this long. */
  readonly signalRanks: () => void;
  readonly signalMs: number;
  /** Where ranks can save themselves; null: nowhere. */
  readonly saves: string | null;
  readonly owner: Owner;
  readonly tty: boolean;
  /** They are waited for no longer. */
  readonly withinMs: number;
}

export interface DumpStart {
  /** The directory of the cgroup that is to be frozen, of version 2 or of version 1's freezer. */
  readonly frozenCgroup: string;
  /** Where the engine itself runs. */
  readonly cgroups: readonly CgroupRequest[];
  /** `withoutPages` will be asked for. */
  readonly leavesPages: boolean;
}

/** An engine that runs already, and waits for what it is to dump. */
export interface StartedDump extends Disposable {
  /** The cgroup is frozen, and stays so; nobody changes its memory any more. */
  goes(): Promise<void>;
  dump(request: Omit<DumpRequest, 'frozenCgroup' | 'cgroups'>, signal: AbortSignal): Promise<void>;
}

export interface DumpRequest extends Pick<DumpStart, 'frozenCgroup' | 'cgroups'> {
  /** The host's number of the sandbox's first process. */
  readonly pid: number;
  readonly directory: string;
  readonly mounts: readonly OuterMount[];
  readonly files: readonly OuterFile[];
  /** The network namespace is somebody else's to bring back; null: it is the host's. */
  readonly netns: { readonly inode: number } | null;
  /** Where ranks have saved themselves. */
  readonly saves?: { readonly path: string };
  /** Of these, all its processes, memory that is anonymous and private is left out of the image: it is read from them afterwards. */
  readonly withoutPages?: readonly number[];
  /** Called once when it works in a process of its own: there is time for something else. */
  readonly onWork?: () => void;
}

export interface RestoreRequest {
  readonly directory: string;
  /** Those of the sandbox. */
  readonly cgroups: readonly CgroupRequest[];
  /** Bound alone at `at`, an empty directory, while the engine runs. */
  readonly root: { readonly path: string; readonly at: string };
  readonly mounts: readonly OuterMount[];
  /** The process whose root it is to have, and where its mounts are put while the engine runs, by where the sandbox has them. */
  readonly carrier?: { readonly pidfd: number; readonly stage: ReadonlyMap<string, string> };
  /** An open descriptor for each outer file of the image. */
  readonly files: readonly { readonly key: string; readonly fd: number }[];
  /** Descriptor of the network namespace to come into; null: the host's. */
  readonly netns: number | null;
  /** It is as it has to be: waited for before anything is started. */
  readonly joined?: Promise<void> | undefined;
  /** What the image may ask for, whatever it says. */
  readonly rights: Rights;
  /** What was left out of the image is brought by a pager that listens in its directory. */
  readonly pagesFollow?: boolean;
  /** The ranks' memory is still being looked at: nothing is placed, and nothing runs, before it is known to be whole. */
  readonly whole?: Promise<void>;
  /** All is in place and nothing runs yet; `pid` is the host's number of its first process. */
  readonly onPlaced: (pid: number) => void;
  /**
   * What is restored is not to run when the engine has ended: called when all of it is there, held by the engine, to have its cgroup
   * frozen; the engine itself is in those aside by then.
   */
  readonly standStill?: { readonly aside: readonly CgroupRequest[]; readonly freeze: () => void };
  /** Its connections are whole: from now on, and not before, its peers may reach it. */
  readonly onReachable: () => Promise<void>;
  /** Where ranks that save themselves find it again. */
  readonly saves?: { readonly path: string; readonly owner: Owner };
}

export interface Probe {
  /** "criu 4.2.1"; null: nothing can be dumped or restored here, for `why`. */
  readonly version: string | null;
  readonly why: string;
}

export interface CheckpointEngine {
  readonly name: string;
  /** Changes when a probe may find something else than before. Cheap. */
  readonly identity: string;
  /** False: ranks save themselves, so nothing that processes hold stands in the way. */
  readonly savesProcesses: boolean;
  /** What this node can do, found out by trying. */
  probe(signal: AbortSignal): Promise<Probe>;
  /** Settles once all ranks may be frozen and dumped. Throws AgentError when one may not; then `goOn` follows. */
  settle(request: SettleRequest, signal: AbortSignal): Promise<void>;
  /** Throws AgentError with the engine's own words; the sandbox is unharmed. */
  dump(request: DumpRequest, signal: AbortSignal): Promise<void>;
  /** Gives the host's number of the first process; null: the ranks are started anew. Throws AgentError; then nothing is left of it. */
  restore(request: RestoreRequest, signal: AbortSignal): Promise<number | null>;
  /** Of those who were asked to settle. Said twice, it is heard once. */
  goOn(saves: string | null): void;
}
