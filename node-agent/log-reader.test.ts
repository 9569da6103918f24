import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readLogs } from './log-reader.ts';
import { SandboxLogs } from './output.ts';

let directory = '';
let lastId = 0;
const nextId = (): number => ++lastId;
const everything = { wants: () => true, from: [], follow: true, tailLines: -1 };

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'muster-logs-'));
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

describe('a reader who follows', () => {
  it('hears of the end of a sandbox that never had a stream', async () => {
    const logs = new SandboxLogs(directory);
    const reader = readLogs(logs, everything, new AbortController().signal);
    expect(await reader.next()).toMatchObject({ value: { begun: true } });
    const first = reader.next();
    logs.loadEnded(nextId);
    expect(await first).toEqual({ done: true, value: undefined });
  });

  it('has all there is of a sandbox that ends, then its end', async () => {
    writeFileSync(join(directory, `0.out.${'0'.repeat(20)}`), 'hello\n');
    const logs = new SandboxLogs(directory);
    const reader = readLogs(logs, everything, new AbortController().signal);
    expect(await reader.next()).toMatchObject({ value: { begun: true } });
    const first = reader.next();
    logs.loadEnded(nextId);
    expect(await first).toMatchObject({ value: { rank: 0, stream: 1, offset: 0, end: true } });
    expect((await first).value?.data.toString()).toBe('hello\n');
    expect(await reader.next()).toMatchObject({ done: true });
    expect(logs.onComplete.size + logs.listeners.size).toBe(0);
  });
});
