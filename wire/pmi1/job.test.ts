// PMI engines and fence nodes together: a job of several sandboxes whose agents lose their memory and connections.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FenceNode, type FenceDown, type FenceEffect, type FenceUp } from '../fence.ts';
import { decodeDelta, encodeDelta } from '../kvs.ts';
import type { PmiAction } from './action.ts';
import { TestSandbox, kvsname, shapeOf } from './test-sandbox.ts';

const put = (key: string, value: string): string => `cmd=put kvsname=${kvsname} key=${key} value=${value}\n`;
const get = (key: string): string => `cmd=get kvsname=${kvsname} key=${key}\n`;

/** Sandboxes in a chain or star under sandbox 0, `ranksEach` ranks each. */
class TestJob {
  readonly sandboxes: TestSandbox[];
  readonly #ranksEach: number;
  readonly #parents: readonly number[];
  #nodes: FenceNode[] = [];
  readonly #queue: (() => void)[] = [];
  readonly #life: number[];

  constructor(parents: readonly number[], ranksEach: number, onRankDeath: 'Abort' | 'Continue' = 'Abort') {
    this.#parents = parents;
    this.#ranksEach = ranksEach;
    this.#life = parents.map(() => 0);
    this.#nodes = parents.map((_, i) => this.#born(i));
    const size = parents.length * ranksEach;
    this.sandboxes = parents.map((_, i) => {
      const ranks = Array.from({ length: ranksEach }, (_unused, n) => i * ranksEach + n);
      const contribute = (action: PmiAction): void => {
        this.#contribute(i, action);
      };
      return new TestSandbox(shapeOf(ranks, { size, onRankDeath }), { contribute });
    });
    for (let i = 1; i < parents.length; i++) this.#carry(i, this.#node(i).parentConnected());
  }

  sandboxOf(rank: number): TestSandbox {
    return this.sandboxes[Math.floor(rank / this.#ranksEach)] as TestSandbox;
  }

  restart(i: number): void {
    this.#life[i] = (this.#life[i] as number) + 1;
    this.#nodes[i] = this.#born(i);
    this.sandboxes[i]?.restart();
    this.#parents.forEach((parent, child) => {
      if (child > 0 && (child === i || parent === i)) this.#carry(child, this.#node(child).parentConnected());
    });
  }

  /** Delivers one message in flight; false when there is none. */
  deliver(): boolean {
    const message = this.#queue.shift();
    message?.();
    return message !== undefined;
  }

  #born(i: number): FenceNode {
    const children = this.#parents.flatMap((parent, child) => (child > 0 && parent === i ? [child] : []));
    return new FenceNode({ children, isRoot: i === 0 });
  }

  #node(i: number): FenceNode {
    return this.#nodes[i] as FenceNode;
  }

  #contribute(i: number, action: PmiAction): void {
    const node = this.#node(i);
    if (action.kind === 'fence')
      this.#carry(i, node.localContribution(action.fence, encodeDelta(action.puts)));
    if (action.kind === 'fenceFailed') this.#carry(i, node.localFailed(action.fence, action.message));
    if (action.kind === 'absent') this.#carry(i, node.localAbsent(action.fence));
  }

  /** Messages of a life that is over are lost. */
  #send(from: number, to: number, deliver: () => void): void {
    const [fromLife, toLife] = [this.#life[from], this.#life[to]];
    this.#queue.push(() => {
      if (this.#life[from] === fromLife && this.#life[to] === toLife) deliver();
    });
  }

  #carry(i: number, effects: FenceEffect[]): void {
    for (const effect of effects) {
      if (effect.to === 'parent') {
        const parent = this.#parents[i] as number;
        const { message } = effect;
        this.#send(i, parent, () => {
          this.#carry(parent, this.#tellParent(i, message));
        });
      } else if (effect.to === 'child') {
        const { child, message } = effect;
        this.#send(i, child, () => {
          this.#carry(child, this.#tellChild(child, message));
        });
      } else {
        const sandbox = this.sandboxes[i] as TestSandbox;
        const { outcome } = effect;
        sandbox.perform(
          outcome.kind === 'done'
            ? sandbox.engine.fenceDone(outcome.fence, [decodeDelta(outcome.delta)])
            : sandbox.engine.fenceFailed(outcome.fence, outcome.message),
        );
      }
    }
  }

  #tellParent(i: number, message: FenceUp): FenceEffect[] {
    const parent = this.#node(this.#parents[i] as number);
    switch (message.kind) {
      case 'hello':
        return parent.childHello(i, message.have);
      case 'contribution':
        return parent.childContribution(i, message.fence, message.delta);
      case 'failed':
        return parent.childFailed(i, message.fence, message.message);
      case 'absent':
        return parent.childAbsent(i, message.fence);
    }
  }

  #tellChild(i: number, message: FenceDown): FenceEffect[] {
    const node = this.#node(i);
    switch (message.kind) {
      case 'welcome':
        return node.parentWelcome(message.need);
      case 'result':
        return node.parentResult(message.fence, message.delta);
      case 'failed':
        return node.parentFailed(message.fence, message.message);
    }
  }
}

/** Evenly spread numbers below 10,000. */
function picksOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * 10_000);
  };
}

describe('a job of several sandboxes', () => {
  it('exchanges its cards over several fences, whichever agents are lost at whichever moments', () => {
    fc.assert(
      fc.property(
        fc.constantFrom([0], [0, 0], [0, 0, 1], [0, 0, 0, 1, 1, 2]),
        fc.integer({ min: 1, max: 3 }),
        fc.integer(),
        (parents, ranksEach, seed) => {
          const pick = picksOf(seed);
          const job = new TestJob(parents, ranksEach);
          const size = parents.length * ranksEach;
          const script = (rank: number): [string, string][] =>
            [1, 2, 3].flatMap((round): [string, string][] => [
              [
                put(`card-${String(round)}-${String(rank)}`, `v${String(rank)}`),
                'cmd=put_result rc=0 msg=success\n',
              ],
              ['cmd=barrier_in\n', 'cmd=barrier_out\n'],
              ...Array.from({ length: size }, (_, peer): [string, string] => [
                get(`card-${String(round)}-${String(peer)}`),
                `cmd=get_result rc=0 msg=success value=v${String(peer)}\n`,
              ]),
            ]);
          const place = new Array<number>(size).fill(0);
          const asked = new Array<boolean>(size).fill(false);
          const replies = new Array<string>(size).fill('');
          const end = script(0).length;
          for (let step = 0; place.some((at) => at < end); step++) {
            expect(step, 'the job hangs').toBeLessThan(50_000);
            const chance = pick();
            if (chance < 300) job.restart(chance % parents.length);
            else if (chance < 5000) job.deliver();
            else {
              const rank = chance % size;
              const [request, expected] = script(rank)[place[rank] as number] ?? ['', ''];
              if (request === '') continue;
              if (asked[rank] !== true) job.sandboxOf(rank).write(rank, request);
              asked[rank] = true;
              replies[rank] += job.sandboxOf(rank).read(rank);
              if (replies[rank] === '') continue;
              expect(replies[rank]).toBe(expected);
              place[rank] = (place[rank] as number) + 1;
              asked[rank] = false;
              replies[rank] = '';
            }
          }
        },
      ),
      { numRuns: 150 },
    );
  });

  it('whose only rank of a sandbox dies frees the others with an error, and they go on', () => {
    for (const restart of [false, true]) {
      const job = new TestJob([0, 0, 1], 1, 'Continue');
      const settle = (): void => {
        while (job.deliver());
        if (restart) for (const i of [2, 0, 1]) job.restart(i);
        while (job.deliver());
      };
      job.sandboxOf(0).write(0, 'cmd=barrier_in\n');
      job.sandboxOf(1).write(1, 'cmd=barrier_in\n');
      settle();
      job.sandboxOf(2).gone(2, false);
      settle();
      const failed = 'cmd=barrier_out rc=-1 msg=rank_2_died_in_or_before_fence_1\n';
      expect(job.sandboxOf(0).read(0) + job.sandboxOf(1).read(1)).toBe(failed + failed);
      for (const rank of [0, 1]) {
        job.sandboxOf(rank).write(rank, put(`card-${String(rank)}`, 'v'));
        job.sandboxOf(rank).write(rank, 'cmd=barrier_in\n');
      }
      settle();
      for (const rank of [0, 1]) {
        job.sandboxOf(rank).write(rank, get(`card-${String(1 - rank)}`));
        settle();
        expect(job.sandboxOf(rank).read(rank)).toBe(
          'cmd=put_result rc=0 msg=success\ncmd=barrier_out\ncmd=get_result rc=0 msg=success value=v\n',
        );
      }
    }
  });
});
