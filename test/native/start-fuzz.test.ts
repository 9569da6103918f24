import { spawnSync } from 'node:child_process';
import { constants } from 'node:os';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { build, message, Sandbox } from './sandbox.ts';
import { startFile, type Entry } from './start-file.ts';

const text = fc.stringMatching(/^[a-z/=]{0,12}$/);
const entry: fc.Arbitrary<Entry> = fc.record({
  argv: fc.array(
    text.map((rest) => `/no/such/${rest}`),
    { maxLength: 4 },
  ), // what is damaged may be started
  env: fc.array(text, { maxLength: 4 }),
  pmi: fc.boolean(),
  groups: fc.array(fc.nat(), { maxLength: 3 }),
  stdin: fc.constantFrom('null' as const, 'pipe' as const, 'pty' as const),
  stdout: fc.constantFrom('null' as const, 'pipe' as const, 'pty' as const, 'file' as const),
  rlimits: fc.array(fc.constant([4, 0n, 0n] as const), { maxLength: 2 }),
  cpuMask: fc.uint8Array({ maxLength: 9 }),
});

/** A good file in which some words and bytes were overwritten, and which may have been cut or lengthened. */
const damaged = fc
  .tuple(
    fc.array(entry, { maxLength: 4 }),
    fc.array(text, { maxLength: 3 }),
    fc.array(
      fc.tuple(fc.nat(100), fc.constantFrom(0, 1, 7, 8, 64, 0x7fffffff, 0x80000000, 0xfffffff8, 0xffffffff)),
      { maxLength: 3 },
    ),
    fc.array(fc.tuple(fc.nat(1000), fc.nat(255)), { maxLength: 3 }),
    fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.integer({ min: -64, max: 64 })),
    fc.boolean(),
  )
  .map(([entries, shared, words, bytes, grown, honest]) => {
    let file = startFile(entries, shared);
    file =
      grown < 0
        ? file.subarray(0, Math.max(0, file.length + grown))
        : Buffer.concat([file, Buffer.alloc(grown, 0x41)]);
    for (const [at, value] of words) if (at * 4 + 4 <= file.length) file.writeUInt32LE(value, at * 4);
    for (const [at, value] of bytes) if (at < file.length) file[at] = value;
    if (honest && file.length >= 32) file.writeBigUInt64LE(BigInt(file.length), 24);
    return file;
  });

describe('START files of any content', () => {
  beforeAll(() => {
    const { status, stderr } = spawnSync('make', [
      '-C',
      new URL('../../native', import.meta.url).pathname,
      'asan',
    ]);
    if (status !== 0) throw new Error(`the sanitizers' program was not built: ${stderr.toString()}`);
  });

  it('are read within their bounds (under sanitizers)', () => {
    fc.assert(
      fc.property(fc.array(damaged, { minLength: 50, maxLength: 200 }), (files) => {
        const input = files.flatMap((file) => [Buffer.from(Uint32Array.of(file.length).buffer), file]);
        const { status, stdout, stderr } = spawnSync(`${build}start-file-asan`, {
          input: Buffer.concat(input),
        });
        expect(stderr.toString()).toBe('');
        expect(status).toBe(0);
        expect(stdout.toString().trim().split('\n')).toHaveLength(files.length);
      }),
      { numRuns: 60 },
    );
  });

  it('that are good are accepted by the same program', () => {
    const good = startFile([{ argv: ['a', 'b'] }, { argv: [] }], ['A=1']);
    const { stdout } = spawnSync(`${build}start-file-asan`, {
      input: Buffer.concat([Buffer.from(Uint32Array.of(good.length).buffer), good]),
    });
    expect(stdout.toString()).toMatch(/^ok 2 1 \d+\n$/);
  });
});

describe('a running rank-init', () => {
  let sandbox: Sandbox;
  beforeAll(() => {
    sandbox = Sandbox.launch([], 8192);
  });
  afterAll(() => sandbox[Symbol.asyncDispose]());

  it('answers every damaged START file and lives on', async () => {
    await fc.assert(
      fc.asyncProperty(damaged, async (file) => {
        const used = sandbox.slotsUsed;
        const { result } = await sandbox.startBytes(file);
        expect([0, -constants.errno.EINVAL, -constants.errno.ENOSPC]).toContain(result);
        if (result !== 0) expect(sandbox.slotsUsed).toBe(used);
      }),
      { numRuns: 500 },
    );
    await sandbox.request(message.kill);
  });

  it('answers or ignores every message and lives on', async () => {
    const type = fc.constantFrom(1, 3, 4, 5, 6, 9, 10, 11, 0xffffffff);
    await fc.assert(
      fc.asyncProperty(type, fc.uint8Array({ maxLength: 80 }), async (kind, body) => {
        sandbox.send(kind, body);
        if (kind === 9) sandbox.send(message.continue, new Uint8Array());
        expect((await sandbox.request(message.hello, [1])).words).toEqual([1]);
      }),
      { numRuns: 1000 },
    );
    expect((await sandbox.sh('echo alive', { startId: 0x7777 })).output).toBe('alive\n');
  });
});
