/** Images that lay on a lost node when their Checkpoint was deleted go when it is back; nothing else of it is touched. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { keepOrphans, orphansOf, removeOrphans, withOrphan } from '../../controllers/checkpoint/orphans.ts';
import { DesiredBook } from '../../controllers/hub/desired-book.ts';
import { FactTable } from '../../controllers/hub/fact-table.ts';
import { nodeMonitorType } from '../../controllers/resource-types.ts';
import type { NodeMonitor } from '../../crds/types.gen.ts';
import { FileStore } from '../../store/file/file-store.ts';
import type { Facts, ImageFact } from '../../wire/agent-types.ts';

const { signal } = new AbortController();
let directory: string;
let store: FileStore;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'muster-orphans-'));
  store = await FileStore.open({ directory, types: [nodeMonitorType] });
  await store.create(nodeMonitorType, {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'NodeMonitor',
    metadata: { name: 'node1' },
    spec: {},
  });
});

afterAll(async () => {
  await store?.[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

const monitor = (): Promise<NodeMonitor> => store.get<NodeMonitor>(nodeMonitorType, { name: 'node1' });

function factsOf(...uids: string[]): Facts {
  const images = uids.map(
    (checkpointUid) => ({ id: { checkpointUid, ordinal: 0 }, state: 'Kept' }) as ImageFact,
  );
  return { full: true, sandboxes: [], forgotten: [], images } as unknown as Facts;
}

test('what was deleted meanwhile is removed, and struck out once it is gone', async () => {
  await keepOrphans(store, 'node1', 'deleted', signal);
  await keepOrphans(store, 'node1', 'deleted', signal);
  await keepOrphans(store, 'nobody', 'deleted', signal);
  expect(orphansOf(await monitor())).toEqual(['deleted']);

  const facts = new FactTable();
  const desired = new DesiredBook(1, () => undefined);
  let standing: 'Connected' | 'Lost' = 'Lost';
  const hub = { facts, desired, nodes: { standing: () => standing } } as unknown as Parameters<
    typeof removeOrphans
  >[0]['hub'];
  expect(await removeOrphans({ store, hub }, await monitor(), signal)).toBeUndefined();

  standing = 'Connected';
  facts.fold('node1', 'boot', factsOf('deleted', 'other'), () => true);
  expect(await removeOrphans({ store, hub }, await monitor(), signal)).toBeGreaterThan(0);
  expect(
    [...desired.imagesWantedOn('node1').values()].map(({ id, want }) => [id.checkpointUid, want]),
  ).toEqual([['deleted', 'Gone']]);

  facts.fold('node1', 'boot', factsOf('other'), () => true);
  expect(await removeOrphans({ store, hub }, await monitor(), signal)).toBeUndefined();
  expect(orphansOf(await monitor())).toEqual([]);
  expect(desired.imagesWantedOn('node1').size).toBe(0);
});

test('the list of a node that never comes back does not grow for ever', () => {
  const many = Array.from({ length: 300 }, (_, at) => `uid${String(at)}`).reduce<string[]>(withOrphan, []);
  expect(many).toHaveLength(256);
  expect(many.at(-1)).toBe('uid299');
});
