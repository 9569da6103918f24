/** Real MPI programs on one node and over two, and what happens when one of their ranks goes astray. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Cluster, eventually, processesMarked, program } from './cluster.ts';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.up({ agents: 2 });
});
afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
});

const one = ['--nodes', 'node1'];
const two = ['--nodes', 'node1,node2'];
const places: [string, string[]][] = [
  ['one node', one],
  ['two nodes', two],
  ['two nodes, dealt out cyclically', [...two, '--policy', 'cyclic']],
];

describe.each(places)('on %s', (_name, place) => {
  test.each([1, 2, 3, 8])('cpi with %i ranks', async (ranks) => {
    const ended = await cluster.run(['-n', String(ranks), ...place, program('cpi')]);
    expect(ended.code, ended.stderr).toBe(0);
    expect(ended.stdout).toMatch(/pi is approximately 3\.14159265/);
    expect(ended.stdout.match(/rank \d+ of \d+/gi) ?? []).toHaveLength(ranks);
  });

  test.each([1, 2, 5, 8])('a ring of %i ranks loses and changes nothing', async (ranks) => {
    const ended = await cluster.run([
      '-n',
      String(ranks),
      ...place,
      program('ring'),
      '--iterations',
      '50',
      '--bytes',
      '20000',
    ]);
    expect(ended.code, ended.stderr).toBe(0);
    expect(ended.stdout).toMatch(new RegExp(`^DONE iterations=50 ranks=${ranks} checksum=[0-9a-f]+$`, 'm'));
  });

  test.each([
    [1, 1],
    [3, 1],
    [1, 7],
  ])('a pair of programs, %i and %i ranks', async (first, second) => {
    const ended = await cluster.run([
      '-n',
      String(first),
      ...place,
      program('coupler-a'),
      '40',
      ':',
      '-n',
      String(second),
      program('coupler-b'),
      '40',
    ]);
    expect(ended.code, ended.stderr).toBe(0);
    const size = first + second;
    expect(ended.stdout).toContain(`coupler-a DONE ranks=${first} of=${size} appnum=0 steps=40`);
    expect(ended.stdout).toContain(`coupler-b DONE ranks=${second} of=${size} appnum=1 steps=40`);
  });
});

test('the checksum of a ring does not depend on where its ranks are', async () => {
  const sums = [];
  for (const place of [one, two]) {
    const ended = await cluster.run(['-n', '4', ...place, program('ring'), '--iterations', '20']);
    sums.push(/checksum=(\w+)/.exec(ended.stdout)?.[1]);
  }
  expect(sums[0]).toMatch(/^[0-9a-f]+$/);
  expect(sums[1]).toBe(sums[0]);
});

describe('many ranks', () => {
  test('64 ranks of a ring over two nodes', async () => {
    const ended = await cluster.run(
      ['-n', '64', ...two, program('ring'), '--iterations', '3', '--bytes', '256'],
      { timeoutMs: 60_000 },
    );
    expect(ended.code, ended.stderr).toBe(0);
    expect(ended.stdout).toMatch(/^DONE iterations=3 ranks=64 /m);
  });

  test('256 ranks that are not of MPI on one node', async () => {
    const ended = await cluster.run(['-n', '256', '-l', ...one, 'sh', '-c', 'echo $PMI_RANK of $PMI_SIZE'], {
      timeoutMs: 60_000,
    });
    expect(ended.code, ended.stderr).toBe(0);
    const wanted = Array.from({ length: 256 }, (_, rank) => `[${rank}] ${rank} of 256`);
    expect(ended.stdout.trimEnd().split('\n').sort()).toEqual(wanted.sort());
  });
});

describe('ranks that go astray', () => {
  let jobs = 0;
  const tag = (): { env: string[]; pids: () => number[] } => {
    const entry = `E2E_JOB=${process.pid}-${++jobs}`;
    return { env: ['-genv', ...entry.split('=')] as string[], pids: () => processesMarked(entry) };
  };
  const gone = (pids: () => number[]): Promise<void> =>
    eventually(
      () => pids().length === 0,
      'no rank left',
      () => pids().join(' '),
    );

  test('MPI_Abort gives its code and ends all', async () => {
    const { env, pids } = tag();
    // A coupler without its other half aborts with 2.
    const ended = await cluster.run(['-n', '4', ...two, ...env, program('coupler-a')]);
    expect(ended.code).toBe(2);
    expect(ended.stderr).toMatch(/the other half is missing/);
    expect(ended.stderr).toMatch(/MPI_Abort|Abort/);
    await gone(pids);
  });

  test('a rank that exits while others wait in a fence frees and ends them', async () => {
    const { env, pids } = tag();
    const ended = await cluster.run([
      '-n',
      '3',
      ...two,
      ...env,
      program('ring'),
      '--iterations',
      '1',
      ':',
      '-n',
      '1',
      program('exitwith'),
      '--after-ms',
      '200',
      'code',
      '9',
    ]);
    expect(ended.code).toBe(9);
    expect(ended.stderr).toMatch(/rank 3 on node2 exited with 9/);
    expect(ended.ms).toBeLessThan(25_000);
    await gone(pids);
  });

  test('a rank that exits with 0 while others wait for it in a fence ends the job, with it as the cause', async () => {
    const { env, pids } = tag();
    const ended = await cluster.run(['-n', '3', ...two, ...env, program('cpi'), ':', '-n', '1', 'true']);
    expect(ended.code).toBe(1);
    expect(ended.stderr).toMatch(/rank 3 on node2 exited with 0 while other ranks wait for it in MPI/);
    expect(ended.ms).toBeLessThan(9_000);
    await gone(pids);
  });

  test('with --keep-going it frees the others with an error', async () => {
    const { env, pids } = tag();
    const bench = ['-n', '3', ...two, ...env, program('pmibench'), '3', '3'];
    const ended = await cluster.run(['--keep-going', ...bench, ':', '-n', '1', 'true']);
    expect(ended.code).toBe(3);
    expect(ended.stderr).toContain('barrier_out rc=-1 msg=rank_3_died_in_or_before_fence_1');
    await gone(pids);
  });

  test('a rank that is killed in a fence ends the job with its signal', async () => {
    const { env, pids } = tag();
    const ended = await cluster.run([
      '-n',
      '3',
      ...two,
      ...env,
      program('ring'),
      '--iterations',
      '1',
      ':',
      '-n',
      '1',
      program('exitwith'),
      '--after-ms',
      '200',
      'signal',
      '9',
    ]);
    expect(ended.code).toBe(137);
    expect(ended.stderr).toMatch(/rank 3 on node2 was ended by SIGKILL/);
    await gone(pids);
  });

  test('a rank that is killed while it computes ends the job', async () => {
    const { env, pids } = tag();
    const running = cluster.spawn([
      'run',
      '-n',
      '4',
      ...two,
      ...env,
      program('ring'),
      '--seconds',
      '600',
      '--report-every',
      '10',
    ]);
    await eventually(
      () => pids().length === 4 && running.stdout.length > 0,
      'the ring to turn',
      () => running.stderr,
    );
    process.kill(pids()[1]!, 'SIGSEGV');
    const ended = await running.result;
    // The kernel closes a dying rank's connections before its end can be seen: a neighbour may fail on that first, and
    // MPICH lets it abort the job with a code of its own.
    expect(ended.code).not.toBe(0);
    expect(ended.stderr).toMatch(/muster: rank \d on node\d (was ended by SIG|exited with|called MPI_Abort)/);
    await gone(pids);
  });
});
