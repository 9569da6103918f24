/**
 * What to do when the store may have lost objects: sandboxes of groups that it does not know are kept and shown, and end
 * only by an administrator's word; groups of which it may have lost that they ran are not started. A store that lost at
 * most its newest write is trusted again by itself once every node has been heard of, or is lost, and holds nothing unknown.
 */
import type { Logger } from 'pino';
import type { ProcessGroup } from '../crds/types.gen.ts';
import type { SandboxFact, SandboxId } from '../wire/agent-types.ts';
import type { Hub } from './hub/hub.ts';
import type { Clock } from './runtime/clock.ts';

/** A store that can tell that objects may be missing from it. */
export interface DoubtfulStore {
  readonly doubt: StoreDoubt | undefined;
  /** Doubts from now on; of a store that can lose objects without knowing it. */
  raise?(message: string): void;
  trust(): Promise<void>;
}

export interface StoreDoubt {
  /** Torn: at most the newest write is missing. */
  readonly severity: 'Torn' | 'Lost';
  readonly since: string;
  readonly messages: readonly string[];
}

export interface UnknownSandbox extends SandboxId {
  readonly node: string;
  readonly connected: boolean;
  readonly state: string;
  readonly ranksRunning: number;
  readonly ranksTotal: number;
  readonly startedMs: number;
}

export interface UnknownSandboxesOptions {
  readonly hub: Pick<Hub, 'desired' | 'facts' | 'nodes' | 'letGo' | 'markComplete'>;
  readonly store: DoubtfulStore | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Groups that wait may go on. */
  readonly trusted: () => void;
}

export class UnknownSandboxes {
  readonly #options: UnknownSandboxesOptions;
  /** Groups of the first list; undefined before there is one, when every group is of it. */
  #first: ReadonlySet<string> | undefined;

  constructor(options: UnknownSandboxesOptions) {
    this.#options = options;
  }

  get doubt(): StoreDoubt | undefined {
    return this.#options.store?.doubt;
  }

  /** The first list of groups is here, and each was looked at: agents may be told what is to go. */
  listed(groups: Iterable<ProcessGroup>, signal: AbortSignal): void {
    const { hub, clock, logger } = this.#options;
    this.#first = new Set([...groups].map(({ metadata }) => metadata.uid ?? ''));
    const { doubt } = this;
    hub.markComplete(doubt !== undefined);
    if (doubt === undefined) return;
    logger.error(
      { severity: doubt.severity, since: doubt.since, messages: doubt.messages },
      'store may miss objects: sandboxes that it does not know are kept; see "muster doctor"',
    );
    if (doubt.severity !== 'Torn') return;
    const timer = clock.after(hub.nodes.leaseMs, () => {
      if (this.list().length === 0 && this.doubt?.severity === 'Torn')
        this.trust().catch((error: unknown) => logger.warn({ err: error }, 'doubt of the store not removed'));
    });
    signal.addEventListener('abort', () => timer[Symbol.dispose](), { once: true });
  }

  /**
   * A group that ran is gone without a deletion: true when the store lost it, and what agents hold of it is to be kept. This may be the
   * first that shows of a cluster that was put back to an older state.
   */
  keepsVanished(key: string, uid: string): boolean {
    const { hub, logger, store } = this.#options;
    store?.raise?.(
      `ProcessGroup ${key} ran and is gone without having been deleted: the cluster was put back to an older state, or finalizers were removed by hand`,
    );
    if (this.doubt === undefined) return false;
    logger.error({ key, uid }, 'a group that runs is missing from the store; its ranks are left alone');
    if (hub.desired.complete) hub.markComplete(true);
    return true;
  }

  /** Why a group that has no place must not get one; undefined when it may. */
  reasonToWait({ metadata }: ProcessGroup): string | undefined {
    const { doubt } = this;
    if (doubt === undefined) return undefined;
    const { uid = '', creationTimestamp = '' } = metadata;
    const holders = [...this.#holders(uid)];
    if (holders.length > 0)
      return `the store lost where it was placed, but sandboxes of it are on ${[...new Set(holders)].join(', ')}; end them with "muster kill --unknown ${uid}" or delete the group`;
    const old = this.#first?.has(uid) ?? true;
    if (doubt.severity === 'Torn' || !old || Date.parse(creationTimestamp) > Date.parse(doubt.since))
      return undefined;
    return 'the store was damaged and may have lost that this group has run already; delete it, or let it run by "muster kill --unknown --all", which also ends what the store does not know';
  }

  list(): UnknownSandbox[] {
    const { hub } = this.#options;
    return [...hub.facts.nodes()].flatMap((node) => {
      const connected = hub.nodes.standing(node) === 'Connected';
      const unknown = [...hub.facts.heldOn(node)].filter(({ id }) => !hub.desired.knows(id.groupUid));
      return unknown.map((fact) => rowOf(node, connected, fact));
    });
  }

  /** Ends all sandboxes of these groups; gives how many agents were told of. */
  end(uids: readonly string[]): number {
    const { hub } = this.#options;
    const asked = this.list().filter(({ groupUid }) => uids.includes(groupUid));
    let told = 0;
    for (const [node, ids] of Map.groupBy(asked, (each) => each.node))
      if (hub.letGo(node, ids)) told += ids.length;
    return told;
  }

  /** What the store holds is all: whatever it does not know ends, also on nodes that come back later. */
  async trust(): Promise<void> {
    const { hub, store, logger, trusted } = this.#options;
    await store?.trust();
    logger.info('store is trusted again');
    hub.markComplete(false);
    trusted();
  }

  *#holders(uid: string): Generator<string> {
    const { facts } = this.#options.hub;
    for (const node of facts.nodes())
      for (const { id } of facts.heldOn(node)) if (id.groupUid === uid) yield node;
  }
}

function rowOf(
  node: string,
  connected: boolean,
  fact: SandboxFact & { readonly id: SandboxId },
): UnknownSandbox {
  const { id, state, ranksRunning, ranksTotal, startedNs } = fact;
  return { ...id, node, connected, state, ranksRunning, ranksTotal, startedMs: Math.floor(startedNs / 1e6) };
}
