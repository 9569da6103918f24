// Spans of what this node does for launches, checkpoints and migrations, read from the sandboxes' facts when they change: from the
// word of the hub to rank-init, to the ranks; how long a sandbox was held, and until its image was safe. What an earlier agent had
// seen begin is not told. Ids follow from uids (wire/trace.ts).
import { launchOf, saveOf, spanIdOf, type Trace, traceIdOf } from '../wire/trace.ts';
import type { Sandbox } from './sandbox.ts';

const nsPerMs = 1e6;

export class AgentTraces {
  readonly #trace: Trace;
  readonly #node: string;
  readonly #startedMs: number;
  readonly #seenMs = new Map<string, number>();
  readonly #launched = new Set<string>();
  readonly #saves = new Set<string>();

  constructor(trace: Trace, node: string, nowMs = Date.now()) {
    this.#trace = trace;
    this.#node = node;
    this.#startedMs = nowMs;
  }

  look(sandbox: Sandbox, nowMs = Date.now()): void {
    if (!this.#seenMs.has(sandbox.key)) this.#seenMs.set(sandbox.key, nowMs);
    this.#launch(sandbox);
    this.#save(sandbox, nowMs);
  }

  forget(key: string): void {
    this.#seenMs.delete(key);
    this.#launched.delete(key);
    for (const save of this.#saves) if (save.startsWith(`${key} `)) this.#saves.delete(save);
  }

  #launch({ key, id, spec, startedNs, processes }: Sandbox): void {
    const readyMs = startedNs / nsPerMs;
    const ranksMs = (processes?.startedNs ?? 0) / nsPerMs;
    if (this.#launched.has(key) || ranksMs === 0 || readyMs === 0) return;
    this.#launched.add(key);
    const seenMs = Math.min(this.#seenMs.get(key) ?? readyMs, readyMs);
    if (ranksMs < this.#startedMs) return;
    const restored = spec.restore?.image?.checkpointUid;
    const whole = restored === undefined ? launchOf(id.groupUid, id.incarnation) : saveOf(restored);
    const step = `sandbox ${String(id.ordinal)}.${String(id.incarnation)}`;
    const common = { traceId: traceIdOf(whole), attributes: this.#attributesOf(id.ordinal, spec) };
    const own = spanIdOf(whole, step);
    this.#trace({
      ...common,
      spanId: own,
      parentId: restored === undefined ? spanIdOf(whole, 'agents') : spanIdOf(whole),
      name: restored === undefined ? 'sandbox' : 'restore',
      startMs: seenMs,
      endMs: Math.max(ranksMs, seenMs),
    });
    if (restored !== undefined) return;
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
