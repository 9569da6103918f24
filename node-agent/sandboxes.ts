// All sandboxes of this node. What the hub desires and what is on disk and in the kernel are brought together here, key by
// key; each sandbox then looks after itself. A sandbox that the hub's full list does not name is ended and forgotten; an
// incarnation older than one that is known is refused.
import { mkdirSync, readdirSync } from 'node:fs';
import { setTimeout as after } from 'node:timers/promises';
import type { Desired, ImageId, SandboxFact, SandboxId, SandboxSpec, Sent } from '../wire/agent-types.ts';
import { loadWire, type Wire } from '../wire/load.ts';
import { wholeSpec } from '../wire/whole-spec.ts';
import { messageOf } from './agent-error.ts';
import type { Backend } from './backend.ts';
import type { Want } from './plan.ts';
import { idOfKey, isValidId, keyOf, slotOf } from './sandbox-id.ts';
import { isPreparedAnew } from './prepared.ts';
import { KeptSandboxes } from './kept-sandboxes.ts';
import { SandboxDirectory } from './sandbox-directory.ts';
import { Sandbox } from './sandbox.ts';
import { isEngineCgroup, tidyUp } from './checkpoint/criu-process.ts';
import { until } from './until.ts';

const wants: readonly Want[] = ['Prepare', 'Run', 'Freeze', 'End', 'Kill', 'Keep'];
const measureEveryMs = 5000;
const foundWithinMs = 5000;
const measureLimitsEveryMs = 1000;
/** Whoever started it may still be reading what it wrote. */
const restAfterMs = 10_000;

export interface SandboxesEvents {
  changed: (id: SandboxId) => void;
  forgotten: (id: SandboxId) => void;
  event: (id: SandboxId, type: 'Normal' | 'Warning', reason: string, message: string) => void;
  /** A sandbox is here whose ranks wait for a lease. */
  leaseWanted: () => void;
}

export class Sandboxes {
  readonly #backend: Backend;
  readonly #events: SandboxesEvents;
  readonly #root: string;
  readonly #sandboxes = new Map<string, Sandbox>();
  readonly #kept = new KeptSandboxes();
  /** Of the sandboxes, those that may have something running. */
  readonly #live = new Set<Sandbox>();
  /** The key of the sandbox in each place; at rest or not. */
  readonly #slots = new Map<string, string>();
  /** Those that may go to rest. */
  readonly #tired = new Set<Sandbox>();
  #resting: NodeJS.Timeout | null = null;
  /** Specs that wait until the older incarnation of their place is gone. */
  readonly #waiting = new Map<string, SandboxSpec>();
  readonly #refused = new Map<string, Sent<SandboxFact>>();
  #measuring: NodeJS.Timeout | null = null;
  #measureMs = 0;
  revision = 0;
  /** Told of every sandbox that is new here. */
  readonly onAdded = new Set<() => void>();

  constructor(backend: Backend, events: SandboxesEvents) {
    this.#backend = backend;
    this.#events = events;
    this.#root = `${backend.config.stateDir}/sandboxes`;
  }

  /** Finds what earlier agents left: directories are taken up, cgroups without one are emptied and removed. */
  async recover(): Promise<void> {
    mkdirSync(this.#root, { recursive: true, mode: 0o700 });
    let wire: Wire | undefined;
    for (const name of readdirSync(this.#root)) {
      const directory = this.#directoryOf(name);
      const id = idOfKey(name);
      if (id !== null && this.#kept.find(name, directory)) {
        this.#slots.set(slotOf(id), name);
        continue;
      }
      const spec = directory.read('spec');
      if (id !== null && spec !== null && isValidId(spec.id) && keyOf(spec.id) === name)
        this.#add(name, wholeSpec(spec, (wire ??= loadWire())), directory, true);
      else {
        this.#backend.log.warn({ directory: directory.path }, 'directory without a whole spec is removed');
        directory.remove();
      }
    }
    for (const key of this.#backend.cgroups?.list() ?? []) {
      if (!this.#sandboxes.has(key)) await this.#sweep(key);
    }
    await this.sweepNetworks();
    for (const sandbox of this.#sandboxes.values()) sandbox.poke();
    const found = Promise.all([...this.#sandboxes.values()].map((sandbox) => sandbox.found));
    const late = new AbortController(); // a rank-init that does not answer must not keep the others from the hub
    await Promise.race([found, after(foundWithinMs, undefined, { signal: late.signal })]);
    late.abort();
  }

  get all(): readonly Sandbox[] {
    return [...this.#sandboxes.values()];
  }

  /** Without those of which only output is kept. */
  get running(): number {
    let count = 0;
    for (const sandbox of this.#sandboxes.values()) if (sandbox.stage !== 'Ended') count += 1;
    return count;
  }

  get ranksRunning(): number {
    let ranks = 0;
    for (const sandbox of this.#sandboxes.values()) ranks += sandbox.ranksRunning;
    return ranks;
  }

  /** Images that sandboxes of this node have begun and not finished. */
  get imagesInWork(): ImageId[] {
    return [...this.#sandboxes.values()].flatMap(({ id, checkpoint }) =>
      checkpoint === null || ['Saved', 'Aborted'].includes(checkpoint.state)
        ? []
        : [{ checkpointUid: checkpoint.checkpointUid, ordinal: id.ordinal }],
    );
  }

  /** Of sandboxes that have left, or come. */
  get moving(): ImageId[] {
    return [...this.#sandboxes.values()].flatMap(({ id, movingUid }) =>
      movingUid === null ? [] : [{ checkpointUid: movingUid, ordinal: id.ordinal }],
    );
  }

  /** Nothing of one that is at rest. */
  awake(id: SandboxId): Sandbox | null {
    return this.#sandboxes.get(keyOf(id)) ?? null;
  }

  find(id: SandboxId | null): Sandbox | null {
    if (id === null) return null;
    const key = keyOf(id);
    return this.#sandboxes.get(key) ?? this.#wake(key);
  }

  /** Waits a moment for a sandbox that the hub tells of at the same time. */
  async whenThere(id: SandboxId | null, withinMs: number): Promise<Sandbox | null> {
    const there = Promise.withResolvers<void>();
    const look = () => {
      if (this.find(id)) there.resolve();
    };
    const timer = setTimeout(there.resolve, withinMs);
    this.onAdded.add(look);
    look();
    await there.promise;
    this.onAdded.delete(look);
    clearTimeout(timer);
    return this.find(id);
  }

  facts(): Sent<SandboxFact>[] {
    return [
      ...[...this.#sandboxes.values()].map((sandbox) => sandbox.fact()),
      ...this.#kept.facts(),
      ...this.#refused.values(),
    ];
  }

  factOf(id: SandboxId): Sent<SandboxFact> | null {
    const key = keyOf(id);
    return this.#sandboxes.get(key)?.fact() ?? this.#kept.factOf(key) ?? this.#refused.get(key) ?? null;
  }

  desire(desired: Desired): void {
    this.revision = desired.revision;
    const named = new Set<string>();
    for (const spec of desired.sandboxes) {
      if (!isValidId(spec.id)) {
        this.#backend.log.warn({ id: spec.id }, 'sandbox with an impossible name is not taken');
        continue;
      }
      named.add(keyOf(spec.id));
      this.#wanted(spec, spec.id);
    }
    for (const id of desired.removed) this.#unwanted(keyOf(id), id);
    if (!desired.full) return;
    for (const sandbox of [...this.#sandboxes.values()])
      if (!named.has(sandbox.key)) this.#unwanted(sandbox.key, sandbox.id);
    for (const key of this.#kept.keys()) if (!named.has(key)) this.#unwanted(key, idOfKey(key)!);
    for (const key of [...this.#waiting.keys()]) if (!named.has(key)) this.#waiting.delete(key);
    for (const [key, fact] of [...this.#refused]) {
      if (!named.has(key) && fact.id) this.#unwanted(key, fact.id as SandboxId);
    }
  }

  stop(): void {
    if (this.#measuring) clearInterval(this.#measuring);
    if (this.#resting) clearTimeout(this.#resting);
    for (const sandbox of [...this.#sandboxes.values()]) this.#rest(sandbox);
    for (const sandbox of this.#sandboxes.values()) sandbox.stop();
  }

  #wanted(spec: SandboxSpec, id: SandboxId): void {
    const key = keyOf(id);
    const want = wants.find((each) => each === spec.want) ?? 'Unknown';
    if (want === 'Keep' && this.#kept.has(key)) return;
    const known = this.#sandboxes.get(key) ?? this.#wake(key);
    if (known && isPreparedAnew(known.spec, spec)) {
      this.#waiting.set(key, spec);
      known.desire('Gone', null);
      return;
    }
    if (known) {
      known.desire(want, want === 'Keep' ? null : spec); // of which the hub says no more then
      return;
    }
    const siblingKey = this.#slots.get(slotOf(id)) ?? '';
    const sibling = this.#sandboxes.get(siblingKey) ?? this.#wake(siblingKey);
    if (sibling && sibling.id.incarnation > id.incarnation) {
      const message = `MUSTER_OLD_INCARNATION: node ${this.#backend.config.node} has incarnation ${String(sibling.id.incarnation)} of sandbox ${slotOf(id)}; ${String(id.incarnation)} is refused`;
      this.#refused.set(key, { id, state: 'Failed', reason: 'SandboxFailed', message });
      this.#events.changed(id);
      return;
    }
    if (sibling) {
      this.#waiting.set(key, spec);
      sibling.desire('Gone', null);
      return;
    }
    const directory = this.#directoryOf(key, true);
    try {
      directory.create();
      directory.write('spec', spec);
    } catch (error) {
      directory.remove();
      const message = `MUSTER_NO_ROOM: node ${this.#backend.config.node} cannot write down sandbox ${slotOf(id)}: ${messageOf(error)}; free some space in ${this.#root}`;
      this.#backend.log.error({ sandbox: key, err: error }, 'sandbox not taken');
      this.#refused.set(key, { id, state: 'Failed', reason: 'SandboxFailed', message });
      this.#events.changed(id);
      return;
    }
    this.#add(key, spec, directory).desire(want, null);
    if (spec.lease !== null) this.#events.leaseWanted();
    this.#schedule();
  }

  #unwanted(key: string, id: SandboxId): void {
    this.#waiting.delete(key);
    const known = this.#sandboxes.get(key);
    if (known) return known.desire('Gone', null);
    if (this.#kept.delete(key)) {
      this.#directoryOf(key).remove();
      this.#vacate(key, id);
    }
    this.#refused.delete(key);
    this.#events.forgotten(id);
  }

  #directoryOf(key: string, isNew = false): SandboxDirectory {
    return new SandboxDirectory(`${this.#root}/${key}`, isNew);
  }

  #vacate(key: string, id: SandboxId): void {
    if (this.#slots.get(slotOf(id)) === key) this.#slots.delete(slotOf(id));
  }

  /** One that is at rest is asked for. */
  #wake(key: string): Sandbox | null {
    if (!this.#kept.has(key)) return null;
    const directory = this.#directoryOf(key);
    const spec = directory.read('spec');
    if (spec === null) return null;
    this.#kept.delete(key);
    const sandbox = this.#add(key, wholeSpec(spec, loadWire()), directory, true);
    sandbox.desire('Keep', null);
    return sandbox;
  }

  /** All at once, a while after the first of them has ended. */
  #tire(sandbox: Sandbox): void {
    if (!isTired(sandbox)) return;
    this.#tired.add(sandbox);
    this.#resting ??= setTimeout(() => {
      this.#resting = null;
      for (const each of this.#tired) this.#rest(each);
      this.#tired.clear();
    }, restAfterMs);
  }

  #rest(sandbox: Sandbox): void {
    const { key, directory } = sandbox;
    if (this.#sandboxes.get(key) !== sandbox || !isTired(sandbox) || sandbox.hasLeftover()) return;
    try {
      this.#kept.add(key, directory, sandbox.fact());
    } catch (error) {
      this.#backend.log.warn({ sandbox: key, err: error }, 'sandbox that has ended is not put to rest');
      return;
    }
    sandbox.stop();
    this.#sandboxes.delete(key);
  }

  #add(key: string, spec: SandboxSpec, directory: SandboxDirectory, isFound = false): Sandbox {
    const sandbox = new Sandbox(
      key,
      spec,
      directory,
      this.#backend,
      {
        changed: (each) => {
          this.#events.changed(each.id);
          this.#tire(each);
        },
        forgotten: (each) => {
          this.#forgotten(each);
        },
        event: (each, type, reason, message) => {
          this.#events.event(each.id, type, reason, message);
        },
      },
      isFound,
    );
    this.#sandboxes.set(key, sandbox);
    this.#slots.set(slotOf(sandbox.id), key);
    if (!sandbox.ended) this.#live.add(sandbox);
    this.#schedule();
    for (const listener of this.onAdded) listener();
    return sandbox;
  }

  #forgotten(sandbox: Sandbox): void {
    this.#sandboxes.delete(sandbox.key);
    this.#live.delete(sandbox);
    this.#tired.delete(sandbox);
    this.#vacate(sandbox.key, sandbox.id);
    this.#events.forgotten(sandbox.id);
    this.#schedule();
    for (const [key, spec] of this.#waiting) {
      if (spec.id === null || slotOf(spec.id) !== slotOf(sandbox.id)) continue;
      this.#waiting.delete(key);
      this.#wanted(spec, spec.id);
    }
  }

  /** Usage is measured only while something is there to be measured, each second only where a limit asks for it. */
  #schedule(): void {
    for (const sandbox of this.#live) if (sandbox.ended) this.#live.delete(sandbox);
    const limited = [...this.#live].some((sandbox) => sandbox.spec.cpuTimeLimitSeconds > 0);
    const everyMs = this.#live.size === 0 ? 0 : limited ? measureLimitsEveryMs : measureEveryMs;
    if (everyMs === this.#measureMs) return;
    this.#measureMs = everyMs;
    if (this.#measuring) clearInterval(this.#measuring);
    this.#measuring =
      everyMs === 0
        ? null
        : setInterval(() => {
            for (const sandbox of this.#live) sandbox.measure();
            this.#schedule();
          }, everyMs);
  }

  /** Takes away links of sandboxes that are not there any more, and networks that nobody is on: of an earlier agent, or of this one. */
  async sweepNetworks(): Promise<void> {
    const live = [...this.#sandboxes.values()].filter(({ ended }) => !ended);
    try {
      await this.#backend.network?.sweep(live.map(({ key }) => key));
    } catch (error) {
      this.#backend.log.error({ err: error }, 'networks that nobody is on cannot be removed');
    }
  }

  async #sweep(key: string): Promise<void> {
    const cgroup = this.#backend.cgroups?.of(key);
    if (!cgroup) return;
    this.#backend.log.warn({ cgroup: key }, 'cgroup without a sandbox is emptied and removed');
    try {
      // An engine of checkpoints that an earlier agent left at work: made to fail, it lets go of the ranks by itself.
      if (isEngineCgroup(key)) await tidyUp(this.#backend.native, cgroup);
      cgroup.kill();
      await until(() => !cgroup.populated(), 10_000, `cgroup ${key} to become empty`);
      await until(() => cgroup.remove(), 10_000, `cgroup ${key} to be removable`);
    } catch (error) {
      this.#backend.log.error({ cgroup: key, err: error }, 'cgroup cannot be emptied and removed');
    }
  }
}

/** Its group has ended, and nothing that it knows but its last fact will be asked for. */
const isTired = ({ stage, want, checkpoint, move }: Sandbox): boolean =>
  stage === 'Ended' && want === 'Keep' && checkpoint === null && move === null;
