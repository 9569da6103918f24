// Changes on their way to the hub: keys, not events. Whatever happens to a sandbox until the next turn of the loop goes
// out as one fact, read at that moment; with a new session everything goes out anew. How a launch goes on is told a little later: of
// ranks that end at once that is one fact less, at a time when somebody waits for the next.
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Facts, SandboxId, Sent } from '../wire/agent-types.ts';
import type { ImageKeeper } from './checkpoint/image-keeper.ts';
import { keyOf } from './sandbox-id.ts';
import type { Sandbox } from './sandbox.ts';
import type { Sandboxes } from './sandboxes.ts';

const launchSettlesMs = 5;

/** It is being launched, or runs, or its ranks have ended well, and there is nothing that others do upon it. */
const isUnderWay = ({ stage, processes, isEnding, isFrozen, checkpoint, move }: Sandbox): boolean =>
  (stage === 'New' || stage === 'Live') &&
  !isEnding && !isFrozen && checkpoint === null && move === null &&
  processes?.hasFailed !== true; // prettier-ignore

/** What is told by the end of this turn of the loop has gone out then: gRPC writes in the next. */
export async function sent(): Promise<void> {
  await nextTurn();
  await nextTurn();
}

export class OutboundFacts {
  readonly #sandboxes: Sandboxes;
  readonly #images: ImageKeeper;
  readonly #send: (facts: Sent<Facts>) => void;
  readonly #dirty = new Map<string, SandboxId>();
  readonly #sent = new Map<string, string>();
  #forgotten: SandboxId[] = [];
  #revision = -1;
  #open = false;
  #scheduled = false;
  #settling: NodeJS.Timeout | null = null;

  constructor(sandboxes: Sandboxes, images: ImageKeeper, send: (facts: Sent<Facts>) => void) {
    this.#sandboxes = sandboxes;
    this.#images = images;
    images.listeners.add(() => {
      this.#schedule();
    });
    this.#send = send;
  }

  /** A new session: all of it. */
  open(): void {
    this.#open = true;
    this.#dirty.clear();
    this.#sent.clear();
    this.#forgotten = [];
    const facts = this.#sandboxes.facts();
    for (const fact of facts) if (fact.id) this.#sent.set(keyOf(fact.id as SandboxId), JSON.stringify(fact));
    this.#revision = this.#sandboxes.revision;
    this.#send({
      full: true,
      sandboxes: facts,
      images: this.#images.all(),
      desiredRevision: this.#revision,
    });
  }

  close(): void {
    this.#open = false;
    if (this.#settling) clearTimeout(this.#settling);
    this.#settling = null;
  }

  changed(id: SandboxId): void {
    this.#dirty.set(keyOf(id), id);
    const sandbox = this.#sandboxes.awake(id);
    if (sandbox && isUnderWay(sandbox)) this.touched();
    else this.#schedule();
  }

  /** What is desired has been taken into account. */
  touched(): void {
    this.#settling ??= setTimeout(() => {
      this.#settling = null;
      this.#schedule();
    }, launchSettlesMs);
  }

  forgotten(id: SandboxId): void {
    this.#dirty.delete(keyOf(id));
    this.#forgotten.push(id);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled || !this.#open) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (!this.#open) return;
    if (this.#settling) clearTimeout(this.#settling);
    this.#settling = null;
    const sandboxes = [];
    for (const [key, id] of this.#dirty) {
      const fact = this.#sandboxes.factOf(id);
      if (!fact) continue;
      const text = JSON.stringify(fact);
      if (this.#sent.get(key) === text) continue;
      this.#sent.set(key, text);
      sandboxes.push(fact);
    }
    this.#dirty.clear();
    const forgotten = this.#forgotten.splice(0);
    for (const id of forgotten) this.#sent.delete(keyOf(id));
    const { revision } = this.#sandboxes;
    const images = this.#images.fresh();
    const nothing = sandboxes.length === 0 && forgotten.length === 0 && images.length === 0;
    if (nothing && revision === this.#revision) return;
    this.#revision = revision;
    this.#send({ full: false, sandboxes, forgotten, images, desiredRevision: revision });
  }
}
