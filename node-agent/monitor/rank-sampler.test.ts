import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { innermostPidOf, processStatOf } from './process-text.ts';
import { RankSampler, type RankSlot, type RankSource } from './rank-sampler.ts';

const children: ChildProcess[] = [];
afterEach(() => {
  for (const { pid } of children.splice(0)) if (pid !== undefined) process.kill(-pid, 'SIGKILL');
});

const patience = { timeout: 20_000, interval: 50 };
const steps = [{ stepMs: 1000, points: 60 }];
const id = { groupUid: 'u', ordinal: 0, incarnation: 1 };
const ended = { running: false, pid: 0, userUs: 70, systemUs: 30, memoryPeakBytes: 5, majorFaults: 1, voluntarySwitches: 2, involuntarySwitches: 3, readBytes: 512, writtenBytes: 1024 }; // prettier-ignore

/** A rank as rank-init starts one: in a session of its own. */
function start(script: string): number {
  const child = spawn('/bin/sh', ['-c', script], { detached: true, stdio: 'ignore' });
  children.push(child);
  return child.pid!;
}

const innerPid = (pid: number): number =>
  innermostPidOf(readFileSync(`/proc/${String(pid)}/status`, 'utf8')) ?? pid;

function sourceOf(ranks: ReadonlyMap<number, number>, gone: readonly RankSlot[] = []): RankSource {
  return {
    id,
    initPid: process.pid,
    pids: () => descendants(process.pid),
    slots: () => [
      ...[...ranks].map(([rank, pid]) => ({ ...ended, running: true, rank, pid: innerPid(pid) })),
      ...gone,
    ],
  };
}

function descendants(pid: number): number[] {
  const text = readFileSync(`/proc/${String(pid)}/task/${String(pid)}/children`, 'utf8').trim();
  const own = text === '' ? [] : text.split(' ').map(Number);
  return own.flatMap((child) => [child, ...descendants(child)]);
}

test('a rank is measured with all that it started, and says what it waits for', async () => {
  const busy = start('while :; do :; done & wait');
  const idle = start('exec sleep 600');
  const sampler = new RankSampler(sourceOf(new Map([[0, busy], [1, idle]])), steps); // prettier-ignore
  await vi.waitFor(async () => {
    await sampler.sample('all', true);
    const [first, second] = sampler.samples;
    expect(first).toMatchObject({ rank: 0, pid: busy, processes: 2, state: 'R' });
    expect(first!.userUs + first!.systemUs).toBeGreaterThan(0);
    expect(first!.memoryBytes).toBeGreaterThan(100_000);
    expect(second).toMatchObject({ rank: 1, pid: idle, state: 'S', processes: 1, threads: 1 });
  }, patience);
  await vi.waitFor(async () => {
    await sampler.sample('cpu', true);
    expect(sampler.samples[0]?.cores).toBeGreaterThan(0.05);
    expect(sampler.historyOf(0)[0]?.values.length).toBeGreaterThan(1);
  }, patience);
});

test('a rank that has ended counts with what rank-init says of it, and never less than before', async () => {
  const gone: RankSlot[] = [];
  const ranks = new Map([[0, start('exec sleep 600')]]);
  const sampler = new RankSampler(sourceOf(ranks, gone), steps);
  await vi.waitFor(async () => {
    await sampler.sample('io', true);
    expect(sampler.samples).toMatchObject([{ processes: 1 }]);
  }, patience);
  ranks.clear();
  gone.push({ ...ended, rank: 0 });
  await sampler.sample('io', true);
  expect(sampler.samples).toMatchObject([{ rank: 0, state: 'X', userUs: 70, processes: 0, memoryBytes: 0 }]);
  expect(sampler.io.writtenBytes).toBeGreaterThanOrEqual(1024);
});

test('processes and files that vanish while they are read are no trouble', async () => {
  const proc = mkdtempSync(join(tmpdir(), 'proc-'));
  try {
    mkdirSync(join(proc, '7')); // a directory whose files have gone already
    mkdirSync(join(proc, '8'));
    writeFileSync(join(proc, '8', 'stat'), '8 (x'); // and one that was cut off
    const source = { ...sourceOf(new Map()), initPid: 1, pids: () => [7, 8, 9], slots: () => [{ ...ended, running: true, rank: 0, pid: 3 }] }; // prettier-ignore
    const sampler = new RankSampler(source, steps, proc);
    await sampler.sample('all', true);
    expect(sampler.samples).toEqual([]);
  } finally {
    rmSync(proc, { recursive: true });
  }
});

test('a program may call itself anything', () => {
  const text = `42 (a) R 1 (x) S 7 42 42 0 -1 4194304 1 0 2 0 300 100 5 6 20 0 3 0 12345 1000000 25 0 0 0`;
  expect(processStatOf(text)).toMatchObject({ pid: 42, state: 'S', parent: 7, session: 42, threads: 3, startTime: 12345, memoryPages: 25 }); // prettier-ignore
  expect(processStatOf('')).toBeNull();
});
