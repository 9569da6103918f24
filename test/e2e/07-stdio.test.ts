/**
 * Output and input that are larger than what is kept of them: ranks that wait for their reader (`whenFull: Block`), a local
 * standard input with a window. Daemons are killed meanwhile, and jobs that wait are ended.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Cluster, eventually, program, type Running } from './cluster.ts';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.up({ agents: 2 });
});
afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
});

const mebibyte = 1 << 20;
const lineBytes = 4000;
const linesOf = (mebibytes: number): number => Math.floor((mebibytes * mebibyte) / lineBytes);

/** What lies on disk below the sandboxes of all nodes, in blocks that are allocated. */
function onDisk(below: 'logs' | 'input'): number {
  let bytes = 0;
  for (const node of ['node1', 'node2']) {
    const sandboxes = join(cluster.home, 'nodes', node, 'state', 'sandboxes');
    for (const sandbox of listed(sandboxes))
      for (const name of listed(join(sandboxes, sandbox, below)))
        bytes += blocksOf(join(sandboxes, sandbox, below, name));
  }
  return bytes;
}

function listed(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return []; // not there yet, or gone
  }
}

function blocksOf(path: string): number {
  return (statSync(path, { throwIfNoEntry: false })?.blocks ?? 0) * 512;
}

const phaseOf = async (name: string): Promise<string> => {
  const shown = await cluster.muster(['get', 'pg', name, '-o', 'json']);
  if (shown.code !== 0) return '';
  return (JSON.parse(shown.stdout) as { status?: { phase?: string } }).status?.phase ?? '';
};

async function killed(daemon: string): Promise<void> {
  const pidOf = (): number => {
    const path = join(cluster.home, 'run', `${daemon}.pid.json`);
    return (JSON.parse(readFileSync(path, 'utf8')) as { pid: number }).pid;
  };
  const before = pidOf();
  process.kill(before, 'SIGKILL');
  await eventually(() => {
    try {
      return pidOf() !== before;
    } catch {
      return false; // being written
    }
  }, `${daemon} to be started again`);
}

/** Every line of every rank once, in order, whole. */
function checkLabelled(bytes: Buffer, ranks: number, lines: number): void {
  const next = new Array<number>(ranks).fill(0);
  const labelled = lineBytes + 4;
  for (let at = 0; at < bytes.length; at += labelled) {
    const match = /^\[(\d)\] (\d{7}) (\d{11}) $/.exec(bytes.toString('latin1', at, at + 24));
    const rank = Number(match?.[1]);
    if (Number(match?.[3]) !== next[rank] || bytes[at + labelled - 1] !== 10)
      throw new Error(`byte ${at}: ${bytes.toString('latin1', at, at + 24)}: expected line ${next[rank]}`);
    next[rank]++;
  }
  expect(next).toEqual(new Array<number>(ranks).fill(lines));
}

const blocking = (name: string, ...rest: string[]): string[] => [
  'run',
  ...['-n', '2', '-l', '--name', name, '--when-full', 'block', '--log-quota', '256Ki'],
  ...rest,
];

/** Reads nothing of it until it stands still: as much is on disk as ever will be. */
async function untilFull(running: Running, name: string): Promise<void> {
  running.child.stdout!.pause();
  await eventually(async () => (await phaseOf(name)) === 'Running', 'the job to run');
  let before = -1;
  let same = 0;
  await eventually(() => {
    const now = onDisk('logs');
    same = now > 0 && now === before ? same + 1 : 0;
    before = now;
    return same > 50;
  }, 'the log to be full');
}

describe('ranks that wait for their reader', () => {
  test('a slow reader gets every byte, and little is kept', async () => {
    const running = cluster.spawn(blocking('slow', program('outgen'), '20', String(lineBytes)));
    await untilFull(running, 'slow');
    expect(onDisk('logs')).toBeLessThan(mebibyte);
    expect(await phaseOf('slow')).toBe('Running');
    running.child.stdout!.resume();
    const { code, bytes, stderr } = await running.result;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    checkLabelled(bytes, 2, linesOf(20));
  });

  test('agents and control plane may be killed while they wait', async () => {
    const args = blocking('killed', '--nodes', 'node1,node2', '--ppn', '1');
    const running = cluster.spawn([...args, program('outgen'), '8', String(lineBytes)], {
      timeoutMs: 40_000,
    });
    await untilFull(running, 'killed');
    await killed('node1');
    await killed('controller');
    await killed('node2');
    running.child.stdout!.resume();
    const { code, bytes, stderr } = await running.result;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    checkLabelled(bytes, 2, linesOf(8));
  });

  test('a line that is longer than what is kept is shown', async () => {
    const long = 1_000_000;
    const running = cluster.spawn(blocking('long', program('outgen'), '3', String(long)));
    const { code, bytes } = await running.result;
    expect(code).toBe(0);
    expect(bytes.length).toBe(2 * 3 * (long + 4));
  });

  test('a job that waits can be interrupted', async () => {
    const running = cluster.spawn(blocking('interrupted', program('outgen'), '100', String(lineBytes)));
    await untilFull(running, 'interrupted');
    running.child.kill('SIGINT');
    await eventually(async () => (await phaseOf('interrupted')) === 'Failed', 'the job to end');
    running.child.stdout!.resume();
    expect((await running.result).code).toBe(130);
  });

  test('a declared job waits for "muster logs -f", which loses nothing to a restart; others are done without', async () => {
    const manifest = (name: string, mebibytes: number): string => `
apiVersion: muster.dev/v1alpha1
kind: ProcessGroup
metadata: { name: ${name} }
spec:
  size: 2
  processes: [{ name: main, ranks: 0-1, command: [${program('outgen')}, "${mebibytes}", "${lineBytes}"] }]
  stdio: { whenFull: Block, logQuota: 256Ki }
`;
    expect((await cluster.apply(manifest('declared', 8))).code).toBe(0);
    // What fits needs no reader.
    expect((await cluster.apply(manifest('small', 0.05))).code).toBe(0);
    expect((await cluster.wait('small', 'condition=Succeeded')).code).toBe(0);
    expect(await phaseOf('declared')).toBe('Running');
    const running = cluster.spawn(['logs', '-f', 'declared'], { timeoutMs: 40_000 });
    await running.untilOutput('[1] 0000001 00000000020');
    await killed('controller');
    const { code, bytes, stderr } = await running.result;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    checkLabelled(bytes, 2, linesOf(8));
    expect((await cluster.wait('declared', 'condition=Succeeded')).code).toBe(0);
  });
});

test('lines are whole for a reader who lags, though nothing says whose they are', async () => {
  const bytes = 100;
  const ranks = 3;
  const running = cluster.spawn([
    'run',
    '--name',
    'lag',
    '-n',
    String(ranks),
    program('outgen'),
    '2',
    String(bytes),
  ]);
  running.child.stdout!.pause();
  const succeeded = async (): Promise<number | undefined> =>
    (await cluster.get('pg', 'lag').catch(() => undefined))?.status?.ranks?.succeeded;
  await eventually(async () => (await succeeded()) === ranks, 'the ranks to end');
  running.child.stdout!.resume();
  const { code, stdout } = await running.result;
  expect(code).toBe(0);
  const lines = stdout.split('\n').slice(0, -1);
  expect(lines.filter((line) => !/^\d{7} \d{11} o{79}$/.test(line))).toEqual([]);
  expect(lines).toHaveLength(ranks * Math.floor((2 * mebibyte) / bytes));
});

describe('input that is larger than its window', () => {
  test('hundreds of MiB reach a slow reader, and little of it lies on disk', async () => {
    const mebibytes = 300;
    const source = `head -c ${mebibytes}M /dev/zero`;
    const running = cluster.shell(`${source} | muster run -n 1 ${program('incount')} 1048576 500`, {
      timeoutMs: 60_000,
    });
    let ended = false;
    void running.result.finally(() => (ended = true)).catch(() => undefined);
    let most = 0;
    await eventually(
      () => {
        most = Math.max(most, onDisk('input'));
        return ended;
      },
      'the job to end',
      () => running.stderr,
      60_000,
    );
    const crc = crc32(Buffer.alloc(mebibytes * mebibyte))
      .toString(16)
      .padStart(8, '0');
    expect((await running.result).stdout).toContain(`bytes=${mebibytes * mebibyte} crc32=${crc} `);
    expect(most).toBeGreaterThan(mebibyte);
    expect(most).toBeLessThan(24 * mebibyte);
  });

  test('it can be interrupted while it waits', async () => {
    const running = cluster.spawn(['run', '-n', '1', '--name', 'unread-input', 'sleep', '600']);
    const zeros = Buffer.alloc(mebibyte);
    const fill = (): void => {
      while (running.child.stdin!.write(zeros)) continue;
    };
    running.child.stdin!.on('drain', fill);
    fill();
    await eventually(() => onDisk('input') >= 16 * mebibyte, 'the window to be full');
    expect(running.child.stdin!.writableNeedDrain).toBe(true);
    expect(onDisk('input')).toBeLessThan(20 * mebibyte);
    running.child.kill('SIGINT');
    expect((await running.result).code).toBe(130);
  });

  test('whoever writes hears that the reader has gone', async () => {
    const line = `muster run -n 2 --name left sh -c 'test $PMI_RANK = 1 || exec head -c 1; sleep 600'`;
    const running = cluster.shell(`(yes; echo "yes: $?" >&2) | ${line}`);
    await eventually(
      () => running.stderr.includes('yes: 141'),
      'a broken pipe',
      () => running.stderr,
    );
    await cluster.done(['delete', 'pg', 'left']);
    await running.result;
  });
});
