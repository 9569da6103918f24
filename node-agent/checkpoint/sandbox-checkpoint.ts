// The checkpoint of one running sandbox: carries out what plan.ts says, one thing at a time, and keeps how far it has come on
// disk. Whatever fails before the image is committed ends as Aborted: the sandbox runs on as if never asked and the image is
// gone. An agent that finds a checkpoint it had not brought to Committed gives it up the same way. What others of the group
// do, and when it is their turn, is the controllers' business.
import type { CheckpointFact, CheckpointOrder, SandboxId, SandboxSpec } from '../../wire/agent-types.ts';
import type { AdoptedSandbox } from '../adopted-sandbox.ts';
import { AgentError, errnoOf, messageOf } from '../agent-error.ts';
import type { Backend } from '../backend.ts';
import type { SandboxCgroup } from '../cgroups.ts';
import type { Freezer } from '../freezer.ts';
import { hostRoot } from '../host-root.ts';
import type { InputSpool } from '../input.ts';
import { rankSlotsOf } from '../monitor/sandbox-ranks.ts';
import type { RankProcesses } from '../rank-processes.ts';
import type { SandboxCarrier } from '../sandbox-carrier.ts';
import type { SandboxDirectory } from '../sandbox-directory.ts';
import type { SandboxLimits } from '../sandbox-limits.ts';
import { saveTrees } from './carried-trees.ts';
import { cutOf, keepLogs, openFilesOf, outerFilesOf, saveInput, settleLogs, type OuterFiles } from './cut.ts';
import { type Descriptor, descriptorsOf } from './descriptors.ts';
import type { CheckpointEngine } from './engine.ts';
import type { Cut, Image } from './image.ts';
import { engineCgroupsFor } from './criu-process.ts';
import { netnsOf } from './netns.ts';
import { checkpointActionOf, type CheckpointState } from './plan.ts';
import { signalRanks, tell } from './callbacks.ts';
import { bytesSaved, savesOf } from './own-saves.ts';
import { preflight } from './preflight.ts';
import { clearEngine, mend } from './remains.ts';
import { takeSnapshots } from './snapshots.ts';
import { storeImage } from './storages.ts';

/** What is kept of it on disk. */
export interface CheckpointRecord extends CheckpointFact {
  readonly state: CheckpointState;
  readonly name: string;
  /** The engine that was ordered. */
  readonly by?: string;
  readonly openFiles: string;
  readonly externalConnections?: string;
  /** What ranks get first, and how long they have. */
  readonly signal?: number;
  readonly signalMs?: number;
  readonly begunMs?: number;
  /** Where the image is to be in the end; empty: on the node. */
  readonly storage?: string;
  readonly holdUntilMs: number;
}

/** The sandbox as its checkpoint needs it. */
export interface HeldSandbox {
  readonly key: string;
  readonly id: SandboxId;
  readonly spec: SandboxSpec;
  readonly directory: SandboxDirectory;
  readonly cgroup: SandboxCgroup | null;
  readonly adopted: AdoptedSandbox | null;
  readonly ended: object | null;
  readonly limits: SandboxLimits;
  readonly processes: RankProcesses | null;
  readonly input: InputSpool | null;
  readonly freezer: Freezer;
  readonly carrier: SandboxCarrier;
  /** Joins it to the job's network, or cuts it off; one that is on its way elsewhere is joined by whoever moves it only. */
  setPlugged(plugged: boolean, holder?: 'move'): Promise<void>;
  changed(): void;
  poke(): void;
  wakeAt(ms: number): void;
}

const holdByDefaultMs = 10 * 60_000;
/** Of the time that it may take: what is left of it is for what comes then. */
const settledWithin = 0.8;
const againAfterMs = 1000;

export class SandboxCheckpoint {
  readonly #sandbox: HeldSandbox;
  readonly #backend: Backend;
  #record: CheckpointRecord | null;
  #task: Promise<void> | null = null;
  #stop = new AbortController();
  /** An earlier agent was in the middle of it. */
  #interrupted: boolean;
  /** What its processes have open, which stays so while they are frozen. */
  #open: readonly Descriptor[] | null = null;
  /** It is being joined to the job's network again. */
  #plugging: Promise<void> | null = null;
  /** It could not even be given up: tried again then, not before. */
  #againAtMs = 0;

  constructor(sandbox: HeldSandbox, backend: Backend) {
    this.#sandbox = sandbox;
    this.#backend = backend;
    this.#record = sandbox.directory.read('checkpoint');
    this.#interrupted =
      this.#record !== null && !['Committed', 'Saved', 'Aborted'].includes(this.#record.state);
  }

  get isBusy(): boolean {
    return this.#task !== null;
  }

  /** It is being saved: whoever else would hold it waits. */
  get isAtWork(): boolean {
    if (this.#record === null) return false;
    return this.#record.held || !['Saved', 'Aborted'].includes(this.#record.state);
  }

  /** It is frozen and will be ended rather than run on. */
  get isSaved(): boolean {
    return this.#record?.held === true && ['Committed', 'Saved'].includes(this.#record.state);
  }

  fact(): CheckpointFact | null {
    if (this.#record === null) return null;
    const {
      name: _name,
      by: _by,
      openFiles: _openFiles,
      externalConnections: _externalConnections,
      signal: _signal,
      signalMs: _signalMs,
      begunMs: _begunMs,
      storage: _storage,
      holdUntilMs: _holdUntilMs,
      ...fact
    } = this.#record;
    // One that has ended is held no longer, though nobody told it to run on.
    return { ...fact, held: fact.held && this.#sandbox.ended === null };
  }

  /** Settles when nothing is under way any more; whatever is, is given up first, since the sandbox is to be ended. */
  async giveUp(): Promise<void> {
    this.#stop.abort(endedError());
    await this.#task;
  }

  /** Does what is next; `alive`: nothing is about to end its ranks; `ready`: they have been started. */
  look(order: CheckpointOrder | null, alive: boolean, ready: boolean): void {
    const { nowMs } = this.#backend;
    if (nowMs() < this.#againAtMs) {
      this.#sandbox.wakeAt(this.#againAtMs);
      return;
    }
    for (let turn = 0; turn < 8; turn++) {
      const action = this.#interrupted
        ? ({ kind: 'abort', reason: 'AgentRestarted' } as const)
        : checkpointActionOf({ order, record: this.#record, alive, ready, nowMs: nowMs() });
      if (action === null) return;
      if (action.kind === 'wakeAt') {
        this.#sandbox.wakeAt(action.ms);
        return;
      }
      if (this.#task !== null) {
        if (action.kind === 'abort') this.#stop.abort(abortError(action.reason));
        return;
      }
      switch (action.kind) {
        case 'begin':
          if (order) this.#begin(order);
          break;
        case 'commit':
          this.#update({ state: 'Committed' });
          if (!action.hold) this.#release();
          break;
        case 'release':
          this.#start('release', () => this.#releaseNow());
          return;
        case 'abort':
          this.#start('abort', () => this.#abort(abortError(action.reason)));
          return;
        case 'prepare':
          this.#start('prepare', (signal) => this.#prepare(signal));
          return;
        case 'dump':
          this.#start('dump', (signal) => this.#dump(signal));
          return;
        case 'seal':
          this.#start('seal', (signal) => this.#seal(signal));
          return;
        default:
          action satisfies never;
      }
    }
  }

  /** On disk before anybody is told. */
  #update(change: Partial<CheckpointRecord>): void {
    if (this.#record === null) return;
    const record = { ...this.#record, ...change };
    this.#sandbox.directory.write('checkpoint', record);
    if (change.state !== undefined) this.#backend.config.reached?.(`member ${change.state}`);
    this.#told(record);
  }

  /** The same for what an agent that finds the older record comes to as well: a full disk does not stop it. */
  #giveBack(change: Partial<CheckpointRecord>): void {
    if (this.#record === null) return;
    unlessFull(() => {
      this.#update(change);
    });
    this.#told({ ...this.#record, ...change });
  }

  #told(record: CheckpointRecord): void {
    this.#record = record;
    this.#sandbox.changed();
  }

  #begin(order: CheckpointOrder): void {
    const holdMs = order.holdAtMostMs > 0 ? order.holdAtMostMs : holdByDefaultMs;
    const record: CheckpointRecord = {
      checkpointUid: order.checkpointUid,
      state: 'Preparing',
      reason: '',
      message: '',
      held: false,
      frozenNs: 0,
      thawedNs: 0,
      bytes: 0,
      digest: '',
      engine: '',
      dumpUs: 0,
      name: order.name,
      by: order.engine,
      openFiles: order.openFiles,
      externalConnections: order.externalConnections,
      signal: order.signal,
      signalMs: order.signalMs,
      begunMs: this.#backend.nowMs(),
      storage: order.storage,
      holdUntilMs: this.#backend.nowMs() + holdMs,
    };
    this.#record = record;
    try {
      this.#update({});
      this.#backend.config.reached?.('member Preparing');
    } catch (error) {
      if (errnoOf(error) !== 'ENOSPC') throw error;
      this.#told({ ...record, state: 'Aborted', reason: 'StorageFull', message: messageOf(error) });
    }
  }

  #start(what: string, work: (signal: AbortSignal) => Promise<void>): void {
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    this.#task = (async () => {
      try {
        await work(signal);
      } catch (error) {
        const { log } = this.#backend;
        log.warn({ sandbox: this.#sandbox.key, what, err: error }, 'checkpoint failed');
        try {
          await this.#abort(signal.aborted ? signal.reason : error);
        } catch (second) {
          log.error({ sandbox: this.#sandbox.key, err: second }, 'checkpoint cannot be given up');
          this.#againAtMs = this.#backend.nowMs() + againAfterMs;
        }
      } finally {
        this.#task = null;
        this.#sandbox.poke();
      }
    })();
  }

  get #image(): Image {
    return this.#backend.checkpoints.images.of({
      checkpointUid: this.#record?.checkpointUid ?? '',
      ordinal: this.#sandbox.id.ordinal,
    });
  }

  get #engine(): CheckpointEngine {
    return this.#backend.checkpoints.engineFor(this.#record?.by ?? '', this.#sandbox.spec.savesItself);
  }

  /** Where its ranks can save themselves; null: nowhere. */
  get #saves(): string | null {
    const { spec, directory } = this.#sandbox;
    return spec.savesItself ? savesOf(directory.path) : null;
  }

  async #prepare(signal: AbortSignal): Promise<void> {
    const { adopted, cgroup } = this.#sandbox;
    const { checkpoints, config } = this.#backend;
    const version = await checkpoints.engineVersion(this.#engine);
    if (!adopted || cgroup?.freezer == null)
      throw refusal(
        'EngineMissing',
        'MUSTER_NO_FREEZER',
        `node ${config.node}: no hierarchy of control groups is mounted by which a sandbox could be frozen`,
      );
    // Who is frozen answers nothing, and runs nothing that could be cut in two.
    if (!cgroup.frozen()) await this.#settle(adopted, signal);
    else if (!this.#engine.savesProcesses)
      throw refusal(
        'PreflightFailed',
        'MUSTER_SELF_SAVE',
        'it is frozen, and its ranks would have to save themselves: resume it first',
      );
    const { storage = '' } = this.#record ?? {};
    const trouble = storage === '' ? null : checkpoints.storageTrouble(storage);
    if (trouble !== null) throw refusal('PreflightFailed', 'MUSTER_STORAGE', trouble);
    await this.#check(adopted, 'before');
    // Descriptors on their way to pid 1 could not be saved: it has all that was sent before it is frozen.
    if (!cgroup.frozen()) await adopted.barrier();
    signal.throwIfAborted();
    const frozenNs = this.#backend.nowMs() * 1e6;
    this.#update({ engine: version, held: true, frozenNs, thawedNs: 0 });
    await Promise.all([this.#sandbox.freezer.freeze('checkpoint'), this.#sandbox.setPlugged(false)]);
    this.#sandbox.processes?.pause();
    signal.throwIfAborted();
    // What it changes of them is to be in the image; else there is time to look while the engine is at work.
    if (this.#record?.externalConnections === 'Reset') await this.#check(adopted, 'frozen');
    this.#update({ state: 'Prepared' });
  }

  /** Of its processes, which are frozen. */
  #descriptors(): readonly Descriptor[] {
    return (this.#open ??= descriptorsOf(this.#sandbox.cgroup?.pids() ?? []));
  }

  async #settle({ identity, table }: AdoptedSandbox, signal: AbortSignal): Promise<void> {
    const { spec, cgroup } = this.#sandbox;
    const { native, nowMs } = this.#backend;
    const { signal: number = 0, signalMs = 0, holdUntilMs = 0 } = this.#record ?? {};
    const ranks = () => rankSlotsOf(table);
    await this.#engine.settle(
      {
        initPid: identity.pid,
        number: this.#callNumber,
        ranks,
        signalRanks: () => {
          if (number > 0) signalRanks(native, ranks(), cgroup?.pids() ?? [], number);
        },
        signalMs: number > 0 ? signalMs : 0,
        saves: this.#saves,
        owner: { uid: spec.uid, gid: spec.gid },
        tty: spec.tty,
        withinMs: (holdUntilMs - nowMs()) * settledWithin,
      },
      signal,
    );
  }

  /** Another one for each checkpoint; that of the one before is not taken for it. */
  get #callNumber(): number {
    return this.#record?.begunMs ?? 0;
  }

  async #check(adopted: AdoptedSandbox, when: 'before' | 'frozen'): Promise<void> {
    const { spec, directory, cgroup, carrier } = this.#sandbox;
    const { checkpoints, config } = this.#backend;
    const { savesProcesses } = this.#engine;
    await preflight({
      native: this.#backend.native,
      node: config.node,
      spec,
      adopted,
      carrier: carrier.record,
      mounts: directory.read('mounts'),
      descriptors: () => (when === 'frozen' ? this.#descriptors() : descriptorsOf(cgroup?.pids() ?? [])),
      when,
      savesProcesses,
      externalConnections: this.#record?.externalConnections ?? '',
      openFiles: this.#record?.openFiles ?? '',
      freeBytes: checkpoints.room.leftBytes,
      neededBytes: savesProcesses ? (cgroup?.usage().memoryBytes ?? 0) : bytesSaved(this.#saves ?? ''),
    });
  }

  async #dump(signal: AbortSignal): Promise<void> {
    this.#update({ state: 'Dumping' });
    const { adopted, cgroup, directory, input, spec, key, carrier } = this.#sandbox;
    const record = this.#record;
    if (!adopted || cgroup?.freezer == null || record === null) throw endedError();
    const image = this.#image;
    image.create();
    const mounts = directory.read('mounts') ?? { root: '/', binds: [] };
    const engine = this.#engine;
    const saves = this.#saves;
    const outer = engine.savesProcesses ? outerFilesOf(adopted, this.#backend.native) : noOuterFiles;
    if (carrier.record && spec.carrier) {
      const { scratch } = spec.carrier;
      await saveTrees(carrier.record, { scratch, hostRoot: hostRoot() }, image, signal);
    }
    // While the engine is at work: the ranks stand still for it anyway.
    const look = async (): Promise<Cut> => {
      if (record.externalConnections !== 'Reset') await this.#check(adopted, 'frozen');
      const descriptors = this.#descriptors();
      const written = openFilesOf(descriptors, adopted.identity.pid);
      return cutOf({
        backend: this.#backend,
        spec,
        record,
        mounts,
        outer,
        streams: keepLogs(directory.logs, image),
        input: engine.savesProcesses ? saveInput(input, outer, image) : null,
        pids: cgroup.pids(),
        descriptors,
        openFiles:
          record.openFiles === 'Snapshot'
            ? await takeSnapshots(written, image)
            : written.map(({ file }) => file),
        ranksStartedNs: this.#sandbox.processes?.startedNs ?? 0,
        usage: this.#sandbox.limits.now(),
      });
    };
    let looked: Promise<Cut> | undefined;
    const cut = (): Promise<Cut> => (looked ??= look());
    const refused = new AbortController();
    const began = performance.now();
    try {
      await engine.dump(
        {
          pid: adopted.identity.pid,
          directory: image.path,
          frozenCgroup: cgroup.freezer,
          cgroups: engineCgroupsFor(this.#backend.cgroups, key),
          mounts: mounts.binds,
          files: outer.keys,
          netns: netnsOf(adopted.identity.pid),
          ...(saves === null ? {} : { saves: { path: saves } }),
          onWork: () => {
            cut().catch((error: unknown) => {
              refused.abort(error);
            });
          },
        },
        AbortSignal.any([signal, refused.signal]),
      );
    } catch (error) {
      if (!signal.aborted) await cut(); // why it cannot be saved says more than how the engine came to fail
      throw error;
    } finally {
      await clearEngine(this.#backend, this.#sandbox.key);
    }
    const dumpUs = Math.round((performance.now() - began) * 1000);
    signal.throwIfAborted();
    image.writeCut(await cut());
    this.#update({ state: 'Dumped', dumpUs });
    // The others stay cut off until they are dumped too, so nothing passes between what is saved and what is not.
    const { spec: now, freezer } = this.#sandbox;
    if (now.checkpoint?.hold !== true && !freezer.isHeldBy('fence')) void this.#plug();
  }

  /** Of an engine that was at work and did not come to its end. */
  async #repair(): Promise<void> {
    const { adopted, cgroup, key } = this.#sandbox;
    if (this.#record?.state !== 'Dumping' || !adopted) return;
    const log = this.#image.pathOf('dump.log');
    await mend(this.#backend, key, adopted.identity.pid, cgroup?.pids() ?? [], log);
  }

  async #seal(signal: AbortSignal): Promise<void> {
    const image = this.#image;
    const cut = image.readCut();
    if (cut === null) {
      // Sealed already, by an agent that was killed before it could say so.
      const manifest = image.readManifestBytes();
      if (manifest === null) throw refusal('ImageDamaged', 'MUSTER_IMAGE_DAMAGED', `${image.path} is gone`);
      image.prune();
    } else {
      this.#update({ bytes: image.bytes() });
      await settleLogs(image, cut, signal);
      await image.seal(cut, this.#backend.checkpoints.packing, signal);
    }
    this.#sandbox.input?.keepFrom(null);
    const kept = await this.#stored(image, signal);
    this.#update({ state: 'Saved', digest: kept.digest(), bytes: kept.bytes() });
    this.#backend.checkpoints.keeper.touched(this.#image);
  }

  /** Where it stays: in the storage that was asked for, once it is there. */
  async #stored(image: Image, signal: AbortSignal): Promise<Image> {
    const { storage = '' } = this.#record ?? {};
    if (storage === '') return image;
    const target = this.#backend.checkpoints.images.inStorage(image.id, storage);
    if (!target)
      throw refusal('DumpFailed', 'MUSTER_STORAGE', this.#backend.checkpoints.storageTrouble(storage) ?? '');
    if (target.path === image.path) return image;
    await storeImage(image, target, signal);
    image.remove();
    return target;
  }

  #plug(): Promise<void> {
    const plugging = (this.#plugging ??= this.#sandbox.setPlugged(true));
    // Told to who lets it run on, and tried again then.
    plugging.catch(() => (this.#plugging = null));
    return plugging;
  }

  #release(): void {
    this.#start('release', () => this.#releaseNow());
  }

  async #releaseNow(): Promise<void> {
    if (this.#record?.held !== true) return;
    this.#open = null;
    const { adopted, processes } = this.#sandbox;
    if (adopted && !adopted.isGone) {
      await this.#plug();
      processes?.resume();
    }
    this.#plugging = null;
    await this.#sandbox.freezer.thaw('checkpoint').catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOSPC') throw error;
    });
    const thawedNs = this.#backend.nowMs() * 1e6;
    this.#goOn(); // said by an agent that comes after as well, should this one be killed
    this.#giveBack({ held: false, thawedNs });
  }

  /** Programs that have let go of something for this take it again. Said twice, it is heard once. */
  #goOn(): void {
    const { adopted } = this.#sandbox;
    this.#engine.goOn(this.#saves);
    if (adopted && !adopted.isGone) tell(adopted.identity.pid, 'continue', this.#callNumber);
  }

  async #abort(cause: unknown): Promise<void> {
    await clearEngine(this.#backend, this.#sandbox.key);
    await this.#repair();
    this.#interrupted = false;
    this.#sandbox.input?.keepFrom(null);
    await this.#releaseNow();
    this.#goOn();
    this.#image.remove();
    const reason =
      cause instanceof AgentError ? cause.reason : errnoOf(cause) === 'ENOSPC' ? 'StorageFull' : 'DumpFailed';
    this.#giveBack({ state: 'Aborted', reason, message: messageOf(cause), bytes: 0, digest: '' });
    this.#backend.checkpoints.keeper.touched(this.#image);
  }
}

/** The effect has been had; what could not be written does no harm. */
function unlessFull(act: () => void): void {
  try {
    act();
  } catch (error) {
    if (errnoOf(error) !== 'ENOSPC') throw error;
  }
}

const noOuterFiles: OuterFiles = { keys: [], readers: [] };

function refusal(reason: string, code: string, message: string): AgentError {
  return new AgentError('refused', reason, code, message);
}

const words: Readonly<Record<string, string>> = {
  AgentRestarted: 'the agent was started anew in the middle of it',
  Cancelled: 'it was called off',
  DeadlineExceeded: 'the sandbox was held as long as it may be',
  Ended: 'the ranks have ended, or are being ended',
  NotDumped: 'it was to be committed before it was dumped',
  NotHeld: 'the sandbox was not held until every other one was dumped',
  NotPrepared: 'it was to be dumped before it was frozen',
  Superseded: 'another checkpoint of the group was ordered',
};

function abortError(reason: string): AgentError {
  return refusal(reason, 'MUSTER_CHECKPOINT_ABORTED', words[reason] ?? reason);
}

const endedError = (): AgentError => abortError('Ended');
