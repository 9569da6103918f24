import { spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { native, type InputPump } from './index.ts';

const n = native();
const addon = new URL('../../build/native/muster.node', import.meta.url).pathname;
let directory = '';
let spoolPath = '';
let pump: InputPump;
beforeEach(() => {
  directory = fs.mkdtempSync(join(tmpdir(), 'muster-input-'));
  spoolPath = join(directory, 'stdin');
  pump = n.inputPump();
});
afterEach(() => {
  pump.close();
  fs.rmSync(directory, { recursive: true });
});

function reported(done: (flags: number, position: bigint, errno: number) => boolean): Promise<void> {
  return new Promise((resolve) => {
    pump.onProgress = (records) => {
      for (let at = 0; at < records.length; at += 24) {
        if (done(records.readUInt32LE(at + 4), records.readBigUInt64LE(at + 8), records.readInt32LE(at + 16)))
          resolve();
      }
    };
  });
}

describe('InputPump', () => {
  it('delivers what was allowed, no more, and closes at the end', async () => {
    fs.writeFileSync(spoolPath, 'first second third');
    const [read, write] = n.pipe();
    pump.add(1, fs.openSync(spoolPath, 'r'), write);
    const some = reported((_, position) => position === 6n);
    pump.advance(1, 6n, false);
    await some;
    const bytes = Buffer.alloc(100);
    expect(fs.readSync(read, bytes)).toBe(6);
    const end = reported((flags) => flags === 1);
    pump.advance(1, 18n, true);
    await end;
    expect(fs.readSync(read, bytes)).toBe(12);
    expect(bytes.toString('latin1', 0, 12)).toBe('second third');
    expect(fs.readSync(read, bytes)).toBe(0);
    expect(pump.remove(1)).toBe(18n);
    n.close(read);
  });

  it('ends at once where there is no input', async () => {
    fs.writeFileSync(spoolPath, '');
    const [read, write] = n.pipe();
    pump.add(1, fs.openSync(spoolPath, 'r'), write);
    const end = reported((flags) => flags === 1);
    pump.advance(1, 0n, true);
    await end;
    expect(fs.readSync(read, Buffer.alloc(1))).toBe(0);
    n.close(read);
  });

  it('says that the reader has gone', async () => {
    fs.writeFileSync(spoolPath, 'unwanted');
    const [read, write] = n.pipe();
    n.close(read);
    pump.add(1, fs.openSync(spoolPath, 'r'), write);
    const gone = reported((flags, _, errno) => flags === 2 && errno === 32);
    pump.advance(1, 8n, true);
    await gone;
  });

  it('loses and doubles no byte when killed 60 times in the middle', { timeout: 120_000 }, async () => {
    const lines = 4_000_000;
    const text = Buffer.alloc(lines * 10);
    for (let line = 0; line < lines; line++)
      text.write(`${String(line).padStart(9, '0')}\n`, line * 10, 'latin1');
    fs.writeFileSync(spoolPath, text);
    // Both are held here, as rank-init holds them: the description's position outlives each process.
    const spool = fs.openSync(spoolPath, 'r');
    const [read, write] = n.pipe();
    const sum = spawn('sh', ['-c', 'sha256sum'], { stdio: [read, 'pipe', 'inherit'] });
    n.close(read);
    const digest = once(sum.stdout!, 'data') as Promise<[Buffer]>;
    const script = `
      const n = require(${JSON.stringify(addon)});
      const pump = n.inputPump();
      pump.onProgress = () => {};
      pump.add(1, 3, 4);
      pump.advance(1, BigInt(process.argv[1]), false);
      process.stdout.write('r');`;
    for (let kill = 1; kill <= 60; kill++) {
      const allowed = Math.floor((text.length / 61) * kill);
      const child = spawn(process.execPath, ['-e', script, String(allowed)], {
        stdio: ['ignore', 'pipe', 'inherit', spool, write],
      });
      await once(child.stdout!, 'data');
      const moment = process.hrtime.bigint() + BigInt(Math.floor(Math.random() * 3e6));
      while (process.hrtime.bigint() < moment) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    pump.add(1, spool, write);
    const end = reported((flags) => flags === 1);
    pump.advance(1, BigInt(text.length), true);
    await end;
    const { createHash } = await import('node:crypto');
    expect((await digest)[0].toString().split(' ')[0]).toBe(createHash('sha256').update(text).digest('hex'));
  });
});
