// What ranks may be in the middle of when they are saved, and what they may not: each job here is saved at once with the
// others, ended, brought back, and must come to the end that it would have come to.
import { createServer, type Server } from 'node:net';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../contract/eventually.ts';
import { programs, type SpecOptions } from '../agent/harness.ts';
import { isolated, Scene, type Job } from './scene.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await Scene.start();
});

afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
});

const shell = (script: string): string[] => ['sh', '-c', script];
const counting = 'i=0; while [ $i -lt 150 ]; do echo $i; i=$((i+1)); /bin/sleep 0.05; done';
const counted = Array.from({ length: 150 }, (_, at) => String(at));
const lines = (text: string): string[] => text.split(/\r?\n/).slice(0, -1);

async function said(job: Job, text: string): Promise<void> {
  await eventually(async () => expect(await job.output(0, false)).toContain(text), 20_000);
}

async function broughtBack(jobs: readonly Job[]): Promise<Job[]> {
  const saved = await Promise.all(jobs.map((job) => job.save({ hold: true })));
  await Promise.all(jobs.map((job) => job.vacate()));
  return Promise.all(jobs.map((job, at) => job.restore(saved[at]!)));
}

const ended = (job: Job) => scene.hub.ended(job.spec.id);

test('threads, timers, pipes, sockets, files in memory; scripts, a terminal, input; MPI_Init; a long send', async () => {
  const start = (options: SpecOptions) => scene.run(options);
  const all = [
    await start({ argv: [`${programs}/holder`, 'keep'] }),
    await start({ argv: shell(counting) }),
    await start({ argv: shell(counting), overrides: { tty: true } }),
    await start({
      argv: shell(
        '/bin/sleep 4; n=0; while read -r x; do [ "$x" = $n ] || exit 3; n=$((n+1)); done; echo "DONE $n"',
      ),
      overrides: { stdin: 'Rank0', pmi: 'None' },
    }),
    // Three of four wait in MPI_Init for the fourth.
    await start({
      argv: shell(`[ $MUSTER_RANK = 0 ] && /bin/sleep 5; exec ${programs}/ring --iterations 50`),
      size: 4,
      overrides: isolated(),
    }),
    await start({
      argv: [`${programs}/ring`, '--bytes', String(50 << 20), '--iterations', '40'],
      size: 2,
      overrides: isolated(),
    }),
  ];
  const [keep, , , reader] = all;
  const input = Buffer.from(Array.from({ length: 100_000 }, (_, at) => `${String(at)}\n`).join(''));
  await give(reader!, input);
  await said(keep!, 'ready');

  const [kept, script, terminal, read, init, send] = await broughtBack(all);
  await scene.hub.verb('node1', { id: kept!.spec.id, kind: 'Signal', signal: 10, signalId: 1 });
  const facts = await Promise.all([kept, script, terminal, read, init, send].map((job) => ended(job!)));
  const told = facts.map(({ succeeded, message, abort }) => ({ succeeded, message, abort }));
  const well = (succeeded: string) => ({ succeeded, message: '', abort: null });
  expect(told).toEqual(['0', '0', '0', '0', '0-3', '0-1'].map(well));
  expect(await kept!.output()).toBe('ready\nwhole\n');
  expect(lines(await script!.output())).toEqual(counted);
  expect(lines(await terminal!.output())).toEqual(counted);
  expect(await read!.output()).toBe('DONE 100000\n');
  expect(await init!.output()).toMatch(/^DONE iterations=50 ranks=4 /m);
  expect(await send!.output()).toMatch(/^DONE iterations=40 ranks=2 /m);
});

test('connections between ranks that are full in both directions', async () => {
  const job = await scene.run({ argv: [`${programs}/holder`, 'full'], overrides: isolated() });
  await said(job, 'ready');
  let [again] = await broughtBack([job]);
  [again] = await broughtBack([again!]);
  await scene.hub.verb('node1', { id: again!.spec.id, kind: 'Signal', signal: 10, signalId: 1 });
  expect(await ended(again!)).toMatchObject({ succeeded: '0', failures: [] });
  expect(await again!.output()).toMatch(/^ready\nwhole \d{7,}\n$/);
});

test('ranks that are brought back are bound again, and the processor time that they had used counts', async () => {
  const script = 'echo ready; while [ $SECONDS -lt 100 ]; do :; done';
  const argv = ['bash', '-c', script];
  const job = await scene.run({ argv, overrides: { ...isolated(), binding: 'Core' } });
  const bound = job.fact()?.bindings ?? [];
  expect(bound).toHaveLength(1);
  await eventually(() => expect(job.fact()?.cpuUs).toBeGreaterThan(500_000), 30_000);
  const saved = await job.save({ hold: true });
  const before = job.fact()?.cpuUs ?? 0;
  await job.vacate();
  const again = await job.restore(saved);
  await eventually(() => expect(again.fact()?.bindings).toEqual(bound), 10_000);
  await eventually(() => expect(again.fact()?.cpuUs).toBeGreaterThanOrEqual(before), 10_000);
  const rank = (): string => children(again.fact()?.initPid ?? 0)[0] ?? '';
  await eventually(() =>
    expect(/^Cpus_allowed_list:\s+(\S+)/m.exec(read(`/proc/${rank()}/status`))?.[1]).toBe(bound[0]),
  );
  again.want({ want: 'Kill' });
  await ended(again);
});

const children = (pid: number): string[] =>
  read(`/proc/${String(pid)}/task/${String(pid)}/children`)
    .trim()
    .split(' ');

const read = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
};

test('twenty checkpoints back to back', async () => {
  const script =
    'trap end=1 USR1; i=0; while [ -z "$end" ]; do echo $i; i=$((i+1)); /bin/sleep 0.02; done; exit 0';
  const job = await scene.run({ argv: shell(script) });
  for (let round = 0; round < 20; round++) await job.save();
  await scene.hub.verb('node1', { id: job.spec.id, kind: 'Signal', signal: 10, signalId: 1 });
  expect(await ended(job)).toMatchObject({ succeeded: '0', failures: [] });
  const numbers = lines(await job.output());
  expect(numbers).toEqual(numbers.map((_, at) => String(at)));
});

test('going back takes files back to what they were, and keeps what they had more', async () => {
  const directory = mkdtempSync('/var/tmp/muster-rollback-');
  chmodSync(directory, 0o777);
  try {
    const [file, stop] = [`${directory}/out`, `${directory}/stop`];
    const script = `exec 5>>${file}; i=0; while [ ! -e ${stop} ]; do echo $i >&5; echo $i; i=$((i+1)); /bin/sleep 0.02; done; exit 0`;
    const job = await scene.run({ argv: shell(script) });
    await said(job, '\n10\n');
    const saved = await job.save();
    const size = statSync(file).size;
    await eventually(() => expect(statSync(file).size).toBeGreaterThan(size + 60));
    await job.vacate();
    const again = await job.restore(saved);
    await eventually(() => expect(existsSync(`${file}.after-${saved.checkpointUid}`)).toBe(true));
    writeFileSync(stop, '');
    expect(await ended(again)).toMatchObject({ succeeded: '0', message: '' });
    const numbers = lines(await again.output());
    expect(numbers).toEqual(numbers.map((_, at) => String(at)));
    expect(lines(readFileSync(file, 'utf8'))).toEqual(numbers);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

/** Writes all of it to standard input, and ends it. */
async function give(job: Job, bytes: Buffer): Promise<void> {
  const { call, streamId } = await scene.hub.openStream('node1', { id: job.spec.id, kind: 'Stdin' });
  call.resume();
  for (let offset = 0; offset < bytes.length; offset += 65_536) {
    const data = bytes.subarray(offset, offset + 65_536);
    call.write({ streamId, offset, data, end: offset + data.length === bytes.length });
  }
  await eventually(() => {
    expect(existsSync(`${scene.agents[0]!.stateDir}/sandboxes/${keyOf(job)}/input/end`)).toBe(true);
  });
}

const keyOf = ({ spec: { id } }: Job): string =>
  `${id.groupUid}-${String(id.ordinal)}-${String(id.incarnation)}`;

/** The reason for which a job cannot be saved; it goes on all the same. */
async function refusalOf(job: Job): Promise<string> {
  await said(job, 'ready');
  await expect(job.save()).rejects.toThrow(/PreflightFailed/);
  const { checkpoint, frozen, state } = job.fact()!;
  expect({ held: checkpoint!.held, frozen, state }).toEqual({ held: false, frozen: false, state: 'Running' });
  job.want({ want: 'Kill' });
  await ended(job);
  return checkpoint!.message;
}

test('what cannot be saved is refused by name, and runs on', async () => {
  const argv = [`${programs}/holder`, 'uring'];
  expect(await refusalOf(await scene.run({ argv }))).toMatch(
    /: rank 0, holder \(process \d+\) uses io_uring/,
  );

  await using outside = new Listener(`/var/tmp/muster-outside-${String(process.pid)}`);
  await outside.listening;
  const connected = await scene.run({ argv: [`${programs}/holder`, 'connect', outside.path] });
  expect(await refusalOf(connected)).toMatch(
    new RegExp(`rank 0, holder \\(process \\d+\\) is connected to ${outside.path} outside of the sandbox`),
  );

  const spread = await scene.run({
    argv: shell('echo ready; exec sleep 60'),
    overrides: { sandboxes: 2, pmi: 'None' },
  });
  expect(await refusalOf(spread)).toMatch(/use network Isolated/);
});

class Listener implements AsyncDisposable {
  readonly path: string;
  readonly listening: Promise<unknown>;
  readonly #server: Server = createServer();

  constructor(path: string) {
    this.path = path;
    this.listening = once(this.#server.listen(path), 'listening').then(() => chmodSync(path, 0o777));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    await Promise.race([closed, Promise.resolve()]);
  }
}
