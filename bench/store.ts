/**
 * Writes a second of the file store, by how many are under way at once, and of the alternative it was chosen over:
 * one atomically replaced file an object. Prints JSON lines. `MUSTER_BENCH_SECONDS` sets how long each runs.
 */
import { fdatasync, fsync } from 'node:fs';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { FileStore } from '../store/file/file-store.ts';
import type { AnyObject } from '../store/object-store.ts';
import type { ResourceType } from '../store/resource.ts';

const type: ResourceType = {
  group: 'bench.muster.dev',
  version: 'v1',
  kind: 'Thing',
  plural: 'things',
  namespaced: true,
};
const seconds = Number(process.env['MUSTER_BENCH_SECONDS'] ?? 2);
const body = {
  command: ['./cpi'],
  env: Array.from({ length: 40 }, (_, i) => ({ name: `V${i}`, value: `${i}` })),
};

function print(bench: string, facts: object, value: number, unit: string): void {
  console.log(JSON.stringify({ bench, ...facts, value: Math.round(value * 100) / 100, unit }));
}

/** Runs `write` from many loops at once and gives the rate and the median time of one. */
async function measure(concurrency: number, write: (loop: number, turn: number) => Promise<void>) {
  const times: number[] = [];
  const begin = performance.now();
  const until = begin + seconds * 1000;
  const loop = async (index: number): Promise<void> => {
    for (let turn = 0; performance.now() < until; turn += 1) {
      const at = performance.now();
      await write(index, turn);
      times.push(performance.now() - at);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, (_, index) => loop(index)));
  times.sort((a, b) => a - b);
  const elapsed = (performance.now() - begin) / 1000;
  return { rate: times.length / elapsed, medianMs: times[times.length >> 1] ?? 0 };
}

async function replaceFile(directory: string, name: string, text: string): Promise<void> {
  const draft = path.join(directory, `${name}.tmp`);
  const file = await fs.open(draft, 'w');
  await file.writeFile(text);
  await promisify(fdatasync)(file.fd);
  await file.close();
  await fs.rename(draft, path.join(directory, name));
  const folder = await fs.open(directory, 'r');
  await promisify(fsync)(folder.fd);
  await folder.close();
}

const root = await fs.mkdtemp(path.join(process.env['MUSTER_BENCH_DIR'] ?? os.tmpdir(), 'muster-bench-'));
try {
  {
    const file = await fs.open(path.join(root, 'plain'), 'w');
    let at = 0;
    const block = Buffer.alloc(2048, 'x');
    const { rate, medianMs } = await measure(1, async () => {
      await file.write(block, 0, block.length, at);
      at += block.length;
      await promisify(fdatasync)(file.fd);
    });
    await file.close();
    print(
      'append-and-fdatasync',
      { concurrency: 1, medianMs: Number(medianMs.toFixed(3)) },
      rate,
      'writes/s',
    );
  }
  for (const concurrency of [1, 16, 256]) {
    const directory = path.join(root, `journal-${concurrency}`);
    await using store = await FileStore.open({ directory, types: [type] });
    for (let index = 0; index < concurrency; index += 1) {
      await store.create<AnyObject>(type, { metadata: { name: `t${index}` }, spec: { ...body, turn: -1 } });
    }
    const { rate, medianMs } = await measure(concurrency, async (index, turn) => {
      await store.update<AnyObject>(type, { metadata: { name: `t${index}` }, spec: { ...body, turn } });
    });
    const facts = { backend: 'journal', concurrency, medianMs: Number(medianMs.toFixed(3)) };
    print('store-writes', facts, rate, 'writes/s');
  }
  for (const concurrency of [1, 16, 256]) {
    const directory = path.join(root, `files-${concurrency}`);
    await fs.mkdir(directory);
    const { rate, medianMs } = await measure(concurrency, (index, turn) =>
      replaceFile(
        directory,
        `t${index}.json`,
        JSON.stringify({ metadata: { name: `t${index}` }, spec: { ...body, turn } }),
      ),
    );
    const facts = { backend: 'file-per-object', concurrency, medianMs: Number(medianMs.toFixed(3)) };
    print('store-writes', facts, rate, 'writes/s');
  }
  {
    const directory = path.join(root, 'many');
    const objects = 100_000;
    {
      await using store = await FileStore.open({ directory, types: [type], compactBytes: 2 ** 40 });
      const at = performance.now();
      for (let from = 0; from < objects; from += 1000) {
        await Promise.all(
          Array.from({ length: 1000 }, (_, index) =>
            store.create<AnyObject>(type, { metadata: { name: `t${from + index}` }, spec: { turn: index } }),
          ),
        );
      }
      print('store-create', { objects }, performance.now() - at, 'ms');
      const compacting = performance.now();
      await store.compact();
      print('store-snapshot', { objects }, performance.now() - compacting, 'ms');
    }
    const at = performance.now();
    await using store = await FileStore.open({ directory, types: [type] });
    print('store-open', { objects: store.size }, performance.now() - at, 'ms');
    const listing = performance.now();
    await store.list(type, { labelSelector: 'app=x' });
    print('store-list', { objects }, performance.now() - listing, 'ms');
    print('store-memory', { objects }, process.memoryUsage().rss / 2 ** 20, 'MiB');
  }
} finally {
  await fs.rm(root, { recursive: true });
}
