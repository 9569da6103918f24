/**
 * What an API server and a network can do to controllers: none of it may crash them, harm a rank, or keep things from being right
 * once it is over.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { conditionOf } from '../../crds/conditions.ts';
import { processGroupType } from '../../controllers/resource-types.ts';
import { eventually } from '../contract/object-store.ts';
import { KubeCluster } from './cluster.ts';
import { FaultProxy, type Refusal } from './fault-proxy.ts';
import { controllerNamespace, groupOf, MusterOnKube } from './muster.ts';

let cluster: KubeCluster;
let proxy: FaultProxy;
let muster: MusterOnKube;
beforeAll(async () => {
  cluster = await KubeCluster.start();
  proxy = await FaultProxy.start(cluster);
}, 900_000);
afterAll(async () => {
  await muster?.[Symbol.asyncDispose]();
  await proxy?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});
afterEach(() => {
  proxy.faults = {};
  expect(muster.crashed()).toEqual([]);
});

/** Processes that run with this word in their arguments. */
function processesWith(word: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(word);
    } catch {
      return false;
    }
  });
}

let jobs = 0;
/** A job that ends by itself, from apply to Succeeded. */
async function runJob(timeoutMs = 60_000): Promise<void> {
  const name = `job-${++jobs}`;
  await muster.apply(groupOf(name, { size: 2, command: ['true'] }));
  await muster.until(name, 'Succeeded', timeoutMs);
}

describe('controllers on a Kubernetes API that fails', () => {
  it('begin without their kinds, say so, and take them up when they are there', async () => {
    muster = await MusterOnKube.start(cluster, { kubeconfig: await proxy.kubeconfig() });
    await eventually(() =>
      expect(muster.log('controller0')).toContain('install its CustomResourceDefinition'),
    );
    await cluster.installCrds();
    await muster.startAgent('node1');
    await muster.apply(groupOf('kept', { command: ['sleep', '86399.5'] }));
    await muster.until('kept', 'Running');
    expect(processesWith('86399.5')).toHaveLength(1);
  });

  it('live with watches that are cut every second', async () => {
    proxy.faults = { cutWatchesAfterMs: 1000 };
    const { watches } = proxy;
    for (let i = 0; i < 5; i++) await runJob();
    await eventually(() => expect(proxy.watches).toBeGreaterThan(watches + 12), 30_000);
    // Cut watches are taken up again at a pace, not as fast as can be.
    expect(proxy.watches - watches).toBeLessThan(200);
  });

  it('live with watches that expire', async () => {
    const expired: Refusal = { code: 410, reason: 'Expired' };
    let left = 6;
    proxy.faults = {
      cutWatchesAfterMs: 500,
      refuse: ({ isWatch }) => (isWatch && left-- > 0 ? expired : undefined),
    };
    await runJob();
    await eventually(() => expect(left).toBeLessThanOrEqual(0), 30_000);
    await runJob();
  });

  it.each<[string, Refusal, RegExp]>([
    ['too many requests', { code: 429, reason: 'TooManyRequests', retryAfterSeconds: 1 }, /.*/],
    ['conflicts', { code: 409, reason: 'Conflict' }, /PUT|PATCH/],
    ['internal errors', { code: 500, reason: 'InternalError' }, /.*/],
    ['no etcd', { code: 503, reason: 'ServiceUnavailable' }, /.*/],
  ])('live with %s at every third request', async (_, refusal, methods) => {
    let count = 0;
    const before = proxy.refused;
    proxy.faults = {
      refuse: ({ method }) => (methods.test(method) && ++count % 3 === 0 ? refusal : undefined),
    };
    for (let i = 0; i < 3; i++) await runJob();
    expect(proxy.refused).toBeGreaterThan(before);
  });

  it('live with answers that take 5 s, and go on leading', async () => {
    const lost = (): number => muster.log('controller0').split('no longer leading').length;
    const before = lost();
    proxy.faults = { delayMs: 5000 };
    await runJob(120_000);
    expect(lost()).toBe(before);
  });

  it('harm no rank while there is no API server for a minute, and go on afterwards', async () => {
    await proxy.down();
    await new Promise((resolve) => setTimeout(resolve, 60_000));
    expect(processesWith('86399.5')).toHaveLength(1);
    await proxy.up();
    await runJob(120_000);
    const { status } = await muster.group('kept');
    expect(conditionOf(status?.conditions, 'Running')?.status).toBe('True');
  });

  it('get on with another writer of the same object', async () => {
    await muster.apply(groupOf('shared', { size: 2, command: ['sleep', '3'] }));
    const key = { name: 'shared', namespace: 'default' };
    for (let i = 0; i < 200; i++) {
      const patch = { metadata: { labels: { turn: String(i) } } };
      await muster.store.patch(processGroupType, key, { type: 'merge', patch });
    }
    const group = await muster.until('shared', 'Succeeded');
    expect(group.metadata.labels).toEqual({ turn: '199' });
  });

  it('get over definitions that are deleted under them', async () => {
    await cluster.kubectl('delete', 'crd', 'migrations.muster.dev');
    await runJob();
    await cluster.installCrds();
    const migration = `{apiVersion: muster.dev/v1alpha1, kind: Migration, metadata: {name: m}, spec: {processGroupName: kept, from: nowhere}}`;
    await muster.apply(migration);
    await cluster.kubectl('wait', '--for=condition=Completed', '--timeout=60s', 'mig/m');
  });

  it('get on with definitions that are older than they are, and say what is dropped', async () => {
    type Schema = { properties: Record<string, Schema> };
    type Definition = { spec: { versions: { schema: { openAPIV3Schema: Schema } }[] } };
    const text = await cluster.kubectl('get', 'crd', 'processgroups.muster.dev', '-o', 'json');
    const older = JSON.parse(text) as Definition;
    for (const { schema } of older.spec.versions)
      delete schema.openAPIV3Schema.properties['status']?.properties['phases'];
    await cluster.kubectlWith({ input: JSON.stringify(older) }, 'replace', '-f', '-');
    const dropped = (): boolean => muster.log('controller0').includes('"field":"status.phases"');
    await eventually(async () => {
      await runJob();
      expect(dropped()).toBe(true);
    }, 60_000);
    expect(muster.log('controller0')).toContain('older than this program');
    await cluster.kubectl('apply', '--server-side', '--force-conflicts', '-f', 'crds/');
  });

  it('leave ranks alone that a cluster put back to an older state knows nothing of', async () => {
    const kept = await cluster.keepData();
    await muster.apply(groupOf('forgotten', { command: ['sleep', '86398.5'] }));
    await muster.until('forgotten', 'Running', 60_000);
    await cluster.restoreData(kept);
    await expect(muster.group('forgotten')).rejects.toMatchObject({ reason: 'NotFound' });
    // Whoever leads now has listed everything, and what he says is done.
    await muster.apply(groupOf('later', { command: ['true'] }));
    await muster.until('later', 'Succeeded', 90_000);
    expect(processesWith('86398.5')).toHaveLength(1);
    expect(processesWith('86399.5')).toHaveLength(1);
    expect(muster.log('controller0')).toContain('put back to an older state');
    // Also when another controller takes over, who has not seen it happen.
    const place = ['-n', controllerNamespace, '-o', 'jsonpath={.data.doubt}'];
    const doubt = JSON.parse(await cluster.kubectl('get', 'cm', 'muster-store-doubt', ...place)) as {
      since: string;
      messages: string[];
    };
    // Creation is told in whole seconds: what is made in the same one counts as older.
    await eventually(() => expect(Date.now() - Date.parse(doubt.since)).toBeGreaterThan(1000));
    await muster.stopController(0, 'SIGKILL');
    muster.startController(0);
    await muster.apply(groupOf('latest', { command: ['true'] }));
    await muster.until('latest', 'Succeeded', 90_000);
    expect(processesWith('86398.5')).toHaveLength(1);
    expect(doubt.messages.join()).toContain('older state');
  });
});
