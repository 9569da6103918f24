// Which processors the bound ranks of this node have: each further rank takes the core or socket on which the least lies
// already, whatever sandbox or group that belongs to, and shares only when there are more ranks than cores. Choosing is
// pure; the ledger is kept in memory and filled again from the sandboxes' directories by an agent that starts anew.
import { unitsOf, type Topology } from './topology.ts';

/** The processors of each rank of a sandbox, in the order of its ranks. */
export type Binding = readonly (readonly number[])[];

/** null when ranks are not bound. A rank that may use several processors counts on each of them for its share. */
export function bindingOf(
  kind: string,
  topology: Topology,
  ranks: number,
  taken: Iterable<Binding>,
): Binding | null {
  if (kind !== 'Core' && kind !== 'Socket') return null;
  const load = new Map(topology.processors.map(({ cpu }) => [cpu, 0]));
  const put = (cpus: readonly number[]) => {
    for (const cpu of cpus) load.set(cpu, (load.get(cpu) ?? 0) + 1 / cpus.length);
  };
  for (const binding of taken) binding.forEach(put);
  const units = unitsOf(kind, topology);
  const meanOf = (cpus: readonly number[]) =>
    cpus.reduce((sum, cpu) => sum + (load.get(cpu) ?? 0), 0) / cpus.length;
  return Array.from({ length: ranks }, () => {
    const means = units.map(meanOf);
    const least = Math.min(...means);
    const unit = units[means.findIndex((mean) => mean - least < 1e-6)] ?? [];
    put(unit);
    return unit;
  });
}

/** As /sys writes lists of processors: 0-1,4. */
export function cpuListOf(cpus: readonly number[]): string {
  const runs: [number, number][] = [];
  for (const cpu of [...cpus].sort((a, b) => a - b)) {
    const last = runs.at(-1);
    if (last?.[1] === cpu - 1) last[1] = cpu;
    else runs.push([cpu, cpu]);
  }
  return runs.map(([from, to]) => (from === to ? String(from) : `${String(from)}-${String(to)}`)).join(',');
}

export class ProcessorLedger {
  readonly #topology: Topology;
  readonly #taken = new Map<string, Binding>();

  constructor(topology: Topology) {
    this.#topology = topology;
  }

  /** Sets processors aside for the ranks of a sandbox. */
  take(key: string, kind: string, ranks: number): Binding | null {
    const binding = bindingOf(kind, this.#topology, ranks, this.#taken.values());
    if (binding) this.hold(key, binding);
    return binding;
  }

  /** What a sandbox was given before this agent was started. */
  hold(key: string, binding: Binding): void {
    this.#taken.set(key, binding);
  }

  release(key: string): void {
    this.#taken.delete(key);
  }
}
