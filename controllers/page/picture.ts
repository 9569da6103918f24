/**
 * The state of the cluster as the page shows it, kept up to date while somebody looks and for a minute after. Objects come from the
 * store, what ranks do from agents' facts; both end in a ledger of small texts, and what is shown of each kind is bounded.
 */
import type { Logger } from 'pino';
import type { Checkpoint, Migration, NodeMonitor, ProcessGroup } from '../../crds/types.gen.ts';
import type { AnyObject, KubernetesObject, ObjectStore } from '../../store/object-store.ts';
import { builtinTypes, type ResourceType } from '../../store/resource.ts';
import type { FeedItem } from '../../wire/page-feed.ts';
import type { Hub } from '../hub/hub.ts';
import { sandboxKey } from '../hub/sandbox-key.ts';
import { expandPlacement } from '../placement/placement-status.ts';
import { checkpointType, migrationType, nodeMonitorType } from '../resource-types.ts';
import type { Clock } from '../runtime/clock.ts';
import { ObjectSource, pause } from '../runtime/object-source.ts';
import type { Key } from '../runtime/reconciler.ts';
import {
  checkpointItem,
  eventItem,
  groupItem,
  migrationItem,
  nodeItem,
  sandboxItem,
  type SandboxUse,
} from './items.ts';
import { Ledger } from './ledger.ts';
import type { RankLoads, RankPlace } from './rank-loads.ts';
import { RecentUse } from './recent-use.ts';

export interface PictureOptions {
  readonly store: ObjectStore;
  readonly hub: Pick<Hub, 'facts' | 'nodes'>;
  /** All groups as they are now. */
  readonly groups: () => Iterable<ProcessGroup>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** How busy ranks are; without it sandboxes are known only as a whole. */
  readonly loads?: Pick<RankLoads, 'of' | 'run'>;
  /** Which of the cluster's events are ours; all when left out. */
  readonly eventSelector?: string;
}

interface Running {
  readonly stop: AbortController;
  readonly done: Promise<void>;
  readonly ready: Promise<void>;
}

/** How often agents' facts are looked at while somebody looks at the page. */
const lookEveryMs = 500;
const restAfterMs = 60_000;
const readyWithinMs = 2_000;
/** A group that has ended leaves the grid soon after. */
const endedShownMs = 30_000;
const most = { groups: 1000, events: 400, acts: 400 } as const;

export class Picture implements AsyncDisposable {
  ledger = new Ledger();
  /** Distinguishes ledgers: revisions of another one mean nothing. */
  epoch = 0;
  readonly #options: PictureOptions;
  readonly #use = new RecentUse();
  readonly #waiting = new Set<() => void>();
  #viewers = 0;
  #rest: Disposable | undefined;
  #running: Running | undefined;

  constructor(options: PictureOptions) {
    this.#options = options;
  }

  /** Somebody looks, until disposed of. */
  look(): Disposable {
    this.#viewers += 1;
    this.#rest?.[Symbol.dispose]();
    this.#rest = undefined;
    this.#running ??= this.#run();
    return {
      [Symbol.dispose]: () => {
        this.#viewers -= 1;
        if (this.#viewers > 0) return;
        this.#rest = this.#options.clock.after(restAfterMs, () => void this.#stop());
      },
    };
  }

  /** Settles when all kinds have been listed once, or soon: one that cannot be listed keeps nobody from the others. */
  async ready(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    using _timer = this.#options.clock.after(readyWithinMs, resolve);
    await settled(Promise.race([this.#running?.ready, promise]), signal);
  }

  /** Settles when there is more than this revision, or after the time, or when the signal aborts. */
  async newsAfter(revision: number, longestMs: number, signal: AbortSignal): Promise<void> {
    if (this.ledger.revision > revision || signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.add(resolve);
    using _timer = this.#options.clock.after(longestMs, resolve);
    await settled(promise, signal);
    this.#waiting.delete(resolve);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#rest?.[Symbol.dispose]();
    await this.#stop();
  }

  async #stop(): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    running?.stop.abort();
    await running?.done;
  }

  #run(): Running {
    this.ledger = new Ledger();
    // Later than any of a process before this one.
    this.epoch = Math.max(this.epoch + 1, this.#options.clock.now());
    const { clock, store, logger, eventSelector } = this.#options;
    const stop = new AbortController();
    const monitors = new Map<Key, NodeMonitor>();
    const follow = <T extends KubernetesObject>(
      type: ResourceType,
      changed: (key: Key, after: T | undefined) => void,
      fieldSelector?: string,
    ): ObjectSource<T> =>
      new ObjectSource<T>({
        ...{ store, type, clock, logger },
        ...(fieldSelector === undefined ? {} : { fieldSelector }),
        changed: (key, after) => {
          changed(key, after);
          this.#tell();
        },
      });
    const acts = new Newest(this.ledger, most.acts);
    const events = new Newest(this.ledger, most.events);
    const sources = [
      follow<NodeMonitor>(nodeMonitorType, (key, monitor) => {
        if (monitor) monitors.set(key, monitor);
        else monitors.delete(key);
        this.#showNode(key, monitor);
      }),
      follow<Checkpoint>(checkpointType, (key, object) =>
        acts.set(`checkpoint/${key}`, 'checkpoints', object && checkpointItem(object)),
      ),
      follow<Migration>(migrationType, (key, object) =>
        acts.set(`migration/${key}`, 'migrations', object && migrationItem(object)),
      ),
      follow<AnyObject>(
        builtinTypes.event,
        (key, object) => events.set(`event/${key}`, 'events', object && eventItem(object)),
        eventSelector,
      ),
    ];
    const looking = async (): Promise<void> => {
      const shown = new Map<string, ProcessGroup>();
      while (!stop.signal.aborted) {
        const before = this.ledger.revision;
        for (const [key, monitor] of monitors) this.#showNode(key, monitor);
        this.#showGroups(shown);
        if (this.ledger.revision !== before) this.#tell();
        await pause(clock, lookEveryMs, stop.signal);
      }
    };
    const done = Promise.all([
      ...sources.map((source) => source.run(stop.signal)),
      looking(),
      this.#options.loads?.run(() => this.#runningPlaces(), stop.signal),
    ]);
    return {
      stop,
      done: done.then(() => undefined),
      ready: Promise.all(sources.map((source) => source.listed)).then(() => undefined),
    };
  }

  #tell(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const go of waiting) go();
  }

  #showNode(key: Key, monitor: NodeMonitor | undefined): void {
    if (!monitor) return this.ledger.remove(`node/${key}`);
    const { nodes } = this.#options.hub;
    const item = nodeItem(monitor, nodes.get(key), nodes.standing(key));
    this.ledger.set(`node/${key}`, { text: JSON.stringify(item), scope: 'nodemonitors' });
  }

  #showGroups(shown: Map<string, ProcessGroup>): void {
    const nowMs = this.#options.clock.now();
    const groups = newestOf([...this.#options.groups()]);
    const keys = new Set<string>();
    const sandboxes = new Set<string>();
    for (const group of groups) {
      const { namespace = 'default', name = '' } = group.metadata;
      const key = `group/${namespace}/${name}`;
      keys.add(key);
      if (shown.get(key) !== group) {
        shown.set(key, group);
        const text = JSON.stringify(groupItem(group));
        this.ledger.set(key, { text, scope: `processgroups/${namespace}` });
      }
      if (isOnGrid(group, nowMs)) this.#showSandboxes(group, nowMs, sandboxes);
    }
    for (const key of shown.keys()) if (!keys.has(key)) shown.delete(key);
    for (const key of [...this.ledger.keys()]) {
      const isOld = key.startsWith('group/')
        ? !keys.has(key)
        : key.startsWith('sandbox/') && !sandboxes.has(key);
      if (isOld) this.ledger.remove(key);
    }
    this.#use.keepOnly(sandboxes);
  }

  /** Where ranks run that somebody may look at. */
  #runningPlaces(): RankPlace[] {
    const { groups, hub } = this.#options;
    return [...groups()].flatMap(({ metadata, status }) => {
      if (status?.finishTime !== undefined) return [];
      return expandPlacement(status?.placement).flatMap(
        ({ ordinal, incarnation, node, ranks, rankCount }) => {
          const id = { groupUid: metadata.uid ?? '', ordinal, incarnation };
          const fact = hub.facts.get(node, id)?.fact;
          return fact?.state === 'Running' && !fact.frozen ? [{ node, id, ranks, rankCount }] : [];
        },
      );
    });
  }

  #showSandboxes(group: ProcessGroup, nowMs: number, seen: Set<string>): void {
    const { namespace = 'default', uid = '' } = group.metadata;
    for (const place of expandPlacement(group.status?.placement)) {
      const { ordinal, incarnation, node } = place;
      const id = { groupUid: uid, ordinal, incarnation };
      const fact = this.#options.hub.facts.get(node, id)?.fact;
      const key = `sandbox/${sandboxKey(id)}`;
      seen.add(key);
      const cores = fact ? this.#use.coresOf(key, fact.cpuUs, nowMs) : 0;
      const use: SandboxUse = this.#options.loads?.of(id) ?? { cores };
      const text = JSON.stringify(sandboxItem(group, place, fact, use));
      this.ledger.set(key, { text, scope: `processgroups/${namespace}` });
    }
  }
}

/** Resolves when the promise has, or the signal aborts; never throws. */
async function settled(promise: Promise<unknown>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise: over, resolve } = Promise.withResolvers<void>();
  const stop = (): void => resolve();
  signal.addEventListener('abort', stop, { once: true });
  await Promise.race([promise, over]);
  signal.removeEventListener('abort', stop);
}

const isOnGrid = ({ status }: ProcessGroup, nowMs: number): boolean =>
  status?.finishTime === undefined || nowMs - Date.parse(status.finishTime) < endedShownMs;

/** All that have not ended, and the newest of those that have. */
function newestOf(groups: readonly ProcessGroup[]): readonly ProcessGroup[] {
  if (groups.length <= most.groups) return groups;
  const rank = ({ status }: ProcessGroup): string => status?.finishTime ?? '~';
  return [...groups].sort((a, b) => (rank(a) < rank(b) ? 1 : -1)).slice(0, most.groups);
}

/** The newest so many of a kind. */
class Newest {
  readonly #ledger: Ledger;
  readonly #most: number;
  readonly #times = new Map<string, number>();

  constructor(ledger: Ledger, most: number) {
    this.#ledger = ledger;
    this.#most = most;
  }

  set(
    key: string,
    plural: string,
    item:
      | (FeedItem & { readonly namespace: string; readonly atMs?: number; readonly createdMs?: number })
      | undefined,
  ): void {
    if (!item) {
      this.#times.delete(key);
      this.#ledger.remove(key);
      return;
    }
    this.#times.set(key, item.atMs ?? item.createdMs ?? 0);
    this.#ledger.set(key, { text: JSON.stringify(item), scope: `${plural}/${item.namespace}` });
    if (this.#times.size <= this.#most * 1.25) return;
    const oldest = [...this.#times].sort(([, a], [, b]) => a - b).slice(0, this.#times.size - this.#most);
    for (const [old] of oldest) {
      this.#times.delete(old);
      this.#ledger.remove(old);
    }
  }
}
