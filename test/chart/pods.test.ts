/**
 * Controllers and agents as the chart has them, with the rights that the chart gives and no others: agents are let in by the tokens of
 * their Pods, a job runs, the verbs are served, the authority is replaced under them.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
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

  const onCluster = (...args: string[]): Promise<string> =>
    helm([...args, '--namespace', releaseNamespace], cluster.kubeconfig);
  const upgradeWith = (value: string): Promise<string> =>
    onCluster('upgrade', release, chart, '--reset-then-reuse-values', '--set', value);
  /** A release that helm failed to uninstall takes no upgrade until it was rolled back to what it is. */
  const asBefore = async (): Promise<void> => {
    const history = JSON.parse(await onCluster('history', release, '-o', 'json')) as { revision: number }[];
    await onCluster('rollback', release, String(history.at(-1)?.revision));
  };
  const said = (error: unknown): string => String((error as Error).message ?? error);

  it('pass the test that helm test runs', async () => {
    const testing = onCluster('test', release, '--timeout', '90s');
    const [output] = await Promise.all([pods.runHook('pod', 'muster-test'), testing]);
    expect(output).toContain('a group of two ranks ran in namespace muster-system');
    // It asks for the end of its group, and does not wait for it.
    await eventually(async () => {
      expect(await cluster.kubectl('get', 'pg', '-n', releaseNamespace, '-o', 'name')).toBe('');
    });
  });

  it('refuse to be uninstalled while a group runs, and stay as they were', async () => {
    await cluster.kubectlWith({ input: group('busy', ['sleep', '600']) }, 'apply', '-f', '-');
    await cluster.kubectl('wait', '--for=condition=Running', 'pg/busy', '--timeout=60s');
    const uninstalling = onCluster('uninstall', release, '--timeout', '60s').catch(said);
    expect(await pods.runHook('job', 'muster-uninstall')).toMatch(
      /MUSTER_UNINSTALL_REFUSED: groups that run: default\/busy.*--policy Kill.*helm rollback/,
    );
    expect(await uninstalling).toMatch(/muster-uninstall/);
    await cluster.kubectl('get', 'deploy', 'muster-controllers', '-n', releaseNamespace);
    expect(await cluster.kubectl('get', 'pg', 'busy', '-o', 'jsonpath={.status.phase}')).toBe('Running');
  });

  it('save groups when told so', async () => {
    const check = ['--kubeconfig', cluster.kubeconfig, 'uninstall-check', '--policy', 'Checkpoint'];
    const { stdout } = await promisify(execFile)('bin/muster', check);
    expect(stdout).toContain('no sandbox is left');
    await cluster.kubectl('wait', '--for=condition=Ready', 'ckpt/busy-uninstall', '--timeout=1s');
    await cluster.kubectl('delete', 'pg', 'busy', '--timeout=60s');
    await cluster.kubectlWith({ input: group('busy', ['sleep', '600']) }, 'apply', '-f', '-');
    await cluster.kubectl('wait', '--for=condition=Running', 'pg/busy', '--timeout=60s');
  });

  it('end all groups when told so, leave no sandbox, and keep the objects', async () => {
    await asBefore();
    await upgradeWith('uninstall.policy=Kill');
    const uninstalling = onCluster('uninstall', release, '--timeout', '90s');
    expect(await pods.runHook('job', 'muster-uninstall')).toContain('no sandbox is left');
    await uninstalling;
    await expect(
      cluster.kubectl('get', 'deploy', 'muster-controllers', '-n', releaseNamespace),
    ).rejects.toThrow(/not found/);
    for (const kind of ['pg', 'ckpt', 'mig', 'nm'])
      expect(await cluster.kubectl('get', kind, '-A', '-o', 'jsonpath={..finalizers}')).toBe('');
    expect(await cluster.kubectl('get', 'pg', '-o', 'name')).toContain('busy');
  }, 150_000);

  it('leave objects that can be deleted without them, with the doctor where need be', async () => {
    const { kubeconfig } = cluster;
    const doctor = (...args: string[]): Promise<string> =>
      promisify(execFile)('bin/muster', [
        '--kubeconfig',
        kubeconfig,
        'doctor',
        '--remove-finalizers',
        ...args,
      ])
        .then(({ stdout }) => stdout)
        .catch((error: { stderr: string }) => error.stderr);
    await cluster.kubectl(
      'patch',
      'pg',
      'busy',
      '--type=merge',
      '-p',
      '{"metadata":{"finalizers":["muster.dev/ranks"]}}',
    );
    expect(await doctor()).toMatch(/MUSTER_CONTROLLER_LEADS/);
    await pods.stop('controller');
    await cluster.kubectl('delete', 'pg', 'busy', '--wait=false');
    // Its rights went with the release, so its lease has to run out.
    await eventually(async () => expect(await doctor()).toMatch(/finalizers removed from 1 objects/), 60_000);
    await expect(cluster.kubectl('get', 'pg', 'busy')).rejects.toThrow(/not found/);
  });
});
