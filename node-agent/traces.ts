// Spans of what this node does for launches, checkpoints, restores and migrations, read from the sandboxes' facts when they change:
// from the word of the hub to rank-init, to the ranks; how long a sandbox was held, and until its image was safe; each step of its
// way to another node. What an earlier agent had seen begin is not told. Ids follow from uids (wire/trace.ts).
import { launchOf, saveOf, spanIdOf, type Trace, traceIdOf } from '../wire/trace.ts';
import type { Sandbox } from './sandbox.ts';

const nsPerMs = 1e6;

/** States of a move that last, and what they are called; the others wait for the hub's word. */
const moveSteps: Readonly<Record<string, string>> = {
  Preparing: 'prepare',
  Leaving: 'leave',
  Placing: 'come',
  Placed: 'run',
  Following: 'follow',
};
const gaveUp = ['Stayed', 'Refused', 'Lost'];

interface MoveSeen {
  readonly migrationUid: string;
  readonly state: string;
  readonly sinceMs: number;
}

export class AgentTraces {
  readonly #trace: Trace;
  readonly #node: string;
  readonly #startedMs: number;
  readonly #seenMs = new Map<string, number>();
  readonly #launched = new Set<string>();
  readonly #saves = new Set<string>();
  readonly #moves = new Map<string, MoveSeen>();

  constructor(trace: Trace, node: string, nowMs = Date.now()) {
    this.#trace = trace;
    this.#node = node;
    this.#startedMs = nowMs;
  }

  look(sandbox: Sandbox, nowMs = Date.now()): void {
    const { key, processes } = sandbox;
    const isNew = !this.#seenMs.has(key);
    if (isNew) this.#seenMs.set(key, nowMs);
    // What came as it was is launched nowhere; what was brought back before this agent was there, is not told.
    if (sandbox.spec.restore) {
      if (isNew && processes !== null) this.#launched.add(key);
      this.#restored(sandbox, nowMs);
    } else if (!sandbox.move) this.#launch(sandbox);
    this.#save(sandbox, nowMs);
    this.#move(sandbox, nowMs);
  }

  forget(key: string): void {
    this.#seenMs.delete(key);
    this.#launched.delete(key);
    this.#moves.delete(key);
    for (const save of this.#saves) if (save.startsWith(`${key} `)) this.#saves.delete(save);
  }

  #launch({ key, id, spec, startedNs, processes }: Sandbox): void {
    const readyMs = startedNs / nsPerMs;
    const ranksMs = (processes?.startedNs ?? 0) / nsPerMs;
    if (this.#launched.has(key) || ranksMs === 0 || readyMs === 0) return;
    this.#launched.add(key);
    const seenMs = Math.min(this.#seenMs.get(key) ?? readyMs, readyMs);
    if (ranksMs < this.#startedMs) return;
    const whole = launchOf(id.groupUid, id.incarnation);
    const step = `sandbox ${String(id.ordinal)}.${String(id.incarnation)}`;
    const common = { traceId: traceIdOf(whole), attributes: this.#attributesOf(id.ordinal, spec) };
    const own = spanIdOf(whole, step);
    this.#trace({
      ...common,
      spanId: own,
      parentId: spanIdOf(whole, 'agents'),
      name: 'sandbox',
      startMs: seenMs,
      endMs: Math.max(ranksMs, seenMs),
    });
    this.#trace({
      ...common,
      spanId: spanIdOf(whole, `${step} build`),
      parentId: own,
      name: 'build',
      startMs: seenMs,
      endMs: readyMs,
    });
    this.#trace({
      ...common,
      spanId: spanIdOf(whole, `${step} start`),
      parentId: own,
      name: 'start',
      startMs: readyMs,
      endMs: ranksMs,
    });
  }

  /** In the trace of the launch that goes on from there. */
  #restored({ key, id, spec, processes }: Sandbox, nowMs: number): void {
    if (this.#launched.has(key) || (processes?.startedNs ?? 0) === 0) return;
    this.#launched.add(key);
    const whole = launchOf(id.groupUid, id.incarnation);
    this.#trace({
      traceId: traceIdOf(whole),
      spanId: spanIdOf(whole, `sandbox ${String(id.ordinal)}.${String(id.incarnation)}`),
      parentId: spanIdOf(whole, 'agents'),
      name: 'restore',
      startMs: this.#seenMs.get(key) ?? nowMs,
      endMs: nowMs,
      attributes: {
        ...this.#attributesOf(id.ordinal, spec),
        'muster.checkpoint': spec.restore?.checkpoint ?? '',
      },
    });
  }

  #move({ key, id, spec, move }: Sandbox, nowMs: number): void {
    const before = this.#moves.get(key);
    if (!move || (before?.state === move.state && before.migrationUid === move.migrationUid)) return;
    const { migrationUid, state, reason, message, bytes } = move;
    this.#moves.set(key, { migrationUid, state, sinceMs: nowMs });
    const name = moveSteps[before?.state ?? ''];
    if (!before || name === undefined || before.migrationUid !== migrationUid) return;
    const whole = saveOf(migrationUid);
    this.#trace({
      traceId: traceIdOf(whole),
      spanId: spanIdOf(whole, `sandbox ${String(id.ordinal)}.${String(id.incarnation)} ${name}`),
      parentId: spanIdOf(whole),
      name,
      startMs: before.sinceMs,
      endMs: nowMs,
      attributes: { ...this.#attributesOf(id.ordinal, spec), 'muster.moved.bytes': bytes },
      ...(gaveUp.includes(state) ? { error: `${reason}: ${message}` } : {}),
    });
  }

  #save({ key, id, spec, checkpoint }: Sandbox, nowMs: number): void {
    if (!checkpoint || !['Saved', 'Aborted'].includes(checkpoint.state) || checkpoint.frozenNs === 0) return;
    const save = `${key} ${checkpoint.checkpointUid}`;
    const frozenMs = checkpoint.frozenNs / nsPerMs;
    if (this.#saves.has(save) || frozenMs < this.#startedMs) return;
    this.#saves.add(save);
    const whole = saveOf(checkpoint.checkpointUid);
    const step = `sandbox ${String(id.ordinal)}`;
    const common = { traceId: traceIdOf(whole), parentId: spanIdOf(whole), startMs: frozenMs };
    const attributes = { ...this.#attributesOf(id.ordinal, spec), 'muster.image.bytes': checkpoint.bytes };
    const error =
      checkpoint.state === 'Aborted' ? { error: `${checkpoint.reason}: ${checkpoint.message}` } : {};
    const thawedMs = checkpoint.thawedNs > 0 ? checkpoint.thawedNs / nsPerMs : nowMs;
    this.#trace({
      ...common,
      spanId: spanIdOf(whole, `${step} hold`),
      name: 'hold',
      endMs: thawedMs,
      attributes,
      ...error,
    });
    this.#trace({
      ...common,
      spanId: spanIdOf(whole, `${step} save`),
      name: 'save',
      endMs: nowMs,
      attributes,
      ...error,
    });
  }

  #attributesOf(ordinal: number, { groupName, namespace, ranks }: Sandbox['spec']) {
    return {
      'muster.group': `${namespace}/${groupName}`,
      'muster.node': this.#node,
      'muster.sandbox': ordinal,
      'muster.ranks': ranks,
    };
  }
}
