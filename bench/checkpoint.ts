/**
 * What a checkpoint and a restore of one sandbox cost: how long its ranks stand still, of which CRIU's own run is a part, and how long
 * until it is on the disk and checked; against a plain dump of the same processes by hand and a copy of the same bytes, in the same
 * run. Images in memory and on the disk; one row has files in the sandbox's /dev/shm; the last ones are of jobs over several nodes, all of
 * them on this machine, saved at one cut. `make bench T=checkpoint GRID=full` is the whole grid; `MUSTER_BENCH_MIB`, `MUSTER_BENCH_RANKS`,
 * `MUSTER_BENCH_PLACES`, `MUSTER_BENCH_NODES` (lists), `MUSTER_BENCH_SHM_MIB` and `MUSTER_BENCH_ROUNDS` change what is measured. As root.
 */
import { execFileSync } from 'node:child_process';
import { programs } from '../test/agent/harness.ts';
import { isolated, Scene, type Group } from '../test/checkpoint/scene.ts';
import { plainDump, timeInLog } from './kit/plain-criu.ts';
import { median, print, rounded } from './kit/report.ts';

const isFull = process.env['MUSTER_BENCH_GRID'] === 'full';
const words = (name: string, usual: string, full = usual): string[] =>
  (process.env[name] ?? (isFull ? full : usual)).split(',');
const numbers = (...of: Parameters<typeof words>): number[] => words(...of).map(Number);
const sizes = numbers('MUSTER_BENCH_MIB', '64,512', '64,512,2048');
const counts = numbers('MUSTER_BENCH_RANKS', '4', '1,4,16,64');
const places = words('MUSTER_BENCH_PLACES', 'memory,disk');
const nodeCounts = numbers('MUSTER_BENCH_NODES', '1', '1,2,4');
const [shmMib = 0] = numbers('MUSTER_BENCH_SHM_MIB', '0', '512');
const [rounds = 3] = numbers('MUSTER_BENCH_ROUNDS', '3');
const mebi = 2 ** 20;
const directories: Readonly<Record<string, string>> = { memory: '/dev/shm', disk: '/var/tmp' };

interface Job {
  readonly mib: number;
  readonly ranks: number;
  readonly shm: number;
}

const jobs: Job[] = sizes.flatMap((mib) => counts.map((ranks) => ({ mib, ranks, shm: 0 })));
if (shmMib > 0) jobs.push({ mib: sizes[0]!, ranks: counts[0]!, shm: shmMib });

for (const place of places) {
  process.env['TMPDIR'] = directories[place]; // agents keep images below it
  await using scene = await Scene.start(Math.max(...nodeCounts));
  if (nodeCounts.includes(1)) for (const job of jobs) await measure(scene, place, job);
  for (const nodes of nodeCounts.filter((count) => count > 1))
    for (const mib of sizes)
      for (const ranks of counts.filter((count) => count >= nodes))
        await measureGroup(scene, place, { mib, ranks, nodes });
}

interface Taken {
  readonly still: number;
  readonly criu: number;
  readonly total: number;
  readonly plain: number;
  readonly plainStill: number;
  readonly copy: number;
  readonly restore: number;
  readonly criuRestore: number;
  readonly bytes: number;
}

/** Three blocks a rank are most of its memory. */
async function measure(scene: Scene, place: string, { mib, ranks, shm }: Job): Promise<void> {
  const bytes = Math.floor((mib * mebi) / ranks / 3);
  const ring = [`${programs}/ring`, '--bytes', String(bytes), '--seconds', '3600', '--report-every', '1'];
  const files = `[ "$MUSTER_RANK" != 0 ] || head -c ${String(shm * mebi)} /dev/zero >/dev/shm/files; exec "$@"`;
  const argv = shm === 0 ? ring : ['/bin/sh', '-c', files, 'sh', ...ring];
  let now = await scene.run({ argv, size: ranks, overrides: isolated() });
  const wanted = (mib + shm) * mebi * 0.9;
  await scene.hub.until(() => (now.fact()?.memoryBytes ?? 0) > wanted, 'its memory', 120_000);
  const { stateDir = '' } = scene.agents[0] ?? {};
  const taken: Taken[] = [];
  for (let round = 0; round < rounds; round++) {
    const { groupUid, ordinal, incarnation } = now.spec.id;
    const sandbox = `${stateDir}/sandboxes/${groupUid}-${String(ordinal)}-${String(incarnation)}`;
    const plain = plainDump(sandbox, `${stateDir}/plain`);
    const began = performance.now();
    const { fact, checkpointUid } = await now.save();
    const total = performance.now() - began;
    const copy = timeOfCopy(`${stateDir}/images/${checkpointUid}-0`);
    const held = await now.save({ hold: true });
    await now.vacate();
    const again = performance.now();
    now = await now.restore(held);
    const restore = performance.now() - again;
    taken.push({
      still: (fact.thawedNs - fact.frozenNs) / 1e6,
      criu: fact.dumpUs / 1000,
      total,
      plain: plain.criu,
      plainStill: plain.still,
      copy,
      restore,
      criuRestore: timeInLog(`${stateDir}/images/${held.checkpointUid}-0/restore.log`),
      bytes: fact.bytes,
    });
    for (const uid of [checkpointUid, held.checkpointUid])
      execFileSync('rm', ['-r', `${stateDir}/images/${uid}-0`]);
  }
  now.want({ want: 'Kill' });
  await scene.hub.ended(now.spec.id);
  await now.vacate();
  report(place, { mib, ranks, shm }, taken);
}

function report(place: string, { shm, ...job }: Job, taken: readonly Taken[]): void {
  const of = (name: keyof Taken): number => rounded(median(taken.map((each) => each[name])));
  const share = rounded(median(taken.map(({ still, criu }) => still - criu)));
  const files = shm === 0 ? {} : { shmMib: shm };
  const about = { bench: 'checkpoint', place, ...job, ...files, bytes: of('bytes'), unit: 'ms' };
  const against = { 'criu by hand': of('plainStill') };
  print({
    ...about,
    what: 'downtime',
    value: of('still'),
    against,
    ratio: rounded(of('still') / of('plainStill')),
  });
  print({
    ...about,
    what: 'own share of downtime',
    value: share,
    against: { criu: of('criu') },
    ratio: rounded(share / of('criu')),
  });
  print({ ...about, what: 'saved and checked', value: of('total'), against: { copy: of('copy') } });
  print({
    ...about,
    what: 'restore, images checked',
    value: of('restore'),
    against: { criu: of('criuRestore') },
  });
}

interface GroupJob {
  readonly mib: number;
  readonly ranks: number;
  readonly nodes: number;
}

interface GroupTaken {
  readonly still: number;
  readonly criu: number;
  readonly total: number;
  readonly restore: number;
  readonly criuRestore: number;
  readonly bytes: number;
}

/** The job's memory is shared out among the nodes; of CRIU's runs, which go side by side, the longest counts. */
async function measureGroup(scene: Scene, place: string, { mib, ranks, nodes }: GroupJob): Promise<void> {
  const bytes = Math.floor((mib * mebi) / ranks / 3);
  const argv = [`${programs}/ring`, '--bytes', String(bytes), '--seconds', '3600', '--report-every', '1'];
  const names = Array.from({ length: nodes }, (_, at) => `node${String(at + 1)}`);
  let group = await scene.runGroup(argv, Math.floor(ranks / nodes), names);
  const wanted = (mib * mebi * 0.9) / nodes;
  const hasAll = (): boolean => group.jobs.every((job) => (job.fact()?.memoryBytes ?? 0) > wanted);
  await scene.hub.until(hasAll, 'its memory', 120_000);
  const taken: GroupTaken[] = [];
  for (let round = 0; round < rounds; round++) {
    const began = performance.now();
    const facts = (await group.save()).map(({ fact }) => fact);
    const total = performance.now() - began;
    const held = await group.save({ hold: true });
    await group.vacate();
    const again = performance.now();
    group = await group.restore(held);
    const restore = performance.now() - again;
    const logs = held.map(
      ({ checkpointUid }, at) =>
        `${scene.agents[at]?.stateDir ?? ''}/images/${checkpointUid}-${String(at)}/restore.log`,
    );
    taken.push({
      still:
        (Math.max(...facts.map((fact) => fact.thawedNs)) - Math.min(...facts.map((fact) => fact.frozenNs))) /
        1e6,
      criu: Math.max(...facts.map((fact) => fact.dumpUs)) / 1000,
      total,
      restore,
      criuRestore: Math.max(...logs.map(timeInLog)),
      bytes: facts.reduce((sum, fact) => sum + fact.bytes, 0),
    });
    for (const { stateDir } of scene.agents)
      execFileSync('find', [`${stateDir}/images`, '-mindepth', '1', '-delete']);
  }
  await end(group);
  reportGroup(place, { mib, ranks, nodes }, taken);
}

async function end(group: Group): Promise<void> {
  for (const job of group.jobs) job.want({ want: 'Kill' });
  await group.ended();
  await group.vacate();
}

function reportGroup(place: string, job: GroupJob, taken: readonly GroupTaken[]): void {
  const of = (name: keyof GroupTaken): number => rounded(median(taken.map((each) => each[name])));
  const share = rounded(median(taken.map(({ still, criu }) => still - criu)));
  const about = { bench: 'checkpoint', place, ...job, bytes: of('bytes'), unit: 'ms' };
  const criu = { 'longest criu': of('criu') };
  print({ ...about, what: 'downtime', value: of('still'), against: criu });
  print({
    ...about,
    what: 'own share of downtime',
    value: share,
    against: criu,
    ratio: rounded(share / of('criu')),
  });
  print({ ...about, what: 'saved and checked', value: of('total') });
  print({
    ...about,
    what: 'restore, images checked',
    value: of('restore'),
    against: { 'longest criu': of('criuRestore') },
  });
}

/** As slow as the disk cache is, and no slower. */
function timeOfCopy(directory: string): number {
  const began = performance.now();
  execFileSync('cp', ['-r', '--reflink=never', directory, `${directory}.copy`]);
  const elapsed = performance.now() - began;
  execFileSync('rm', ['-r', `${directory}.copy`]);
  return elapsed;
}
