/**
 * Which agents are there, and since when not. A node is Connected once its agent has told all its facts in this
 * session, Lost when nothing was heard of it for a whole lease (counted from the hub's own start at the earliest), and
 * Away in between: of a node that is Away nobody may conclude anything. Leases live here, never in objects.
 */
import type { AgentHello, Load, NodeReport } from '../../wire/agent-types.ts';
import type { Clock, Timer } from '../runtime/clock.ts';

export type Standing = 'Connected' | 'Away' | 'Lost';

export interface NodeState {
  readonly node: string;
  readonly hello: AgentHello | undefined;
  readonly version: number | undefined;
  readonly load: Load | undefined;
  /** What it measured last. */
  readonly report: NodeReport | undefined;
  readonly connected: boolean;
  /** The agent has told all its facts in this session. */
  readonly told: boolean;
  /** The agent said that it was being stopped. */
  readonly left: boolean;
  readonly heardMs: number;
  /** The newest revision of the desired book that the agent has taken into account in this session. */
  readonly desiredRevision: number;
}

export class NodeTable {
  readonly #nodes = new Map<string, NodeState>();
  readonly #timers = new Map<string, Timer>();
  readonly #clock: Clock;
  readonly #startedMs: number;
  readonly #leaseMs: number;
  readonly #changed: (node: string) => void;

  constructor(clock: Clock, leaseMs: number, changed: (node: string) => void) {
    this.#clock = clock;
    this.#startedMs = clock.steady();
    this.#leaseMs = leaseMs;
    this.#changed = changed;
  }

  get leaseMs(): number {
    return this.#leaseMs;
  }

  get(node: string): NodeState | undefined {
    return this.#nodes.get(node);
  }

  all(): Iterable<NodeState> {
    return this.#nodes.values();
  }

  standing(node: string): Standing {
    const state = this.#nodes.get(node);
    if (state?.connected && state.told) return 'Connected';
    return this.leaseLeftMs(node) > 0 ? 'Away' : 'Lost';
  }

  /** Until the node counts as lost, if nothing more is heard of it. */
  leaseLeftMs(node: string): number {
    const heardMs = this.#nodes.get(node)?.heardMs ?? this.#startedMs;
    return Math.max(0, heardMs + this.#leaseMs - this.#clock.steady());
  }

  silentMs(node: string): number {
    return this.#clock.steady() - (this.#nodes.get(node)?.heardMs ?? this.#startedMs);
  }

  connected(hello: AgentHello, version: number): void {
    const { node } = hello;
    this.#set(node, { hello, version, connected: true, told: false, left: false, desiredRevision: 0 });
    this.#disarm(node);
    this.#changed(node);
  }

  heard(node: string, load: Load | null | undefined): void {
    const before = this.#nodes.get(node)?.load;
    this.#set(node, load ? { load } : {});
    // Whoever waits until a node is empty hears of it; figures alone are no news.
    if (load && before?.sandboxes !== load.sandboxes) this.#changed(node);
  }

  /** What the agent measured; of checks and of the owner it is news. */
  reported(node: string, report: NodeReport): void {
    const before = this.#nodes.get(node)?.report;
    this.#set(node, { report });
    if (verdictsOf(before) !== verdictsOf(report)) this.#changed(node);
  }

  toldFacts(node: string, full: boolean, desiredRevision: number): void {
    const before = this.#nodes.get(node);
    this.#set(node, { told: full || (before?.told ?? false), desiredRevision });
    if (full && !before?.told) this.#changed(node);
  }

  /** It is known at once that it is not there; leases run on, since it may be back before they are out. */
  left(node: string): void {
    this.#set(node, { left: true });
  }

  disconnected(node: string): void {
    this.#set(node, { connected: false, told: false });
    this.expect(node);
    this.#changed(node);
  }

  /** Says so when the node's lease runs out without word from it. */
  expect(node: string): void {
    if (this.#timers.has(node) || this.#nodes.get(node)?.connected) return;
    const leftMs = this.leaseLeftMs(node);
    if (leftMs <= 0) return;
    const timer = this.#clock.after(leftMs + 1, () => {
      this.#timers.delete(node);
      // Timers may be early, and the node may have been heard since.
      if (this.leaseLeftMs(node) > 0) this.expect(node);
      else this.#changed(node);
    });
    this.#timers.set(node, timer);
  }

  close(): void {
    for (const node of [...this.#timers.keys()]) this.#disarm(node);
  }

  #disarm(node: string): void {
    this.#timers.get(node)?.[Symbol.dispose]();
    this.#timers.delete(node);
  }

  #set(node: string, change: Partial<NodeState>): void {
    const before = this.#nodes.get(node) ?? {
      node, hello: undefined, version: undefined, load: undefined, report: undefined,
      connected: false, told: false, left: false, heardMs: 0, desiredRevision: 0,
    }; // prettier-ignore
    this.#nodes.set(node, { ...before, heardMs: this.#clock.steady(), ...change });
  }
}

/** What in a report may make a condition. */
function verdictsOf(report: NodeReport | undefined): string {
  if (!report) return '';
  const checks = report.checks.map(({ name, passed, message }) => [name, passed, passed ? '' : message]);
  return JSON.stringify([checks, report.owner?.active]);
}
