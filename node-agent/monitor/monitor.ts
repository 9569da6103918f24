// The monitor of a node: measures the machine and the ranks at the interval that the hub asks for, keeps the last hour in bounded
// memory, runs health checks, and answers what is asked. Its rounds never overlap and never wait for a disk. It knows figures;
// whether they are bad is for checks and controllers to say.
import type { Logger } from 'pino';
import type {
  Answer,
  Load,
  MonitorOrder,
  NodeReport,
  OwnerFinding,
  OwnerRule,
  Query,
  SandboxId,
  Sent,
  Timeline,
} from '../../wire/agent-types.ts';
import { RankSet } from '../../crds/rank-set.ts';
import { messageOf } from '../agent-error.ts';
import type { NodeConfig } from '../config.ts';
import type { Sandbox } from '../sandbox.ts';
import { keyOf } from '../sandbox-id.ts';
import type { Sandboxes } from '../sandboxes.ts';
import { builtInChecks, type Figures } from './built-in-checks.ts';
import { Checks } from './checks.ts';
import { ClockOffset } from './clock-offset.ts';
import { FileSystems } from './file-systems.ts';
import { History, type HistoryTier, type Step } from './history.ts';
import { memoryErrors, NodeSampler, steadyMs, type Measured } from './node-sampler.ts';
import { inputAgoMs, Owner, ownerFileIsThere } from './owner.ts';
import { RankSampler } from './rank-sampler.ts';
import { rankSourceOf } from './sandbox-ranks.ts';
import { Sensors } from './sensors.ts';

export const defaultIntervalSeconds = 10;
const minuteMs = 60_000;
const shortReportMs = 5_000;
/** A round reads what processes have brought from and to disks only every so often. */
const ioEveryRounds = 6;

const stepsFor = (intervalMs: number): Step[] =>
  intervalMs >= minuteMs
    ? [{ stepMs: intervalMs, points: 60 }]
    : [
        { stepMs: intervalMs, points: 60 },
        { stepMs: minuteMs, points: 60 },
      ];

export interface MonitorOptions {
  readonly sandboxes: Sandboxes;
  readonly stateDir: string;
  /** File systems whose room and health counts, the first that of the state directory. */
  readonly paths: readonly string[];
  readonly node: string;
  readonly nodeConfig: NodeConfig;
  readonly build: string;
  /** Why CRIU does not work; null: it does, undefined: it is not installed. */
  readonly engineTrouble: () => Promise<string | null | undefined>;
  readonly log: Logger;
  readonly report: (report: Sent<NodeReport>) => void;
}

export class Monitor {
  readonly clock = new ClockOffset();
  readonly fileSystems: FileSystems;
  readonly sensors = new Sensors();
  readonly checks: Checks;
  readonly #owner = new Owner();
  #ownerRule: OwnerRule | null = null;
  #ownerFinding: OwnerFinding | null = null;
  #engineTrouble: string | null | undefined;
  /** Version of the controllers; empty: not known. */
  hubBuild = '';
  readonly #options: MonitorOptions;
  readonly #sampler = new NodeSampler();
  readonly #ranks = new Map<Sandbox, RankSampler>();
  #history: History;
  #intervalMs = defaultIntervalSeconds * 1000;
  #measured: Measured;
  #timer: NodeJS.Timeout | null = null;
  #round = 0;
  #reportedMs = -Infinity;
  #lookedMs = -Infinity;
  #asked = false;
  #stopped = false;

  constructor(options: MonitorOptions) {
    this.#options = options;
    this.fileSystems = new FileSystems({ paths: options.paths });
    this.#history = new History(6, stepsFor(this.#intervalMs));
    this.#measured = this.#sampler.measure();
    const { node, nodeConfig, stateDir, log } = options;
    this.checks = new Checks({
      node,
      directory: nodeConfig.healthChecks,
      file: `${stateDir}/checks.json`,
      builtIn: Object.fromEntries(
        Object.entries(builtInChecks).map(([name, check]) => [name, () => check(this.#figures())]),
      ),
      turned: ({ name, passed, message }) => {
        log.warn({ check: name, passed, message }, 'health check has turned');
        this.#report();
      },
    });
  }

  start(): void {
    this.#lookAround();
    this.checks.order([]);
    this.#schedule();
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer) clearTimeout(this.#timer);
    this.checks.stop();
    this.#sampler[Symbol.dispose]();
  }

  /** The hub wants reports, and this is how the node is to be watched. */
  order(order: MonitorOrder): void {
    this.#asked = true;
    this.#ownerRule = order.owner;
    if (!order.owner) this.#ownerFinding = null;
    this.checks.order(order.checks);
    const intervalMs = Math.max(1, order.intervalSeconds || defaultIntervalSeconds) * 1000;
    if (intervalMs !== this.#intervalMs) {
      this.#intervalMs = intervalMs;
      this.#history = new History(6, stepsFor(intervalMs));
      this.#ranks.clear();
    }
    this.#report();
    this.#schedule();
  }

  /** No hub is there to be told. */
  closed(): void {
    this.#asked = false;
  }

  get measured(): Measured {
    return this.#measured;
  }

  /** What ranks do, of the sandboxes that are measured. */
  *samplers(): Generator<readonly [Sandbox, RankSampler]> {
    yield* this.#ranks;
  }

  load(): Sent<Load> {
    const { sandboxes, stateDir } = this.#options;
    const { memoryAvailableBytes, swapUsedBytes, load1, load5, load15, ...rest } = this.#measured;
    const disk = this.fileSystems.of(stateDir);
    return {
      ...{ load1, load5, load15, memoryAvailableBytes, swapUsedBytes },
      cpuPressureAvg10: rest.cpuPressureAvg10,
      memoryPressureAvg10: rest.memoryPressureAvg10,
      ioPressureAvg10: rest.ioPressureAvg10,
      diskFreeBytes: disk?.availableBytes ?? 0,
      diskTotalBytes: disk?.totalBytes ?? 0,
      sandboxes: sandboxes.running,
      ranks: sandboxes.ranksRunning,
    };
  }

  async answer(query: Query): Promise<Sent<Answer>> {
    const { queryId } = query;
    try {
      if (query.kind === 'Ranks') return { queryId, ranks: await this.#rankSamples(query) };
      if (query.kind === 'History') return { queryId, timelines: this.#timelines(query) };
      return { queryId, error: `MUSTER_UNKNOWN_QUERY: this agent knows no query ${query.kind}; update it` };
    } catch (error) {
      return { queryId, error: messageOf(error) };
    }
  }

  async #rankSamples(query: Query): Promise<Answer['ranks']> {
    const wanted = rankFilter(query.ranks);
    const samplers = this.#samplersOf(query.ids);
    await Promise.all(samplers.map((sampler) => sampler.sample('all', false)));
    return samplers.flatMap((sampler) => sampler.samples.filter(({ rank }) => wanted(rank)));
  }

  #timelines({ ids, ranks }: Query): Sent<Timeline>[] {
    // Steps end by a clock that nobody sets: shown by the wall clock of now.
    const shiftMs = Date.now() - steadyMs();
    const shown = (tiers: readonly HistoryTier[]) =>
      tiers.map(({ endMs, stepMs, columns, values }) => ({
        endNs: Math.round((endMs + shiftMs) * 1e6),
        stepMs,
        columns,
        values: [...values],
      }));
    if (ids.length === 0) return [{ tiers: shown(this.#history.tiers()) }];
    const wanted = rankFilter(ranks);
    return this.#samplersOf(ids).flatMap((sampler) =>
      sampler.samples
        .filter(({ rank }) => wanted(rank))
        .map(({ id, rank }) => ({ id: id ?? undefined, rank, tiers: shown(sampler.historyOf(rank)) })),
    );
  }

  #samplersOf(ids: readonly SandboxId[]): RankSampler[] {
    const keys = new Set(ids.map(keyOf));
    return this.#options.sandboxes.all
      .filter(({ key }) => keys.has(key))
      .map((each) => this.#samplerOf(each));
  }

  #samplerOf(sandbox: Sandbox): RankSampler {
    let sampler = this.#ranks.get(sandbox);
    if (!sampler) {
      sampler = new RankSampler(rankSourceOf(sandbox), stepsFor(this.#intervalMs));
      this.#ranks.set(sandbox, sampler);
    }
    return sampler;
  }

  #schedule(): void {
    if (this.#timer) clearTimeout(this.#timer);
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      void this.#measure().finally(() => {
        this.#schedule();
      });
    }, this.#intervalMs);
    this.#timer.unref();
  }

  async #measure(): Promise<void> {
    const { sandboxes, log } = this.#options;
    const nowMs = steadyMs();
    this.#measured = this.#sampler.measure();
    const { busy, cores, memoryTotalBytes, memoryAvailableBytes, networks, ...rest } = this.#measured;
    const sum = (of: 'receivedBytesPerSecond' | 'sentBytesPerSecond') =>
      networks.reduce((total, each) => total + each[of], 0);
    this.#history.add(nowMs, [
      busy * cores.length,
      memoryTotalBytes - memoryAvailableBytes,
      sum('receivedBytesPerSecond'),
      sum('sentBytesPerSecond'),
      rest.readBytesPerSecond,
      rest.writtenBytesPerSecond,
    ]);
    const live = new Set(sandboxes.all.filter(({ stage }) => stage === 'Live'));
    for (const known of this.#ranks.keys()) if (!live.has(known)) this.#ranks.delete(known);
    const depth = this.#round++ % ioEveryRounds === 0 ? 'io' : 'cpu';
    for (const sandbox of live) {
      try {
        const sampler = this.#samplerOf(sandbox);
        await sampler.sample(depth, true);
        sandbox.limits.io = sampler.io;
      } catch (error) {
        log.warn({ sandbox: sandbox.key, err: error }, 'ranks cannot be measured');
      }
    }
    this.#lookForOwner();
    this.#lookAround();
    if (nowMs - this.#reportedMs >= Math.min(shortReportMs, this.#intervalMs)) this.#report();
  }

  #lookForOwner(): void {
    const rule = this.#ownerRule;
    if (!rule) return;
    const before = this.#ownerFinding?.active;
    const { busy, cores } = this.#measured;
    let ranks = 0;
    for (const sampler of this.#ranks.values()) for (const sample of sampler.samples) ranks += sample.cores;
    this.#ownerFinding = this.#owner.look(rule, {
      inputAgoMs: inputAgoMs(Date.now()),
      othersCores: Math.max(0, busy * cores.length - ranks),
      hasFile: ownerFileIsThere(this.#options.nodeConfig.ownerFile),
    });
    if (this.#ownerFinding.active !== before) this.#reportedMs = -Infinity;
  }

  #figures(): Figures {
    const { stateDir, build } = this.#options;
    return {
      stateDir,
      build,
      disks: this.fileSystems.figures,
      clockOffsetMs: this.clock.offsetMs,
      memoryErrors: memoryErrors(),
      hasEngine: this.#engineTrouble !== undefined,
      engineTrouble: this.#engineTrouble ?? null,
      hubBuild: this.hubBuild,
    };
  }

  /** What may take its time, or ask firmware: beside the rounds, once a minute. */
  #lookAround(): void {
    const nowMs = steadyMs();
    if (nowMs - this.#lookedMs < minuteMs) return;
    this.#lookedMs = nowMs;
    const { log } = this.#options;
    const engine = this.#options.engineTrouble().then((trouble) => {
      this.#engineTrouble = trouble;
    });
    for (const looking of [this.fileSystems.probe(nowMs), this.sensors.read(), engine])
      looking.catch((error: unknown) => {
        log.warn({ err: error }, 'the node cannot be looked at');
      });
  }

  #report(): void {
    if (!this.#asked) return;
    this.#reportedMs = steadyMs();
    const { sandboxes, report } = this.#options;
    const { networks, ...figures } = this.#measured;
    const offsetMs = this.clock.offsetMs;
    report({
      figures: {
        ...figures,
        sandboxes: sandboxes.running,
        ranks: sandboxes.ranksRunning,
        frozen: sandboxes.all.filter(({ isFrozen }) => isFrozen).length,
        clockKnown: offsetMs !== null,
        clockOffsetMs: offsetMs ?? 0,
      },
      disks: this.fileSystems.figures,
      networks,
      sensors: this.sensors.values,
      checks: this.checks.results,
      owner: this.#ownerFinding ?? undefined,
    });
  }
}

function rankFilter(ranks: string): (rank: number) => boolean {
  if (ranks === '') return () => true;
  const set = RankSet.parse(ranks);
  return (rank) => set.has(rank);
}
