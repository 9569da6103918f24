import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { processGroupType } from '../../controllers/resource-types.ts';
import { WatchedStore } from '../../controllers/runtime/watched-store.ts';
import type { ProcessGroup, ProcessGroupStatus } from '../../crds/types.gen.ts';
import { FileStore } from '../../store/file/file-store.ts';

let directory = '';
let store: FileStore;
let watched: WatchedStore;
/** What a watch has told so far: here it tells when the test says so. */
const memory = new Map<string, ProcessGroup>();
const key = { namespace: 'default', name: 'a' };
const name = 'default/a';
const phases = (phase: string): ProcessGroupStatus => ({ phase }) as ProcessGroupStatus;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'muster-watched-'));
  store = await FileStore.open({ directory, types: [processGroupType] });
  watched = new WatchedStore(store);
  watched.watched(processGroupType, memory);
});

afterEach(async () => {
  memory.clear();
  await store[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

const read = (): Promise<ProcessGroup> => watched.get<ProcessGroup>(processGroupType, key);
const tell = async (): Promise<void> =>
  void memory.set(name, await store.get<ProcessGroup>(processGroupType, key));

const group = {
  apiVersion: 'muster.dev/v1alpha1',
  kind: 'ProcessGroup',
  metadata: key,
  spec: { size: 1 },
} satisfies ProcessGroup;

const make = (): Promise<ProcessGroup> => watched.create<ProcessGroup>(processGroupType, group);

describe('a store whose watched kinds are read from memory', () => {
  it('asks once for what was just made, and not again when the watch has told of it', async () => {
    const made = await make();
    const asked = vi.spyOn(store, 'get');
    expect(await read()).toEqual(made);
    expect(asked).toHaveBeenCalledTimes(1);
    memory.set(name, made);
    expect(await read()).toBe(made);
    expect(await read()).toBe(made);
    expect(asked).toHaveBeenCalledTimes(1);
  });

  it('never answers older than what was written through it, and newer as soon as it is told', async () => {
    const made = await make();
    memory.set(name, made);
    const written = await watched.updateStatus(processGroupType, { ...made, status: phases('Running') });
    expect((await read()).status?.phase).toBe('Running');
    memory.set(name, written);
    const other = await store.updateStatus(processGroupType, { ...written, status: phases('Failed') });
    const asked = vi.spyOn(store, 'get');
    expect(await read()).toBe(written);
    memory.set(name, other);
    expect(await read()).toBe(other);
    expect(asked).not.toHaveBeenCalled();
  });

  it('asks after a write that was refused, until memory holds what is there', async () => {
    const made = await make();
    memory.set(name, made);
    await read();
    const other = await store.updateStatus(processGroupType, { ...made, status: phases('Running') });
    const late = watched.updateStatus(processGroupType, { ...made, status: phases('Failed') });
    await expect(late).rejects.toMatchObject({ reason: 'Conflict' });
    expect(await read()).toEqual(other);
    expect(await read()).toEqual(other);
    await tell();
    expect(await read()).toBe(memory.get(name));
  });

  it('of two writes that come back in the other order, the later one counts', async () => {
    const made = await make();
    memory.set(name, made);
    const first = Promise.withResolvers<undefined>();
    const update = store.updateStatus.bind(store);
    vi.spyOn(store, 'updateStatus').mockImplementationOnce(async (type, object) => {
      const done = await update(type, object);
      await first.promise;
      return done;
    });
    const withoutVersion = { ...made, metadata: { ...key } };
    const slow = watched.updateStatus(processGroupType, { ...withoutVersion, status: phases('Starting') });
    await vi.waitFor(async () =>
      expect((await store.get<ProcessGroup>(processGroupType, key)).status?.phase).toBe('Starting'),
    );
    await tell();
    await watched.updateStatus(processGroupType, { ...withoutVersion, status: phases('Running') });
    first.resolve(undefined);
    await slow;
    expect((await read()).status?.phase).toBe('Running');
  });

  it('lists and watches without the authors of fields where nobody asks for them', async () => {
    const slim = new WatchedStore(store, [processGroupType]);
    await store.patch<ProcessGroup>(processGroupType, key, {
      type: 'apply',
      patch: group,
      fieldManager: 'somebody',
    });
    expect((await store.get<ProcessGroup>(processGroupType, key)).metadata.managedFields).toBeDefined();
    const [listed] = (await slim.list<ProcessGroup>(processGroupType)).items;
    expect(listed).toMatchObject(group);
    expect(listed?.metadata.managedFields).toBeUndefined();
    const events = slim.watch<ProcessGroup>(processGroupType, {})[Symbol.asyncIterator]();
    expect((await events.next()).value).toEqual({ type: 'ADDED', object: listed });
    await events.return?.(undefined);
  });

  it('knows that what was deleted is gone, and that another one of the name is another one', async () => {
    const made = await make();
    memory.set(name, made);
    await watched.delete(processGroupType, key);
    await expect(read()).rejects.toMatchObject({ reason: 'NotFound' });
    await expect(read()).rejects.toMatchObject({ reason: 'NotFound' });
    const again = await make();
    expect(again.metadata.uid).not.toBe(made.metadata.uid);
    expect(await read()).toEqual(again);
    await tell();
    expect(await read()).toBe(memory.get(name));
  });
});
