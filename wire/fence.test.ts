import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FenceNode, type FenceDown, type FenceEffect, type FenceUp } from './fence.ts';
import { decodeDelta, encodeDelta } from './kvs.ts';

/**
 * A job's tree under a hostile world: nodes forget everything but their journal, connections break at any time and
 * lose what was in flight or deliver it late to the next life, messages are doubled.
 */
class Job {
  readonly size: number;
  readonly fences: number;
  readonly #parents: readonly number[];
  readonly #nodes: FenceNode[] = [];
  readonly #entered: number[]; // the journal: fences entered by the local ranks
  readonly #passed: number[]; // the journal: fences the local ranks were released from
  readonly #known: number[]; // outcomes seen in this life
  readonly #up: FenceUp[][]; // in flight from node i to its parent, in order
  readonly #down: FenceDown[][]; // in flight to node i
  readonly #linked: boolean[];
  readonly #late: (() => FenceEffect[])[] = []; // messages of dead connections
  readonly #lateAt: number[] = [];

  constructor(parents: readonly number[], fences: number) {
    this.size = parents.length;
    this.fences = fences;
    this.#parents = parents;
    const each = <T>(make: () => T): T[] => parents.map(make);
    this.#entered = each(() => 0);
    this.#passed = each(() => 0);
    this.#known = each(() => 0);
    this.#up = each(() => []);
    this.#down = each(() => []);
    this.#linked = each(() => false);
    for (let i = 0; i < this.size; i++) this.#nodes.push(this.#born(i));
  }

  #born(i: number): FenceNode {
    const children = this.#parents.flatMap((parent, child) => (child > 0 && parent === i ? [child] : []));
    return new FenceNode({ children, isRoot: i === 0 });
  }

  #node(i: number): FenceNode {
    return this.#nodes[i] as FenceNode;
  }

  puts(i: number, fence: number): Map<string, string> {
    return new Map(i % 3 === 2 ? [] : [[`card-${String(i)}-${String(fence)}`, `value of ${String(i)}`]]);
  }

  #carry(i: number, effects: FenceEffect[]): void {
    for (const effect of effects) {
      if (effect.to === 'parent') {
        if (this.#linked[i] === true) (this.#up[i] as FenceUp[]).push(effect.message);
      } else if (effect.to === 'child') {
        if (this.#linked[effect.child] === true)
          (this.#down[effect.child] as FenceDown[]).push(effect.message);
      } else {
        const { outcome } = effect;
        expect(outcome.kind).toBe('done');
        if (outcome.kind !== 'done') continue;
        expect(outcome.fence).toBe((this.#known[i] as number) + 1);
        this.#known[i] = outcome.fence;
        expect(Math.min(...this.#entered), 'completed before everyone entered').toBeGreaterThanOrEqual(
          outcome.fence,
        );
        const all = new Map<string, string>();
        for (let n = 0; n < this.size; n++)
          for (const [key, value] of this.puts(n, outcome.fence)) all.set(key, value);
        expect(new Map([...decodeDelta(outcome.delta)].sort())).toEqual(new Map([...all].sort()));
        this.#passed[i] = Math.max(this.#passed[i] as number, outcome.fence);
      }
    }
  }

  enter(i: number): void {
    if (this.#entered[i] !== this.#passed[i] || this.#entered[i] === this.fences) return;
    const fence = (this.#entered[i] as number) + 1;
    this.#entered[i] = fence;
    this.#carry(i, this.#node(i).localContribution(fence, encodeDelta(this.puts(i, fence))));
  }

  connect(i: number): void {
    if (i === 0 || this.#linked[i] === true) return;
    this.#linked[i] = true;
    this.#carry(i, this.#node(i).parentConnected());
  }

  cut(i: number, lateness: number): void {
    if (i === 0 || this.#linked[i] === false) return;
    this.#linked[i] = false;
    const parent = this.#parents[i] as number;
    const [up, down] = [this.#up[i] as FenceUp[], this.#down[i] as FenceDown[]];
    if (lateness % 2 === 1) {
      for (const message of up) this.#keepLate(parent, () => this.#tellParent(i, message));
      for (const message of down) this.#keepLate(i, () => this.#tellChild(i, message));
    }
    this.#up[i] = [];
    this.#down[i] = [];
    if (lateness % 3 !== 0) this.#node(parent).childLost(i);
    if (lateness % 5 !== 0) this.#node(i).parentLost();
  }

  #keepLate(at: number, deliver: () => FenceEffect[]): void {
    this.#late.push(deliver);
    this.#lateAt.push(at);
  }

  deliverLate(pick: number): void {
    if (this.#late.length === 0) return;
    const index = pick % this.#late.length;
    const [deliver] = this.#late.splice(index, 1);
    const [at] = this.#lateAt.splice(index, 1);
    if (deliver !== undefined && at !== undefined) this.#carry(at, deliver());
  }

  kill(i: number, lateness: number): void {
    this.cut(i, lateness);
    for (let child = 1; child < this.size; child++) if (this.#parents[child] === i) this.cut(child, lateness);
    this.#nodes[i] = this.#born(i);
    this.#known[i] = 0;
    for (let fence = 1; fence <= (this.#entered[i] as number); fence++) {
      this.#carry(i, this.#node(i).localContribution(fence, encodeDelta(this.puts(i, fence))));
    }
  }

  deliver(i: number, twice: boolean): boolean {
    const up = this.#up[i] as FenceUp[];
    const down = this.#down[i] as FenceDown[];
    const first = up.shift();
    if (first !== undefined) {
      const parent = this.#parents[i] as number;
      this.#carry(parent, this.#tellParent(i, first));
      if (twice) this.#carry(parent, this.#tellParent(i, first));
    }
    const second = down.shift();
    if (second !== undefined) {
      this.#carry(i, this.#tellChild(i, second));
      if (twice) this.#carry(i, this.#tellChild(i, second));
    }
    return first !== undefined || second !== undefined;
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

  /** The world turns kind: everything connects, everyone enters, messages arrive. */
  settle(): void {
    for (let round = 0; round < 20 * this.size * (this.fences + 1); round++) {
      let moved = false;
      for (let i = 0; i < this.size; i++) {
        this.connect(i);
        this.enter(i);
        while (this.deliver(i, false)) moved = true;
      }
      if (!moved && this.#known.every((known) => known === this.fences)) return;
    }
  }

  get known(): readonly number[] {
    return this.#known;
  }

  heldBytes(i: number): number {
    return this.#node(i).snapshot().heldBytes;
  }
}

const treeOf = (most: number): fc.Arbitrary<number[]> =>
  fc
    .array(fc.nat(), { maxLength: most, size: 'max' })
    .map((picks) => [0, ...picks.map((pick, index) => pick % (index + 1))]);
const steps = fc.array(fc.record({ op: fc.nat(19), node: fc.nat(), pick: fc.nat(1000) }), {
  maxLength: 300,
  size: 'max',
});

describe('FenceNode', () => {
  // Large trees in an unquiet world; then tiny ones in a world where little but mishaps happens.
  it.each([
    {
      what: 'up to 40 sandboxes',
      most: 39,
      runs: 200,
      calm: { enter: 6, deliver: 13, connect: 15, cut: 17, kill: 18 },
    },
    {
      what: 'up to 4 sandboxes',
      most: 3,
      runs: 1500,
      calm: { enter: 3, deliver: 7, connect: 11, cut: 14, kill: 16 },
    },
  ])(
    'completes every fence everywhere with exactly the union of puts, whatever is forgotten, lost or doubled: $what',
    ({ most, runs, calm }) => {
      fc.assert(
        fc.property(treeOf(most), fc.integer({ min: 1, max: 5 }), steps, (parents, fences, mishaps) => {
          const job = new Job(parents, fences);
          for (let i = 0; i < job.size; i++) job.connect(i);
          for (const { op, node, pick } of mishaps) {
            const i = node % job.size;
            if (op < calm.enter) job.enter(i);
            else if (op < calm.deliver) job.deliver(i, pick % 7 === 0);
            else if (op < calm.connect) job.connect(i);
            else if (op < calm.cut) job.cut(i, pick);
            else if (op < calm.kill) job.kill(i, pick);
            else job.deliverLate(pick);
          }
          job.settle();
          expect(job.known).toEqual(parents.map(() => fences));
        }),
        { numRuns: runs },
      );
    },
  );

  const nothing = Buffer.alloc(0);
  const resultsTo = (effects: FenceEffect[]): number[] =>
    effects.flatMap((effect) =>
      effect.to === 'child' && effect.message.kind === 'result' ? [effect.message.fence] : [],
    );

  it('is not misled by a late hello of the connection before: the child that forgot gets every result', () => {
    const parent = new FenceNode({ children: [1], isRoot: true });
    for (const fence of [1, 2]) {
      parent.localContribution(fence, nothing);
      parent.childContribution(1, fence, nothing);
    }
    expect(resultsTo(parent.childHello(1, 2))).toEqual([]);
    parent.childLost(1);
    parent.childHello(1, 0);
    expect(resultsTo(parent.childHello(1, 2))).toEqual([]);
    parent.childLost(1);
    parent.childHello(1, 2); // late
    expect(resultsTo(parent.childHello(1, 0))).toEqual([1, 2]);
    const restarted = new FenceNode({ children: [1], isRoot: true });
    restarted.childHello(1, 0);
    restarted.childHello(1, 2); // late: both ends have forgotten since
    restarted.localContribution(1, nothing);
    expect(resultsTo(restarted.childContribution(1, 1, nothing))).toEqual([1]);
  });

  it('is not misled by a late welcome of the connection before: the parent that forgot gets every contribution', () => {
    const child = new FenceNode({ children: [], isRoot: false });
    for (const fence of [1, 2, 3]) child.localContribution(fence, nothing);
    child.parentConnected();
    expect(child.parentWelcome(2)).toMatchObject([{ message: { kind: 'contribution', fence: 3 } }]); // late
    expect(child.parentWelcome(0)).toHaveLength(3);
    child.parentConnected();
    child.parentWelcome(0);
    child.parentWelcome(7); // late
    expect(child.localContribution(4, nothing)).toMatchObject([
      { message: { kind: 'contribution', fence: 4 } },
    ]);
  });

  it('asks again when a result is missing before the one that came', () => {
    const child = new FenceNode({ children: [], isRoot: false });
    expect(child.parentResult(2, nothing)).toEqual([{ to: 'parent', message: { kind: 'hello', have: 0 } }]);
    expect(child.parentResult(1, nothing)).toMatchObject([{ to: 'local', outcome: { fence: 1 } }]);
  });

  it('recovers 300 past fences into a root that forgot everything', () => {
    const job = new Job([0, 0, 0, 1, 1, 2], 300);
    job.settle();
    job.kill(0, 0);
    job.kill(1, 0);
    job.settle();
    expect(job.known).toEqual([300, 300, 300, 300, 300, 300]);
  });

  it('holds one copy of the puts on a merge point and its own on a leaf', () => {
    const job = new Job([0, 0, 0, 1, 1], 50);
    job.settle();
    let own = 0;
    let all = 0;
    for (let fence = 1; fence <= 50; fence++) {
      for (let i = 0; i < 5; i++) all += encodeDelta(job.puts(i, fence)).length;
      own += encodeDelta(job.puts(3, fence)).length;
    }
    expect(job.heldBytes(3)).toBe(own);
    expect(job.heldBytes(1)).toBe(all);
    expect(job.heldBytes(0)).toBe(all);
  });

  it('of a job of one sandbox is done at once', () => {
    const node = new FenceNode({ children: [], isRoot: true });
    const delta = encodeDelta(new Map([['k', 'v']]));
    expect(node.localContribution(1, delta)).toEqual([
      { to: 'local', outcome: { kind: 'done', fence: 1, delta } },
    ]);
  });

  it('says whom it waits for', () => {
    const node = new FenceNode({ children: [4, 9], isRoot: true });
    node.childContribution(9, 1, Buffer.alloc(0));
    expect(node.snapshot()).toMatchObject({ have: 0, waitingForChildren: [4], waitingForLocal: true });
  });

  it('tells a failure to everybody at once, in the order of fences, and goes on with the next fence', () => {
    const node = new FenceNode({ children: [1, 2], isRoot: true });
    node.childHello(1, 0);
    expect(node.childFailed(1, 2, 'rank 3 died')).toEqual([]);
    node.localContribution(1, Buffer.alloc(0));
    node.childContribution(1, 1, Buffer.alloc(0));
    const effects = node.childContribution(2, 1, Buffer.alloc(0));
    expect(
      effects.map((effect) =>
        effect.to === 'local' ? effect.outcome.kind : `${effect.to} ${effect.message.kind}`,
      ),
    ).toEqual(['child result', 'done', 'child failed', 'failed']);
    expect(node.childHello(2, 0).slice(1)).toMatchObject([
      { child: 2, message: { kind: 'result', fence: 1 } },
      { child: 2, message: { kind: 'failed', fence: 2, message: 'rank 3 died' } },
    ]);
    node.localContribution(3, Buffer.alloc(0));
    node.childContribution(1, 3, Buffer.alloc(0));
    expect(node.childContribution(2, 3, Buffer.alloc(0)).at(-1)).toMatchObject({
      outcome: { kind: 'done', fence: 3 },
    });
  });

  it('does not wait for a subtree that has nobody left, and says so upward', () => {
    const node = new FenceNode({ children: [1, 2], isRoot: false });
    node.parentConnected();
    node.parentWelcome(0);
    node.childAbsent(1, 1);
    node.localContribution(1, Buffer.alloc(0));
    expect(node.childContribution(2, 1, Buffer.alloc(0))).toMatchObject([
      { to: 'parent', message: { kind: 'contribution', fence: 1 } },
    ]);
    node.localAbsent(2);
    expect(node.childAbsent(2, 2)).toEqual([{ to: 'parent', message: { kind: 'absent', fence: 2 } }]);
    node.parentLost();
    expect(node.parentConnected()).toEqual([{ to: 'parent', message: { kind: 'hello', have: 0 } }]);
    expect(node.parentWelcome(1)).toEqual([{ to: 'parent', message: { kind: 'absent', fence: 2 } }]);
  });

  it('completes nothing when nobody is left anywhere', () => {
    const node = new FenceNode({ children: [1], isRoot: true });
    node.localAbsent(1);
    expect(node.childAbsent(1, 1)).toEqual([]);
  });

  it('fails the fence, naming the sandbox, when a delta is malformed', () => {
    const node = new FenceNode({ children: [7], isRoot: true });
    expect(node.childContribution(7, 1, Buffer.from('garbage'))).toMatchObject([
      {
        to: 'local',
        outcome: {
          kind: 'failed',
          fence: 1,
          message: expect.stringMatching(/MUSTER_DELTA_MALFORMED: sandbox 7: .*byte 0/),
        },
      },
    ]);
  });

  it('ignores strangers and impossible fence numbers', () => {
    const node = new FenceNode({ children: [1], isRoot: true });
    node.localContribution(1, Buffer.alloc(0));
    expect(node.childContribution(5, 1, Buffer.alloc(0))).toEqual([]);
    for (const fence of [0, -1, 0.5, Number.NaN, 2 ** 40])
      expect(node.childContribution(1, fence, Buffer.alloc(0))).toEqual([]);
    expect(node.parentResult(1, Buffer.alloc(0))).toEqual([]);
    expect(node.snapshot()).toMatchObject({ have: 0, waitingForChildren: [1] });
  });
});
