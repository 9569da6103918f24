/**
 * Controllers and agents as the chart has them, with the rights that the chart gives and no others: agents are let in by the tokens of
 * their Pods, a job runs, the verbs are served, the authority is replaced under them.
 */
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openClusterAuthority, rotateClusterAuthority } from '../../controllers/pki/cluster-secret.ts';
import { kubeDaemonTargetOf } from '../../store/client/kubeconfig.ts';
import { KubernetesStore } from '../../store/kubernetes/kubernetes-store.ts';
import { eventually } from '../contract/object-store.ts';
import { KubeCluster } from '../kube/cluster.ts';
import { chart, helm, release, releaseNamespace, render } from './helm.ts';
import { MusterPods } from './muster.ts';

let cluster: KubeCluster;
let pods: MusterPods;
beforeAll(async () => {
  cluster = await KubeCluster.start();
  await cluster.kubectl('create', 'namespace', releaseNamespace);
  await helm(['install', release, chart, '--namespace', releaseNamespace], cluster.kubeconfig);
  pods = await MusterPods.make(cluster, await render());
  await pods.startController();
  await pods.startAgent('node1');
  await pods.untilReady('node1');
}, 900_000);
afterAll(async () => {
  await pods?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

const group = (name: string, command: string[]): string =>
  JSON.stringify({
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup',
    metadata: { name, namespace: 'default' },
    spec: { size: 2, pmi: 'None', processes: [{ name: 'all', ranks: '0-1', command }] },
  });

describe('the Pods of the chart', () => {
  it('run a job', async () => {
    await cluster.kubectlWith({ input: group('job', ['sh', '-c', 'id -u']) }, 'apply', '-f', '-');
    await cluster.kubectl('wait', '--for=condition=Succeeded', 'pg/job', '--timeout=60s');
    await eventually(async () => {
      expect(await cluster.kubectl('events', '--for', 'pg/job')).toContain('AllRanksSucceeded');
    });
  });

  it('were refused nothing by the API server', () => {
    for (const line of pods.log('controller').split('\n')) expect(line).not.toMatch(/forbidden|Forbidden/);
  });

  it('let no agent in that claims another node, or with a token for others', async () => {
    await pods.startAgent('node2', { claimed: 'node1b' });
    await eventually(
      () => expect(pods.log('agent-node2')).toMatch(/is on node node2, not on node1b/),
      30_000,
    );
    await pods.startAgent('node3', { audience: 'vault' });
    await eventually(() => expect(pods.log('agent-node3')).toMatch(/not valid for audience/), 30_000);
    for (const name of ['agent-node2', 'agent-node3']) await pods.stop(name);
    expect(await cluster.kubectl('get', 'nm', '-o', 'name')).toBe('nodemonitor.muster.dev/node1\n');
  });

  it('answer probes and Prometheus', async () => {
    const get = async (path: string): Promise<string> => (await fetch(`${pods.metricsUrl}${path}`)).text();
    expect(await get('/readyz')).toBe('ok\n');
    expect(await get('/healthz')).toBe('ok\n');
    const metrics = await get('/metrics');
    expect(metrics).toContain('muster_leading 1');
    expect(metrics).toContain('muster_nodes{standing="Connected"} 1');
    expect(metrics).toMatch(/^process_resident_memory_bytes \d+/m);
  });

  it('keep the agent, and its job, while the controller is replaced', async () => {
    await cluster.kubectlWith({ input: group('long', ['sleep', '600']) }, 'apply', '-f', '-');
    await cluster.kubectl('wait', '--for=condition=Running', 'pg/long', '--timeout=60s');
    await pods.stop('controller');
    await pods.startController();
    await eventually(async () => {
      const metrics = await (await fetch(`${pods.metricsUrl}/metrics`)).text();
      expect(metrics).toContain('muster_nodes{standing="Connected"} 1');
    }, 60_000);
    const restarts = await cluster.kubectl(
      'get',
      'pg',
      'long',
      '-o',
      'jsonpath={.status.restarts}{.status.phase}',
    );
    expect(restarts).toMatch(/^0?Running$/);
  });

  it('replace the authority without losing agent or job', async () => {
    const { signal } = new AbortController();
    using store = new KubernetesStore({
      server: kubeDaemonTargetOf(cluster.kubeconfig, undefined).server,
      logger: pino({ level: 'silent' }),
    });
    const dayMs = 86_400_000;
    const opened = () => openClusterAuthority(store, releaseNamespace, signal);
    const begun = await opened();
    expect(await rotateClusterAuthority(store, releaseNamespace, Date.now(), signal)).toBe(false);
    const asked = `muster.dev/rotate-authority=${new Date(Date.now() + 1000).toISOString()}`;
    await cluster.kubectl('annotate', 'secret', 'muster-authority', '-n', releaseNamespace, asked);
    // Two replicas that find it due at once make one authority.
    await Promise.all([0, 1].map(() => rotateClusterAuthority(store, releaseNamespace, Date.now(), signal)));
    const told = await opened();
    expect(told.authority).toEqual(begun.authority);
    expect(told.bundle.match(/BEGIN/g)).toHaveLength(2);
    expect(await rotateClusterAuthority(store, releaseNamespace, Date.now() + dayMs / 2, signal)).toBe(false);
    const restart = async (): Promise<void> => {
      await pods.stop('controller');
      await pods.startController();
      await eventually(
        async () => expect((await fetch(`${pods.metricsUrl}/readyz`)).status).toBe(200),
        30_000,
      );
      await eventually(async () => {
        await pods.refreshAuthority('node1');
        const metrics = await (await fetch(`${pods.metricsUrl}/metrics`)).text();
        expect(metrics).toContain('muster_nodes{standing="Connected"} 1');
      }, 90_000);
    };
    await restart();
    // The agent reads what it is told within half a minute.
    await eventually(() => expect(pods.log('agent-node1')).toContain('the certificate is renewed'), 60_000);
    expect(await rotateClusterAuthority(store, releaseNamespace, Date.now() + 2 * dayMs, signal)).toBe(true);
    const promoted = await opened();
    expect(promoted.authority.cert).not.toBe(begun.authority.cert);
    expect(promoted.bundle).toContain(begun.authority.cert.trim());
    await restart();
    expect(await cluster.kubectl('get', 'pg', 'long', '-o', 'jsonpath={.status.phase}')).toBe('Running');
    await cluster.kubectl('delete', 'pg', 'long', '--timeout=60s');
  }, 240_000);
});
