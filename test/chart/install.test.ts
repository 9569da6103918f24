/**
 * The chart on a real API server by the real helm: what the server accepts, what the policies let through, and a release from its
 * installation to its end. No kubelet runs there: the hook of the uninstallation is run here, with the Job's own arguments and
 * the rights of its own account.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dump } from 'js-yaml';
import { eventually } from '../contract/object-store.ts';
import { KubeCluster } from '../kube/cluster.ts';
import { chart, helm, release, releaseNamespace, render, valueSets } from './helm.ts';

let cluster: KubeCluster;
beforeAll(async () => {
  cluster = await KubeCluster.start();
  await cluster.kubectl('create', 'namespace', releaseNamespace);
}, 900_000);
afterAll(async () => cluster?.[Symbol.asyncDispose]());

const onCluster = (...args: string[]): Promise<string> =>
  helm([...args, '--namespace', releaseNamespace], cluster.kubeconfig);

const group = (name: string, spec: object = {}, annotations?: object): string =>
  JSON.stringify({
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup',
    metadata: { name, namespace: 'default', ...(annotations ? { annotations } : {}) },
    spec: {
      size: 1,
      ...('restoreFrom' in spec ? {} : { processes: [{ name: 'a', ranks: '0', command: ['true'] }] }),
      ...spec,
    },
  });

/** Applies as somebody; what the server said when it refused. */
async function applied(kubeconfig: string, manifest: string): Promise<string> {
  return cluster
    .kubectlWith({ kubeconfig, input: manifest }, 'apply', '-f', '-')
    .catch((error: Error) => error.message);
}

describe('the chart on a cluster', () => {
  it.each(Object.entries(valueSets))('is accepted object by object: %s', async (_name, values) => {
    const objects = (await render(values)).filter(
      // Kinds of operators that are not there.
      ({ apiVersion }) => !apiVersion.startsWith('monitoring.coreos.com/'),
    );
    const input = objects.map((object) => dump(object)).join('---\n');
    const said = await cluster.kubectlWith(
      { input },
      'apply',
      '--server-side',
      '--dry-run=server',
      '-f',
      '-',
    );
    expect(said.trim().split('\n')).toHaveLength(objects.length);
  });

  it('is installed, with the kinds', async () => {
    await onCluster(
      'install',
      release,
      chart,
      '--set-json',
      JSON.stringify({ runAs: valueSets['everything on']!['runAs' as never] }),
    );
    await cluster.kubectl(
      'wait',
      '--for=condition=Established',
      '--timeout=30s',
      'crd/processgroups.muster.dev',
    );
    expect(await onCluster('list', '-o', 'json')).toContain('"status":"deployed"');
    const images = await cluster.kubectl(
      'get',
      'ds,deploy',
      '-n',
      releaseNamespace,
      '-o',
      'jsonpath={..image}',
    );
    expect(images).toMatch(/muster:0\.1\.0/);
  });

  it('applies again without any change', async () => {
    const version = (): Promise<string> =>
      cluster.kubectl(
        'get',
        'deploy,ds,crd,clusterrole,validatingadmissionpolicy',
        '-A',
        '-l',
        'app.kubernetes.io/part-of=muster',
        '-o',
        'jsonpath={.items[*].metadata.resourceVersion}',
      );
    const before = await version();
    await onCluster('upgrade', release, chart, '--reuse-values');
    expect(await version()).toBe(before);
  });

  describe('policies', () => {
    const kubeconfigs = new Map<string, string>();
    const as = (name: string): string => kubeconfigs.get(name)!;
    beforeAll(async () => {
      kubeconfigs.set('alice', await cluster.kubeconfigOf({ name: 'alice' }));
      kubeconfigs.set('marie', await cluster.kubeconfigOf({ name: 'marie', groups: ['physicists'] }));
      kubeconfigs.set('boss', await cluster.kubeconfigOf({ name: 'boss' }));
      for (const [user, role] of [
        ['alice', 'edit'],
        ['marie', 'edit'],
        ['boss', 'admin'],
      ] as const)
        await cluster.kubectl('create', 'rolebinding', user, `--clusterrole=${role}`, `--user=${user}`);
      // Policies take effect a moment after they are written.
      await eventually(async () => {
        expect(await applied(as('alice'), group('probe', { securityContext: { runAsUser: 0 } }))).toMatch(
          /may not have ranks run as/,
        );
      }, 30_000);
    });

    it('let an editor run jobs as nobody in particular', async () => {
      await eventually(async () =>
        expect(await applied(as('alice'), group('plain'))).toMatch(/created|unchanged/),
      );
    });

    it('let only those run as a user who may use it, and name the right that is missing', async () => {
      const asUser = (runAsUser: number, more: object = {}): object => ({
        securityContext: { runAsUser, ...more },
      });
      expect(await applied(as('alice'), group('a', asUser(1000)))).toMatch(
        /alice may not have ranks run as user 1000.*verb use on users.muster.dev/,
      );
      expect(await applied(as('marie'), group('m', asUser(1000, { runAsGroup: 100 })))).toContain('created');
      expect(
        await applied(as('marie'), group('m2', asUser(1000, { supplementalGroups: [100, 27] }))),
      ).toMatch(/may not have ranks run with groups/);
      expect(await applied(as('marie'), group('m3', asUser(0)))).toMatch(/may not/);
      expect(await applied(cluster.kubeconfig, group('root', asUser(0)))).toContain('created');
    });

    it('let nobody write on whose behalf a group is', async () => {
      const about = (key: string, value: string): object => ({ [`muster.dev/${key}`]: value });
      expect(await applied(as('alice'), group('forged', {}, about('submitted-uid', '0:0')))).toMatch(
        /may not act as these ids/,
      );
      expect(await applied(as('alice'), group('forged', {}, about('submitted-by', 'boss')))).toMatch(
        /may only name who creates the group, alice/,
      );
      expect(await applied(as('alice'), group('signed', {}, about('submitted-by', 'alice')))).toContain(
        'created',
      );
      expect(await applied(as('alice'), group('signed', {}, about('submitted-by', 'boss')))).toMatch(
        /never changes/,
      );
      expect(await applied(as('marie'), group('mapped', {}, about('submitted-uid', '1000:100')))).toContain(
        'created',
      );
    });

    it('let only those have checkpoints taken who may take them', async () => {
      const policy = { checkpointPolicy: { interval: 60 } };
      expect(await applied(as('alice'), group('saved', policy))).toMatch(
        /alice may not create checkpoints in namespace default/,
      );
      expect(await applied(as('alice'), group('saved', { suspendPolicy: 'Checkpoint' }))).toMatch(
        /may not create checkpoints/,
      );
      expect(await applied(as('boss'), group('saved', policy))).toContain('created');
      const checkpoint = JSON.stringify({
        apiVersion: 'muster.dev/v1alpha1',
        kind: 'Checkpoint',
        metadata: { name: 'c', namespace: 'default' },
        spec: { processGroupName: 'saved' },
      });
      expect(await applied(as('alice'), checkpoint)).toMatch(/forbidden/i);
      expect(await applied(as('boss'), checkpoint)).toContain('created');
    });
  });

  it('lets the controllers do what they do, and no more', async () => {
    const account = `system:serviceaccount:${releaseNamespace}:muster-controllers`;
    const kubeconfig = await cluster.kubeconfigOf({
      name: account,
      groups: ['system:serviceaccounts', `system:serviceaccounts:${releaseNamespace}`],
    });
    const can = async (...args: string[]): Promise<boolean> =>
      (await cluster.kubectlWith({ kubeconfig }, 'auth', 'can-i', ...args).catch(() => 'no')).startsWith(
        'yes',
      );
    expect(await can('update', 'processgroups.muster.dev', '--subresource=status')).toBe(true);
    expect(await can('create', 'nodemonitors.muster.dev')).toBe(true);
    expect(await can('create', 'tokenreviews.authentication.k8s.io')).toBe(true);
    expect(await can('get', 'secrets/muster-authority', '-n', releaseNamespace)).toBe(true);
    expect(await can('get', 'secrets/other', '-n', releaseNamespace)).toBe(false);
    expect(await can('list', 'secrets', '-n', releaseNamespace)).toBe(false);
    expect(await can('get', 'secrets', '-n', 'default')).toBe(false);
    expect(await can('create', 'processgroups.muster.dev')).toBe(false);
    expect(await can('create', 'clusterrolebindings')).toBe(false);
  });

  it('is upgraded and rolled back', async () => {
    const replicas = (): Promise<string> =>
      cluster.kubectl(
        'get',
        'deploy',
        'muster-controllers',
        '-n',
        releaseNamespace,
        '-o',
        'jsonpath={.spec.replicas}',
      );
    await onCluster(
      'upgrade',
      release,
      chart,
      '--reuse-values',
      '--set',
      'controllers.replicas=3',
      '--set',
      'image.tag=next',
    );
    expect(await replicas()).toBe('3');
    await onCluster('rollback', release);
    expect(await replicas()).toBe('2');
    expect(await cluster.kubectl('get', 'pg', '-o', 'name')).toContain('plain');
  });

  it('leaves kinds and objects when it goes', async () => {
    await onCluster('uninstall', release, '--no-hooks');
    const left = await cluster.kubectl(
      'get',
      'deploy,ds,svc,cm,sa,role,clusterrole,clusterrolebinding,validatingadmissionpolicy',
      '-A',
      '-l',
      'app.kubernetes.io/part-of=muster',
      '-o',
      'name',
    );
    expect(left.trim()).toBe('');
    expect(await cluster.kubectl('get', 'pg', '-o', 'name')).toContain('plain');
    // The kinds that stayed are taken over by the next installation.
    await onCluster('install', release, chart);
  });
});
