// A sandbox that comes to this node, by the table of who comes (wire/migration-protocol.ts): looked at before anything stops, then
// fetched into memory from where it leaves, while it is dumped there, and restored, frozen and reached by nobody. It is let run only
// once the hub says that the group's record has it here; until then it can be taken away without a trace. How far it is stands on
// disk before anybody is told, so an agent that comes after takes up what is Placed, and gives up what was in the middle.
import { rmSync } from 'node:fs';
import { arch } from 'node:os';
import type { MoveFact, MoveOrder, SandboxId, SandboxSpec } from '../../wire/agent-types.ts';
import { comerEventOf, comerTable, type ComerEvent, type ComerState } from '../../wire/migration-protocol.ts';
import { stepOf } from '../../wire/state-table.ts';
import { AgentError, messageOf } from '../agent-error.ts';
import type { Backend } from '../backend.ts';
import type { SandboxCgroup } from '../cgroups.ts';
import { engineCgroupsFor } from '../checkpoint/criu-process.ts';
import { cpuFeatures } from '../checkpoint/cut.ts';
import type { Image, Manifest } from '../checkpoint/image.ts';
import { clearEngine } from '../checkpoint/remains.ts';
import type { RestoringSandbox } from '../checkpoint/restore-sandbox.ts';
import { checkOwner } from '../checkpoint/image-rights.ts';
import {
  checkFits,
  checkRoot,
  placeInput,
  restoreProcesses,
  restoredSpecOf,
  usedBefore,
} from '../checkpoint/restoring.ts';
import type { Freezer } from '../freezer.ts';
import type { LaunchRequest } from '../launch.ts';
import type { Want } from '../plan.ts';
import { bindsOf, preparationOf } from '../preparation.ts';
import { until } from '../until.ts';
import { hasCopies } from './copier.ts';
import { Following } from './following.ts';
import { factOfRecord, nothingMoved, travelPath, type ComingRecord } from './record.ts';
import { lackTrouble, placeCopy } from './file-copies.ts';
import { copyPrefix } from './journey.ts';
import { Phases, steadyUs } from './phases.ts';
import { fetchLeaver, reachLeaver, type LeaverPlace } from './transfer.ts';
import { lackedFiles, type LackedFile, type UsedFile } from './used-files.ts';

/** The sandbox as its coming needs it. */
export interface ComingSandbox extends Omit<RestoringSandbox, 'onReachable'> {
  readonly id: SandboxId;
  readonly cgroup: SandboxCgroup | null;
  readonly freezer: Freezer;
  readonly want: Want;
  untilLeased(signal: AbortSignal): Promise<void>;
  setPlugged(plugged: boolean, holder?: 'move'): Promise<void>;
  /** Nothing of what was restored is left. */
  clear(): Promise<void>;
  changed(): void;
  poke(): void;
  wakeAt(ms: number): void;
}

const fed: readonly ComerState[] = ['Placing', 'Placed', 'Following', 'Running'];
const here: readonly ComerState[] = ['Following', 'Running', 'Lost'];
const frozenWithinMs = 10_000;
const againAfterMs = 500;

export class Coming {
  readonly #sandbox: ComingSandbox;
  readonly #backend: Backend;
  #record: ComingRecord | null;
  #task: Promise<void> | null = null;
  #stop = new AbortController();
  #interrupted: boolean;
  #againAtMs = 0;
  /** Of the agent that it leaves, as it was told last. */
  #address = '';
  /** Of files that come along, as far as that was said before. */
  #carriedBytes = 0;
  /** Brings memory that is still where it left. */
  readonly #following: Following;

  /** `order`: of a sandbox that is new here and comes from elsewhere; null: it does not, or is known. */
  constructor(sandbox: ComingSandbox, backend: Backend, order: MoveOrder | null) {
    this.#sandbox = sandbox;
    this.#backend = backend;
    this.#record = sandbox.directory.read('coming');
    if (this.#record === null && order !== null) {
      this.#record = {
        ...nothingMoved,
        migrationUid: order.migrationUid,
        name: order.name,
        state: 'Absent',
        pagesFollow: order.pagesFollow,
      };
      sandbox.directory.write('coming', this.#record);
    }
    this.#interrupted = this.#record !== null && ['Preparing', 'Placing'].includes(this.#record.state);
    this.#following = new Following(sandbox, backend, {
      left: (pagesLeftBytes) => {
        this.#left(pagesLeftBytes);
      },
      done: () => {
        this.#settle();
        sandbox.poke();
      },
    });
  }

  /** It is not to be launched, run, or ended as others are: it is not here yet. */
  get isUnderWay(): boolean {
    return this.#record !== null && !here.includes(this.#record.state);
  }

  /** It runs, and not all of its memory is with it: it must not be saved or moved yet. */
  get isFollowing(): boolean {
    const { state, pagesHere = false } = this.#record ?? {};
    return state === 'Following' || (state === 'Running' && pagesHere);
  }

  /** All of its memory is with it, and it runs. */
  #settle(): void {
    if (this.#record?.state === 'Following') this.#step('Done', null);
    if (this.#record?.state !== 'Running' || this.#record.pagesHere !== true) return;
    this.#update({ pagesHere: false, pagesLeftBytes: 0 });
    this.forget();
  }

  get isBusy(): boolean {
    return this.#task !== null;
  }

  get migrationUid(): string | null {
    return this.isUnderWay || this.isFollowing ? (this.#record?.migrationUid ?? null) : null;
  }

  fact(): MoveFact | null {
    return this.#record === null ? null : factOfRecord(this.#record);
  }

  /** Settles when nothing is under way any more: the sandbox is not to come. */
  async giveUp(): Promise<void> {
    this.#stop.abort(failure('Cancelled', 'MUSTER_MOVE_ABORTED', 'it was called off'));
    await this.#task;
    this.forget();
  }

  /** Nothing of the move is left here. */
  forget(): void {
    this.#following.stop();
    if (this.#record !== null) this.#backend.moves.transit.remove(this.#imageId);
  }

  /** Why its ranks are lost, where they came and were. */
  get lostBecause(): string | null {
    return this.#record?.state === 'Lost' ? this.#record.message : null;
  }

  /** Sees to it that its memory comes: as soon as it is known from where, since all else may wait for processes that wait for it. */
  feed(order: MoveOrder | null): void {
    const { state, pagesFollow = false, pagesHere = false } = this.#record ?? {};
    if (state === undefined || !(pagesFollow || pagesHere) || !fed.includes(state)) return;
    this.#following.look(this.#image, order);
    if (this.isFollowing) this.#following.go();
  }

  /** `alive`: what was placed is still there. */
  look(order: MoveOrder | null, alive: boolean): void {
    if (order?.peerAddress) this.#address = order.peerAddress;
    this.feed(order);
    const { state } = this.#record ?? {};
    if (state === 'Following' && order?.step === 'Stay' && !this.#following.isDone)
      this.#step('ToldRun', order);
    if (!this.isUnderWay || this.#task !== null) return;
    if (this.#backend.nowMs() < this.#againAtMs) {
      this.#sandbox.wakeAt(this.#againAtMs);
      return;
    }
    for (let turn = 0; turn < 4 && this.#task === null; turn++) {
      const event = this.#eventOf(order, alive);
      if (event === undefined || !this.#step(event, order)) return;
    }
  }

  #eventOf(order: MoveOrder | null, alive: boolean): ComerEvent | undefined {
    if (this.#interrupted) return 'Restarted';
    if (this.#record?.state === 'Placed' && !alive) return 'Ended';
    if (order === null) return undefined;
    if (order.step !== 'Stay' && order.migrationUid !== this.#record?.migrationUid) return undefined;
    const event = comerEventOf(order.step);
    // Whoever says so cannot know that pages are missing.
    return event === 'ToldRun' && this.#record?.pagesFollow === true ? undefined : event;
  }

  /** Carries out a row; false when there is none. */
  #step(event: ComerEvent, order: MoveOrder | null, why?: unknown): boolean {
    const { state, actions, known } = stepOf(comerTable, this.#record?.state ?? 'Absent', event);
    this.#interrupted = false;
    if (!known) return false;
    if (state === 'Refused') {
      this.#start('refuse', order, () => this.#refuse(why ?? reasonOf(event)));
      return true;
    }
    if (event === 'Done' && state === 'Running') {
      this.#update({ state, pagesFollow: false, pagesLeftBytes: 0 });
      this.forget();
      return true;
    }
    if (state === 'Lost') {
      this.#lose();
      return true;
    }
    if (state === 'Running' || state === 'Following') {
      this.#start('run', order, (signal) => this.#run(state, signal));
      return true;
    }
    this.#update({ state });
    if (actions.includes('Look')) this.#start('prepare', order, (signal) => this.#look(order, signal));
    if (actions.includes('Restore')) this.#start('place', order, (signal) => this.#place(order, signal));
    return true;
  }

  #update(change: Partial<ComingRecord>): void {
    if (this.#record === null) return;
    this.#record = { ...this.#record, ...change };
    this.#sandbox.directory.write('coming', this.#record);
    if (change.state !== undefined) this.#backend.config.reached?.(`comer ${change.state}`);
    this.#sandbox.changed();
  }

  /** Told now and then, and not worth the disk. */
  #left(pagesLeftBytes: number): void {
    if (this.#record === null) return;
    this.#record = { ...this.#record, pagesLeftBytes };
    this.#sandbox.changed();
  }

  get #image(): Image | null {
    return this.#backend.moves.transit.find(this.#imageId);
  }

  #start(what: string, order: MoveOrder | null, work: (signal: AbortSignal) => Promise<void>): void {
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    this.#task = (async () => {
      let why: unknown = null;
      try {
        await work(signal);
      } catch (error) {
        why = signal.aborted ? signal.reason : error;
        this.#backend.log.warn({ sandbox: this.#sandbox.key, what, err: error }, 'sandbox does not come');
      }
      this.#task = null;
      if (what === 'refuse' || what === 'run') {
        if (why !== null) this.#againAtMs = this.#backend.nowMs() + againAfterMs; // done again
      } else this.#step(why === null ? 'Done' : 'Failed', order, why);
      this.#sandbox.poke();
    })();
  }

  get #imageId() {
    return { checkpointUid: this.#record?.migrationUid ?? '', ordinal: this.#sandbox.id.ordinal };
  }

  async #look(order: MoveOrder | null, signal: AbortSignal): Promise<void> {
    const { checkpoints, config } = this.#backend;
    const { spec, key, carrier } = this.#sandbox;
    await checkpoints.engineVersion();
    this.#checkRoom(order?.neededBytes ?? 0);
    const launch = preparationOf(spec, key, this.#backend, await carrier.find(spec)); // what it refuses it refuses now
    if (order === null) return;
    const { files, carriedBytes } = await reachLeaver(this.#placeOf(order), signal);
    this.#carriedBytes = carriedBytes;
    this.#checkRoom(order.neededBytes + carriedBytes);
    const trouble = order.copyFiles ? null : lackTrouble(lackedOn(launch, files), config.node);
    if (trouble) throw trouble;
  }

  #checkRoom(needed: number): void {
    const { config, moves } = this.#backend;
    const free = moves.transit.freeBytes();
    if (free >= needed) return;
    throw failure(
      'StorageFull',
      'MUSTER_NO_ROOM',
      `node ${config.node}: a sandbox of ${String(needed)} bytes does not fit into the ${String(free)} bytes that are free in memory or on the disk`,
    );
  }

  async #place(order: MoveOrder | null, signal: AbortSignal): Promise<void> {
    if (order === null) throw failure('Cancelled', 'MUSTER_MOVE_ABORTED', 'it was called off');
    const { native, config, moves } = this.#backend;
    const sandbox = this.#sandbox;
    const { directory, network, key, carrier } = sandbox;
    const image = moves.transit.create(this.#imageId, order.neededBytes + this.#carriedBytes);
    const phases = new Phases();
    // All that needs nothing of the image is made while it is still being written.
    sandbox.onBegun();
    const netns = network.begin(sandbox.spec, false);
    await network.begun();
    phases.end('network');
    const pathOf = (name: string): string => travelPath(name, directory, (each) => image.pathOf(each));
    const fetched = await fetchLeaver({ ...this.#placeOf(order), native, pathOf }, signal);
    const { manifest, files, bytes, stillUs } = fetched;
    this.#update({ bytes, arrived: { stillUs, steadyUs: steadyUs() } });
    phases.end('fetch');
    checkRoot(manifest, carrier.record !== null, config.node);
    checkFits(manifest, { architecture: arch(), features: cpuFeatures() }, config.node);
    const spec = restoredSpecOf(sandbox.spec, manifest, this.#backend.checkpoints.engine);
    const launch = preparationOf(spec, key, this.#backend, carrier.record);
    await this.#copyFiles(order, { image, lacked: lackedOn(launch, files) }, signal);
    placeInput(image, manifest, directory);
    this.#become(spec, launch);
    sandbox.limits.countFrom(usedBefore(manifest));
    directory.write('restoring', { readers: manifest.input?.readers ?? [] });
    phases.end('look');
    const { openFiles } = order;
    const pagesHere = hasCopies(image);
    const isLazy = order.pagesFollow || pagesHere;
    if (isLazy) await this.#following.begin(image, order, launch.cgroups);
    phases.end('pager');
    await this.#restore(manifest, { image, launch, netns, openFiles, pagesFollow: isLazy }, signal);
    phases.end('restore');
    await until(() => sandbox.cgroup?.frozen() === true, frozenWithinMs, 'what was restored to be frozen');
    this.#following.enter(launch.cgroups);
    phases.end('tidy');
    this.#update({ engineUs: phases.tookUs('restore'), pagesFollow: order.pagesFollow, pagesHere });
    this.#backend.log.info({ sandbox: key, tookMs: phases.tookMs }, 'sandbox has been restored');
  }

  /** Files that the processes use and that this node lacks. */
  async #copyFiles(
    order: MoveOrder,
    { image, lacked }: { image: Image; lacked: readonly LackedFile[] },
    signal: AbortSignal,
  ): Promise<void> {
    const { native, config, log } = this.#backend;
    if (lacked.length === 0) return;
    if (!order.copyFiles)
      throw lackTrouble(lacked, config.node) ?? new Error('MUSTER_BUG: nothing is lacked');
    for (const { file } of lacked) checkOwner(file, this.#sandbox.spec, config.node);
    const pathOf = (name: string): string => image.pathOf(name);
    const files = lacked.map(({ file }) => file.path);
    await fetchLeaver({ ...this.#placeOf(order), native, pathOf, files }, signal);
    for (const [at, each] of lacked.entries()) {
      const copy = pathOf(`${copyPrefix}${String(at)}`);
      await placeCopy(each, copy, config.node);
      rmSync(copy);
    }
    log.info({ sandbox: this.#sandbox.key, files }, 'files went along');
  }

  /** From where it comes. */
  #placeOf({ peerNode: node, incarnation, migrationUid }: MoveOrder): LeaverPlace {
    const { wire, tls } = this.#backend;
    const address = (): string => this.#address;
    return { wire, tls, node, address, id: { ...this.#sandbox.id, incarnation }, migrationUid };
  }

  async #restore(
    manifest: Manifest,
    {
      image,
      launch,
      netns,
      openFiles,
      pagesFollow = false,
    }: Pick<
      Parameters<typeof restoreProcesses>[0],
      'image' | 'launch' | 'netns' | 'openFiles' | 'pagesFollow'
    >,
    signal: AbortSignal,
  ): Promise<void> {
    const sandbox = this.#sandbox;
    const { key, directory } = sandbox;
    const aside = engineCgroupsFor(this.#backend.cgroups, key);
    try {
      const identity = await sandbox.carrier.held((carrier) =>
        restoreProcesses({
          backend: this.#backend,
          manifest,
          image,
          directory,
          spec: sandbox.spec,
          launch,
          netns,
          carrier,
          openFiles,
          pagesFollow,
          standStill: { aside, freeze: () => sandbox.freezer.freezeSoon('move') },
          // Known of only when it stands still: before that it is found by its cgroup.
          onPlaced: () => undefined,
          onReachable: () => Promise.resolve(),
          signal,
        }),
      );
      if (identity === null) throw new Error('MUSTER_BUG: what moves is not started anew');
      sandbox.onPlaced(identity);
    } finally {
      await clearEngine(this.#backend, key);
    }
  }

  /** What the image says of it; its logs are in place. */
  #become(spec: SandboxSpec, launch: LaunchRequest): void {
    const { directory, logs } = this.#sandbox;
    this.#sandbox.spec = spec;
    logs.rescan();
    directory.write('spec', spec);
    directory.write('mounts', { root: launch.mounts.root, binds: bindsOf(launch) });
    directory.keepRoom();
  }

  /** The group's record has it here. */
  async #run(state: 'Running' | 'Following', signal: AbortSignal): Promise<void> {
    const sandbox = this.#sandbox;
    await sandbox.untilLeased(signal);
    await sandbox.setPlugged(true, 'move');
    if (sandbox.want === 'Freeze') sandbox.freezer.freezeSoon('suspend');
    await sandbox.freezer.thaw('move');
    const thawedUs = steadyUs();
    await sandbox.bindAgain();
    const { stillUs, steadyUs: arrivedUs } = this.#record?.arrived ?? { stillUs: 0, steadyUs: 0 };
    this.#update({
      state,
      thawedNs: this.#backend.nowMs() * 1e6,
      stillUs: arrivedUs === 0 ? 0 : stillUs + thawedUs - arrivedUs,
    });
    if (this.isFollowing) this.#following.go();
    else this.#backend.moves.transit.remove(this.#imageId);
    if (this.#following.isDone) this.#settle();
  }

  /** Nobody has the rest of its memory: the record would say so. */
  #lose(): void {
    const message = 'the node that had the rest of their memory is lost, and the ranks with it';
    this.#update({ state: 'Lost', reason: 'NodeLost', message });
    this.forget();
    this.#sandbox.cgroup?.kill();
  }

  async #refuse(why: unknown): Promise<void> {
    const { log } = this.#backend;
    await clearEngine(this.#backend, this.#sandbox.key);
    await this.#sandbox.clear();
    this.forget();
    const reason = why instanceof AgentError ? why.reason : 'TransferFailed';
    log.info({ sandbox: this.#sandbox.key, reason }, 'sandbox refused');
    this.#update({ state: 'Refused', reason, message: messageOf(why) });
  }
}

const lackedOn = ({ mounts }: LaunchRequest, files: readonly UsedFile[]): LackedFile[] =>
  lackedFiles(files, mounts.root, mounts.binds);

function failure(reason: string, code: string, message: string): AgentError {
  return new AgentError('failed', reason, code, message);
}

function reasonOf(event: ComerEvent): AgentError {
  return event === 'Ended'
    ? failure('RestoreFailed', 'MUSTER_RESTORE_LOST', 'what was restored has ended before it was let run')
    : failure('AgentRestarted', 'MUSTER_MOVE_ABORTED', 'the agent was started anew in the middle of it');
}
