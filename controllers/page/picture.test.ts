import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Migration, ProcessGroup, ProcessGroupStatus } from '../../crds/types.gen.ts';
import { FileStore } from '../../store/file/file-store.ts';
import { musterTypes } from '../../store/muster-types.ts';
import type { AnyObject } from '../../store/object-store.ts';
import { builtinTypes } from '../../store/resource.ts';
import type { SandboxFact } from '../../wire/agent-types.ts';
import { FactTable } from '../hub/fact-table.ts';
import { NodeTable } from '../hub/node-table.ts';
import { migrationType } from '../resource-types.ts';
import { ManualClock } from '../runtime/manual-clock.ts';
import { Picture } from './picture.ts';

const logger = pino({ level: 'silent' });

describe('the picture', () => {
  let directory: string;
  let store: FileStore;
  let clock: ManualClock;
  let groups: ProcessGroup[];
  let facts: FactTable;
  let picture: Picture;

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'muster-picture-'));
    store = await FileStore.open({ directory, types: musterTypes(), log: logger });
    clock = new ManualClock();
    groups = [];
    facts = new FactTable();
    const nodes = new NodeTable(clock, 60_000, () => undefined);
    picture = new Picture({ ...{ store, clock, logger, hub: { facts, nodes } }, groups: () => groups });
  });
  afterEach(async () => {
    await picture[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true });
  });

  const group = (name: string, status: ProcessGroupStatus): ProcessGroup => ({
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup',
    metadata: { name, namespace: 'team', uid: name, creationTimestamp: new Date(clock.now()).toISOString() },
    spec: { size: 2, processes: [{ name: 'all', ranks: '0-1', command: ['/bin/true'] }] },
    status,
  });
  const onNode = { placement: [{ ordinal: 0, nodes: 'n1', incarnation: 1, ranks: '0-1' }] };
  const tell = (name: string, more: Partial<SandboxFact>): void => {
    const id = { groupUid: name, ordinal: 0, incarnation: 1 };
    const fact = { id, state: 'Running', succeeded: '', failures: [], cpuUs: 0, memoryBytes: 0, ...more };
    const message = { full: false, sandboxes: [fact as unknown as SandboxFact], forgotten: [], images: [] };
    facts.fold('n1', 'boot', { ...message, desiredRevision: 1 }, () => true);
  };
  const look = async (): Promise<Disposable> => {
    const looking = picture.look();
    await picture.ready(new AbortController().signal);
    return looking;
  };
  const tick = async (): Promise<void> => {
    clock.advance(500);
    await new Promise(setImmediate);
  };
  const keys = (prefix: string): string[] =>
    [...picture.ledger.keys()].filter((key) => key.startsWith(prefix));
  const textOf = (key: string): string =>
    picture.ledger.since(0, () => true).set.find(([one]) => one === key)?.[1] ?? '';

  it('follows what ranks do while somebody looks', async () => {
    using _looking = await look();
    groups = [group('job', { phase: 'Running', ...onNode })];
    tell('job', {});
    await tick();
    expect(keys('group/')).toEqual(['group/team/job']);
    expect(JSON.parse(textOf('sandbox/job/0/1'))).toMatchObject({
      node: 'n1',
      ranks: '0-1',
      state: 'Running',
    });
    tell('job', { frozen: true });
    const { revision } = picture.ledger;
    await tick();
    expect(picture.ledger.since(revision, () => true).set.map(([key]) => key)).toEqual(['sandbox/job/0/1']);
    expect(JSON.parse(textOf('sandbox/job/0/1'))).toMatchObject({ state: 'Frozen', load: '' });
  });
  it('takes a job that has ended from the grid after a while, and forgets one that is gone', async () => {
    using _looking = await look();
    const finishTime = new Date(clock.now()).toISOString();
    groups = [group('job', { phase: 'Succeeded', finishTime, ...onNode })];
    tell('job', { state: 'Ended', succeeded: '0-1' });
    await tick();
    expect(keys('sandbox/')).toHaveLength(1);
    clock.advance(31_000);
    await tick();
    expect(keys('sandbox/')).toEqual([]);
    expect(keys('group/')).toHaveLength(1);
    groups = [];
    await tick();
    expect(keys('group/')).toEqual([]);
  });
  it('keeps the newest of what happens, however much there is', async () => {
    using _looking = await look();
    for (let i = 0; i < 520; i++) {
      await store.create<AnyObject>(builtinTypes.event, {
        apiVersion: 'events.k8s.io/v1',
        kind: 'Event',
        metadata: { name: `e${i}`, namespace: 'team' },
        eventTime: new Date(clock.now() + i * 1000).toISOString(),
        ...{ reason: 'Told', note: String(i), type: 'Normal', action: 'Told' },
        ...{ reportingController: 'muster.dev/controllers', reportingInstance: 'x' },
      });
    }
    await vi.waitFor(() => expect(textOf('event/team/e519')).not.toBe(''));
    expect(keys('event/').length).toBeLessThanOrEqual(500);
    expect(textOf('event/team/e0')).toBe('');
    const ended = [...Array(1300).keys()].map((i) =>
      group(`old${i}`, { phase: 'Succeeded', finishTime: new Date(clock.now() - i * 60_000).toISOString() }),
    );
    groups = [...ended, group('now', { phase: 'Running' })];
    await tick();
    expect(keys('group/')).toHaveLength(1000);
    expect(keys('group/')).toContain('group/team/now');
    expect(keys('group/')).not.toContain('group/team/old1299');
  });
  it('rests a minute after the last look, and begins anew with the next', async () => {
    const first = await look();
    const { epoch } = picture;
    first[Symbol.dispose]();
    clock.advance(59_000);
    using _second = await look();
    expect(picture.epoch).toBe(epoch);
    clock.advance(120_000);
    await tick();
    _second[Symbol.dispose]();
    clock.advance(61_000);
    await new Promise(setImmediate);
    using _third = await look();
    expect(picture.epoch).toBeGreaterThan(epoch);
  });
  it('shows a migration on its way', async () => {
    await store.create<Migration>(migrationType, {
      apiVersion: 'muster.dev/v1alpha1',
      kind: 'Migration',
      metadata: { name: 'm', namespace: 'team' },
      spec: { processGroupName: 'job', from: 'n1', to: 'n2' },
    });
    using _looking = await look();
    await vi.waitFor(() =>
      expect(JSON.parse(textOf('migration/team/m'))).toMatchObject({ group: 'job', from: 'n1', to: 'n2' }),
    );
  });
});
