import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { native, type OutputPump } from './index.ts';

const n = native();
const addon = new URL('../../build/native/muster.node', import.meta.url).pathname;
const tools = fs.mkdtempSync(join(tmpdir(), 'muster-pump-tools-'));
afterAll(() => {
  fs.rmSync(tools, { recursive: true });
});
let directory = '';
let pump: OutputPump;
beforeEach(() => {
  directory = fs.mkdtempSync(join(tmpdir(), 'muster-pump-'));
  pump = n.outputPump();
});
afterEach(() => {
  pump.close();
  fs.rmSync(directory, { recursive: true });
});

/** A program to run, compiled from C. */
function compile(name: string, source: string): string {
  const program = join(tools, name);
  execFileSync('cc', ['-D_GNU_SOURCE', '-O1', '-x', 'c', '-o', program, '-'], { input: source });
  return program;
}

const segments = (name: string): string[] =>
  fs
    .readdirSync(directory)
    .filter((each) => each.startsWith(`${name}.`))
    .sort();
const spooled = (name: string): Buffer =>
  Buffer.concat(segments(name).map((each) => fs.readFileSync(join(directory, each))));

interface Seen {
  flags: number;
  length: bigint;
  errno: number;
}
/** Resolves with the first report of this stream that satisfies `done`. */
function reported(id: number, done: (seen: Seen) => boolean): Promise<Seen> {
  return new Promise((resolve) => {
    pump.onProgress = (records) => {
      for (let at = 0; at < records.length; at += 24) {
        const seen = {
          flags: records.readUInt32LE(at + 4),
          length: records.readBigUInt64LE(at + 8),
          errno: records.readInt32LE(at + 16),
        };
        if (records.readUInt32LE(at) === id && done(seen)) resolve(seen);
      }
    };
  });
}
const ended = (id: number): Promise<Seen> => reported(id, (seen) => (seen.flags & 1) === 1);

describe('OutputPump', () => {
  it('makes segments on the first byte, cut exactly, private, named by their first offset', async () => {
    const [read, write] = n.pipe();
    pump.add(1, read, directory, 'out', 0n, 1000);
    expect(fs.readdirSync(directory)).toEqual([]);
    const bytes = Buffer.from(Array.from({ length: 2500 }, (_, index) => index & 255));
    const end = ended(1);
    fs.writeSync(write, bytes);
    n.close(write);
    expect(await end).toEqual({ flags: 1, length: 2500n, errno: 0 });
    expect(segments('out')).toEqual(['0', '1000', '2000'].map((offset) => `out.${offset.padStart(20, '0')}`));
    expect(segments('out').map((each) => fs.statSync(join(directory, each)).size)).toEqual([1000, 1000, 500]);
    expect(fs.statSync(join(directory, segments('out')[0]!)).mode & 0o777).toBe(0o600);
    expect(spooled('out').equals(bytes)).toBe(true);
    expect(pump.remove(1)).toBe(2500n);
    expect(pump.remove(1)).toBeNull();
  });

  it('moves what takes several splices, over the ends of segments and after a remainder', async () => {
    const [read, write] = n.pipe();
    const bytes = Buffer.from(Array.from({ length: 500_009 }, (_, index) => (index * 7919) >> 5));
    const end = ended(1);
    pump.add(1, read, directory, 'out', 0n, 150_000);
    fs.writeSync(write, bytes, 0, 11);
    const child = spawn('cat', [], { stdio: ['pipe', write, 'inherit'] });
    n.close(write);
    child.stdin!.end(bytes.subarray(11));
    expect(await end).toEqual({ flags: 1, length: 500_009n, errno: 0 });
    expect(segments('out').map((each) => fs.statSync(join(directory, each)).size)).toEqual([
      150_000, 150_000, 150_000, 50_009,
    ]);
    expect(spooled('out').equals(bytes)).toBe(true);
  });

  it('ends a stream without a byte without a file', async () => {
    const [read, write] = n.pipe();
    const end = ended(1);
    pump.add(1, read, directory, 'out', 0n, 1000);
    n.close(write);
    expect(await end).toEqual({ flags: 1, length: 0n, errno: 0 });
    expect(fs.readdirSync(directory)).toEqual([]);
  });

  it('moves nothing beyond the limit, all once it is raised', async () => {
    const [read, write] = n.pipe();
    pump.add(1, read, directory, 'out', 0n, 1 << 20, 3n);
    const three = reported(1, (seen) => seen.length === 3n);
    fs.writeSync(write, 'here, held');
    await three;
    const [other, otherWrite] = n.pipe();
    const passed = ended(2);
    pump.add(2, other, directory, 'other', 0n, 1 << 20);
    fs.writeSync(otherWrite, 'passed');
    n.close(otherWrite);
    await passed;
    expect(spooled('out').toString()).toBe('her');
    const five = reported(1, (seen) => seen.length === 5n);
    pump.limit(1, 5n);
    await five;
    const end = ended(1);
    pump.limit(1, 1n << 60n);
    n.close(write);
    await end;
    expect(spooled('out').toString()).toBe('here, held');
  });

  it('leaves what it did not move in the pipe when removed', async () => {
    const [read, write] = n.pipe();
    const held = n.dup(read);
    const first = reported(1, (seen) => seen.length === 3n);
    pump.add(1, read, directory, 'out', 0n, 1 << 20);
    fs.writeSync(write, 'one');
    await first;
    expect(pump.remove(1)).toBe(3n);
    fs.writeSync(write, 'two');
    const end = ended(2);
    pump.add(2, held, directory, 'out', 3n, 1 << 20);
    n.close(write);
    expect((await end).length).toBe(6n);
    expect(spooled('out').toString()).toBe('onetwo');
  });

  it('never writes over a segment that is there', async () => {
    const [read, write] = n.pipe();
    fs.writeFileSync(join(directory, `out.${'0'.repeat(20)}`), 'precious');
    const error = reported(1, (seen) => (seen.flags & 2) === 2);
    pump.add(1, read, directory, 'out', 0n, 1 << 20);
    fs.writeSync(write, 'new');
    expect((await error).errno).toBe(17);
    expect(spooled('out').toString()).toBe('precious');
    n.close(write);
  });

  it('says when a directory is missing, keeps the bytes, and goes on once it is there', async () => {
    const [read, write] = n.pipe();
    const missing = join(directory, 'later');
    const error = reported(1, (seen) => (seen.flags & 2) === 2);
    pump.add(1, read, missing, 'out', 0n, 1 << 20);
    fs.writeSync(write, 'patient');
    n.close(write);
    expect(await error).toEqual({ flags: 2, length: 0n, errno: 2 });
    const end = ended(1);
    fs.mkdirSync(missing);
    expect((await end).length).toBe(7n);
    expect(fs.readFileSync(join(missing, `out.${'0'.repeat(20)}`), 'utf8')).toBe('patient');
  });

  it('survives a limit on file size (EFBIG) and reports it', async () => {
    // In a process of its own, since the limit is the process's.
    const script = `
      const n = require(${JSON.stringify(addon)}), fs = require('fs');
      const [read, write] = n.pipe();
      const pump = n.outputPump();
      pump.onProgress = (r) => { if (r.readUInt32LE(4) & 2) { console.log(r.readBigUInt64LE(8) + ' ' + r.readInt32LE(16)); pump.close(); } };
      pump.add(1, read, ${JSON.stringify(directory)}, 'out', 0n, 1 << 20);
      fs.writeSync(write, Buffer.alloc(20000, 'x'));`;
    const run = spawnSync('sh', ['-c', `ulimit -f 16; exec "$0" -e "$1"`, process.execPath, script], {
      encoding: 'utf8',
    });
    expect(run.stdout.trim()).toMatch(/^(8192|16384) 27$/);
    expect(run.status).toBe(0);
  });

  it('reads a terminal until its other side has gone', async () => {
    const program = compile(
      'terminal',
      `#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(void) {
  int master = posix_openpt(O_RDWR | O_NOCTTY), other;
  if (grantpt(master) || unlockpt(master) || (other = open(ptsname(master), O_RDWR | O_NOCTTY)) < 0) return 1;
  printf("%d\\n", master), fflush(stdout), getchar();
  if (write(other, "a line\\n", 7) != 7) return 1;
  close(other), getchar();
  return 0;
}`,
    );
    const child = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const pidfd = n.pidfdOpen(child.pid!);
    const end = ended(1);
    pump.add(1, n.pidfdGetfd(pidfd, Number(line.toString())), directory, 'tty', 0n, 1 << 20);
    child.stdin.write('\n');
    await end;
    expect(spooled('tty').toString()).toBe('a line\r\n');
    child.stdin.end();
    await once(child, 'exit');
    n.close(pidfd);
  });

  it('tells subscribers from its thread, the newest length of each stream, also when their queue was full', async () => {
    const [a, b] = n.socketPair(true);
    const filler = n.packetSocket(n.dup(a));
    while (filler.send(Buffer.alloc(4096, 1))) continue;
    const pipes = Array.from({ length: 50 }, (_, id) => {
      const [read, write] = n.pipe();
      pump.add(id, read, directory, `s${id}`, 0n, 1 << 20);
      return write;
    });
    pump.subscribe(
      a,
      pipes.map((_, id) => id),
    );
    const all = new Set<number>();
    const done = new Promise<void>((resolve) => {
      pump.onProgress = (records) => {
        for (let at = 0; at < records.length; at += 24)
          if (records.readUInt32LE(at + 4) & 1) all.add(records.readUInt32LE(at));
        if (all.size === pipes.length) resolve();
      };
    });
    for (const write of pipes) {
      fs.writeSync(write, 'x'.repeat(100));
      fs.writeSync(write, 'y'.repeat(100));
      n.close(write);
    }
    await done;
    // Only now somebody reads.
    const told = new Map<number, string>();
    const front = n.packetSocket(b);
    await new Promise<void>((resolve) => {
      front.onPacket = ({ bytes }) => {
        if (bytes.readUInt32LE(0) !== 49) return;
        for (let at = 4; at < bytes.length; at += 16) {
          told.set(bytes.readUInt32LE(at), `${bytes.readUInt32LE(at + 4)} ${bytes.readBigUInt64LE(at + 8)}`);
        }
        if (told.size === pipes.length && [...told.values()].every((each) => each.startsWith('1'))) resolve();
      };
    });
    expect([...told.values()].every((each) => each === '1 200')).toBe(true);
    filler.close();
    front.close();
    n.close(a);
  });

  it('loses and doubles no byte when killed 100 times in the middle', { timeout: 120_000 }, async () => {
    // The writer counts lines without end in writes of every size; the pump's process is killed and replaced while it does.
    const [read, write] = n.pipe();
    const program = compile(
      'counter',
      `#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static volatile sig_atomic_t stop;
static void end(int signal) { stop = signal; }
int main(void) {
  static char lines[3000 * 20 + 1];
  static const int counts[] = {1, 1, 3, 40, 400, 3000};
  struct sigaction action = {.sa_handler = end, .sa_flags = SA_RESTART};
  sigaction(SIGTERM, &action, 0);
  long line = 0;
  while (!stop) {
    int count = counts[rand() % 6], length = 0;
    for (int i = 0; i < count; i++) length += sprintf(lines + length, "%019ld\\n", line++);
    for (int done = 0; done < length;) {
      long wrote = write(1, lines + done, (size_t)(length - done));
      if (wrote < 0) return 1;
      done += (int)wrote;
    }
  }
  fprintf(stderr, "%ld", line);
  return 0;
}`,
    );
    const writer = spawn(program, { stdio: ['ignore', write, 'pipe'] });
    n.close(write);
    const script = `
      const n = require(${JSON.stringify(addon)}), fs = require('fs'), d = ${JSON.stringify(directory)};
      const length = fs.readdirSync(d).reduce((sum, each) => sum + fs.statSync(d + '/' + each).size, 0);
      const pump = n.outputPump();
      pump.onProgress = () => {};
      pump.add(1, 3, d, 'out', BigInt(length), 3000000);
      process.stdout.write('r');`;
    let before = 0;
    let grew = 0;
    for (let kill = 0; kill < 100; kill++) {
      const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit', read] });
      await once(child.stdout!, 'data');
      const moment = process.hrtime.bigint() + BigInt(Math.floor(Math.random() * 8e6));
      while (process.hrtime.bigint() < moment) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
      const now = fs
        .readdirSync(directory)
        .reduce((sum, each) => sum + fs.statSync(join(directory, each)).size, 0);
      if (now > before) grew++;
      before = now;
    }
    expect(grew).toBeGreaterThan(80);
    const end = ended(1);
    pump.add(1, read, directory, 'out', BigInt(before), 3_000_000);
    const counted = once(writer.stderr!, 'data') as Promise<[Buffer]>;
    writer.kill('SIGTERM');
    const lines = Number((await counted)[0].toString());
    await end;
    const bytes = spooled('out');
    expect(bytes.length).toBe(lines * 20);
    let wrong = -1;
    for (let line = 0; line < lines && wrong < 0; line++) {
      if (bytes.toString('latin1', line * 20, line * 20 + 20) !== `${String(line).padStart(19, '0')}\n`)
        wrong = line;
    }
    expect(wrong).toBe(-1);
  });
});
