// One sandbox on this node: what is wanted of it, what is seen of it, and the loop that brings the one to the other by
// plan.ts. All that must survive the agent is in the sandbox's directory, in rank-init or in the kernel; this object may
// be made anew at any time from those. One pass at a time; whatever happens only asks for another pass.
// This file is long because every part of a sandbox is tied to the loop here; what the parts do is in files of their own.
import { tell } from './checkpoint/callbacks.ts';
import { bindAgain } from './checkpoint/rebinding.ts';
import { rankSlotsOf } from './monitor/sandbox-ranks.ts';
import { encodeSignal } from '../native/addon/abi.ts';
import { RankSet } from '../crds/rank-set.ts';
import type { LeaseTimes } from '../wire/fencing.ts';
import type {
  Abort,
  BrokenFence,
  CheckpointFact,
  LogPosition,
  MoveFact,
  RestoreOrder,
  SandboxFact,
  SandboxId,
  SandboxSpec,
  Sent,
  Verb,
} from '../wire/agent-types.ts';
import { AdoptedSandbox } from './adopted-sandbox.ts';
import { AgentError, errnoOf, messageOf } from './agent-error.ts';
import type { Backend } from './backend.ts';
import { backoff } from './backoff.ts';
import type { SandboxCgroup } from './cgroups.ts';
import { SandboxCheckpoint, type HeldSandbox } from './checkpoint/sandbox-checkpoint.ts';
import { handInput, restoreSandbox } from './checkpoint/restore-sandbox.ts';
import { makeSaves, savesOf } from './checkpoint/own-saves.ts';
import { endedRecordOf, lossOf, type Ending } from './end-record.ts';
import { until } from './until.ts';
import { type ExecOrder, Execution, type ExecutionEvents } from './execution.ts';
import { factOf } from './fact.ts';
import { Freezer } from './freezer.ts';
import { InputSpool } from './input.ts';
import { LeaseKeeper, type LeasedSandbox } from './lease-keeper.ts';
import { Coming, type ComingSandbox } from './migration/coming.ts';
import { Leaving } from './migration/leaving.ts';
import { isComers } from './migration/record.ts';
import type { TreeMember } from './job-tree.ts';
import { earlierAnswer, launch } from './launch.ts';
import { clearCgroup, clearProcesses } from './leftover.ts';
import { SandboxLogs } from './output.ts';
import { SandboxNetwork } from './network/sandbox-network.ts';
import { planOf, type Action, type Seen, type Stage, type Want } from './plan.ts';
import type { PmiPort } from './pmi-port.ts';
import type { Binding } from './processors.ts';
import { sent } from './outbound-facts.ts';
import { PlannedStart } from './planned-start.ts';
import { bindsOf, planFor, preparationOf } from './preparation.ts';
import { isSameProcess } from './process-table.ts';
import { causeOf, isSuccess } from './rank-end.ts';
import { RankProcesses } from './rank-processes.ts';
import type { ProcessStart } from './ranks.ts';
import type { EndedRecord, EndingMark, Identity, SandboxDirectory } from './sandbox-directory.ts';
import { SandboxCarrier } from './sandbox-carrier.ts';
import { SandboxLimits } from './sandbox-limits.ts';
import { joinTree } from './sandbox-pmi.ts';
import { specChange } from './spec-change.ts';
import { errnoText } from './start-failure.ts';
import { carryOut, type VerbOutcome } from './verbs.ts';

/** Signals of the agent's own have numbers above all that the hub gives: once ending has begun, nothing else is sent. */
const ownSignalId = 1n << 62n;
const leaseCause = 'the lease was over';

export interface SandboxEvents {
  /** Something that the hub is told has changed. */
  changed: (sandbox: Sandbox) => void;
  forgotten: (sandbox: Sandbox) => void;
  event: (sandbox: Sandbox, type: 'Normal' | 'Warning', reason: string, message: string) => void;
}

export class Sandbox implements HeldSandbox, ComingSandbox {
  readonly id: SandboxId;
  readonly key: string;
  readonly logs: SandboxLogs;
  readonly directory: SandboxDirectory;
  spec: SandboxSpec;
  input: InputSpool | null = null;
  ended: EndedRecord | null;
  abort: Abort | null;
  broken: BrokenFence | null;
  readonly limits: SandboxLimits;
  processes: RankProcesses | null = null;
  pmi: PmiPort | null = null;
  /** Processors of the ranks, once they are to be started; null: they are not bound. */
  binding: Binding | null;
  readonly carrier: SandboxCarrier;
  readonly #found = Promise.withResolvers<void>();
  #want: Want = 'Unknown';
  #identity: Identity | null;
  #adopted: AdoptedSandbox | null = null;
  #ending: EndingMark | null;
  readonly freezer: Freezer;
  #member: TreeMember | null = null;
  #starts = new Map<number, ProcessStart>();
  readonly #planned: PlannedStart;
  #killed = false;
  #clean = false;
  readonly network: SandboxNetwork;
  #forgotten = false;
  #launching = false;
  #running = false;
  #dirty = false;
  #attempt = 0;
  #timer: NodeJS.Timeout | null = null;
  #stopped = false;
  #lastTrouble = '';
  readonly #backend: Backend;
  readonly #events: SandboxEvents;
  readonly #checkpoint: SandboxCheckpoint;
  readonly #leaving: Leaving;
  readonly #coming: Coming;
  #restoring = new AbortController();
  readonly #lease: LeaseKeeper | null;

  constructor(
    key: string,
    spec: SandboxSpec,
    directory: SandboxDirectory,
    backend: Backend,
    events: SandboxEvents,
    /** An earlier agent may have begun with it. */
    isFound: boolean,
  ) {
    if (spec.id === null) throw new Error('MUSTER_BUG: a spec without id got as far as a sandbox');
    this.id = spec.id;
    this.key = key;
    // An order counts once the hub has said it to this agent.
    this.spec = { ...spec, checkpoint: null, move: isFound ? null : spec.move };
    this.directory = directory;
    this.#backend = backend;
    this.#events = events;
    this.carrier = new SandboxCarrier(backend, key, directory);
    this.network = new SandboxNetwork(backend, key, spec.id, isFound && spec.network != null);
    this.logs = new SandboxLogs(directory.logs);
    this.#identity = directory.read('identity');
    this.ended = directory.read('ended');
    this.abort = directory.read('abort');
    this.broken = directory.read('broken');
    this.#ending = directory.read('ending');
    this.limits = new SandboxLimits(this, () => this.#tellProcessLimit());
    this.freezer = new Freezer(this);
    this.binding = directory.read('binding');
    if (this.binding && !this.ended) backend.processors.hold(key, this.binding);
    this.#planned = new PlannedStart(backend);
    this.#checkpoint = new SandboxCheckpoint(this, backend);
    this.#leaving = new Leaving(this, backend);
    this.#coming = new Coming(this, backend, isComers(spec.move, spec.id) ? spec.move : null);
    this.#lease = spec.lease ? this.#keeperOf(spec.lease) : null;
    if (this.ended) this.logs.loadEnded(backend.output.nextId);
    if (this.ended) this.#rejoinTree();
  }

  get stage(): Stage {
    if (this.ended) return 'Ended';
    if (this.#adopted && !this.#adopted.isGone) return 'Live';
    return this.#identity ? 'Lost' : 'New';
  }

  /** Settles once it is known what runs of it: facts told before would be guesses. */
  get found(): Promise<void> {
    return this.#found.promise;
  }

  /** Ranks that run: of a sandbox that was found frozen only the table tells. */
  get ranksRunning(): number {
    if (this.ended) return 0;
    if (this.processes) return this.processes.running;
    return this.#adopted?.isGone === false ? this.#adopted.table.running : 0;
  }

  get cgroup(): SandboxCgroup | null {
    return this.carrier.cgroup;
  }

  get want(): Want {
    return this.#want;
  }

  get isLaunching(): boolean {
    return this.#launching;
  }

  get isEnding(): boolean {
    return this.#ending !== null || this.#killed;
  }

  /** A heartbeat sent at this time gave it a lease. */
  granted(sentNs: bigint): void {
    this.#lease?.granted(sentNs);
  }

  get isFrozen(): boolean {
    return this.freezer.isHeldBy('suspend') && this.freezer.isFrozen;
  }

  get adopted(): AdoptedSandbox | null {
    return this.#adopted?.isGone === false ? this.#adopted : null;
  }

  get checkpoint(): CheckpointFact | null {
    return this.#checkpoint.fact();
  }

  /** Of a sandbox that is leaving, or that came. */
  get move(): MoveFact | null {
    return this.#leaving.fact() ?? this.#coming.fact();
  }

  /** The migration that has an image of it on its way. */
  get movingUid(): string | null {
    return this.#leaving.migrationUid ?? this.#coming.migrationUid;
  }

  get identity(): Identity | null {
    return this.#identity;
  }

  get startedNs(): number {
    return this.ended?.startedNs ?? Number(this.#adopted?.table.startedNs ?? 0n);
  }

  fact(): Sent<SandboxFact> {
    return factOf(this);
  }

  /** What the hub wants now. A spec stays as it was launched but for the fields that may change while it runs. */
  desire(want: Want, spec: SandboxSpec | null): void {
    if (spec) {
      const change = specChange(this.spec, spec);
      if (change.hasOrders) this.poke();
      this.spec = change.spec;
      this.#coming.feed(this.spec.move);
      if (change.isOther && !this.ended) this.#keepSpec();
      if (change.hasNetwork && this.stage === 'Live') this.#updateNetwork();
      if (spec.tree) this.#member?.update(spec.tree);
    }
    if (this.#want === want) return;
    this.#want = want;
    if (want === 'Gone') this.network.hurry();
    if (isUnwanted(want))
      this.#restoring.abort(
        new AgentError(
          'transient',
          'RestoreFailed',
          'MUSTER_RESTORE_CANCELLED',
          'the sandbox is not wanted any more',
        ),
      );
    this.poke();
  }

  /** On a full disk the older spec has to do: the hub tells what it wants anew to every agent. */
  #keepSpec(): void {
    try {
      this.directory.write('spec', this.spec);
    } catch (error) {
      this.#backend.log.warn({ sandbox: this.key, errno: errnoOf(error), err: error }, 'spec not written');
    }
  }

  /** Asks for another pass. */
  poke(): void {
    this.#dirty = true;
    if (this.#running || this.#stopped) return;
    this.#running = true;
    void this.#passes();
  }

  /** Lets go of everything; the sandbox runs on. */
  stop(): void {
    this.#stopped = true;
    this.carrier.stop();
    if (this.#timer) clearTimeout(this.#timer);
    this.#lease?.stop();
    this.#backend.output.remove(this.logs);
    this.input?.remove();
    this.pmi?.close();
    if (this.#member) this.#backend.tree.remove(this.#member);
    this.#adopted?.[Symbol.dispose]();
  }

  measure(): void {
    if (this.stage === 'Live' && this.limits.measure()) this.#events.changed(this);
  }

  /** Whom the output is kept for has all before these offsets. */
  shown(positions: readonly LogPosition[]): void {
    for (const { rank, stream, offset } of positions) {
      const found = this.logs.streams.find((each) => each.rank === rank && each.stream === stream);
      if (found) this.#backend.output.shown(found, offset);
    }
  }

  /** Signal, StdinEnd and Window; says how many processes were reached. */
  async carryOut(verb: Verb): Promise<VerbOutcome> {
    const { node } = this.#backend.config;
    const { adopted } = this;
    if (!adopted || !this.processes)
      throw new AgentError(
        'refused',
        'NotStarted',
        'MUSTER_NOT_RUNNING',
        `sandbox ${this.key} on ${node} does not run`,
      );
    const { processes, input, isEnding } = this;
    return carryOut(verb, { adopted, processes, input, isEnding, native: this.#backend.native, node });
  }

  /** Runs a program beside the ranks, as the rank named is run. */
  async execute(rank: number, order: ExecOrder, events: ExecutionEvents): Promise<Execution> {
    const { node } = this.#backend.config;
    const refused = (why: string): AgentError =>
      new AgentError(
        'refused',
        'NotStarted',
        'MUSTER_NOT_RUNNING',
        `rank ${String(rank)} on ${node}: ${why}`,
      );
    const [adopted, processes, start] = [this.#adopted, this.processes, this.#starts.get(rank)];
    if (!adopted || adopted.isGone || !processes || processes.running === 0 || !start)
      throw refused('its sandbox does not run');
    if (this.isEnding) throw refused('its sandbox is being ended');
    if (this.isFrozen) throw refused('its sandbox is suspended; resume the group first');
    if (this.freezer.isHeld) throw refused('its sandbox is being saved; try again in a moment');
    const { sharedEnv } = planFor(this.spec, this.#backend);
    const ports = { adopted, processes, backend: this.#backend, rank: start, sharedEnv };
    return Execution.start(ports, order, events);
  }

  async #passes(): Promise<void> {
    try {
      while (this.#dirty && !this.#stopped && !this.#forgotten) {
        this.#dirty = false;
        try {
          await this.#pass();
          this.#attempt = 0;
        } catch (error) {
          this.#trouble(error);
        }
        this.#found.resolve();
      }
    } finally {
      this.#running = false;
    }
  }

  async #pass(): Promise<void> {
    await this.#find();
    if (!this.#coming.isUnderWay) await this.#keepLease();
    this.processes?.look();
    this.#found.resolve();
    await this.#lookAtCheckpoint();
    await this.#lookAtMove();
    if (this.#hasRun()) this.#backend.output.release(this.logs);
    const before = JSON.stringify(this.#comparable());
    for (const action of planOf(this.#seen())) {
      await this.#perform(action);
      if (this.#stopped || this.#forgotten) return;
    }
    if (JSON.stringify(this.#comparable()) !== before) this.#dirty = true;
    this.#events.changed(this);
  }

  /** What a performed action changes at once; everything else is brought by an event. */
  #comparable(): unknown {
    return [
      this.stage,
      this.#ending,
      this.#killed,
      this.#clean,
      ...this.freezer.holders,
      this.isFrozen,
      this.#adopted?.table.slotsUsed,
    ];
  }

  /** No process is left that could write. */
  #hasRun(): boolean {
    if (this.stage !== 'Live' || !this.#adopted) return this.stage === 'Lost';
    const { table } = this.#adopted;
    return this.processes !== null && table.slotsUsed > 0 && table.running === 0 && !table.hasDescendants;
  }

  #seen(): Seen {
    const table = this.#adopted?.isGone === false ? this.#adopted.table : null;
    return {
      want: this.#want,
      stage: this.stage,
      leftover: !this.#clean && this.stage !== 'Live' && this.hasLeftover(),
      connected: this.processes !== null,
      started: (table?.slotsUsed ?? 0) > 0,
      ranksRunning: this.processes?.running ?? 0,
      othersRunning: table !== null && (table.running > 0 || table.hasDescendants),
      cause: this.#cause(),
      endingSinceMs: this.#ending === null ? null : this.#ending.sinceNs / 1e6,
      killed: this.#killed,
      graceMs: this.spec.graceSeconds * 1000,
      frozen: this.#want === 'Freeze' ? this.isFrozen : this.freezer.isHeldBy('suspend'),
      saved: this.#checkpoint.isSaved,
      moving: this.#coming.isUnderWay || this.#leaving.isLeft,
      lease: this.#lease?.state,
      drained: this.logs.allEnded,
      nowMs: this.#backend.nowMs(),
    };
  }

  #cause(): string {
    if (this.abort) return `rank ${String(this.abort.rank)} called MPI_Abort(${String(this.abort.exitCode)})`;
    const { exceeded } = this.limits;
    if (exceeded === 'carrier') return 'its carrier Pod has ended';
    if (exceeded !== '') return `limit of ${exceeded} exceeded`;
    const failed = this.spec.abortOnFailure && this.processes ? causeOf(this.processes.ends.values()) : '';
    return failed === '' && this.broken ? this.broken.message : failed;
  }

  /** Adopts what runs already, by this agent or an earlier one. */
  async #find(isNew = false): Promise<void> {
    if (this.ended || this.#stopped || (this.#adopted && !this.#adopted.isGone)) return;
    if (this.#adopted?.isGone) {
      this.processes?.look();
      return;
    }
    const isRestored = this.#coming.fact() === null && this.directory.read('restoring') !== null;
    if (this.#identity && !isSameProcess(this.#identity) && isRestored) {
      // Placed and never let run: it is restored anew.
      this.directory.unlink('identity');
      this.#identity = null;
    }
    if (!this.#identity) {
      const answerPath = `${this.directory.path}/launched`;
      let answer = earlierAnswer(this.#backend.native, answerPath);
      if (answer === 'running') {
        await until(
          () => (answer = earlierAnswer(this.#backend.native, answerPath)) !== 'running',
          10_000,
          'an earlier launch to end',
        );
      }
      if (answer === null || answer === 'running' || !isSameProcess(answer)) return;
      this.#identity = answer;
      this.directory.write('identity', answer);
    }
    if (!isSameProcess(this.#identity)) return;
    this.#adopted = AdoptedSandbox.adopt(this.#backend.native, this.#identity, {
      changed: () => {
        this.poke();
      },
      gone: () => {
        this.poke();
      },
    });
    this.carrier.watch(() => {
      if (!this.ended && this.#want !== 'Gone') this.limits.exceed('carrier');
    });
    this.#updateNetwork();
    if (isNew) return this.#connect(); // nothing was asked of it yet
    if (this.cgroup?.canFreeze === true && this.cgroup.frozen()) {
      // A frozen rank-init answers once it is thawed.
      const frozen = this.#adopted;
      frozen.ready.then(
        async () => {
          await this.#handInput(frozen);
          this.#connect();
          this.poke();
        },
        () => undefined,
      );
      return;
    }
    await this.#adopted.ready;
    await this.#handInput(this.#adopted);
    this.#connect();
  }

  /** The spool of standard input, which may be written before the ranks are there; null when nobody reads. */
  openInput(): InputSpool | null {
    const { input, native } = this.#backend;
    if (!this.ended && (this.spec.stdin !== 'None' || this.spec.tty))
      this.input ??= new InputSpool(this.directory.input, input.pump, native);
    if (this.#leaving.isLeft) this.input?.hold();
    return this.input;
  }

  /** Behind the barrier: the table, the journal and the descriptors are true. */
  #connect(): void {
    const adopted = this.#adopted;
    if (!adopted || adopted.isGone || this.processes) return;
    const backend = this.#backend;
    try {
      for (const start of this.#planned.planOf(this.spec).processes)
        if (start.rank !== null) this.#starts.set(start.rank, start);
    } catch (error) {
      if (!(error instanceof AgentError)) throw error; // told when it is to be started
    }
    this.openInput();
    if (this.spec.pmi !== 'None') this.#joinTree(adopted);
    this.processes = new RankProcesses({
      sandbox: adopted,
      backend,
      spec: this.spec,
      starts: this.#starts,
      logs: this.logs,
      input: this.input,
      pmi: this.pmi,
      endingSinceNs: () => {
        if (adopted.table.lease.state === 'ended') return 0; // by rank-init itself
        return this.#ending?.sinceNs ?? (this.#killed ? 0 : null);
      },
      events: {
        changed: () => {
          this.poke();
        },
        rankEnded: (end) => {
          // Said before the end itself is told: a shell whose child was killed exits with a code of its own.
          if (end.byUs || isSuccess(end)) return;
          this.limits.check();
        },
      },
    });
    this.processes.look();
    this.#member?.connect();
  }

  #joinTree(adopted: AdoptedSandbox | null): TreeMember {
    const { member, pmi } = joinTree(this, adopted, this.#backend, {
      abort: (rank, exitCode, message) => {
        this.#aborted(rank, exitCode, message);
      },
      broken: (fence, dead, message) => {
        if (this.ended || this.broken) return;
        this.broken = { fence, rank: dead ?? -1, message, atNs: this.#backend.nowMs() * 1e6 };
        this.directory.write('broken', this.broken);
        this.poke();
      },
      bad: (rank, reason) => {
        this.#backend.log.warn({ sandbox: this.key, rank, reason }, 'rank broke the PMI protocol');
      },
    });
    this.#member = member;
    this.pmi = pmi;
    return member;
  }

  /** An ended sandbox still carries the fences of those below it in the tree, and what its ranks had put. */
  #rejoinTree(): void {
    if (this.spec.pmi === 'None' || this.spec.sandboxes <= 1) return;
    const member = this.#joinTree(null);
    const succeeded = RankSet.parse(this.ended?.succeeded ?? '');
    for (const rank of RankSet.parse(this.spec.ranks)) this.pmi?.rankGone(rank, succeeded.has(rank));
    member.connect();
  }

  #aborted(rank: number, exitCode: number, message: string): void {
    if (this.abort) return;
    this.abort = { rank, exitCode, message, atNs: this.#backend.nowMs() * 1e6 };
    this.directory.write('abort', this.abort);
    this.poke();
  }

  #tellProcessLimit(): void {
    const { node, nodeConfig } = this.#backend.config;
    this.#events.event(
      this,
      'Warning',
      'ProcessLimit',
      `MUSTER_PROCESS_LIMIT: ranks ${this.spec.ranks} on ${node} cannot start more processes: the node lets a sandbox have ${String(nodeConfig.processesPerSandbox)} beside its ranks (processesPerSandbox of its configuration)`,
    );
  }

  hasLeftover(): boolean {
    if (this.#adopted && !this.#adopted.isGone) return true;
    if (this.#identity && isSameProcess(this.#identity)) return true;
    return this.network.mayBeThere || (this.cgroup?.exists() ?? false);
  }

  async #perform(action: Action): Promise<void> {
    switch (action.kind) {
      case 'launch':
        return this.#launch();
      case 'start':
        return this.#start();
      case 'freeze':
        return this.freezer.freeze('suspend');
      case 'thaw':
        return this.freezer.thaw('suspend');
      case 'terminate':
        return this.#terminate(action.cause);
      case 'vacate':
        return this.#vacate();
      case 'kill':
        return this.#kill();
      case 'killOthers':
        await this.#adopted?.request('kill');
        this.#wakeAfter(100);
        return;
      case 'wakeAt':
        this.#wakeAfter(Math.max(1, action.ms - this.#backend.nowMs()));
        return;
      case 'record':
        this.#record({ state: 'Ended', reason: '', message: '' });
        return;
      case 'recordNeverStarted':
        this.#record({
          state: 'Ended',
          reason: 'NotStarted',
          message: 'ended before its ranks were started',
        });
        return;
      case 'recordLost':
        this.#record(this.#lossOf());
        return;
      case 'dismiss':
        await sent(); // whoever waits for the end hears of it before there is work to be done
        return this.clear();
      case 'clearLeftover':
        return this.clear();
      case 'forget':
        this.stop();
        this.#backend.processors.release(this.key);
        if (this.#leaving.isLeft) this.logs.move();
        else this.logs.finish();
        this.#leaving.forget();
        this.#coming.forget();
        this.directory.remove();
        this.#forgotten = true;
        this.#events.forgotten(this);
        return;
      default:
        action satisfies never;
    }
  }

  async #launch(): Promise<void> {
    this.#launching = true;
    this.#events.changed(this);
    try {
      const carrier = await this.carrier.find(this.spec);
      if (this.spec.restore && (await this.#restore(this.spec.restore))) return;
      const plan = () => this.#planned.planOf(this.spec);
      const request = preparationOf(this.spec, this.key, this.#backend, carrier, plan);
      this.directory.create();
      if (this.spec.savesItself) makeSaves(savesOf(this.directory.path), this.spec);
      this.directory.write('mounts', { root: request.mounts.root, binds: bindsOf(request) });
      this.directory.keepRoom();
      this.#clean = false;
      const netns = this.network.begin(this.spec);
      const answerPath = `${this.directory.path}/launched`;
      const launched = this.carrier.held((held) =>
        launch(this.#backend.native, request, answerPath, netns, held?.pidfd),
      );
      this.#planned.prepare(this.spec);
      const identity = await launched;
      this.directory.write('identity', identity);
      this.#identity = identity;
    } finally {
      this.#launching = false;
    }
    await this.#find(true);
  }

  /** Who else is in the group's network, and where, as it was told last. */
  #updateNetwork(): void {
    this.network.update(this.spec).catch((error: unknown) => {
      const { log } = this.#backend;
      log.warn({ sandbox: this.key, errno: errnoOf(error), err: error }, 'network of the group not updated');
      this.#events.event(this, 'Warning', 'SandboxFailed', messageOf(error));
    });
  }

  async #restore(order: RestoreOrder): Promise<boolean> {
    this.#restoring = new AbortController();
    if (!(await restoreSandbox(order, this, this.#backend, this.#restoring.signal))) return false;
    await this.#find();
    await this.bindAgain();
    if (this.#adopted) tell(this.#adopted.identity.pid, 'restart', 0);
    return true;
  }

  onBegun(): void {
    this.#clean = false;
  }

  onPlaced(identity: Identity): void {
    this.directory.write('identity', identity);
    this.#identity = identity;
  }

  async onReachable(signal: AbortSignal): Promise<void> {
    await this.#lease?.untilGranted(signal);
    await this.setPlugged(true);
  }

  #handInput(adopted: AdoptedSandbox): Promise<void> {
    return handInput(
      adopted,
      { directory: this.directory, openInput: () => this.openInput() },
      this.#backend.native,
    );
  }

  async #start(): Promise<void> {
    const adopted = this.#adopted;
    if (!adopted) return;
    this.carrier.adjust(adopted.identity.pid);
    await this.network.joined(this.spec, () => this.#backend.native.pidfdOpen(adopted.identity.pid));
    this.#bind();
    const file = this.#planned.fileOf(this.spec, this.binding);
    const fd = this.#backend.native.memfd('start', file, true);
    try {
      const reply = await adopted.request('start', undefined, [fd]);
      if (reply.result < 0) {
        throw new AgentError(
          'failed',
          'StartFailed',
          'MUSTER_START_REFUSED',
          `rank-init on ${this.#backend.config.node} refused to start the ranks: ${errnoText(reply.result)}`,
        );
      }
    } finally {
      this.#backend.native.close(fd);
    }
    this.#planned.drop();
    this.processes?.look();
  }

  /** Where it cannot be, ranks run on all the same. */
  async bindAgain(): Promise<void> {
    this.#bind();
    const { binding, cgroup } = this;
    const table = this.#adopted?.isGone === false ? this.#adopted.table : null;
    if (!binding || !table) return;
    const ranks = [...RankSet.parse(this.spec.ranks)];
    const bound = rankSlotsOf(table)
      .filter(({ running }) => running)
      .map(({ rank, pid }) => ({ pid, cpus: binding[ranks.indexOf(rank)] ?? [] }));
    const failed = await bindAgain(bound, cgroup?.pids() ?? []);
    if (failed.length > 0) this.#backend.log.warn({ sandbox: this.key, pids: failed }, 'ranks not bound');
  }

  /** On disk before the ranks know of it: whoever starts them again, or comes after, finds the same. */
  #bind(): void {
    if (this.binding) return;
    const { processors } = this.#backend;
    this.binding = processors.take(this.key, this.spec.binding, RankSet.parse(this.spec.ranks).size);
    if (this.binding) this.directory.write('binding', this.binding);
  }

  async #keepLease(): Promise<void> {
    const adopted = this.#adopted;
    if (!this.#lease || !adopted || adopted.isGone || this.ended) return;
    const ends = this.#want === 'Kill' || this.#want === 'Keep';
    await this.#lease.keep(adopted, this.#want === 'Gone' || (ends && this.#lease.state === 'Fenced'));
  }

  #keeperOf(times: LeaseTimes): LeaseKeeper {
    const sandbox: LeasedSandbox = {
      key: this.key,
      incarnation: this.id.incarnation,
      fence: () => this.freezer.freeze('fence'),
      unfence: async () => {
        if (this.freezer.isHeldBy('fence')) await this.freezer.thaw('fence');
      },
      setPlugged: (plugged) => this.setPlugged(plugged),
      killFenced: () => {
        this.#ending = { cause: leaseCause, sinceNs: 0 };
        this.directory.write('ending', this.#ending);
        this.#killed = true;
        this.#adopted?.killInit();
      },
      poke: () => this.poke(),
    };
    return new LeaseKeeper(times, sandbox, this.#backend.log);
  }

  /** It may run under its lease, if it has one. */
  async untilLeased(signal: AbortSignal): Promise<void> {
    await this.#lease?.untilGranted(signal);
  }

  /** On the host's network only its own connections are cut, and that by the engine. */
  async setPlugged(plugged: boolean, holder?: 'move'): Promise<void> {
    const isAway = this.#leaving.isAway || this.#coming.isUnderWay;
    if (plugged && isAway && holder !== 'move') return;
    await this.network.setPlugged(this.spec, plugged);
  }

  changed(): void {
    this.#events.changed(this);
  }

  wakeAt(ms: number): void {
    this.#wakeAfter(Math.max(1, ms - this.#backend.nowMs()));
  }

  /** What was begun is given up before the ranks are ended; what is saved already may stay frozen until its end. */
  async #lookAtCheckpoint(): Promise<void> {
    const { running = 0 } = this.processes ?? {};
    const ending = isUnwanted(this.#want) || this.#ending !== null || this.#killed || this.#cause() !== '';
    const alive = this.stage === 'Live' && !ending && (this.processes === null || running > 0);
    if (ending && this.#checkpoint.isBusy) await this.#checkpoint.giveUp();
    this.#checkpoint.look(this.spec.checkpoint, alive, alive && running > 0 && !this.#coming.isFollowing);
    if (ending && this.#checkpoint.isBusy) await this.#checkpoint.giveUp();
  }

  /** As with a checkpoint, what was begun is given up before the ranks are ended; what has left, or is not here yet, waits. */
  async #lookAtMove(): Promise<void> {
    const gone = this.#want === 'Gone';
    if (this.#coming.isUnderWay && gone) return this.#coming.giveUp();
    this.#coming.look(this.spec.move, this.stage === 'Live');
    if (this.#coming.isUnderWay) return;
    const { running = 0 } = this.processes ?? {};
    const ending = isUnwanted(this.#want) || this.#ending !== null || this.#killed || this.#cause() !== '';
    const alive = this.stage === 'Live' && !ending && (this.processes === null || running > 0);
    if (ending && this.#leaving.isBusy) await this.#leaving.giveUp();
    const ready = alive && running > 0 && !this.#checkpoint.isAtWork && !this.#coming.isFollowing;
    if (!gone) this.#leaving.look(this.spec.move, alive, ready);
  }

  async #terminate(cause: string): Promise<void> {
    const adopted = this.#adopted;
    if (!adopted) return;
    await adopted.ready;
    this.#beginEnding(cause);
    if (adopted.table.lastSignal < ownSignalId)
      await adopted.request('signal', encodeSignal(ownSignalId, 15));
  }

  /** What had ended before is no work of ours, whatever our clock's grain. */
  #beginEnding(cause: string): void {
    this.processes?.look();
    const ends = [...(this.processes?.ends.values() ?? [])].map(({ endedNs }) => endedNs + 1);
    this.#ending = { cause, sinceNs: Math.max(this.#backend.nowMs() * 1e6, ...ends) };
    this.directory.write('ending', this.#ending);
  }

  async #kill(): Promise<void> {
    if (!this.#ending) this.#beginEnding('killed on request');
    this.#killed = true;
    if (this.freezer.isHeld) await this.freezer.thaw('suspend'); // a frozen rank-init takes no orders
    await this.#adopted?.request('kill');
  }

  /** Ended as it was saved, without running another instruction. */
  async #vacate(): Promise<void> {
    const adopted = this.#adopted;
    adopted?.killInit();
    await until(() => adopted?.isGone !== false, 10_000, 'rank-init to end');
    const { name = '' } = this.directory.read('checkpoint') ?? {};
    this.#record({ state: 'Ended', reason: 'Vacated', message: `saved as ${name} and ended` });
  }

  /** rank-init, all that may live in its cgroups, and the cgroups themselves. */
  async clear(): Promise<void> {
    await clearProcesses(this.#backend.native, this);
    if (this.cgroup) await clearCgroup(this.cgroup);
    await this.network.end(this.#want === 'Gone');
    this.carrier.dismiss();
    if (this.stage === 'New') this.directory.unlink('launched');
    this.#clean = true;
  }

  #record(ending: Ending): void {
    this.limits.settle();
    this.#backend.processors.release(this.key);
    const { adopted } = this;
    if (this.pmi && this.spec.sandboxes > 1 && adopted) this.directory.writeJournal(adopted.journal());
    const record = endedRecordOf(this, ending, this.#backend.nowMs());
    this.directory.create();
    this.directory.write('ended', record);
    this.ended = record;
    this.input?.discard();
    this.logs.loadEnded(this.#backend.output.nextId);
  }

  #lossOf(): Ending {
    return lossOf({
      key: this.key,
      node: this.#backend.config.node,
      wasRebooted: this.#identity !== null && this.#identity.bootId !== this.#backend.bootId,
      wasLeased: this.#ending?.cause === leaseCause,
      lostBecause: this.#coming.lostBecause,
      oomKills: this.limits.oomKills,
    });
  }

  #trouble(error: unknown): void {
    if (this.#stopped) return;
    const { log } = this.#backend;
    if (
      error instanceof AgentError &&
      (error.class === 'refused' || error.class === 'failed') &&
      !this.ended &&
      this.stage !== 'Lost'
    ) {
      log.warn({ sandbox: this.key, code: error.code, reason: error.reason, err: error }, 'sandbox failed');
      this.#record({ state: 'Failed', reason: error.reason, message: error.message });
      this.#events.changed(this);
      this.#dirty = true;
      return;
    }
    const message = messageOf(error);
    if (message !== this.#lastTrouble) {
      log.warn({ sandbox: this.key, errno: errnoOf(error), err: error }, 'sandbox is tried again');
      this.#events.event(this, 'Warning', 'SandboxFailed', message);
    }
    this.#lastTrouble = message;
    this.#wakeAfter(backoff(this.#attempt++, 50, 5000));
  }

  #wakeAfter(ms: number): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.poke();
    }, ms);
  }
}

const isUnwanted = (want: Want): boolean => ['End', 'Kill', 'Keep', 'Gone'].includes(want);
