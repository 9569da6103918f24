/**
 * The newest value of everything that the page shows, numbered by the order in which it changed: what a reader has not seen yet is
 * what changed after the number it has. A slow reader costs nothing, since it is told only the newest values. What is gone is
 * remembered for a while; a reader who was away for longer begins anew. It knows neither objects nor users.
 */
export interface Entry {
  readonly text: string;
  /** What a reader must be allowed to see it. */
  readonly scope: string;
}

interface Kept extends Entry {
  readonly revision: number;
}

export interface News {
  /** Values are JSON texts. */
  readonly set: readonly (readonly [key: string, text: string])[];
  readonly gone: readonly string[];
  readonly all: boolean;
  readonly revision: number;
}

export class Ledger {
  readonly #entries = new Map<string, Kept>();
  readonly #gone = new Map<string, { readonly revision: number; readonly scope: string }>();
  readonly #mostGone: number;
  /** A reader that has seen nothing has 0. */
  #revision = 1;
  /** Everything that went after this revision is remembered. */
  #floor = 0;

  constructor(mostGone = 4096) {
    this.#mostGone = mostGone;
  }

  get revision(): number {
    return this.#revision;
  }

  get size(): number {
    return this.#entries.size;
  }

  keys(): Iterable<string> {
    return this.#entries.keys();
  }

  set(key: string, { text, scope }: Entry): void {
    const before = this.#entries.get(key);
    if (before?.text === text && before.scope === scope) return;
    this.#gone.delete(key);
    // At the end of the map, so that what changed last comes last.
    this.#entries.delete(key);
    this.#entries.set(key, { text, scope, revision: ++this.#revision });
  }

  remove(key: string): void {
    const before = this.#entries.get(key);
    if (!before) return;
    this.#entries.delete(key);
    this.#gone.set(key, { revision: ++this.#revision, scope: before.scope });
    for (const [oldest, { revision }] of this.#gone) {
      if (this.#gone.size <= this.#mostGone) break;
      this.#gone.delete(oldest);
      this.#floor = revision;
    }
  }

  /** What must be allowed to see all that is news since then. */
  scopesSince(revision: number): ReadonlySet<string> {
    const scopes = new Set<string>();
    for (const entry of this.#entries.values()) if (entry.revision > revision) scopes.add(entry.scope);
    return scopes;
  }

  since(revision: number, maySee: (scope: string) => boolean): News {
    const all = revision < this.#floor || revision > this.#revision || revision <= 0;
    const after = all ? 0 : revision;
    const set: [string, string][] = [];
    for (const [key, entry] of this.#entries) {
      if (entry.revision > after && maySee(entry.scope)) set.push([key, entry.text]);
    }
    const gone = all
      ? []
      : [...this.#gone].filter(([, one]) => one.revision > after && maySee(one.scope)).map(([key]) => key);
    return { set, gone, all, revision: this.#revision };
  }
}
