import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { bindAgain, cpusOf } from './rebinding.ts';

test('what a rank has started is bound with it, and nothing else', () => {
  const processes = [
    { pid: 100, parent: 1, inner: 1 },
    { pid: 101, parent: 100, inner: 2 },
    { pid: 102, parent: 101, inner: 7 },
    { pid: 103, parent: 102, inner: 9 },
    { pid: 104, parent: 100, inner: 3 },
    { pid: 105, parent: 100, inner: 5 },
  ];
  const ranks = [
    { pid: 2, cpus: [0] },
    { pid: 3, cpus: [1] },
  ];
  expect(Object.fromEntries(cpusOf(ranks, processes))).toEqual({ 101: [0], 102: [0], 103: [0], 104: [1] });
});

test('a process that runs is bound by the kernel', async () => {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  try {
    const pid = child.pid ?? 0;
    const [first = 0] = allowed('self');
    expect(await bindAgain([{ pid, cpus: [first] }], [pid])).toEqual([]);
    expect(allowed(String(pid))).toEqual([first]);
  } finally {
    child.kill('SIGKILL');
  }
});

/** The first and last processor of each run that a process may use. */
const allowed = (pid: string): number[] =>
  (/^Cpus_allowed_list:\s+(\S+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '')
    .split(/[-,]/)
    .map(Number);
