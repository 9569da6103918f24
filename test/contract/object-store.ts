/**
 * The contract of ObjectStore, run on every backend. It knows only the interface; a backend brings a way to make a
 * store that keeps `widgets` (namespaced, with status) and `racks` (cluster-scoped, with status).
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AnyObject, ObjectStore, WatchEvent } from '../../store/object-store.ts';
import { isStoreError, type StoreReason } from '../../store/store-error.ts';
import type { ResourceType } from '../../store/resource.ts';
import { eventually } from './eventually.ts';

export { eventually };

export const widgets: ResourceType = {
  group: 'test.muster.dev',
  version: 'v1',
  kind: 'Widget',
  plural: 'widgets',
  namespaced: true,
  shortNames: ['wd'],
  printerColumns: [
    { name: 'Size', type: 'integer', jsonPath: '.spec.size' },
    { name: 'Phase', type: 'string', jsonPath: '.status.phase' },
    { name: 'Note', type: 'string', jsonPath: '.spec.note', priority: 1 },
    { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
  ],
};
export const racks: ResourceType = {
  group: 'test.muster.dev',
  version: 'v1',
  kind: 'Rack',
  plural: 'racks',
  namespaced: false,
};

export interface StoreUnderTest {
  readonly store: ObjectStore;
  close(): Promise<void>;
}

export interface Widget extends AnyObject {
  spec?: { size?: number; note?: string; list?: number[] };
  status?: { phase?: string };
}

export function widget(
  name: string,
  spec: Widget['spec'] = { size: 1 },
  metadata: AnyObject['metadata'] = {},
): Widget {
  return { apiVersion: 'test.muster.dev/v1', kind: 'Widget', metadata: { name, ...metadata }, spec };
}

/** Reads events until there are `count` of them, then ends the watch. */
export async function take<T>(events: AsyncIterable<WatchEvent<T>>, count: number): Promise<WatchEvent<T>[]> {
  const taken: WatchEvent<T>[] = [];
  for await (const event of events) {
    taken.push(event);
    if (taken.length >= count) break;
  }
  return taken;
}

export function describeObjectStore(name: string, makeStore: () => Promise<StoreUnderTest>): void {
  describe(`${name} keeps the contract of ObjectStore`, () => {
    let under: StoreUnderTest;
    let store: ObjectStore;
    beforeEach(async () => {
      under = await makeStore();
      store = under.store;
    });
    afterEach(() => under.close());

    const refuses = async (promise: Promise<unknown>, ...reasons: StoreReason[]): Promise<void> => {
      const error: unknown = await promise.then(
        () => 'nothing thrown',
        (thrown: unknown) => thrown,
      );
      if (!isStoreError(error, ...reasons))
        expect.fail(`expected ${reasons.join(' or ')}, got ${String(error)}`);
    };
    const summary = (events: readonly WatchEvent<AnyObject>[]): string[] =>
      events.map(({ type, object }) => `${type} ${object.metadata.name}`);

    describe('creation', () => {
      it('fills in what the store decides', async () => {
        const made = await store.create(widgets, widget('a'));
        expect(made).toMatchObject({ apiVersion: 'test.muster.dev/v1', kind: 'Widget', spec: { size: 1 } });
        const { metadata } = made;
        expect(metadata).toMatchObject({ name: 'a', namespace: 'default', generation: 1 });
        expect(metadata.uid).toMatch(/^[0-9a-f-]{36}$/);
        expect(metadata.creationTimestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
        expect(Number(metadata.resourceVersion)).toBeGreaterThan(0);
        expect(await store.get(widgets, { name: 'a' })).toEqual(made);
      });

      it('drops a status', async () => {
        const made = await store.create(widgets, { ...widget('a'), status: { phase: 'Running' } });
        expect(made).not.toHaveProperty('status');
      });

      it('refuses a name that is taken, in the same namespace only', async () => {
        await store.create(widgets, widget('a'));
        await refuses(store.create(widgets, widget('a')), 'AlreadyExists');
        await store.create(widgets, widget('a', {}, { namespace: 'other' }));
      });

      it('picks a free name for generateName', async () => {
        const made = await Promise.all(
          [1, 2, 3, 4].map(() =>
            store.create<AnyObject>(widgets, { metadata: { generateName: 'run-' }, spec: {} }),
          ),
        );
        const names = new Set(made.map((object) => object.metadata.name));
        expect(names.size).toBe(4);
        for (const one of names) expect(one).toMatch(/^run-[a-z0-9]{5}$/);
      });

      it('refuses bad names, labels, kinds and versions, naming the field', async () => {
        await refuses(store.create(widgets, widget('Bad_Name')), 'Invalid');
        await refuses(store.create(widgets, { metadata: {}, spec: {} }), 'Invalid');
        await refuses(store.create(widgets, widget('a', {}, { labels: { x: 'not a label!' } })), 'Invalid');
        await refuses(store.create(widgets, { ...widget('a'), kind: 'Gadget' }), 'BadRequest', 'Invalid');
        await refuses(
          store.create(widgets, widget('a', {}, { resourceVersion: '7' })),
          'BadRequest',
          'Invalid',
        );
        const error: unknown = await store.create(widgets, widget('-x')).catch((thrown: unknown) => thrown);
        expect(isStoreError(error, 'Invalid') && error.details.causes?.[0]?.field).toBe('metadata.name');
      });

      it('lets exactly one of many at the same name win', async () => {
        const results = await Promise.allSettled(
          Array.from({ length: 10 }, (_, size) => store.create(widgets, widget('a', { size }))),
        );
        expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      });

      it('keeps cluster-scoped kinds without a namespace', async () => {
        const made = await store.create(racks, { metadata: { name: 'r1' }, spec: {} });
        expect(made.metadata).not.toHaveProperty('namespace');
        expect(await store.get(racks, { name: 'r1' })).toEqual(made);
      });
    });

    describe('update', () => {
      it('counts generations of the spec only', async () => {
        const made = await store.create<Widget>(widgets, widget('a'));
        const labelled = await store.update<Widget>(widgets, {
          ...made,
          metadata: { ...made.metadata, labels: { x: 'y' } },
        });
        expect(labelled.metadata.generation).toBe(1);
        expect(labelled.metadata.resourceVersion).not.toBe(made.metadata.resourceVersion);
        const grown = await store.update<Widget>(widgets, { ...labelled, spec: { size: 2 } });
        expect(grown.metadata.generation).toBe(2);
      });

      it('refuses a stale version and a foreign uid', async () => {
        const made = await store.create<Widget>(widgets, widget('a'));
        await store.update<Widget>(widgets, { ...made, spec: { size: 2 } });
        await refuses(store.update<Widget>(widgets, { ...made, spec: { size: 3 } }), 'Conflict');
        const foreign = widget('a', { size: 3 }, { uid: '00000000-0000-0000-0000-000000000000' });
        await refuses(store.update(widgets, foreign), 'Conflict', 'Invalid');
        expect((await store.get<Widget>(widgets, { name: 'a' })).spec).toEqual({ size: 2 });
      });

      it('ignores the status, and what only the store decides', async () => {
        const made = await store.create<Widget>(widgets, widget('a'));
        const changed = await store.update<Widget>(widgets, {
          ...made,
          metadata: { ...made.metadata, creationTimestamp: '2001-01-01T00:00:00Z', generation: 99 },
          spec: { size: 5 },
          status: { phase: 'Stolen' },
        });
        expect(changed.status).toBeUndefined();
        expect(changed.metadata.generation).toBe(2);
        expect(changed.metadata.creationTimestamp).toBe(made.metadata.creationTimestamp);
      });

      it('changes nothing when nothing changes', async () => {
        const made = await store.create<Widget>(widgets, widget('a'));
        const same = await store.update<Widget>(widgets, made);
        expect(same.metadata.resourceVersion).toBe(made.metadata.resourceVersion);
      });

      it('refuses what is not there', async () => {
        await refuses(store.update(widgets, widget('a')), 'NotFound');
        await refuses(store.updateStatus(widgets, widget('a')), 'NotFound');
        await refuses(store.get(widgets, { name: 'a' }), 'NotFound');
        await refuses(store.delete(widgets, { name: 'a' }), 'NotFound');
        await refuses(store.patch(widgets, { name: 'a' }, { type: 'merge', patch: {} }), 'NotFound');
      });

      it('lets one of many with the same version win', async () => {
        const made = await store.create<Widget>(widgets, widget('a', { size: 0 }));
        const results = await Promise.allSettled(
          [1, 2, 3, 4, 5].map((size) => store.update<Widget>(widgets, { ...made, spec: { size } })),
        );
        expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
        for (const result of results) {
          if (result.status === 'rejected') expect(isStoreError(result.reason, 'Conflict')).toBe(true);
        }
      });
    });

    it('updateStatus changes the status only, and no generation', async () => {
      const made = await store.create<Widget>(widgets, widget('a'));
      const done = await store.updateStatus<Widget>(widgets, {
        ...made,
        spec: { size: 9 },
        status: { phase: 'Running' },
      });
      expect(done).toMatchObject({ spec: { size: 1 }, status: { phase: 'Running' } });
      expect(done.metadata.generation).toBe(1);
      await refuses(store.updateStatus<Widget>(widgets, { ...made, status: { phase: 'Late' } }), 'Conflict');
      const updated = await store.update<Widget>(widgets, { ...widget('a', { size: 2 }) });
      expect(updated.status).toEqual({ phase: 'Running' });
    });

    describe('patch', () => {
      it('merges, removes with null, replaces lists', async () => {
        await store.create(widgets, widget('a', { size: 1, note: 'x', list: [1, 2] }));
        const patched = await store.patch<Widget>(
          widgets,
          { name: 'a' },
          { type: 'merge', patch: { spec: { note: null, list: [3] }, status: { phase: 'No' } } },
        );
        expect(patched.spec).toEqual({ size: 1, list: [3] });
        expect(patched.status).toBeUndefined();
        expect(patched.metadata.generation).toBe(2);
      });

      it('patches the status through its subresource', async () => {
        await store.create(widgets, widget('a'));
        const patched = await store.patch<Widget>(
          widgets,
          { name: 'a' },
          { type: 'merge', patch: { spec: { size: 7 }, status: { phase: 'Done' } } },
          { subresource: 'status' },
        );
        expect(patched).toMatchObject({ spec: { size: 1 }, status: { phase: 'Done' } });
      });

      it('understands JSON patches, tests included', async () => {
        await store.create(widgets, widget('a', { size: 1, list: [1, 2] }));
        const patched = await store.patch<Widget>(
          widgets,
          { name: 'a' },
          {
            type: 'json',
            patch: [
              { op: 'test', path: '/spec/size', value: 1 },
              { op: 'add', path: '/spec/list/-', value: 3 },
              { op: 'remove', path: '/spec/list/0' },
              { op: 'replace', path: '/spec/size', value: 4 },
            ],
          },
        );
        expect(patched.spec).toEqual({ size: 4, list: [2, 3] });
        const failing = { type: 'json', patch: [{ op: 'test', path: '/spec/size', value: 1 }] } as const;
        await refuses(store.patch(widgets, { name: 'a' }, failing), 'Invalid');
      });

      it('takes a resourceVersion as a precondition', async () => {
        const made = await store.create<Widget>(widgets, widget('a'));
        await store.update<Widget>(widgets, { ...made, spec: { size: 2 } });
        const patch = { metadata: { resourceVersion: made.metadata.resourceVersion }, spec: { size: 3 } };
        await refuses(store.patch(widgets, { name: 'a' }, { type: 'merge', patch }), 'Conflict');
      });

      it('loses none of many at once', async () => {
        await store.create(widgets, widget('a', {}));
        await Promise.all(
          Array.from({ length: 20 }, (_, index) =>
            store.patch(
              widgets,
              { name: 'a' },
              { type: 'merge', patch: { metadata: { annotations: { [`n${index}`]: 'x' } } } },
            ),
          ),
        );
        const { metadata } = await store.get(widgets, { name: 'a' });
        expect(Object.keys(metadata.annotations ?? {})).toHaveLength(20);
      });
    });

    describe('deletion', () => {
      it('removes at once without finalizers', async () => {
        const made = await store.create(widgets, widget('a'));
        expect(await store.delete(widgets, { name: 'a' })).toEqual({ gone: true, uid: made.metadata.uid });
        await refuses(store.get(widgets, { name: 'a' }), 'NotFound');
        const again = await store.create(widgets, widget('a'));
        expect(again.metadata.uid).not.toBe(made.metadata.uid);
      });

      it('waits for finalizers', async () => {
        await store.create(widgets, widget('a', {}, { finalizers: ['test.muster.dev/hold'] }));
        const first = await store.delete<Widget>(widgets, { name: 'a' });
        expect(first.gone).toBe(false);
        const held = await store.get<Widget>(widgets, { name: 'a' });
        expect(held.metadata.deletionTimestamp).toMatch(/Z$/);
        await refuses(
          store.update(widgets, {
            ...held,
            metadata: { ...held.metadata, finalizers: ['test.muster.dev/hold', 'test.muster.dev/more'] },
          }),
          'Invalid',
        );
        await refuses(store.create(widgets, widget('a')), 'AlreadyExists');
        const again = await store.delete<Widget>(widgets, { name: 'a' });
        expect(!again.gone && again.object.metadata.deletionTimestamp).toBe(held.metadata.deletionTimestamp);
        await store.update(widgets, { ...held, metadata: { ...held.metadata, finalizers: [] } });
        await refuses(store.get(widgets, { name: 'a' }), 'NotFound');
      });

      it('honours preconditions', async () => {
        const made = await store.create<Widget>(widgets, widget('a'));
        const { uid, resourceVersion } = made.metadata;
        const now = await store.update<Widget>(widgets, { ...made, spec: { size: 2 } });
        await refuses(
          store.delete(widgets, { name: 'a' }, { preconditions: { resourceVersion } }),
          'Conflict',
        );
        await refuses(
          store.delete(
            widgets,
            { name: 'a' },
            { preconditions: { uid: '00000000-0000-0000-0000-000000000000' } },
          ),
          'Conflict',
        );
        const preconditions = { uid, resourceVersion: now.metadata.resourceVersion };
        expect(await store.delete(widgets, { name: 'a' }, { preconditions })).toMatchObject({ gone: true });
      });
    });

    describe('owners', () => {
      const ownedBy = (owner: AnyObject, block = false): AnyObject['metadata'] => ({
        ownerReferences: [
          {
            apiVersion: owner.apiVersion!,
            kind: owner.kind!,
            name: owner.metadata.name!,
            uid: owner.metadata.uid!,
            ...(block ? { blockOwnerDeletion: true } : {}),
          },
        ],
      });
      const gone = (name: string): Promise<void> =>
        eventually(() => refuses(store.get(widgets, { name }), 'NotFound'));

      it('take what they own with them, grandchildren too', async () => {
        const owner = await store.create(widgets, widget('owner'));
        const child = await store.create(widgets, widget('child', {}, ownedBy(owner)));
        await store.create(widgets, widget('grandchild', {}, ownedBy(child)));
        await store.create(widgets, widget('stranger'));
        await store.delete(widgets, { name: 'owner' });
        await gone('child');
        await gone('grandchild');
        await store.get(widgets, { name: 'stranger' });
      });

      it('leave them when asked to orphan', async () => {
        const owner = await store.create(widgets, widget('owner'));
        await store.create(widgets, widget('child', {}, ownedBy(owner)));
        await store.delete(widgets, { name: 'owner' }, { propagation: 'Orphan' });
        await gone('owner');
        const child = await store.get(widgets, { name: 'child' });
        expect(child.metadata.ownerReferences ?? []).toEqual([]);
      });

      it('go last in a foreground deletion', async () => {
        const owner = await store.create(widgets, widget('owner'));
        const hold = { ...ownedBy(owner, true), finalizers: ['test.muster.dev/hold'] };
        await store.create(widgets, widget('child', {}, hold));
        await store.delete(widgets, { name: 'owner' }, { propagation: 'Foreground' });
        await eventually(async () => {
          const child = await store.get(widgets, { name: 'child' });
          expect(child.metadata.deletionTimestamp).toBeDefined();
        });
        expect((await store.get(widgets, { name: 'owner' })).metadata.deletionTimestamp).toBeDefined();
        await store.patch(
          widgets,
          { name: 'child' },
          { type: 'merge', patch: { metadata: { finalizers: null } } },
        );
        await gone('child');
        await gone('owner');
      });

      it('hold what another owner still wants', async () => {
        const one = await store.create(widgets, widget('one'));
        const two = await store.create(widgets, widget('two'));
        const both = [...ownedBy(one).ownerReferences!, ...ownedBy(two).ownerReferences!];
        await store.create(widgets, widget('child', {}, { ownerReferences: both }));
        await store.delete(widgets, { name: 'one' });
        await eventually(async () => {
          const child = await store.get(widgets, { name: 'child' });
          expect(child.metadata.ownerReferences).toHaveLength(1);
        });
        await store.delete(widgets, { name: 'two' });
        await gone('child');
      });

      it('that never were do not keep an object', async () => {
        const ghost = {
          ...widget('ghost'),
          metadata: { name: 'ghost', uid: '00000000-0000-4000-8000-000000000000' },
        };
        await store.create(widgets, widget('child', {}, ownedBy(ghost)));
        await gone('child');
      });
    });

    describe('lists', () => {
      beforeEach(async () => {
        await store.create(widgets, widget('b', {}, { labels: { app: 'x', tier: 'front' } }));
        await store.create(widgets, widget('a', {}, { labels: { app: 'y' } }));
        await store.create(widgets, widget('c', {}, { namespace: 'other', labels: { app: 'x' } }));
        await store.create(widgets, widget('d', {}, { namespace: 'a-b' }));
      });
      const names = async (options: Parameters<ObjectStore['list']>[1]): Promise<string> =>
        (await store.list(widgets, options)).items.map(({ metadata }) => metadata.name).join('');

      it('are sorted and cut by namespace', async () => {
        expect(await names({})).toBe('dabc');
        expect(await names({ namespace: 'default' })).toBe('ab');
        expect(await names({ namespace: 'nowhere' })).toBe('');
      });

      it.each([
        ['app=x', 'bc'],
        ['app==y', 'a'],
        ['app!=x', 'da'],
        ['app in (x, y),tier', 'b'],
        ['app notin (x)', 'da'],
        ['!app', 'd'],
        ['tier,!app', ''],
      ])('select by %s', async (labelSelector, expected) => {
        expect(await names({ labelSelector })).toBe(expected);
      });

      it('select by name, refuse selectors they cannot read', async () => {
        expect(await names({ fieldSelector: 'metadata.name=a' })).toBe('a');
        await refuses(store.list(widgets, { labelSelector: 'a b c' }), 'BadRequest');
        await refuses(store.list(widgets, { fieldSelector: 'spec.size=1' }), 'BadRequest');
      });

      it('come page by page as one snapshot', async () => {
        const first = await store.list(widgets, { limit: 3 });
        expect(first.items).toHaveLength(3);
        await store.delete(widgets, { namespace: 'other', name: 'c' });
        const rest = await store.list(widgets, { limit: 3, continue: first.continue });
        expect(rest.items.map(({ metadata }) => metadata.name)).toEqual(['c']);
        expect(rest.resourceVersion).toBe(first.resourceVersion);
        expect(rest.continue).toBeUndefined();
      });
    });

    describe('watch', () => {
      it('shows what there is, then every change in order', async () => {
        await store.create(widgets, widget('a'));
        const watching = take(store.watch<Widget>(widgets), 4);
        await eventually(async () => {
          await store.patch(widgets, { name: 'a' }, { type: 'merge', patch: { spec: { size: 2 } } });
        });
        await store.updateStatus(widgets, { ...widget('a'), status: { phase: 'P' } });
        await store.delete(widgets, { name: 'a' });
        await store.create(widgets, widget('b'));
        const events = summary(await watching);
        expect(events[0]).toBe('ADDED a');
        expect(events).toContain('DELETED a');
      });

      it('resumes after a version without loss or repetition', async () => {
        await store.create(widgets, widget('a'));
        const { resourceVersion } = await store.list(widgets);
        for (const size of [2, 3]) {
          await store.patch(widgets, { name: 'a' }, { type: 'merge', patch: { spec: { size } } });
        }
        await store.create(widgets, widget('b'));
        await store.delete(widgets, { name: 'a' });
        const events = await take(store.watch<Widget>(widgets, { resourceVersion }), 4);
        expect(summary(events)).toEqual(['MODIFIED a', 'MODIFIED a', 'ADDED b', 'DELETED a']);
        expect(events.map(({ object }) => object.spec?.size)).toEqual([2, 3, 1, 3]);
        const versions = events.map(({ object }) => Number(object.metadata.resourceVersion));
        expect(versions).toEqual([...versions].sort((x, y) => x - y));
        const later = events[1]!.object.metadata.resourceVersion;
        const rest = await take(store.watch(widgets, { resourceVersion: later }), 2);
        expect(summary(rest)).toEqual(['ADDED b', 'DELETED a']);
      });

      it('keeps to its selection, and sees objects enter and leave it', async () => {
        const { resourceVersion } = await store.list(widgets);
        await store.create(widgets, widget('a', {}, { labels: { on: 'yes' } }));
        await store.create(widgets, widget('b'));
        const relabel = (name: string, value: string | null): Promise<unknown> =>
          store.patch(widgets, { name }, { type: 'merge', patch: { metadata: { labels: { on: value } } } });
        await relabel('b', 'yes');
        await relabel('a', null);
        await store.create(widgets, widget('c', {}, { namespace: 'other', labels: { on: 'yes' } }));
        await relabel('b', 'no');
        const options = { resourceVersion, labelSelector: 'on=yes', namespace: 'default' };
        const events = await take(store.watch(widgets, options), 4);
        expect(summary(events)).toEqual(['ADDED a', 'ADDED b', 'DELETED a', 'DELETED b']);
      });

      it('marks the end of the first objects for those who want bookmarks', async () => {
        await store.create(widgets, widget('a'));
        const events = await take(store.watch(widgets, { bookmarks: true }), 2);
        expect(events.map(({ type }) => type)).toEqual(['ADDED', 'BOOKMARK']);
        expect(events[1]!.object.metadata.annotations).toEqual({ 'k8s.io/initial-events-end': 'true' });
        expect(Number(events[1]!.object.metadata.resourceVersion)).toBeGreaterThan(0);
      });

      it('ends quietly when aborted', async () => {
        const abort = new AbortController();
        const seen: string[] = [];
        const reading = (async () => {
          for await (const event of store.watch(widgets, {}, abort.signal)) seen.push(event.type);
        })();
        await store.create(widgets, widget('a'));
        await eventually(() => expect(seen).toEqual(['ADDED']));
        abort.abort();
        await reading;
      });

      it('is Expired for a version that never was', async () => {
        await refuses(take(store.watch(widgets, { resourceVersion: '999999999' }), 1), 'Expired');
      });

      it('shows the finished deletion of an object with finalizers', async () => {
        await store.create(widgets, widget('a', {}, { finalizers: ['test.muster.dev/hold'] }));
        const { resourceVersion } = await store.list(widgets);
        await store.delete(widgets, { name: 'a' });
        await store.patch(widgets, { name: 'a' }, { type: 'merge', patch: { metadata: { finalizers: [] } } });
        const events = await take(store.watch(widgets, { resourceVersion }), 2);
        expect(summary(events)).toEqual(['MODIFIED a', 'DELETED a']);
      });
    });
  });
}
