/**
 * Ctrl-P Ctrl-Q on a terminal that passes every key on: the way out that ends nothing. A Ctrl-P waits for the next key, and goes
 * with it when that is another one. Pure.
 */
const ctrlP = 0x10;
const ctrlQ = 0x11;

export class DetachKeys {
  #held = false;

  /** The keys to pass on; `detach`: the user wants out, and what he typed after that is dropped. */
  type(keys: Buffer): { pass: Buffer; detach: boolean } {
    const pass: number[] = [];
    for (const key of keys) {
      if (this.#held && key === ctrlQ) return { pass: Buffer.from(pass), detach: true };
      if (this.#held) pass.push(ctrlP);
      this.#held = key === ctrlP;
      if (!this.#held) pass.push(key);
    }
    return { pass: Buffer.from(pass), detach: false };
  }
}
