/**
 * How many cores each sandbox uses of late, from the processor time that agents tell of it now and then. An agent tells nothing while
 * nothing is used, so what is long unsaid counts as nothing. Pure but for what it remembers.
 */
interface Told {
  readonly cpuUs: number;
  readonly atMs: number;
  readonly cores: number;
}

/** Agents look every five seconds. */
const silentMs = 12_000;

export class RecentUse {
  readonly #told = new Map<string, Told>();

  coresOf(key: string, cpuUs: number, nowMs: number): number {
    const before = this.#told.get(key);
    if (!before || cpuUs < before.cpuUs) {
      this.#told.set(key, { cpuUs, atMs: nowMs, cores: 0 });
      return 0;
    }
    if (cpuUs === before.cpuUs) return nowMs - before.atMs > silentMs ? 0 : before.cores;
    const seconds = Math.max(0.2, Math.min(silentMs, nowMs - before.atMs) / 1000);
    const cores = (cpuUs - before.cpuUs) / 1e6 / seconds;
    this.#told.set(key, { cpuUs, atMs: nowMs, cores });
    return cores;
  }

  keepOnly(keys: ReadonlySet<string>): void {
    for (const key of this.#told.keys()) if (!keys.has(key)) this.#told.delete(key);
  }
}
