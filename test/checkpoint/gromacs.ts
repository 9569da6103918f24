// GROMACS (scripts/applications.sh) on 864 atoms of argon, told to come to the same to the last digit (-reprod), and what of its files
// shows whether a run was harmed. It knows nothing of who disturbs it.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';
import { programs } from '../agent/harness.ts';

const checkout = new URL('../../', import.meta.url).pathname;
export const applications = `${programs}/applications`;
const gromacs = `${applications}/gromacs/usr`;
const libraries = `LD_LIBRARY_PATH=${programs}/lib:${gromacs}/lib/x86_64-linux-gnu`;
/** Energies are told once in so many steps. */
const toldEvery = 500;

/** Unpacks them, once a machine. */
export function bringApplications(): void {
  const { status, stderr } = spawnSync(`${checkout}scripts/applications.sh`, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`scripts/applications.sh brings no GROMACS and no PVM: ${stderr}`);
}

/** A directory of its own, where every job may write. */
export class Argon implements Disposable {
  readonly #steps: number;
  readonly #directory: string;

  constructor(steps: number) {
    this.#steps = steps;
    this.#directory = mkdtempSync('/var/tmp/muster-argon-');
    chmodSync(this.#directory, 0o777);
    this.#prepare();
  }

  /** What ranks run; its results bear the name. */
  command(name: string): string[] {
    const own = `${this.#directory}/${name}`;
    const files = ['-s', `${this.#directory}/topol.tpr`, '-deffnm', own, '-c', `${own}.gro`];
    const fixed = '-reprod -nb cpu -ntomp 1 -dlb no -pin off -notunepme'.split(' ');
    return ['/usr/bin/env', libraries, `${gromacs}/bin/mdrun_mpi.mpich`, ...files, ...fixed];
  }

  /** How often it has told energies. */
  told(name: string): number {
    return this.#energies(name).length;
  }

  isOver(name: string): boolean {
    return existsSync(`${this.#directory}/${name}.gro`);
  }

  /** Energies of all steps, what they come to in the end, and where every atom is. */
  expectSame(one: string, other: string): void {
    expect(this.told(other)).toBeGreaterThan(this.#steps / toldEvery);
    expect(this.#energies(one)).toEqual(this.#energies(other));
    const atoms = (name: string): string => readFileSync(`${this.#directory}/${name}.gro`, 'utf8');
    expect(atoms(one)).toBe(atoms(other));
  }

  [Symbol.dispose](): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** Blocks of numbers in its log. */
  #energies(name: string): string[] {
    const path = `${this.#directory}/${name}.log`;
    const lines = existsSync(path) ? readFileSync(path, 'utf8').split('\n') : [];
    return lines.filter((line) => /^\s+-?\d+\.\d+e[+-]\d+(?:\s+-?\d+\.\d+e[+-]\d+)*$/.test(line));
  }

  /** Atoms on a lattice, at 94 K: where Rahman began. */
  #prepare(): void {
    const write = (name: string, text: string): void => writeFileSync(`${this.#directory}/${name}`, text);
    const [cells, edge] = [6, 0.5256];
    const corners = [
      [0, 0, 0],
      [0.5, 0.5, 0],
      [0.5, 0, 0.5],
      [0, 0.5, 0.5],
    ] as const;
    const along = Array.from({ length: cells }, (_, at) => at);
    const places = along.flatMap((x) =>
      along.flatMap((y) =>
        along.flatMap((z) => corners.map(([dx, dy, dz]) => [x + dx, y + dy, z + dz].map((at) => at * edge))),
      ),
    );
    const number = (value: number): string => value.toFixed(3).padStart(8);
    const atoms = places.map((place, at) => {
      const id = String(at + 1).padStart(5);
      return `${id}${'AR'.padEnd(5)}${'AR'.padStart(5)}${id}${place.map(number).join('')}\n`;
    });
    const box = Array(3)
      .fill((cells * edge).toFixed(5))
      .join(' ');
    write('conf.gro', `argon\n${String(atoms.length)}\n${atoms.join('')}${box}\n`);
    write('residuetypes.dat', 'AR Other\n');
    write(
      'topol.top',
      `[ defaults ]\n1 1 no 1.0 1.0\n[ atomtypes ]\nAR 18 39.948 0.0 A 0.0062220 0.0000096960
[ moleculetype ]\nAR 1\n[ atoms ]\n1 AR 1 AR AR 1 0.0 39.948\n[ system ]\nargon\n[ molecules ]\nAR ${String(atoms.length)}\n`,
    );
    write(
      'md.mdp',
      `integrator = md\ndt = 0.002\nnsteps = ${String(this.#steps)}\ncutoff-scheme = Verlet\ncoulombtype = cut-off\nrcoulomb = 1.0
rvdw = 1.0\nrlist = 1.1\nnstlist = 10\nverlet-buffer-tolerance = -1\ngen_vel = yes\ngen_temp = 94\ngen_seed = 42
nstlog = ${String(toldEvery)}\nnstenergy = ${String(toldEvery)}\n`,
    );
    const made = spawnSync(
      `${gromacs}/bin/gmx`,
      ['grompp', '-f', 'md.mdp', '-c', 'conf.gro', '-p', 'topol.top', '-o', 'topol.tpr', '-maxwarn', '2'],
      {
        cwd: this.#directory,
        env: { LD_LIBRARY_PATH: libraries.split('=')[1], GMXLIB: this.#directory },
      },
    );
    expect(made.stderr.toString()).not.toContain('Fatal error');
  }
}
