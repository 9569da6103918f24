// Changes on their way to the hub: keys, not events. Whatever happens to a sandbox until the next turn of the loop goes
// out as one fact, read at that moment; with a new session everything goes out anew.
import type { Facts, SandboxId, Sent } from '../wire/agent-types.ts';
import type { ImageKeeper } from './checkpoint/image-keeper.ts';
import { keyOf } from './sandbox-id.ts';
import type { Sandboxes } from './sandboxes.ts';

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
  }

  changed(id: SandboxId): void {
    this.#dirty.set(keyOf(id), id);
    this.#schedule();
  }

  /** What is desired has been taken into account. */
  touched(): void {
    this.#schedule();
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
