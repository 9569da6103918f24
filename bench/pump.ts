/**
 * How fast output goes from pipes into spool files: the OutputPump's splice against a plain read and write loop (a C-speed
 * copy by cat) over the same writers, in the same run. One JSON line a case.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { native } from '../native/addon/index.ts';

const directory = mkdtempSync(join(process.env['MUSTER_BENCH_DIR'] ?? tmpdir(), 'muster-bench-pump-'));
const n = native();

/** A program that writes `total` bytes to its stdout in writes of `size`. */
const writer = join(directory, 'writer');
execFileSync('cc', ['-O2', '-x', 'c', '-o', writer, '-'], {
  input: `#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>
int main(int argc, char **argv) {
  size_t size = strtoul(argv[1], 0, 10), total = strtoul(argv[2], 0, 10);
  char *bytes = malloc(size); (void)argc;
  memset(bytes, 'x', size); bytes[size - 1] = '\\n';
  while (total > 0) { ssize_t n = write(1, bytes, size < total ? size : total); if (n <= 0) return 1; total -= (size_t)n; }
  return 0; }`,
});

const ended = (child: ChildProcess): Promise<void> =>
  new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', () => {
      resolve();
    });
  });

function clean(): void {
  for (const name of readdirSync(directory)) if (name.startsWith('out')) rmSync(join(directory, name));
}

async function pumped(pipes: number, size: number, total: number): Promise<number> {
  const pump = n.outputPump();
  const left = new Set(Array.from({ length: pipes }, (_, id) => id));
  const start = process.hrtime.bigint();
  const done = new Promise<void>((resolve) => {
    pump.onProgress = (records) => {
      for (let at = 0; at < records.length; at += 24) {
        if (records.readUInt32LE(at + 4) & 1) left.delete(records.readUInt32LE(at));
      }
      if (left.size === 0) resolve();
    };
  });
  for (let id = 0; id < pipes; id++) {
    const [read, write] = n.pipe();
    const child = spawn(writer, [String(size), String(total)], { stdio: ['ignore', write, 'inherit'] });
    child.on('error', (error) => {
      throw error;
    });
    n.close(write);
    pump.add(id, read, directory, `out-${id}`, 0n, 1 << 30);
  }
  await done;
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  pump.close();
  const spooled = readdirSync(directory)
    .filter((name) => name.startsWith('out'))
    .reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
  if (spooled !== pipes * total) throw new Error(`spooled ${spooled} bytes, expected ${pipes * total}`);
  clean();
  return (pipes * total) / seconds / 1e6;
}

async function copied(pipes: number, size: number, total: number): Promise<number> {
  const start = process.hrtime.bigint();
  const copies: Promise<void>[] = [];
  for (let id = 0; id < pipes; id++) {
    const [read, write] = n.pipe();
    const file = openSync(join(directory, `out-${id}`), 'w', 0o600);
    spawn(writer, [String(size), String(total)], { stdio: ['ignore', write, 'inherit'] });
    const copy = spawn('cat', [], { stdio: [read, file, 'inherit'] });
    n.close(write);
    n.close(read);
    closeSync(file);
    copies.push(ended(copy));
  }
  await Promise.all(copies);
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  clean();
  return (pipes * total) / seconds / 1e6;
}

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

try {
  for (const size of [65536, 80]) {
    for (const pipes of [1, 4, 16]) {
      const total = Math.floor((size === 80 ? 160e6 : 800e6) / pipes / size) * size;
      const ours: number[] = [];
      const theirs: number[] = [];
      for (let round = 0; round < 3; round++) {
        ours.push(await pumped(pipes, size, total));
        theirs.push(await copied(pipes, size, total));
      }
      const value = median(ours);
      const against = median(theirs);
      console.log(
        JSON.stringify({
          bench: 'pump',
          writeBytes: size,
          pipes,
          value: Math.round(value),
          unit: 'MB/s',
          against: { read_write_copy: Math.round(against) },
          ratio: Number((value / against).toFixed(2)),
        }),
      );
    }
  }
} finally {
  rmSync(directory, { recursive: true });
}
