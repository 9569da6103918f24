import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FileStore } from '../../store/file/file-store.ts';
import { isStoreError } from '../../store/store-error.ts';
import { racks, widget, widgets, type Widget } from '../contract/object-store.ts';
import { PowerLoss, SimulatedDisk } from './simulated-disk.ts';

const directory = '/store';
const names = ['a', 'b', 'c', 'd'] as const;
type Name = (typeof names)[number];
/** The size of the widget, or undefined when there is none. */
type State = number | undefined;

interface Command {
  readonly kind: 'put' | 'delete';
  readonly name: Name;
  /** Waits for all writes so far before going on. */
  readonly wait: boolean;
}

function open(disk: SimulatedDisk, compactBytes = 3000): Promise<FileStore> {
  return FileStore.open({
    directory,
    types: [widgets, racks],
    fileSystem: disk,
    own: () => ({ [Symbol.dispose]: () => undefined }),
    compactBytes,
    roomBytes: 700,
  });
}

/** For each name: what it may be. The first is what was acknowledged last, the others were still under way. */
class Expected {
  readonly may = new Map<Name, State[]>(names.map((name) => [name, [undefined]]));
  version = 0;

  asked(name: Name, state: State): void {
    this.may.get(name)!.push(state);
  }

  acknowledged(name: Name, state: State): void {
    const states = this.may.get(name)!;
    // Sizes are unique, so this finds the write itself; what came before it can no longer be.
    states.splice(0, states.indexOf(state));
  }

  refused(name: Name, state: State): void {
    const states = this.may.get(name)!;
    const at = states.indexOf(state, 1);
    if (at > 0) states.splice(at, 1);
  }
}

async function run(
  store: FileStore,
  commands: readonly Command[],
  expected: Expected,
  sizes: { next: number },
): Promise<Error[]> {
  const failures: Error[] = [];
  let running: Promise<void>[] = [];
  const chains = new Map<Name, Promise<void>>();
  for (const { kind, name, wait } of commands) {
    const act = async (): Promise<void> => {
      const size = (sizes.next += 1);
      const target: State = kind === 'put' ? size : -size;
      expected.asked(name, target);
      try {
        if (kind === 'delete') {
          // A deletion is known by a negative number until it is acknowledged. NotFound is an answer to a question,
          // not a write: a put whose outcome is unknown may still come to be after it.
          try {
            await store.delete(widgets, { name });
          } catch (error) {
            if (!isStoreError(error, 'NotFound')) throw error;
            expected.refused(name, target);
            return;
          }
        } else {
          const made = await put(store, name, size);
          expected.version = Math.max(expected.version, Number(made.metadata.resourceVersion));
        }
        expected.acknowledged(name, target);
      } catch (error) {
        failures.push(error as Error);
        if (isStoreError(error, 'InsufficientStorage', 'InternalError')) expected.refused(name, target);
      }
    };
    // One writer a name, so that the order of its writes is known; names run side by side.
    const chain = (chains.get(name) ?? Promise.resolve()).then(act);
    chains.set(name, chain);
    running.push(chain);
    if (wait) {
      await Promise.all(running);
      running = [];
    }
  }
  await Promise.all(running);
  return failures;
}

async function put(store: FileStore, name: Name, size: number): Promise<Widget> {
  const note = 'x'.repeat((size * 37) % 300);
  try {
    return await store.patch<Widget>(widgets, { name }, { type: 'merge', patch: { spec: { size, note } } });
  } catch (error) {
    if (!isStoreError(error, 'NotFound')) throw error;
    return store.create<Widget>(widgets, widget(name, { size, note }));
  }
}

async function check(store: FileStore, expected: Expected): Promise<void> {
  const { items, resourceVersion } = await store.list<Widget>(widgets);
  for (const name of names) {
    const found = items.find(({ metadata }) => metadata.name === name)?.spec?.size;
    const may = expected.may
      .get(name)!
      .map((state) => (state !== undefined && state < 0 ? undefined : state));
    if (!may.includes(found)) expect.fail(`${name} is ${found}, expected one of ${may.join(', ')}`);
    // What was found now counts as acknowledged.
    expected.may.set(name, [found]);
  }
  expect(Number(resourceVersion)).toBeGreaterThanOrEqual(expected.version);
}

function random(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x6d2b79f5) >>> 0;
    return ((state ^ (state >>> 13)) >>> 0) / 2 ** 32;
  };
}

const commands = fc.array(
  fc.record<Command>({
    kind: fc.constantFrom('put', 'put', 'put', 'delete'),
    name: fc.constantFrom(...names),
    wait: fc.boolean(),
  }),
  { minLength: 1, maxLength: 40 },
);

describe('FileStore on a disk that loses power', () => {
  it('keeps every acknowledged write, whatever the step', async () => {
    const script = Array.from({ length: 60 }, (_, index): Command => {
      const name = names[(index * 7) % names.length]!;
      return { kind: index % 9 === 8 ? 'delete' : 'put', name, wait: index % 3 === 0 };
    });
    const whole = new SimulatedDisk();
    {
      await using store = await open(whole);
      expect(await run(store, script, new Expected(), { next: 0 })).toEqual([]);
    }
    expect(whole.steps).toBeGreaterThan(80);
    let crashes = 0;
    for (let step = 1; step <= whole.steps; step += 1) {
      for (let seed = 1; seed <= 8; seed += 1) {
        const disk = new SimulatedDisk();
        disk.fault = (at) => (at === step ? 'power' : undefined);
        const expected = new Expected();
        const sizes = { next: 0 };
        try {
          const store = await open(disk);
          await run(store, script, expected, sizes);
          await store.close();
        } catch (error) {
          if (!(error instanceof PowerLoss)) throw error;
        }
        crashes += 1;
        // Crash again while it recovers, then let it live.
        const second = disk.afterPowerLoss(random(step * 131 + seed));
        second.fault = (at) => (at === seed ? 'power' : undefined);
        try {
          await (await open(second)).close();
        } catch (error) {
          if (!(error instanceof PowerLoss)) throw error;
        }
        const third = second.afterPowerLoss(random(step * 17 + seed));
        await using store = await open(third);
        await check(store, expected);
        expect(await run(store, script.slice(0, 5), expected, sizes)).toEqual([]);
        await check(store, expected);
      }
    }
    expect(crashes).toBeGreaterThan(600);
  });

  it('keeps every acknowledged write over many lives (property)', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ commands, crashAt: fc.integer({ min: 1, max: 80 }), seed: fc.nat() }), {
          minLength: 1,
          maxLength: 5,
        }),
        async (lives) => {
          let disk = new SimulatedDisk();
          const expected = new Expected();
          const sizes = { next: 0 };
          for (const life of lives) {
            disk.fault = (at) => (at >= life.crashAt ? 'power' : undefined);
            try {
              const store = await open(disk, 1500);
              await check(store, expected);
              await run(store, life.commands, expected, sizes);
            } catch (error) {
              if (!(error instanceof PowerLoss)) throw error;
            }
            disk = disk.afterPowerLoss(random(life.seed));
          }
          await using store = await open(disk);
          await check(store, expected);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('FileStore on a disk that is full or fails', () => {
  it.each(['ENOSPC', 'EIO'] as const)(
    'refuses with %s, stays readable, recovers; nothing half done',
    async (kind) => {
      await fc.assert(
        fc.asyncProperty(
          commands,
          commands,
          fc.integer({ min: 4, max: 60 }),
          fc.integer({ min: 1, max: 30 }),
          fc.nat(),
          async (during, after, from, count, seed) => {
            const disk = new SimulatedDisk();
            const expected = new Expected();
            const sizes = { next: 0 };
            const store = await open(disk, 1500);
            disk.fault = (at) => (at >= from && at < from + count ? kind : undefined);
            const failures = await run(store, during, expected, sizes);
            for (const failure of failures) {
              expect(isStoreError(failure, 'InsufficientStorage', 'InternalError', 'Unavailable')).toBe(true);
              expect(failure.message).toMatch(
                kind === 'ENOSPC' ? /disk .* is full/ : /cannot be written \(EIO\)/,
              );
            }
            await store.list(widgets);
            disk.fault = () => undefined;
            expect(await run(store, after, expected, sizes)).toEqual([]);
            // A short write at the end, so that the leftovers of a longer refused one would show.
            await store.create(racks, { metadata: { name: 'r' }, spec: {} });
            {
              await using orderly = await open(disk.afterPowerLoss(() => 0));
              expect(orderly.problems).toEqual([]);
            }
            const recovered = disk.afterPowerLoss(random(seed));
            await using again = await open(recovered);
            await check(again, expected);
          },
        ),
        { numRuns: 300 },
      );
    },
  );
});
