// For tests: what surrounds a PMI engine in a sandbox. The streams of the ranks, pid 1 with its journal, and the job's
// tree, in one process: orders are carried out at once or when told, and the engine can be lost at any moment.
import { FenceNode, type FenceEffect } from '../fence.ts';
import { decodeDelta, encodeDelta } from '../kvs.ts';
import type { PmiAction, PmiOrder } from './action.ts';
import { PmiServer } from './server.ts';
import type { PmiShape } from './shape.ts';

export const kvsname = 'kvs_test_1';

export function shapeOf(ranks: readonly number[], change: Partial<PmiShape> = {}): PmiShape {
  return {
    kvsname,
    size: ranks.length,
    ranks,
    appnumOf: () => 0,
    mapping: '(vector,(0,1,1))',
    universeSize: null,
    onRankDeath: 'Abort',
    spawnEnabled: false,
    ...change,
  };
}

/** A tree of one: fences are done as soon as they are contributed. Others override `carry`. */
export class TestSandbox {
  readonly shape: PmiShape;
  journal: Buffer = Buffer.alloc(0);
  engine: PmiServer;
  /** Actions the engine asked for other than orders, waits and fences. */
  readonly other: PmiAction[] = [];
  readonly waits = new Map<number, string>();
  readonly bad: string[] = [];
  orders = 0;
  readonly #unread = new Map<number, Buffer>();
  readonly #replies = new Map<number, string>();
  readonly #tree: { contribute(action: PmiAction): void } | null;
  readonly #gone = new Map<number, boolean>();
  #alone = new FenceNode({ children: [], isRoot: true });

  constructor(shape: PmiShape, tree: { contribute(action: PmiAction): void } | null = null) {
    this.shape = shape;
    this.#tree = tree;
    this.engine = new PmiServer(shape);
    this.perform(this.engine.start());
  }

  /** The rank writes; its unread bytes are peeked. */
  write(rank: number, text: string | Buffer): void {
    const bytes = typeof text === 'string' ? Buffer.from(text, 'latin1') : text;
    this.#unread.set(rank, Buffer.concat([this.unread(rank), bytes]));
    this.peek(rank);
  }

  peek(rank: number): void {
    this.perform(this.engine.receive(rank, this.unread(rank)));
  }

  unread(rank: number): Buffer {
    return this.#unread.get(rank) ?? Buffer.alloc(0);
  }

  /** What the rank can read, taken. */
  read(rank: number): string {
    const replies = this.#replies.get(rank) ?? '';
    this.#replies.delete(rank);
    return replies;
  }

  ask(rank: number, line: string): string {
    this.write(rank, `${line}\n`);
    return this.read(rank);
  }

  gone(rank: number, finalized: boolean): void {
    this.#gone.set(rank, finalized);
    this.perform(this.engine.rankGone(rank, finalized));
  }

  /** The agent is killed and started again. */
  restart(): void {
    this.engine = new PmiServer(this.shape, this.journal);
    this.#alone = new FenceNode({ children: [], isRoot: true });
    this.waits.clear();
    this.perform(this.engine.start());
    for (const rank of this.shape.ranks) if (this.unread(rank).length > 0) this.peek(rank);
    for (const [rank, finalized] of this.#gone) this.perform(this.engine.rankGone(rank, finalized));
  }

  perform(actions: PmiAction[]): void {
    for (const action of actions) {
      switch (action.kind) {
        case 'answer':
          this.#carryOut(action);
          break;
        case 'bad':
          this.bad.push(action.reason);
          this.#carryOut(action);
          break;
        case 'wait':
          this.waits.set(action.rank, action.until);
          break;
        case 'fence':
        case 'fenceFailed':
        case 'absent':
          if (this.#tree !== null) this.#tree.contribute(action);
          else this.#contributeAlone(action);
          break;
        case 'ask':
        case 'abort':
        case 'broken':
          this.other.push(action);
      }
    }
  }

  #contributeAlone(action: PmiAction): void {
    let effects: FenceEffect[] = [];
    if (action.kind === 'fence')
      effects = this.#alone.localContribution(action.fence, encodeDelta(action.puts));
    if (action.kind === 'fenceFailed') effects = this.#alone.localFailed(action.fence, action.message);
    for (const effect of effects) {
      if (effect.to !== 'local') continue;
      const { outcome } = effect;
      this.perform(
        outcome.kind === 'done'
          ? this.engine.fenceDone(outcome.fence, [decodeDelta(outcome.delta)])
          : this.engine.fenceFailed(outcome.fence, outcome.message),
      );
    }
  }

  #carryOut(order: PmiOrder): void {
    const { rank, consume, reply, note } = order;
    this.orders++;
    this.waits.delete(rank);
    const unread = this.unread(rank);
    if (consume < 1 || consume > unread.length)
      throw new Error(`order consumes ${String(consume)} of ${String(unread.length)}`);
    this.#unread.set(rank, unread.subarray(consume));
    this.#replies.set(rank, (this.#replies.get(rank) ?? '') + reply);
    if (note !== null) this.journal = Buffer.concat([this.journal, note]);
    this.engine.carriedOut(rank);
    if (this.unread(rank).length > 0) this.peek(rank);
  }
}
