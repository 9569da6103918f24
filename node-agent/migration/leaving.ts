// A sandbox that leaves this node, by the table of who leaves (wire/migration-protocol.ts): looked at while it runs, then frozen, cut
// off and dumped into memory, from where the node that it goes to fetches it meanwhile. From `Left` on it stands still until the hub says what
// became of it, whatever else happens: no time-out, no restart of this agent, no silence lets it run again. How far it is stands on
// disk before anybody is told.
import { open } from 'node:fs/promises';
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import type { MoveFact, MoveOrder } from '../../wire/agent-types.ts';
import {
  leaverEventOf,
  leaverTable,
  type LeaverAction,
  type LeaverEvent,
} from '../../wire/migration-protocol.ts';
import { stepOf } from '../../wire/state-table.ts';
import { AgentError, messageOf } from '../agent-error.ts';
import type { Backend } from '../backend.ts';
import type { AdoptedSandbox } from '../adopted-sandbox.ts';
import type { SandboxCgroup } from '../cgroups.ts';
import { dumpOptionsName } from '../checkpoint/criu-engine.ts';
import { bytesOfTrees, contentsName, saveTrees, type TreeSources } from '../checkpoint/carried-trees.ts';
import { engineCgroupsFor } from '../checkpoint/criu-process.ts';
import type { StartedDump } from '../checkpoint/engine.ts';
import {
  cutOf,
  inputFileName,
  logFileName,
  openFilesOf,
  outerFilesOf,
  type OuterFiles,
} from '../checkpoint/cut.ts';
import { type Descriptor, descriptorsOf } from '../checkpoint/descriptors.ts';
import {
  cutName,
  isFileName,
  type Cut,
  type Image,
  type Manifest,
  type SavedInput,
} from '../checkpoint/image.ts';
import { netnsOf } from '../checkpoint/netns.ts';
import { preflight } from '../checkpoint/preflight.ts';
import { clearEngine, mend } from '../checkpoint/remains.ts';
import type { HeldSandbox } from '../checkpoint/sandbox-checkpoint.ts';
import { hostRoot } from '../host-root.ts';
import { scanLogs } from '../log-stream.ts';
import type { Standing } from './departure.ts';
import { Copier, copiedPages, dirtyBytesPerSecond, isEnough, roomForCopies } from './copier.ts';
import { Phases, steadyUs } from './phases.ts';
import { notSentYetBytes, SentBytes } from './sent-bytes.ts';
import { factOfRecord, namesFileName, nothingMoved, travelPath, type LeavingRecord } from './record.ts';
import { usedFilesOf, type HeldFile } from './used-files.ts';

const againAfterMs = 1000;
/** Of the engine's files; of no use where the sandbox comes to. */
const notSent = ['dump.log', 'stats-dump', dumpOptionsName, cutName];

export class Leaving {
  readonly #sandbox: HeldSandbox;
  readonly #backend: Backend;
  #record: LeavingRecord | null;
  #task: Promise<void> | null = null;
  #stop = new AbortController();
  /** An earlier agent was in the middle of it. */
  #interrupted: boolean;
  #againAtMs = 0;
  #isHolding = false;
  /** It runs on while its memory is copied. */
  #isAhead = false;
  #measures = false;
  /** Of its memory that was copied, on its way. */
  readonly #sent = new SentBytes();

  constructor(sandbox: HeldSandbox, backend: Backend) {
    this.#sandbox = sandbox;
    this.#backend = backend;
    this.#record = sandbox.directory.read('leaving');
    this.#interrupted = this.#record !== null && ['Preparing', 'Leaving'].includes(this.#record.state);
    if (this.#record !== null && !this.#interrupted) this.#offer();
  }

  get isBusy(): boolean {
    return this.#task !== null;
  }

  /** It is cut off from the others, or will be in a moment, and must not be joined to them by anybody else. */
  get isAway(): boolean {
    return this.#leaves && !this.#isAhead;
  }

  get #leaves(): boolean {
    return this.#record?.state === 'Leaving' || this.#record?.state === 'Left';
  }

  /** Stands still until the hub has spoken. */
  get isLeft(): boolean {
    return this.#record?.state === 'Left';
  }

  get migrationUid(): string | null {
    return this.#leaves ? (this.#record?.migrationUid ?? null) : null;
  }

  fact(): MoveFact | null {
    return this.#record === null ? null : factOfRecord(this.#record);
  }

  /** Settles when nothing is under way any more; whatever is, is given up first, since the sandbox is to be ended. */
  async giveUp(): Promise<void> {
    this.#stop.abort(endedError());
    await this.#task;
  }

  /** It is gone: nobody can have it any more. */
  forget(): void {
    this.#backend.moves.withdraw(this.#sandbox.key);
    if (this.#record !== null) this.#backend.moves.transit.remove(this.#imageId);
  }

  /** Its ranks run elsewhere already, and come back to it for their memory. */
  #hold(): void {
    if (this.#isHolding || this.#record?.state !== 'Left') return;
    this.#isHolding = true;
    this.#backend.config.reached?.('leaver Holding');
  }

  /** Does what is next; `alive`: nothing is about to end its ranks; `ready`: they run, and nobody saves them at the moment. */
  look(order: MoveOrder | null, alive: boolean, ready: boolean): void {
    const nowMs = this.#backend.nowMs();
    if (nowMs < this.#againAtMs) {
      this.#sandbox.wakeAt(this.#againAtMs);
      return;
    }
    for (let turn = 0; turn < 4; turn++) {
      const event = this.#eventOf(order, alive, ready);
      if (event === undefined) return;
      if (this.#task !== null) {
        this.#stop.abort(event === 'Ended' ? endedError() : cancelledError(event));
        return;
      }
      if (this.#record?.migrationUid !== order?.migrationUid && event === 'ToldPrepare' && order)
        this.#record = { ...nothingMoved, migrationUid: order.migrationUid, name: order.name, target: order.peerNode, externalConnections: order.externalConnections, pagesFollow: order.pagesFollow, frozenSteadyUs: 0, state: 'Here' }; // prettier-ignore
      if (event === 'ToldLeave' && order && this.#record) {
        const { pagesFollow, pagesAhead } = order;
        this.#record = { ...this.#record, pagesFollow, pagesAhead };
      }
      if (event === 'ToldPrepare') this.#measures = order?.measure === true;
      if (!this.#step(event)) return;
    }
  }

  /** What has happened that the state has a row for. */
  #eventOf(order: MoveOrder | null, alive: boolean, ready: boolean): LeaverEvent | undefined {
    const { state = 'Here', migrationUid = '' } = this.#record ?? {};
    const underWay = state === 'Preparing' || state === 'Prepared' || state === 'Leaving';
    if (this.#interrupted) return 'Restarted';
    if (underWay && !alive) return 'Ended';
    if (order === null) return undefined;
    if (order.step === 'Hold') this.#hold();
    const told = leaverEventOf(order.step);
    if (told === 'ToldStay') return underWay || state === 'Left' ? 'ToldStay' : undefined;
    // Whoever else is at work on it has been told that this one is not any more.
    if (migrationUid !== order.migrationUid && (underWay || state === 'Left')) return 'ToldStay';
    if (migrationUid !== order.migrationUid) return ready && told === 'ToldPrepare' ? told : undefined;
    if (told === 'ToldPrepare') return state === 'Here' && ready ? told : undefined;
    return told === 'ToldLeave' && state === 'Prepared' && ready ? told : undefined;
  }

  /** Carries out a row. False: nothing more is to be done at once. */
  #step(event: LeaverEvent, failure?: unknown): boolean {
    const { state, actions, known } = stepOf(leaverTable, this.#record?.state ?? 'Here', event);
    this.#interrupted = false;
    if (!known) return false;
    if (state === 'Stayed') {
      this.#start('stay', () => this.#stay(actions, failure ?? reasonOf(event)));
      return false;
    }
    this.#update({ state });
    if (state === 'Preparing') this.#offer();
    if (actions.includes('Look')) this.#start('prepare', (signal) => this.#look(signal));
    else if (actions.includes('Dump')) this.#start('leave', (signal) => this.#leave(signal));
    return actions.length === 0;
  }

  /** On disk before anybody is told. */
  #update(change: Partial<LeavingRecord>): void {
    if (this.#record === null) return;
    this.#record = { ...this.#record, ...change };
    this.#sandbox.directory.write('leaving', this.#record);
    if (change.state !== undefined) this.#backend.config.reached?.(`leaver ${change.state}`);
    this.#sandbox.changed();
  }

  #start(what: string, work: (signal: AbortSignal) => Promise<void>): void {
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    this.#task = (async () => {
      let failure: unknown = null;
      try {
        await work(signal);
      } catch (error) {
        failure = signal.aborted ? signal.reason : error;
        this.#backend.log.warn({ sandbox: this.#sandbox.key, what, err: error }, 'sandbox does not leave');
      }
      this.#task = null;
      if (what !== 'stay') this.#step(failure === null ? 'Done' : 'Failed', failure);
      else if (failure !== null) this.#againAtMs = this.#backend.nowMs() + againAfterMs;
      this.#sandbox.poke();
    })();
  }

  get #imageId() {
    return { checkpointUid: this.#record?.migrationUid ?? '', ordinal: this.#sandbox.id.ordinal };
  }

  async #look(signal: AbortSignal): Promise<void> {
    const { adopted, cgroup, spec } = this.#sandbox;
    const { checkpoints, config } = this.#backend;
    await checkpoints.engineVersion();
    if (!adopted || cgroup?.freezer == null)
      throw refusal(
        'EngineMissing',
        'MUSTER_NO_FREEZER',
        `node ${config.node}: no hierarchy of control groups is mounted by which a sandbox could be frozen`,
      );
    if (spec.network == null)
      throw refusal(
        'PreflightFailed',
        'MUSTER_NETWORK_HOST',
        `node ${config.node}: the ranks use ${spec.carrier ? 'the address of their Pod' : "the node's own addresses"}, which cannot move: use network Isolated`,
      );
    await this.#check('before', () => descriptorsOf(cgroup.pids()));
    signal.throwIfAborted();
    if (!this.#measures) return;
    const rate = await dirtyBytesPerSecond(config.nativeDir, cgroup.pids(), signal);
    this.#update({ dirtyBytesPerSecond: rate });
  }

  async #check(when: 'before' | 'frozen', descriptors: () => readonly Descriptor[]): Promise<void> {
    const { adopted, spec, directory, cgroup, carrier } = this.#sandbox;
    const { moves, config, native } = this.#backend;
    if (!adopted) throw endedError();
    await preflight({
      native,
      node: config.node,
      spec,
      adopted,
      carrier: carrier.record,
      mounts: directory.read('mounts'),
      descriptors,
      when,
      openFiles: '',
      externalConnections: this.#record?.externalConnections ?? 'Refuse',
      freeBytes: moves.transit.freeBytes(),
      neededBytes: (cgroup?.usage().memoryBytes ?? 0) + (when === 'before' ? await this.#carriedBytes() : 0),
    });
  }

  /** Where what it has written goes along. */
  get #trees(): TreeSources {
    return { scratch: this.#sandbox.spec.carrier?.scratch ?? [], hostRoot: hostRoot() };
  }

  async #carriedBytes(): Promise<number> {
    const { record } = this.#sandbox.carrier;
    return record ? bytesOfTrees(record, this.#trees) : 0;
  }

  async #leave(signal: AbortSignal): Promise<void> {
    const sandbox = this.#sandbox;
    const { adopted, cgroup, key } = sandbox;
    const record = this.#record;
    const { checkpoints, cgroups, moves } = this.#backend;
    if (!adopted || cgroup?.freezer == null || record === null) throw endedError();
    // Descriptors on their way to pid 1 could not be saved: it has all that was sent before it is frozen.
    if (!cgroup.frozen()) await adopted.barrier();
    signal.throwIfAborted();
    const { memoryBytes } = cgroup.usage();
    const carriedBytes = await this.#carriedBytes();
    const isAhead = record.pagesAhead === true;
    const neededBytes = (isAhead ? roomForCopies(memoryBytes) : memoryBytes) + carriedBytes;
    const image = moves.transit.create(this.#imageId, neededBytes);
    using copier = isAhead ? new Copier(this.#backend.config.nativeDir, image) : null;
    if (copier) await this.#copyAhead(copier, cgroup, roomForCopies(memoryBytes), signal);
    try {
      // It takes as long to start as all that is looked at before it can be asked.
      using dump = await checkpoints.engine.startDump({
        frozenCgroup: cgroup.freezer,
        cgroups: engineCgroupsFor(cgroups, key),
        leavesPages: record.pagesFollow || isAhead,
      });
      await this.#dump({ record, adopted, cgroup, image, copier, dump }, signal);
    } finally {
      await clearEngine(this.#backend, key);
    }
  }

  async #dump(
    {
      record,
      adopted,
      cgroup,
      image,
      copier,
      dump,
    }: {
      record: LeavingRecord;
      adopted: AdoptedSandbox;
      cgroup: SandboxCgroup;
      image: Image;
      copier: Copier | null;
      dump: StartedDump;
    },
    signal: AbortSignal,
  ): Promise<void> {
    const sandbox = this.#sandbox;
    const { directory, spec, key, carrier } = sandbox;
    const { native, checkpoints } = this.#backend;
    const phases = new Phases();
    this.#update({ frozenNs: this.#backend.nowMs() * 1e6, frozenSteadyUs: steadyUs() });
    await sandbox.freezer.freeze('move');
    sandbox.processes?.pause();
    phases.end('freeze');
    if (copier === null) await dump.goes();
    await sandbox.setPlugged(false);
    phases.end('unplug');
    signal.throwIfAborted();
    const descriptors = descriptorsOf(cgroup.pids());
    await this.#check('frozen', () => descriptors);
    phases.end('check');
    if (copier !== null) {
      await copier.last(cgroup.pids());
      await dump.goes();
    }
    phases.end('copy');
    if (carrier.record) await saveTrees(carrier.record, this.#trees, image, signal);
    phases.end('files');
    const mounts = directory.read('mounts') ?? { root: '/', binds: [] };
    const outer = outerFilesOf(adopted, native);
    const cut = await cutOf({
      backend: this.#backend,
      spec,
      record: { ...record, checkpointUid: record.migrationUid, engine: checkpoints.engine.name },
      mounts,
      outer,
      streams: [...scanLogs(directory.logs).values()],
      input: takeInput(sandbox, outer, image),
      pids: cgroup.pids(),
      descriptors,
      openFiles: openFilesOf(descriptors, adopted.identity.pid).map(({ file }) => file),
      ranksStartedNs: sandbox.processes?.startedNs ?? 0,
      usage: sandbox.limits.now(),
    });
    phases.end('look');
    await dump.dump(
      {
        pid: adopted.identity.pid,
        directory: image.path,
        mounts: mounts.binds,
        files: outer.keys,
        netns: netnsOf(adopted.identity.pid),
        ...(record.pagesFollow || copier ? { withoutPages: cgroup.pids() } : {}),
      },
      signal,
    );
    phases.end('dump');
    await copier?.rest();
    signal.throwIfAborted();
    image.writeCut({ ...cut, spec: { ...cut.spec, move: null } });
    phases.end('tidy');
    this.#update({ engineUs: phases.tookUs('dump') });
    this.#backend.log.info({ sandbox: key, tookMs: phases.tookMs }, 'sandbox has left');
  }

  /** While it runs, until the rest is little or does not get less. What is copied is sent before more is. */
  async #copyAhead(
    copier: Copier,
    cgroup: SandboxCgroup,
    roomBytes: number,
    signal: AbortSignal,
  ): Promise<void> {
    const copied: number[] = [];
    this.#sent.are(0);
    this.#isAhead = true;
    try {
      do {
        copied.push(await copier.round(cgroup.pids()));
        signal.throwIfAborted();
        await this.#sent.reach(copier.bytes - notSentYetBytes, signal);
      } while (!isEnough(copied, roomBytes));
    } finally {
      this.#isAhead = false;
    }
    this.#backend.log.info({ sandbox: this.#sandbox.key, copied }, 'memory copied ahead');
  }

  /** From now on the other node can wait for it, and have it as it comes to be. */
  #offer(): void {
    const { migrationUid = '', target = '' } = this.#record ?? {};
    const { directory } = this.#sandbox;
    const { transit } = this.#backend.moves;
    const imageId = this.#imageId;
    const pathOf = (name: string): string =>
      travelPath(name, directory, (each) => `${transit.find(imageId)?.path ?? ''}/${each}`);
    this.#backend.moves.offer(this.#sandbox.key, {
      migrationUid,
      target,
      open: (name) => open(pathOf(name), constants.O_RDONLY | constants.O_NOFOLLOW),
      read: (name) => readFileSync(pathOf(name), { flag: constants.O_RDONLY | constants.O_NOFOLLOW }),
      usedFiles: () => this.#usedFiles(),
      standing: () => this.#standing(migrationUid, pathOf),
      growing: () => (this.#leaves ? (transit.find(imageId)?.names() ?? []).filter(isGrowing) : []),
      stillUs: () => steadyUs() - (this.#record?.frozenSteadyUs ?? 0),
      hasLeft: () => this.isLeft && this.#record?.migrationUid === migrationUid,
      pids: () => this.#sandbox.cgroup?.pids() ?? [],
      carriedBytes: () => this.#carriedBytes(),
      sent: (name, bytes) => {
        if (name === copiedPages) this.#sent.are(bytes);
      },
    });
  }

  #standing(migrationUid: string, pathOf: (name: string) => string): Standing {
    const { state = 'Here', reason = '', message = '' } = this.#record ?? {};
    if (this.#record?.migrationUid !== migrationUid)
      return { kind: 'stayed', reason: 'Cancelled', message: 'another migration has begun' };
    if (state === 'Stayed') return { kind: 'stayed', reason, message };
    if (state !== 'Left') return { kind: 'waiting' };
    const image = this.#backend.moves.transit.find(this.#imageId);
    const cut = image?.readCut() ?? null;
    if (image === null || cut === null)
      throw new Error('MUSTER_IMAGE_MISSING: its image is gone from the memory of the node');
    return { kind: 'left', manifest: manifestOf(cut, image, pathOf), files: this.#usedFiles() };
  }

  /** In a Pod they are its image's and its volumes': those are there again, or go along whole. */
  #usedFiles(): HeldFile[] {
    const { adopted, cgroup, directory, carrier } = this.#sandbox;
    if (carrier.record) return [];
    const { binds } = directory.read('mounts') ?? { binds: [] };
    return adopted ? usedFilesOf(cgroup?.pids() ?? [], adopted.identity.pid, binds) : [];
  }

  /** As if it had never been asked. Done again, it does nothing. */
  async #stay(actions: readonly LeaverAction[], why: unknown): Promise<void> {
    const { adopted, processes, cgroup, key } = this.#sandbox;
    if (actions.includes('Discard')) {
      await clearEngine(this.#backend, key);
      const image = this.#backend.moves.transit.find(this.#imageId);
      if (image && image.readCut() === null && adopted)
        await mend(this.#backend, key, adopted.identity.pid, cgroup?.pids() ?? [], image.pathOf('dump.log'));
      this.#backend.moves.transit.remove(this.#imageId);
    }
    if (actions.includes('Thaw') && adopted && !adopted.isGone) {
      await this.#sandbox.setPlugged(true, 'move');
      processes?.resume();
      await this.#sandbox.freezer.thaw('move');
      this.#sandbox.input?.letGo();
    }
    const reason = why instanceof AgentError ? why.reason : 'DumpFailed';
    this.#update({ state: 'Stayed', reason, message: messageOf(why), thawedNs: this.#backend.nowMs() * 1e6 });
  }
}

/** Files that are nearly all of an image; who writes them only adds to them. */
const isGrowing = (name: string): boolean =>
  /^pages-\d+\.img$/.test(name) || name === copiedPages || name === contentsName;

/** What was given and is unread, in the image: nobody reads while the sandbox stands still. */
function takeInput({ input }: HeldSandbox, { readers }: OuterFiles, image: Image): SavedInput | null {
  if (input === null) return null;
  input.hold();
  const { length, ended } = input;
  const from = readers.length === 0 ? length : Math.min(length, ...readers.map(({ position }) => position));
  if (from < length) {
    const fd = openSync(input.path, 'r');
    try {
      const bytes = Buffer.alloc(length - from);
      for (let done = 0; done < bytes.length;) {
        const count = readSync(fd, bytes, done, bytes.length - done, from + done);
        if (count === 0) break;
        done += count;
      }
      writeFileSync(image.pathOf(inputFileName), bytes, { mode: 0o600 });
    } finally {
      closeSync(fd);
    }
  }
  return { from, length, ended, readers };
}

/** With the lengths of all files; logs, and names that were published, lie beside the image. */
function manifestOf(cut: Cut, image: Image, pathOf: (name: string) => string): Manifest {
  const logs = cut.streams.flatMap(({ rank, stream, segments }) =>
    segments.map((segment) => logFileName(rank, stream, segment)),
  );
  const names = existsSync(pathOf(namesFileName)) ? [namesFileName] : [];
  const engines = image.names().filter((name) => isFileName(name) && !notSent.includes(name));
  const files = [...engines, ...logs, ...names].map((name) => ({
    name,
    bytes: statSync(pathOf(name)).size,
    sha256: '',
  }));
  return { ...cut, files };
}

function refusal(reason: string, code: string, message: string): AgentError {
  return new AgentError('refused', reason, code, message);
}

const aborted = (reason: string, text: string): AgentError => refusal(reason, 'MUSTER_MOVE_ABORTED', text);
const endedError = (): AgentError => aborted('Ended', 'the ranks have ended, or are being ended');

function cancelledError(event: LeaverEvent): AgentError {
  return event === 'Restarted'
    ? aborted('AgentRestarted', 'the agent was started anew in the middle of it')
    : aborted('Cancelled', 'it was called off');
}

const reasonOf = (event: LeaverEvent): AgentError =>
  event === 'Ended' ? endedError() : cancelledError(event);
