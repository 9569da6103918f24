import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock, type Clock } from '../../controllers/runtime/clock.ts';
import { runControlPlane, type ControlPlane } from '../../controllers/control-plane.ts';
import { requestEnd } from '../../controllers/process-group/end-request.ts';
import { issue, makeAuthority, type KeyAndCertificate } from '../../controllers/pki/certificate.ts';
import {
  checkpointType,
  migrationType,
  nodeMonitorType,
  processGroupType,
} from '../../controllers/resource-types.ts';
import type { DoubtfulStore, StoreDoubt } from '../../controllers/unknown-sandboxes.ts';
import { admit } from '../../crds/admission.ts';
import { isTrue } from '../../crds/conditions.ts';
import type { Checkpoint, NodeMonitor, ProcessGroup, ProcessGroupSpec } from '../../crds/types.gen.ts';
import { builtinTypes } from '../../store/resource.ts';
import { isStoreError } from '../../store/object-store.ts';
import { nodeFileSystem } from '../../store/file/file-system.ts';
import { FileStore } from '../../store/file/file-store.ts';
import { TestAgent } from './test-agent.ts';

const types = [
  processGroupType,
  nodeMonitorType,
  checkpointType,
  migrationType,
  builtinTypes.event,
  builtinTypes.secret,
];
const logger = pino({ level: process.env['MUSTER_TEST_LOG'] ?? 'silent' });
let authority: KeyAndCertificate;
let directory = '';
let store: FileStore;
let plane: ControlPlane;
let agents: TestAgent[] = [];

async function eventually<T>(look: () => T | Promise<T>): Promise<T> {
  return vi.waitFor(look, { timeout: 60_000, interval: 2 });
}

/** Of a control plane that has run for an hour. */
const hourMs = 3_600_000;
const hourOn: Clock = {
  ...systemClock,
  steady: () => systemClock.steady() + hourMs,
  after: (delayMs, then) => {
    const timer = systemClock.after(delayMs, then);
    return { dueMs: timer.dueMs + hourMs, [Symbol.dispose]: () => timer[Symbol.dispose]() };
  },
};

async function startPlane(
  more: { leaseMs?: number; doubtful?: DoubtfulStore; clock?: Clock } = {},
): Promise<void> {
  authority ??= await makeAuthority('test');
  const tls = { ca: authority.cert, ...(await issue(authority, { kind: 'server', names: ['127.0.0.1'] })) };
  const secrets = { get: async () => Promise.resolve({ env: [{ name: 'SECRET', value: 's' }] }) };
  const options = { store, hubListen: '127.0.0.1:0', tls, clusterId: 'c1', secrets, logger, ...more };
  plane = await runControlPlane(options, new AbortController().signal);
}

async function agent(node: string): Promise<TestAgent> {
  const made = new TestAgent(node, authority.cert, await issue(authority, { kind: 'node', node }));
  made.connect(plane.hub.port);
  agents.push(made);
  await eventually(() => expect(plane.hub.nodes.standing(node)).toBe('Connected'));
  return made;
}

async function create(
  name: string,
  spec: Partial<ProcessGroupSpec> = {},
  finalizers: string[] = [],
): Promise<ProcessGroup> {
  const size = spec.size ?? 2;
  const processes = [{ name: 'main', ranks: size === 1 ? '0' : `0-${size - 1}`, command: ['/bin/true'] }];
  const object = {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup' as const,
    metadata: { name, namespace: 'default', finalizers },
    spec: { size, processes, ...spec },
  };
  return store.create<ProcessGroup>(processGroupType, object);
}

async function get(name: string): Promise<ProcessGroup> {
  return store.get<ProcessGroup>(processGroupType, { namespace: 'default', name });
}

async function reaches(name: string, phase: string): Promise<ProcessGroup> {
  return eventually(async () => {
    const group = await get(name);
    expect(group.status?.phase).toBe(phase);
    return group;
  });
}

async function openStore(fileSystem = nodeFileSystem): Promise<void> {
  const admission = (operation: 'CREATE' | 'UPDATE', object: unknown, old?: unknown) =>
    admit(operation, object, old as never);
  store = await FileStore.open({ directory, types, admit: admission, fileSystem });
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'muster-control-'));
  await openStore();
  await startPlane();
});

afterEach(async () => {
  for (const each of agents) each.disconnect();
  agents = [];
  await plane.close();
  await store.close();
  await rm(directory, { recursive: true });
});

describe('control plane', () => {
  it('keeps what a damaged store does not know, and starts nothing that may have run, until it is trusted', async () => {
    const one = await agent('node1');
    const { metadata } = await create('known');
    await reaches('known', 'Running');
    const lost = await create('lost');
    await reaches('lost', 'Running');
    await plane.close();
    // As if the store had lost one group, and the placement of another.
    await store.patch(
      processGroupType,
      { name: 'lost' },
      { type: 'merge', patch: { metadata: { finalizers: [] } } },
    );
    await store.delete(processGroupType, { name: 'lost' });
    const known = await get('known');
    await store.updateStatus(processGroupType, { ...known, status: {} });
    const pending = await create('pending');
    let doubt: StoreDoubt | undefined = {
      severity: 'Lost',
      since: new Date(Date.now() + 1000).toISOString(),
      messages: ['test'],
    };
    const doubtful = {
      get doubt() {
        return doubt;
      },
      trust: async () => {
        doubt = undefined;
        return Promise.resolve();
      },
    };
    await startPlane({ doubtful });
    one.disconnect();
    one.connect(plane.hub.port);
    const reasonOf = async (name: string): Promise<string | undefined> =>
      (await get(name)).status?.conditions?.find(({ type }) => type === 'Placed')?.message;
    await eventually(async () => {
      expect(
        plane.unknown
          .list()
          .map(({ groupUid }) => groupUid)
          .sort(),
      ).toEqual([metadata.uid, lost.metadata.uid].sort());
      expect(await reasonOf('pending')).toContain('may have lost that this group has run');
    });
    const fresh = await create('fresh');
    await reaches('fresh', 'Running');
    expect(one.held.size).toBe(3);
    expect(one.fullDesired).toBe(1);
    expect(plane.unknown.end([lost.metadata.uid!])).toBe(1);
    await eventually(() => expect(one.held.size).toBe(2));
    await plane.unknown.trust();
    await reaches('pending', 'Running');
    await eventually(() => {
      const held = [...one.held.values()].map(({ spec }) => spec.id?.groupUid);
      expect(held).toContain(pending.metadata.uid);
      expect(held).toContain(fresh.metadata.uid);
    });
  });

  it('runs a group over two nodes to success and keeps its logs until it is deleted', async () => {
    const [one, two] = [await agent('node1'), await agent('node2')];
    const { metadata } = await create('a', { size: 4 });
    const running = await reaches('a', 'Running');
    expect(running.status?.placement).toEqual([
      { ordinal: 0, nodes: 'node[1-2]', incarnation: 1, ranks: '0-1', rankStep: 2 },
    ]);
    expect(running.status?.ranks?.summary).toBe('4/4');
    const spec = [...two.held.values()][0]!.spec;
    expect(spec).toMatchObject({
      ranks: '2-3',
      size: 4,
      kvsName: `kvs_${metadata.uid!.slice(0, 8)}`,
      uid: 65534,
      processMapping: '(vector,(0,2,2))',
    });
    expect(spec.env).toMatchObject([{ name: 'SECRET', value: 's' }]);
    expect(spec.tree).toMatchObject({ parent: 0, parentNode: 'node1', parentAddress: 'node1:7000' });
    one.finish(metadata.uid!);
    two.finish(metadata.uid!);
    const done = await reaches('a', 'Succeeded');
    expect(done.status).toMatchObject({
      exitSummary: { code: 0 },
      ranks: { summary: '4/4', running: 0, succeeded: 4 },
    });
    await eventually(() => expect([...one.held.values()][0]!.spec.want).toBe('Keep'));
    await store.delete(processGroupType, { namespace: 'default', name: 'a' });
    await eventually(async () =>
      expect(isStoreError(await get('a').catch((error: unknown) => error), 'NotFound')).toBe(true),
    );
    expect([one.held.size, two.held.size]).toEqual([0, 0]);
  });

  describe('with a group on its way to the disk', () => {
    let disk = Promise.withResolvers<void>();
    let isSlow = false;
    const slowly = async (sync: () => Promise<void>): Promise<void> => {
      if (isSlow) await disk.promise;
      await sync();
    };
    let listening: Disposable;
    const held = ['muster.dev/ranks'];

    beforeEach(async () => {
      await plane.close();
      await store.close();
      [disk, isSlow] = [Promise.withResolvers<void>(), false];
      disk.promise.catch(() => undefined);
      await openStore({
        ...nodeFileSystem,
        create: (path) => {
          const file = nodeFileSystem.create(path);
          return Object.assign(Object.create(file) as typeof file, {
            write: file.write.bind(file),
            truncate: file.truncate.bind(file),
            close: file.close.bind(file),
            sync: () => slowly(() => file.sync()),
          });
        },
      });
      await startPlane({ clock: hourOn });
      await plane.ready;
      listening = store.foretell((type, object, isNew) => {
        if (isNew && type.kind === 'ProcessGroup') plane.foresee(object as ProcessGroup);
      });
    });
    afterEach(() => listening[Symbol.dispose]());

    it('has its sandboxes got ready, and ranks started once group and placement are on disk, in one write', async () => {
      const one = await agent('node1');
      await eventually(async () => expect((await store.list(nodeMonitorType)).items).toHaveLength(1));
      await store.settled();
      isSlow = true;
      const created = create('a', { size: 2 }, held);
      await eventually(() => expect([...one.held.values()][0]?.spec.want).toBe('Prepare'));
      const id = [...one.held.values()][0]!.spec.id!;
      // What the agent says meanwhile costs no write before the ranks are started.
      await eventually(() => expect(plane.hub.facts.get('node1', id)).toBeDefined());
      const phases: (string | undefined)[] = [];
      using _ = store.foretell((type, object) => {
        if (type.kind === 'ProcessGroup') phases.push((object as ProcessGroup).status?.phase);
      });
      expect([...one.starts.values()]).toEqual([]);
      expect(isStoreError(await get('a').catch((error: unknown) => error), 'NotFound')).toBe(true);
      isSlow = false;
      const placed = eventually(async () => (await get('a')).status?.placement);
      disk.resolve();
      const { metadata } = await created;
      expect(await placed).toEqual([{ ordinal: 0, nodes: 'node1', incarnation: 1, ranks: '0-1' }]);
      await reaches('a', 'Running');
      expect(phases[0]).toBe('Running');
      expect([...one.starts]).toEqual([[`${metadata.uid}/0/1`, 1]]);
      one.finish(metadata.uid!);
      expect((await reaches('a', 'Succeeded')).status?.ranks?.summary).toBe('2/2');
    });

    it('has agents forget what they got ready when it never gets there', async () => {
      const one = await agent('node1');
      await eventually(async () => expect((await store.list(nodeMonitorType)).items).toHaveLength(1));
      await store.settled();
      isSlow = true;
      const created = create('a', { size: 2 }, held);
      await eventually(() => expect([...one.held.values()][0]?.spec.want).toBe('Prepare'));
      disk.reject(Object.assign(new Error('test'), { code: 'EIO' }));
      await expect(created).rejects.toThrow('cannot be written');
      isSlow = false;
      await eventually(() => expect(one.held.size).toBe(0));
      expect([...one.starts.values()]).toEqual([]);
      const { metadata } = await eventually(() => create('a', { size: 2 }, held));
      await reaches('a', 'Running');
      expect([...one.starts]).toEqual([[`${metadata.uid}/0/1`, 1]]);
    });
  });

  it('ends the others when a rank fails, and names the first one that did', async () => {
    const [one, two] = [await agent('node1'), await agent('node2')];
    const { metadata } = await create('a', { size: 4 });
    await reaches('a', 'Running');
    two.failRank(metadata.uid!, 3, 7 << 8);
    const failed = await reaches('a', 'Failed');
    expect(failed.status?.exitSummary).toMatchObject({
      rank: 3,
      code: 7,
      node: 'node2',
      reason: 'RankFailed',
      processName: 'main',
    });
    expect(isTrue(failed.status?.conditions, 'Failed')).toBe(true);
    expect(isTrue(failed.status?.conditions, 'Succeeded')).toBe(false);
    expect([...one.held.values()][0]!.fact.state).toBe('Ended');
  });

  it('freezes and thaws', async () => {
    const one = await agent('node1');
    await create('a');
    await reaches('a', 'Running');
    const patch = (suspend: boolean) =>
      store.patch(
        processGroupType,
        { namespace: 'default', name: 'a' },
        { type: 'merge', patch: { spec: { suspend } } },
      );
    await patch(true);
    const frozen = await reaches('a', 'Suspended');
    expect(frozen.status?.conditions?.find(({ type }) => type === 'Suspended')).toMatchObject({
      status: 'True',
      reason: 'Frozen',
    });
    expect(frozen.status?.activeSince).toBeUndefined();
    await patch(false);
    await reaches('a', 'Running');
    expect([...one.starts.values()]).toEqual([1]);
  });

  it('starts nothing twice and loses nothing when it is killed and started again, with agents or without', async () => {
    const one = await agent('node1');
    const { metadata } = await create('a');
    await reaches('a', 'Running');
    for (let round = 0; round < 5; round++) {
      await plane.close();
      one.disconnect();
      await store.close();
      await openStore();
      await startPlane();
      await plane.ready;
      expect((await get('a')).status?.phase).toBe('Running');
      one.connect(plane.hub.port);
      await eventually(() => expect(one.fullDesired).toBe(round + 2));
    }
    expect([...one.starts.values()]).toEqual([1]);
    one.finish(metadata.uid!);
    await reaches('a', 'Succeeded');
  });

  it('hears of exits that happened while it was down', async () => {
    const one = await agent('node1');
    const { metadata } = await create('a');
    await reaches('a', 'Running');
    await plane.close();
    one.disconnect();
    one.finish(metadata.uid!, { 1: { waitStatus: 9 } });
    await startPlane();
    one.connect(plane.hub.port);
    expect((await reaches('a', 'Failed')).status?.exitSummary).toMatchObject({
      rank: 1,
      signal: 'SIGKILL',
      reason: 'RankSignaled',
    });
  });

  it('waits for a lost agent, fails only when the node is back without its ranks', async () => {
    await plane.close();
    await startPlane({ leaseMs: 50 });
    const one = await agent('node1');
    await create('a');
    await reaches('a', 'Running');
    one.disconnect();
    await eventually(async () => {
      const { status } = await get('a');
      expect(status?.conditions?.find(({ type }) => type === 'Running')).toMatchObject({
        status: 'Unknown',
        reason: 'AgentUnreachable',
      });
    });
    one.connect(plane.hub.port);
    await eventually(async () => expect(isTrue((await get('a')).status?.conditions, 'Running')).toBe(true));
    one.disconnect();
    one.held.clear();
    one.bootId = 'boot-2';
    one.connect(plane.hub.port);
    const failed = await reaches('a', 'Failed');
    expect(failed.status?.exitSummary).toMatchObject({
      node: 'node1',
      reason: 'NodeLost',
      message: 'ranks 0-1 are lost: node node1 was rebooted',
    });
    expect([...one.starts.values()]).toEqual([1]);
  });

  it('deletes a group whose node is lost once the lease is out', async () => {
    await plane.close();
    await startPlane({ leaseMs: 300 });
    const one = await agent('node1');
    await create('a', { gracePeriodSeconds: 0 });
    await reaches('a', 'Running');
    one.disconnect();
    await store.delete(processGroupType, { namespace: 'default', name: 'a' });
    await eventually(async () =>
      expect(isStoreError(await get('a').catch((error: unknown) => error), 'NotFound')).toBe(true),
    );
  });

  it('tells why it waits for nodes, and goes on when there are some', async () => {
    await create('a');
    const pending = await reaches('a', 'Pending');
    expect(pending.status?.conditions?.find(({ type }) => type === 'Placed')).toMatchObject({
      status: 'False',
      reason: 'NodeNotReady',
      message: 'There is no node yet; start an agent.',
    });
    await agent('node1');
    await reaches('a', 'Running');
    await eventually(async () => {
      const monitor = await store.get<NodeMonitor>(nodeMonitorType, { name: 'node1' });
      expect(isTrue(monitor.status?.conditions, 'Ready')).toBe(true);
    });
  });

  it('knows at once that an agent was stopped, and that it is back', async () => {
    const one = await agent('node1');
    const ready = async (): Promise<object | undefined> =>
      (await store.get<NodeMonitor>(nodeMonitorType, { name: 'node1' })).status?.conditions?.find(
        ({ type }) => type === 'Ready',
      );
    const { metadata } = await create('a');
    await reaches('a', 'Running');
    one.goodbye();
    await eventually(async () =>
      expect(await ready()).toMatchObject({ status: 'False', reason: 'AgentStopped' }),
    );
    expect((await get('a')).status?.phase).toBe('Running');
    one.connect(plane.hub.port);
    await eventually(async () => expect(await ready()).toMatchObject({ status: 'True' }));
    one.finish(metadata.uid!);
    await reaches('a', 'Succeeded');
    expect([...one.starts.values()]).toEqual([1]);
  });

  it('says NotSupported before anything starts', async () => {
    const one = await agent('node1');
    await create('a', { queueName: 'q' });
    const stalled = await reaches('a', 'Stalled');
    expect(stalled.status?.conditions?.find(({ type }) => type === 'Stalled')).toMatchObject({
      status: 'True',
      reason: 'NotSupported',
    });
    expect(one.held.size).toBe(0);
    const checkpoint = {
      apiVersion: 'muster.dev/v1alpha1',
      kind: 'Checkpoint' as const,
      metadata: { name: 'c', namespace: 'default' },
      spec: { processGroupName: 'a' },
    };
    await store.create<Checkpoint>(checkpointType, checkpoint);
    await eventually(async () => {
      const { status } = await store.get<Checkpoint>(checkpointType, { namespace: 'default', name: 'c' });
      expect(isTrue(status?.conditions, 'Stalled')).toBe(true);
    });
  });

  it('ends a group at its wall time', async () => {
    await agent('node1');
    await create('a', { limits: { wallTimeSeconds: 1 } });
    expect((await reaches('a', 'Failed')).status?.exitSummary).toMatchObject({ reason: 'WallTimeExceeded' });
  });

  it('ends a group on request', async () => {
    await agent('node1');
    const group = await create('a');
    await reaches('a', 'Running');
    await requestEnd(store, group, 'End');
    expect((await reaches('a', 'Failed')).status?.exitSummary).toMatchObject({ message: 'ended by a user' });
  });

  it('ends a group on a request that it accepted before it was killed', async () => {
    const one = await agent('node1');
    const group = await create('a');
    await reaches('a', 'Running');
    await plane.close();
    one.disconnect();
    await requestEnd(store, group, 'End');
    await requestEnd(store, group, 'Kill');
    await requestEnd(store, group, 'End');
    await store.close();
    await openStore();
    await startPlane();
    one.connect(plane.hub.port);
    expect((await reaches('a', 'Failed')).status?.exitSummary).toMatchObject({ message: 'killed by a user' });
  });

  it('ends a group whose agent was never told of it', async () => {
    const group = await create('a');
    await reaches('a', 'Pending');
    const placement = [{ ordinal: 0, nodes: 'node1', incarnation: 1, ranks: '0-1' }];
    await store.patch(
      processGroupType,
      { namespace: 'default', name: 'a' },
      { type: 'merge', patch: { status: { placement } } },
      { subresource: 'status' },
    );
    await reaches('a', 'Starting');
    await requestEnd(store, group, 'End');
    await reaches('a', 'Stopping');
    const one = await agent('node1');
    expect((await reaches('a', 'Failed')).status?.exitSummary).toMatchObject({ reason: 'Deleted' });
    expect(one.starts.size).toBe(0);
  });

  it('sends signals once, and reads logs across sandboxes', async () => {
    const [one, two] = [await agent('node1'), await agent('node2')];
    const { metadata } = await create('a', { size: 4 });
    await reaches('a', 'Running');
    expect(await plane.hub.signal(metadata.uid!, 10, '1-2')).toEqual({ reached: 2, problems: [] });
    expect([one.verbs[0]?.ranks, two.verbs[0]?.ranks]).toEqual(['1', '2']);
    const texts = new Map<string, string>();
    for await (const chunk of plane.hub.openLogs(
      metadata.uid!,
      { follow: true },
      AbortSignal.timeout(5000),
    )) {
      texts.set(chunk.node, (texts.get(chunk.node) ?? '') + chunk.data.toString());
    }
    expect(Object.fromEntries(texts)).toEqual({ node1: 'hello\nworld\n', node2: 'hello\nworld\n' });
  });

  it('refuses wrong names, second agents and other versions', async () => {
    await agent('node1');
    const refusal = async (
      node: string,
      hello: Parameters<TestAgent['connect']>[1],
    ): Promise<string | undefined> => {
      const made = new TestAgent(node, authority.cert, await issue(authority, { kind: 'node', node }));
      agents.push(made);
      made.connect(plane.hub.port, hello);
      await eventually(() => expect(made.refused).toBeDefined());
      return made.refused;
    };
    expect(await refusal('node2', { node: 'node1' })).toBe('WrongNode');
    expect(await refusal('node1', { instance: 'i2' })).toBe('SecondAgent');
    expect(await refusal('node3', { versionMin: 7, versionMax: 9 })).toBe('VersionSkew');
  });
});
