// Temperatures, power and accelerators, where the kernel or a vendor's tool shows them. Reading a sensor may take a while (some
// ask firmware), so they are read beside the main loop, one round at a time, and rarely. Nothing here is ever an error: a
// machine without sensors has none.
import { readdir, readFile } from 'node:fs/promises';
import type { Sensor } from '../../wire/agent-types.ts';
import { boundedRun } from './bounded-run.ts';
import { steadyMs } from './node-sampler.ts';

const mostSensors = 64;

export class Sensors {
  readonly #root: string;
  #values: Sensor[] = [];
  #reading = false;
  #hasTool = true;
  readonly #energy = new Map<string, { readonly atMs: number; readonly microjoules: number }>();

  constructor(root = '/sys') {
    this.#root = root;
  }

  get values(): Sensor[] {
    return this.#values;
  }

  async read(): Promise<void> {
    if (this.#reading) return;
    this.#reading = true;
    try {
      const all = [
        ...(await this.#temperatures()),
        ...(await this.#power()),
        ...(await this.#accelerators()),
      ];
      this.#values = all.slice(0, mostSensors);
    } finally {
      this.#reading = false;
    }
  }

  async #temperatures(): Promise<Sensor[]> {
    const found: Sensor[] = [];
    for (const zone of await entries(`${this.#root}/class/thermal`, /^thermal_zone\d+$/)) {
      const at = `${this.#root}/class/thermal/${zone}`;
      const value = await number(`${at}/temp`);
      const type = (await text(`${at}/type`)) ?? zone;
      if (value !== null)
        found.push({ name: `${type} ${zone.slice(12)}`, unit: 'Celsius', value: value / 1000 });
    }
    for (const chip of await entries(`${this.#root}/class/hwmon`, /^hwmon\d+$/)) {
      const at = `${this.#root}/class/hwmon/${chip}`;
      const name = (await text(`${at}/name`)) ?? chip;
      for (const input of await entries(at, /^temp\d+_input$/)) {
        const value = await number(`${at}/${input}`);
        const label = (await text(`${at}/${input.replace('_input', '_label')}`)) ?? input.slice(0, -6);
        if (value !== null) found.push({ name: `${name} ${label}`, unit: 'Celsius', value: value / 1000 });
      }
    }
    return found;
  }

  /** Of processor packages, as the energy they took since the reading before. */
  async #power(): Promise<Sensor[]> {
    const found: Sensor[] = [];
    for (const zone of await entries(`${this.#root}/class/powercap`, /^intel-rapl:\d+$/)) {
      const at = `${this.#root}/class/powercap/${zone}`;
      const microjoules = await number(`${at}/energy_uj`);
      if (microjoules === null) continue;
      const now = { atMs: steadyMs(), microjoules };
      const before = this.#energy.get(zone);
      this.#energy.set(zone, now);
      if (!before || microjoules < before.microjoules) continue; // it wraps around
      const watts = (microjoules - before.microjoules) / 1000 / Math.max(1, now.atMs - before.atMs);
      found.push({ name: (await text(`${at}/name`)) ?? zone, unit: 'Watt', value: watts });
    }
    return found;
  }

  async #accelerators(): Promise<Sensor[]> {
    if (!this.#hasTool) return [];
    const outcome = await boundedRun({
      file: 'nvidia-smi',
      args: [
        '--query-gpu=index,utilization.gpu,memory.used,temperature.gpu,power.draw',
        '--format=csv,noheader,nounits',
      ],
      env: { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C' },
      timeoutMs: 10_000,
      outputBytes: 64 * 1024,
    }).outcome;
    if (outcome.kind === 'not-started') this.#hasTool = false;
    return outcome.kind === 'exited' && outcome.code === 0 ? acceleratorsOf(outcome.output) : [];
  }
}

/** Of nvidia-smi's table; a figure that the card does not tell is left out. */
export function acceleratorsOf(table: string): Sensor[] {
  const units = ['Percent', 'MiB', 'Celsius', 'Watt'];
  const names = ['utilization', 'memory', 'temperature', 'power'];
  return table.split('\n').flatMap((line) => {
    const [index, ...values] = line.split(',').map((word) => word.trim());
    if (index === undefined || !/^\d+$/.test(index)) return [];
    return values.flatMap((word, i) => {
      const value = Number(word);
      const [name, unit] = [names[i], units[i]];
      if (word === '' || !Number.isFinite(value) || name === undefined || unit === undefined) return [];
      return [{ name: `gpu${index} ${name}`, unit, value }];
    });
  });
}

async function entries(path: string, pattern: RegExp): Promise<string[]> {
  try {
    return (await readdir(path)).filter((name) => pattern.test(name)).sort();
  } catch {
    return [];
  }
}

async function text(path: string): Promise<string | null> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch {
    return null;
  }
}

async function number(path: string): Promise<number | null> {
  const found = await text(path);
  const value = found === null || found === '' ? NaN : Number(found);
  return Number.isFinite(value) ? value : null;
}
