import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { CheckOrder, CheckResult } from '../../wire/agent-types.ts';
import { builtInChecks, type Figures } from './built-in-checks.ts';
import { Checks } from './checks.ts';
import { Owner } from './owner.ts';

const patience = { timeout: 20_000, interval: 20 };
let root: string;
let checks: Checks;
let turned: CheckResult[];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'checks-'));
  mkdirSync(join(root, 'checks'), { mode: 0o755 });
  turned = [];
  checks = fresh();
});
afterEach(() => {
  checks.stop();
  rmSync(root, { recursive: true, force: true });
});

const fresh = (): Checks =>
  new Checks({
    node: 'node1',
    directory: join(root, 'checks'),
    file: join(root, 'checks.json'),
    builtIn: {},
    turned: (result) => void turned.push(result),
  });

function program(name: string, script: string, mode = 0o755): void {
  writeFileSync(join(root, 'checks', name), `#!/bin/sh\n${script}\n`);
  chmodSync(join(root, 'checks', name), mode);
}

const order = (name: string, more: Partial<CheckOrder> = {}): CheckOrder => ({
  name,
  intervalSeconds: 1,
  timeoutSeconds: 5,
  failureThreshold: 1,
  ...more,
});

const resultOf = (name: string): CheckResult | undefined => checks.results.find((each) => each.name === name);

test('a check tells what it says, and turns with its programs', async () => {
  program('scratch', `test -e ${root}/good && exit 0; echo "no scratch on $MUSTER_NODE"; echo more; exit 3`);
  checks.order([order('scratch')]);
  await vi.waitFor(() => expect(resultOf('scratch')).toMatchObject({ passed: false }), patience);
  expect(resultOf('scratch')).toMatchObject({ message: 'exit code 3: no scratch on node1', failures: 1 });
  // A new agent finds it as it was, without having run it.
  const second = fresh();
  second.order([order('scratch', { intervalSeconds: 3600 })]);
  expect(second.results).toMatchObject([{ name: 'scratch', passed: false }]);
  second.stop();
  writeFileSync(`${root}/good`, '');
  await vi.waitFor(() => expect(resultOf('scratch')).toMatchObject({ passed: true, failures: 0 }), patience);
  expect(turned.map(({ passed }) => passed)).toEqual([false, true]);
  checks.order([]);
  expect(checks.results).toEqual([]);
});

test('one that never ends is killed, with all that it started, and counts as failed', async () => {
  program('stuck', `echo waiting for the disk; sh -c 'echo $$ >${root}/child; exec sleep 600' & sleep 600`);
  checks.order([order('stuck', { timeoutSeconds: 1 })]);
  await vi.waitFor(() => expect(resultOf('stuck')).toMatchObject({ passed: false }), patience);
  expect(resultOf('stuck')?.message).toBe('no end within 1 s, killed: waiting for the disk');
  const child = readFileSync(`${root}/child`, 'utf8').trim();
  await vi.waitFor(() => expect(isAlive(child)).toBe(false), patience);
});

function isAlive(pid: string): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

test('one that prints without end is stopped after a little', async () => {
  program('loud', 'echo first; exec yes');
  checks.order([order('loud', { timeoutSeconds: 60 })]);
  await vi.waitFor(() => expect(resultOf('loud')).toMatchObject({ passed: false }), patience);
  expect(resultOf('loud')?.message).toBe('printed more than 64 KiB, killed: first');
});

test('one that is not there, may not be run, or that others could write, is told by its path', async () => {
  program('plain', 'exit 0', 0o644);
  program('open', 'exit 0', 0o777);
  checks.order([order('missing'), order('plain'), order('open'), order('..')]);
  await vi.waitFor(() => expect(checks.results).toHaveLength(4), patience);
  expect(checks.results.map(({ name, message }) => [name, message])).toEqual([
    ['..', '.. is no name of a program'],
    ['missing', expect.stringContaining('checks/missing is not there: put the program there')],
    ['open', expect.stringContaining('checks/open may be written by others')],
    ['plain', expect.stringContaining('checks/plain cannot be run: chmod +x it')],
  ]);
});

test('control characters of a check reach nobody', async () => {
  program('rude', String.raw`printf 'a\033[2Jb\rc\n'; exit 1`);
  checks.order([order('rude')]);
  await vi.waitFor(() => expect(resultOf('rude')?.message).toBe('exit code 1: a [2Jb c'), patience);
});

const figures: Figures = {
  disks: [{ path: '/s', fileSystem: 'ext4', totalBytes: 100e9, availableBytes: 50e9, filesTotal: 100, filesFree: 50, readOnly: false, trouble: '' }],
  stateDir: '/s', clockOffsetMs: 3, memoryErrors: { corrected: 9, uncorrected: 0 }, hasEngine: true, engineTrouble: null,
  build: '0.3.1', hubBuild: '0.4.0',
}; // prettier-ignore
const disk = figures.disks[0]!;

test.each<[keyof typeof builtInChecks, Partial<Figures>, string]>([
  ['disk-full', { disks: [{ ...disk, availableBytes: 1e9 }] }, '/s has 953 MiB left (1.0 %)'],
  ['disk-full', { disks: [{ ...disk, filesFree: 1 }] }, '/s can take only 1 more files'],
  ['disk-read-only', { disks: [{ ...disk, readOnly: true }] }, '/s cannot be written'],
  ['file-systems', { disks: [disk, { ...disk, path: '/nfs', trouble: 'does not answer within 5 s' }] }, '/nfs does not answer'], // prettier-ignore
  ['clock', { clockOffsetMs: -3000 }, 'the clock is 3.0 s behind the controllers'],
  ['memory-errors', { memoryErrors: { corrected: 0, uncorrected: 2 } }, '2 errors of memory'],
  ['checkpoints', { engineTrouble: 'no' }, 'CRIU does not work: no'],
  ['agent-version', { hubBuild: '0.5.0' }, 'the agent is of version 0.3.1, the controllers of 0.5.0'],
])('%s is found by every agent', (name, change, message) => {
  expect(builtInChecks[name](figures)).toEqual({ ok: true, message: '' });
  expect(builtInChecks[name]({ ...figures, ...change })).toEqual({ ok: false, message: expect.stringContaining(message) }); // prettier-ignore
});

test('what a node does not show is no check of it', () => {
  const bare = {
    ...figures,
    disks: [],
    clockOffsetMs: null,
    memoryErrors: null,
    hasEngine: false,
    hubBuild: '',
  };
  expect(Object.values(builtInChecks).map((check) => check(bare))).toEqual(Array(7).fill(null));
});

test('the owner is back at once, and gone only after a while', () => {
  let nowMs = 1e6;
  const owner = new Owner(() => nowMs);
  const rule = { idleSeconds: 60, maxLoad: 1 };
  const away = { inputAgoMs: 90_000, othersCores: 0.1, hasFile: false };
  expect(owner.look(rule, away).active).toBe(false);
  expect(owner.look(rule, { ...away, inputAgoMs: 1000 })).toEqual({ active: true, message: 'somebody types at a terminal' }); // prettier-ignore
  nowMs += 58_000;
  expect(owner.look(rule, away).active).toBe(true);
  nowMs += 2_000;
  expect(owner.look(rule, away).active).toBe(false);
  // A moment of work is no owner; work that goes on is.
  const busy = { ...away, othersCores: 1.5 };
  expect([1, 2, 3].map(() => owner.look(rule, busy).active)).toEqual([false, false, true]);
  nowMs += 61_000;
  expect(owner.look(rule, { ...away, hasFile: true })).toMatchObject({ active: true, message: 'the file of the owner is there' }); // prettier-ignore
});
