// Sandboxes that have ended and are kept for their output alone: a node that has long been used has thousands of them. Nothing is in
// memory of one but its last fact, which also lies in its directory, so that the next agent reads nothing else of it; whoever asks for
// one has it made anew from there. It does not know when a sandbox may go to rest.
import type { SandboxFact, SandboxId, Sent } from '../wire/agent-types.ts';
import { keyOf } from './sandbox-id.ts';
import type { SandboxDirectory } from './sandbox-directory.ts';

export class KeptSandboxes {
  /** As JSON, which takes least. */
  readonly #facts = new Map<string, string>();

  /** One that an earlier agent put to rest; false: it did not. */
  find(key: string, directory: SandboxDirectory): boolean {
    const fact = directory.read('rest');
    if (fact?.id == null || keyOf(fact.id as SandboxId) !== key) return false;
    this.#facts.set(key, JSON.stringify(fact));
    return true;
  }

  add(key: string, directory: SandboxDirectory, fact: Sent<SandboxFact>): void {
    directory.write('rest', fact);
    directory.unlink('.ending'); // room for what will not be written any more
    this.#facts.set(key, JSON.stringify(fact));
  }

  has(key: string): boolean {
    return this.#facts.has(key);
  }

  /** It is made anew, or gone. */
  delete(key: string): boolean {
    return this.#facts.delete(key);
  }

  factOf(key: string): Sent<SandboxFact> | null {
    const text = this.#facts.get(key);
    return text === undefined ? null : (JSON.parse(text) as Sent<SandboxFact>);
  }

  keys(): string[] {
    return [...this.#facts.keys()];
  }

  *facts(): Generator<Sent<SandboxFact>> {
    for (const text of this.#facts.values()) yield JSON.parse(text) as Sent<SandboxFact>;
  }
}
