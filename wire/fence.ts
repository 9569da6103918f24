// One node's part in the fences of a job: a pure state machine over the job's tree of sandboxes, keyed by fence number.
//
// Up go contributions (a subtree's puts, once all of it has entered the fence), down come results (all puts of the
// fence). The root completes fences in order. All messages are facts: they may be lost with their connection, repeated
// or late, and any node may forget everything but its own local contributions, which its owner replays from the
// journal. On a connection the child says which results it has, the parent which contributions it needs; what either
// side lacks is sent again. A node that knows a result answers a parent that forgot it with the result itself, since
// merging is idempotent; so what children contributed is dropped as soon as the result is known.
// It knows no sockets, no clocks and no keys: deltas are opaque encoded bytes.
import { DeltaError, checkDelta, joinDeltas, uniteDeltas } from './kvs.ts';

export type FenceUp =
  | { kind: 'hello'; have: number } // results of fences 1..have are known here
  | { kind: 'contribution'; fence: number; delta: Buffer }
  | { kind: 'failed'; fence: number; message: string }
  | { kind: 'absent'; fence: number }; // from this fence on nobody of this subtree takes part

export type FenceDown =
  | { kind: 'welcome'; need: number } // contributions to fences above need are wanted
  | { kind: 'result'; fence: number; delta: Buffer }
  | { kind: 'failed'; fence: number; message: string };

export type FenceEffect =
  | { to: 'parent'; message: FenceUp }
  | { to: 'child'; child: number; message: FenceDown }
  | { to: 'local'; outcome: FenceOutcome };

/** Handed to the local ranks in the order of fences, each once in the life of this object. */
export type FenceOutcome =
  { kind: 'done'; fence: number; delta: Buffer } | { kind: 'failed'; fence: number; message: string };

export type FenceShape = { readonly children: readonly number[]; readonly isRoot: boolean };

export type FenceSnapshot = {
  readonly have: number;
  readonly parentWelcomed: boolean;
  /** Ordinals of children that have not contributed to fence have+1. */
  readonly waitingForChildren: readonly number[];
  readonly waitingForLocal: boolean;
  readonly heldBytes: number;
};

type Part = { readonly delta: Buffer } | { readonly failed: string };

/** One contributor: the local ranks, or the subtree of one child. */
class Member {
  readonly parts = new Map<number, Part>();
  absentFrom = Number.POSITIVE_INFINITY;

  covers(fence: number): boolean {
    return fence >= this.absentFrom || this.parts.has(fence);
  }
}

class Child extends Member {
  welcomed = false;
  have = 0; // as announced on this connection, raised by what was sent since
  knew = 0; // the most it ever announced: up to there its contributions may be whole results
}

/** A subtree is never this many fences ahead of its parent, whatever the parent forgot. */
const maxFencesAhead = 1_000_000;

export class FenceNode {
  readonly #isRoot: boolean;
  readonly #children = new Map<number, Child>();
  readonly #local = new Member();
  /** Outcomes known, 1..have. A leaf keeps only the failures: its own contributions answer a parent that forgot. */
  readonly #outcomes = new Map<number, Part>();
  #have = 0;
  #parentWelcomed = false;
  #nextUp = Number.POSITIVE_INFINITY;
  #absentSent = false;

  constructor(shape: FenceShape) {
    this.#isRoot = shape.isRoot;
    for (const ordinal of shape.children) this.#children.set(ordinal, new Child());
  }

  /** All local ranks entered this fence; their puts. Also called for each past fence when replayed from a journal. */
  localContribution(fence: number, delta: Buffer): FenceEffect[] {
    return this.#contributed(this.#local, fence, { delta });
  }

  /** The local ranks can never enter this fence: it fails for everybody. */
  localFailed(fence: number, message: string): FenceEffect[] {
    return this.#contributed(this.#local, fence, { failed: message });
  }

  /** From this fence on no local rank takes part, and none is waited for. */
  localAbsent(fence: number): FenceEffect[] {
    this.#local.absentFrom = Math.min(this.#local.absentFrom, fence);
    return this.#advance([]);
  }

  childHello(ordinal: number, have: number): FenceEffect[] {
    const child = this.#children.get(ordinal);
    if (child === undefined) return [];
    // A late hello of an older connection must not raise what the newer one said.
    child.have = child.welcomed ? Math.min(child.have, have) : have;
    child.knew = Math.max(child.knew, have);
    child.welcomed = true;
    const effects: FenceEffect[] = [
      { to: 'child', child: ordinal, message: { kind: 'welcome', need: this.#have } },
    ];
    for (let fence = child.have + 1; fence <= this.#have; fence++) this.#tell(ordinal, child, fence, effects);
    return effects;
  }

  childContribution(ordinal: number, fence: number, delta: Uint8Array): FenceEffect[] {
    const child = this.#children.get(ordinal);
    if (child === undefined) return [];
    try {
      checkDelta(delta);
    } catch (error) {
      if (!(error instanceof DeltaError)) throw error;
      return this.#contributed(child, fence, {
        failed: `${error.code}: sandbox ${String(ordinal)}: ${error.message}`,
      });
    }
    return this.#contributed(child, fence, { delta: joinDeltas([delta]) });
  }

  childFailed(ordinal: number, fence: number, message: string): FenceEffect[] {
    const child = this.#children.get(ordinal);
    return child === undefined ? [] : this.#contributed(child, fence, { failed: message });
  }

  childAbsent(ordinal: number, fence: number): FenceEffect[] {
    const child = this.#children.get(ordinal);
    if (child === undefined || fence < 1) return [];
    child.absentFrom = Math.min(child.absentFrom, fence);
    return this.#advance([]);
  }

  /** The connection is gone; what the child contributed stays true. */
  childLost(ordinal: number): void {
    const child = this.#children.get(ordinal);
    if (child !== undefined) child.welcomed = false;
  }

  /** A new connection to the parent stands. */
  parentConnected(): FenceEffect[] {
    this.parentLost();
    return this.#isRoot ? [] : [this.#hello()];
  }

  parentWelcome(need: number): FenceEffect[] {
    if (this.#isRoot) return [];
    // Only the lowest need of a connection counts: a late welcome of an older one must not hide what is missing.
    this.#nextUp = Math.max(1, Math.min(this.#nextUp, need + 1));
    this.#parentWelcomed = true;
    this.#absentSent = false;
    return this.#advance([]);
  }

  parentResult(fence: number, delta: Uint8Array): FenceEffect[] {
    try {
      checkDelta(delta);
    } catch (error) {
      if (!(error instanceof DeltaError)) throw error;
      return this.parentFailed(fence, `${error.code}: parent: ${error.message}`);
    }
    return this.#told(fence, { delta: joinDeltas([delta]) });
  }

  parentFailed(fence: number, message: string): FenceEffect[] {
    return this.#told(fence, { failed: message });
  }

  parentLost(): void {
    this.#parentWelcomed = false;
    this.#absentSent = false;
    this.#nextUp = Number.POSITIVE_INFINITY;
  }

  snapshot(): FenceSnapshot {
    const next = this.#have + 1;
    let heldBytes = 0;
    for (const held of [
      this.#outcomes,
      this.#local.parts,
      ...[...this.#children.values()].map((child) => child.parts),
    ]) {
      for (const part of held.values()) heldBytes += 'delta' in part ? part.delta.length : part.failed.length;
    }
    return {
      have: this.#have,
      parentWelcomed: this.#parentWelcomed,
      waitingForChildren: [...this.#children]
        .filter(([, child]) => !child.covers(next))
        .map(([ordinal]) => ordinal),
      waitingForLocal: !this.#local.covers(next),
      heldBytes,
    };
  }

  get #isLeaf(): boolean {
    return this.#children.size === 0;
  }

  #hello(): FenceEffect {
    return { to: 'parent', message: { kind: 'hello', have: this.#have } };
  }

  #contributed(member: Member, fence: number, part: Part): FenceEffect[] {
    const known = member instanceof Child ? Math.max(this.#have, member.knew) : fence;
    if (!Number.isSafeInteger(fence) || fence < 1 || fence > known + maxFencesAhead) return [];
    if (fence <= this.#have && !(this.#isLeaf && member === this.#local)) return [];
    const standing = member.parts.get(fence);
    if (standing !== undefined && 'failed' in standing) return []; // the first failure stands
    member.parts.set(fence, part);
    return this.#advance([]);
  }

  /** The parent told an outcome. One beyond the next means that a message went missing: ask again. */
  #told(fence: number, outcome: Part): FenceEffect[] {
    if (this.#isRoot || fence <= this.#have) return [];
    if (fence > this.#have + 1) return [this.#hello()];
    return this.#advance(this.#settle(outcome, []));
  }

  #settle(outcome: Part, effects: FenceEffect[]): FenceEffect[] {
    const fence = ++this.#have;
    if (!this.#isLeaf || 'failed' in outcome) this.#outcomes.set(fence, outcome);
    if (!this.#isLeaf) this.#local.parts.delete(fence);
    for (const child of this.#children.values()) child.parts.delete(fence);
    for (const [ordinal, child] of this.#children) {
      if (child.welcomed && child.have < fence) this.#tell(ordinal, child, fence, effects);
    }
    effects.push({
      to: 'local',
      outcome:
        'delta' in outcome
          ? { kind: 'done', fence, delta: outcome.delta }
          : { kind: 'failed', fence, message: outcome.failed },
    });
    return effects;
  }

  #tell(ordinal: number, child: Child, fence: number, effects: FenceEffect[]): void {
    const outcome = this.#outcomes.get(fence);
    if (outcome === undefined) return;
    child.have = fence;
    effects.push({
      to: 'child',
      child: ordinal,
      message:
        'delta' in outcome
          ? { kind: 'result', fence, delta: outcome.delta }
          : { kind: 'failed', fence, message: outcome.failed },
    });
  }

  #advance(effects: FenceEffect[]): FenceEffect[] {
    if (this.#isRoot) {
      for (let part = this.#subtree(this.#have + 1); part !== null; part = this.#subtree(this.#have + 1)) {
        this.#settle(part, effects);
      }
      return effects;
    }
    if (!this.#parentWelcomed) return effects;
    const absentFrom = this.#absentFrom();
    for (; this.#nextUp < absentFrom; this.#nextUp++) {
      const fence = this.#nextUp;
      const part = fence <= this.#have ? this.#known(fence) : this.#subtree(fence);
      if (part === null) break;
      effects.push({
        to: 'parent',
        message:
          'delta' in part
            ? { kind: 'contribution', fence, delta: part.delta }
            : { kind: 'failed', fence, message: part.failed },
      });
    }
    if (!this.#absentSent && absentFrom < Number.POSITIVE_INFINITY && this.#nextUp >= absentFrom) {
      this.#absentSent = true;
      effects.push({ to: 'parent', message: { kind: 'absent', fence: absentFrom } });
    }
    return effects;
  }

  /** What to tell a parent that forgot a fence whose outcome is known here; null until a journal is replayed. */
  #known(fence: number): Part | null {
    return this.#outcomes.get(fence) ?? this.#local.parts.get(fence) ?? null;
  }

  /** The merged contribution of this whole subtree to a fence, a failure as soon as one is known, or null: not yet. */
  #subtree(fence: number): Part | null {
    const deltas: Buffer[] = [];
    let whole = true;
    let overlap = false;
    for (const member of this.#members()) {
      const part = member.parts.get(fence);
      if (part === undefined) {
        if (fence < member.absentFrom) whole = false;
      } else if ('failed' in part) return part;
      else {
        deltas.push(part.delta);
        if (member instanceof Child && fence <= member.knew) overlap = true;
      }
    }
    if (!whole || deltas.length === 0) return null;
    return { delta: overlap ? uniteDeltas(deltas) : joinDeltas(deltas) };
  }

  #absentFrom(): number {
    let from = 0;
    for (const member of this.#members()) from = Math.max(from, member.absentFrom);
    return from;
  }

  *#members(): Iterable<Member> {
    yield this.#local;
    yield* this.#children.values();
  }
}
