/**
 * Jobs that would notice if anything were lost or doubled while daemons die. Each runs to its end by the real command and
 * throws at the first byte, answer, exit code or rank that is not as it must be. Who kills meanwhile is not their business.
 */
import { appendFileSync, chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'vitest';
import { type Cluster, programs } from './cluster.ts';
import { LabelledChecker, recordsOf, StreamChecker, stderrBytesOf } from './record-stream.ts';
import type { Random } from './random.ts';

let jobs = 0;
export const jobName = (stem: string): string => `${stem}-${++jobs}`;

type Child = ReturnType<Cluster['spawn']>;

async function exitOf(child: Child): Promise<number | string> {
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  return signal ?? code ?? -1;
}

const take = (stream: NodeJS.ReadableStream, checker: { feed(bytes: Buffer): void }): Promise<void> =>
  new Promise((resolve, reject) => {
    stream.on('data', (bytes: Buffer) => {
      try {
        checker.feed(bytes);
      } catch (error) {
        reject(error instanceof Error ? error : new Error(String(error)));
      }
    });
    stream.on('end', resolve);
  });

/** stdout and stderr of `ranks` ranks, read by `muster run -l` and by `muster logs -f`. */
export async function output(
  cluster: Cluster,
  options: { ranks: number; bytes: number; seconds: number },
): Promise<void> {
  const { ranks, bytes, seconds } = options;
  const name = jobName('output');
  const args = [
    'run',
    '-n',
    String(ranks),
    '-l',
    '--name',
    name,
    cluster.program('paced'),
    String(bytes),
    String(seconds),
  ];
  const readers: Promise<unknown>[] = [];
  const read = (child: Child, what: string): void => {
    const [out, err] = [new LabelledChecker(1), new LabelledChecker(2)];
    const closed = exitOf(child);
    const reading = (async () => {
      await Promise.all([take(child.stdout, out), take(child.stderr, err)]);
      expect(await closed, `exit code of ${what}`).toBe(0);
      expect(out.lengths(ranks), `stdout of ${what}`).toEqual(Array<number>(ranks).fill(bytes));
      expect(err.lengths(ranks), `stderr of ${what}`).toEqual(
        Array<number>(ranks).fill(stderrBytesOf(bytes)),
      );
    })().catch((error: unknown) => {
      child.kill('SIGKILL');
      throw new Error(`${what} of ${name}: ${(error as Error).message}`, { cause: error });
    });
    reading.catch(() => undefined); // both readers are waited for below
    readers.push(reading);
  };
  await cluster.submit(name, () => {
    const run = cluster.spawn(args);
    run.stdin.end();
    read(run, 'muster run');
  });
  await cluster.calm(async () => {
    const logs = cluster.spawn(['logs', '-f', name]);
    logs.stdin.end();
    read(logs, 'muster logs');
    await once(logs.stdout, 'data');
  });
  const outcomes = await Promise.allSettled(readers);
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
}

/** Standard input through `cat`, given in pieces over the time. */
export async function input(cluster: Cluster, random: Random, bytes: number, seconds: number): Promise<void> {
  const name = jobName('input');
  const { run } = await cluster.submit(name, () => ({
    run: cluster.spawn(['run', '-n', '1', '--name', name, 'cat']),
  }));
  const out = new StreamChecker(0, 1);
  const closed = exitOf(run);
  let complaint = '';
  run.stderr.on('data', (text: Buffer) => (complaint += text.toString()));
  run.stdin.on('error', () => undefined); // told by the exit code
  const all = recordsOf(0, 1, bytes);
  const feeding = (async () => {
    const from = performance.now();
    for (let at = 0; at < all.length && run.exitCode === null;) {
      const piece = all.subarray(at, at + Math.ceil(random.between(1, 400_000)));
      if (!run.stdin.write(piece)) await Promise.race([once(run.stdin, 'drain'), closed]);
      at += piece.length;
      const lateMs = from + (at / all.length) * seconds * 1000 - performance.now();
      if (lateMs > 1) await pause(lateMs);
    }
    run.stdin.end();
  })();
  await Promise.all([take(run.stdout, out), feeding]);
  expect([await closed, out.length, complaint]).toEqual([0, bytes, '']);
}

/** Exit codes, and the rank that failed first as status tells it. */
export async function failingRank(cluster: Cluster, random: Random, seconds: number): Promise<void> {
  const name = jobName('failing');
  const [code, rank] = [Math.ceil(random.between(0, 255)), Math.floor(random.between(0, 4))];
  const sleep = `if [ $PMI_RANK = ${rank} ]; then sleep ${seconds}; exit ${code}; fi; exec sleep 600`;
  const running = await cluster.submit(name, () => ({
    end: cluster.run(['run', '-n', '4', '--name', name, 'sh', '-c', sleep]),
  }));
  const { code: got, stderr } = await running.end;
  expect(got, stderr).toBe(code);
  const { status } = await cluster.group(name);
  expect(status?.['exitSummary'], JSON.stringify(status)).toMatchObject({ rank, code });
}

/** PMI rounds over both nodes, each answer checked by the ranks. */
export async function pmiRounds(
  cluster: Cluster,
  options: { ranks: number; rounds: number; pauseUs: number },
): Promise<void> {
  const { ranks, rounds, pauseUs } = options;
  const name = jobName('pmi');
  const job = ['run', '-n', String(ranks), '--ppn', String(ranks / 2), '--name', name];
  const program = [cluster.program('pmirounds'), String(rounds), String(pauseUs)];
  const running = await cluster.submit(name, () => ({ end: cluster.run([...job, ...program]) }));
  const { code, stdout, stderr } = await running.end;
  expect({ code, stderr }, name).toEqual({ code: 0, stderr: '' });
  const expected = Array.from(
    { length: ranks },
    (_, rank) => `rank ${rank} of ${ranks}: ${rounds} rounds`,
  ).sort();
  expect(stdout.trimEnd().split('\n').sort()).toEqual(expected);
}

/** A real MPICH program over both nodes. */
export async function ring(cluster: Cluster): Promise<void> {
  const name = jobName('ring');
  const job = [
    'run',
    '-n',
    '4',
    '--ppn',
    '2',
    '--name',
    name,
    '--env',
    `LD_LIBRARY_PATH=${join(programs, 'lib')}`,
  ];
  const program = [join(programs, 'ring'), '--iterations', '200', '--bytes', '10000'];
  const running = await cluster.submit(name, () => ({ end: cluster.run([...job, ...program]) }));
  const { code, stdout, stderr } = await running.end;
  expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/DONE/);
}

/** Started once: every rank leaves a line in a file of the job. A launch that failed may have left fewer, never more. */
export async function startedOnce(
  cluster: Cluster,
  ranks: number,
  meanwhile: () => Promise<void>,
): Promise<'ran' | 'refused'> {
  const name = jobName('once');
  const file = join(cluster.shared, name);
  writeFileSync(file, '');
  chmodSync(file, 0o666);
  const script = `echo "rank $PMI_RANK" >> ${file}; sleep 0.02; echo done`;
  const running = cluster.run(['run', '-n', String(ranks), '--name', name, 'sh', '-c', script]);
  await meanwhile();
  const { code, stdout, stderr } = await running;
  const lines = readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .filter((line) => line !== '')
    .sort();
  const expected = Array.from({ length: ranks }, (_, rank) => `rank ${rank}`).sort();
  if (code === 0) {
    expect(lines, name).toEqual(expected);
    expect(stdout, name).toBe('done\n'.repeat(ranks));
    return 'ran';
  }
  expect(stderr, `${name} failed with code ${code} and has to say why`).toMatch(/muster: \S/);
  expect(new Set(lines).size, `${name}: ${lines.join(', ')}`).toBe(lines.length);
  appendFileSync(join(cluster.home, 'logs', 'refused.log'), `${name}: ${code}: ${stderr}`);
  return 'refused';
}
