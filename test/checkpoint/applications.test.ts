// Applications that others wrote, and that know nothing of checkpoints: GROMACS, whose results show whether it was harmed (-reprod:
// the same to the last digit as of a run that nobody disturbed), over two nodes and brought back on others; and the examples of PVM
// with their daemon, as CoCheck saved them. Both are unpacked by scripts/applications.sh.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { programs } from '../agent/harness.ts';
import { eventually } from '../contract/eventually.ts';
import { isolated, Scene } from './scene.ts';

const checkout = new URL('../../', import.meta.url).pathname;
const applications = `${programs}/applications`;
let scene: Scene;
let directory: string;

beforeAll(async () => {
  const { status, stderr } = spawnSync(`${checkout}scripts/applications.sh`, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`scripts/applications.sh brings no GROMACS and no PVM: ${stderr}`);
  directory = mkdtempSync('/var/tmp/muster-applications-');
  chmodSync(directory, 0o777);
  scene = await Scene.start(3);
}, 240_000);

afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

const gromacs = `${applications}/gromacs/usr`;
const gromacsLibraries = `LD_LIBRARY_PATH=${programs}/lib:${gromacs}/lib/x86_64-linux-gnu`;
const steps = 10_000;

/** 864 atoms of argon on a lattice, at 94 K: where Rahman began. */
function argon(): string {
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
  writeFileSync(`${directory}/conf.gro`, `argon\n${String(atoms.length)}\n${atoms.join('')}${box}\n`);
  writeFileSync(`${directory}/residuetypes.dat`, 'AR Other\n');
  writeFileSync(
    `${directory}/topol.top`,
    `[ defaults ]\n1 1 no 1.0 1.0\n[ atomtypes ]\nAR 18 39.948 0.0 A 0.0062220 0.0000096960
[ moleculetype ]\nAR 1\n[ atoms ]\n1 AR 1 AR AR 1 0.0 39.948\n[ system ]\nargon\n[ molecules ]\nAR ${String(atoms.length)}\n`,
  );
  writeFileSync(
    `${directory}/md.mdp`,
    `integrator = md\ndt = 0.002\nnsteps = ${String(steps)}\ncutoff-scheme = Verlet\ncoulombtype = cut-off\nrcoulomb = 1.0
rvdw = 1.0\nrlist = 1.1\nnstlist = 10\nverlet-buffer-tolerance = -1\ngen_vel = yes\ngen_temp = 94\ngen_seed = 42
nstlog = 500\nnstenergy = 500\n`,
  );
  const made = spawnSync(
    `${gromacs}/bin/gmx`,
    ['grompp', '-f', 'md.mdp', '-c', 'conf.gro', '-p', 'topol.top', '-o', 'topol.tpr', '-maxwarn', '2'],
    { cwd: directory, env: { LD_LIBRARY_PATH: gromacsLibraries.split('=')[1], GMXLIB: directory } },
  );
  expect(made.stderr.toString()).not.toContain('Fatal error');
  return `${directory}/topol.tpr`;
}

function simulation(input: string, name: string): string[] {
  const files = ['-s', input, '-deffnm', `${directory}/${name}`, '-c', `${directory}/${name}.gro`];
  const fixed = '-reprod -nb cpu -ntomp 1 -dlb no -pin off -notunepme'.split(' ');
  return ['/usr/bin/env', gromacsLibraries, `${gromacs}/bin/mdrun_mpi.mpich`, ...files, ...fixed];
}

/** Blocks of numbers in its log: energies by step, and what they come to in the end. */
function energiesOf(name: string): string[] {
  const path = `${directory}/${name}.log`;
  const lines = existsSync(path) ? readFileSync(path, 'utf8').split('\n') : [];
  return lines.filter((line) => /^\s+-?\d+\.\d+e[+-]\d+(?:\s+-?\d+\.\d+e[+-]\d+)*$/.test(line));
}

test('GROMACS comes to the same, to the last digit, saved twice and brought back on other nodes', async () => {
  const input = argon();
  let group = await scene.runGroup(simulation(input, 'saved'), 1, ['node1', 'node2']);
  const alone = await scene.run(
    { argv: simulation(input, 'alone'), size: 2, overrides: isolated() },
    'node3',
  );
  for (const nodes of [
    ['node2', 'node3'],
    ['node3', 'node3'],
  ]) {
    const sofar = energiesOf('saved').length;
    await eventually(() => expect(energiesOf('saved').length).toBeGreaterThan(sofar + 1), 30_000);
    const saved = await group.save({ hold: true });
    expect(existsSync(`${directory}/saved.gro`)).toBe(false);
    await group.vacate();
    group = await group.restore(saved, nodes);
  }
  expect(await scene.hub.ended(alone.spec.id)).toMatchObject({ succeeded: '0-1', message: '' });
  const ended = (await group.ended()).map(({ succeeded, message }) => ({ succeeded, message }));
  expect(ended).toEqual(['0', '1'].map((succeeded) => ({ succeeded, message: '' })));
  expect(energiesOf('alone').length).toBeGreaterThan(steps / 500);
  expect(energiesOf('saved')).toEqual(energiesOf('alone'));
  expect(readFileSync(`${directory}/saved.gro`, 'utf8')).toBe(readFileSync(`${directory}/alone.gro`, 'utf8'));
});

test('PVM, its daemon and its examples, go on on another node as if nothing had been', async () => {
  const pvm = `${applications}/pvm/usr`;
  const rounds = 12;
  const script = `
    export PVM_ROOT=${pvm}/lib/pvm3 PVM_ARCH=LINUX64 PVM_PATH=${pvm}/bin PVM_TMP=/tmp HOME=/tmp
    export LD_LIBRARY_PATH=${pvm}/lib/x86_64-linux-gnu PVMDPATH=${pvm}/bin/pvmd
    cd /tmp; printf '* ep=${pvm}/bin\\nlocalhost\\n' >hosts
    ${pvm}/bin/pvmd -nlocalhost hosts </dev/null >/tmp/pvmd 2>&1 & daemon=$!
    until [ -e /tmp/pvmd.$(id -u) ]; do sleep 0.05; done
    for round in $(seq ${String(rounds)}); do
      echo 4 | ${pvm}/bin/master1; ${pvm}/bin/timing >/tmp/timing; echo "timing $round $(tail -n 1 /tmp/timing)"
    done
    kill $daemon; wait $daemon; echo over`;
  let job = await scene.run({ argv: ['/bin/bash', '-c', script], overrides: { ...isolated(), pmi: 'None' } });
  const said = async (): Promise<string> => job.output(0, false);
  for (const [after, node] of [
    [2, 'node2'],
    [6, 'node3'],
  ] as const) {
    await eventually(async () => expect(await said()).toContain(`timing ${String(after)} `), 30_000);
    const saved = await job.save({ hold: true });
    await job.vacate();
    job = await job.restore(saved, node);
    expect(job.fact()).toMatchObject({ state: 'Running', message: '' });
  }
  expect(await scene.hub.ended(job.spec.id)).toMatchObject({ succeeded: '0', message: '' });
  const text = await job.output();
  const timings = text.split('\n').filter((line) => line.startsWith('timing '));
  expect(timings).toEqual(Array.from({ length: rounds }, (_, at) => `timing ${String(at + 1)} done`));
  const results = [...text.matchAll(/I got (\S+) from \d; \(expecting (\S+)\)/g)];
  expect(results.map(([, got]) => got)).toEqual(results.map(([, , expected]) => expected));
  expect(results.length).toBe(rounds * Number(/Spawning (\d+) worker/.exec(text)?.[1]));
  expect(text.trimEnd().endsWith('over')).toBe(true);
});
