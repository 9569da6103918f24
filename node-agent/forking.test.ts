import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import { isForking, isStarting, stateOf } from './forking.ts';

it('reads the state whatever the name', () => {
  expect(stateOf('12 (a) D (b) S 1 12')).toBe('S');
  expect(stateOf('12 (sh) D 1 12')).toBe('D');
});

it('finds nothing of the kind in who runs, or has ended', () => {
  expect(isForking([process.pid, 2 ** 22 + 1])).toBe(false);
});

it('tells who is still the program that started it from who is one of its own', async () => {
  const [same, other] = [
    spawn(process.execPath, ['--eval', 'process.stdin.resume(); process.stdout.write("x")']),
    spawn('/bin/sh', ['-c', 'echo x; read line']),
  ];
  const ended = Promise.all([same, other].map((child) => once(child, 'exit')));
  try {
    await Promise.all([once(same.stdout, 'data'), once(other.stdout, 'data')]);
    expect(isStarting([process.pid, same.pid!], process.pid)).toBe(true);
    expect(isStarting([process.pid, other.pid!, 2 ** 22 + 1], process.pid)).toBe(false);
  } finally {
    same.stdin.end();
    other.stdin.end();
    await ended;
  }
});
