/**
 * The API server of the tests is itself worth a test: what other tests take for granted of Kubernetes holds here.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from '../contract/object-store.ts';
import { KubeCluster } from './cluster.ts';

let cluster: KubeCluster;
beforeAll(async () => {
  cluster = await KubeCluster.start();
  await cluster.installCrds();
}, 900_000);
afterAll(async () => cluster?.[Symbol.asyncDispose]());

const group = (name: string, spec = '{size: 1, processes: [{name: a, ranks: "0", command: [sleep, "1"]}]}') =>
  `{apiVersion: muster.dev/v1alpha1, kind: ProcessGroup, metadata: {name: ${name}}, spec: ${spec}}`;
const apply = (input: string, ...args: string[]): Promise<string> =>
  cluster.kubectlWith({ input }, 'apply', '-f', '-', ...args);

describe("the tests' Kubernetes", () => {
  it('knows our kinds by all their names', async () => {
    expect(await cluster.kubectl('version')).toMatch(/Server Version: v1\.\d+/);
    expect(await cluster.kubectl('api-resources', '--api-group=muster.dev', '-o', 'name')).toContain(
      'processgroups.muster.dev',
    );
    expect(await apply(group('first'))).toContain('processgroup.muster.dev/first created');
    expect(await cluster.kubectl('get', 'pg,ckpt,mig,nm')).toContain('first');
    expect(await cluster.kubectl('explain', 'pg.spec.suspendPolicy')).toContain('Freeze');
  });

  it('refuses what the schema and its rules refuse', async () => {
    await expect(apply(group('bad', '{size: 1, sise: 2}'))).rejects.toThrow(/unknown field "spec.sise"/);
    await expect(
      apply(group('first', '{size: 2, processes: [{name: a, ranks: "0-1", command: [x]}]}')),
    ).rejects.toThrow(/size/);
  });

  it('deletes what a deleted namespace holds, and what a deleted owner owns', async () => {
    await cluster.kubectl('create', 'namespace', 'gone');
    await cluster.kubectl('create', 'configmap', 'a', '-n', 'gone');
    await apply(group('inside'), '-n', 'gone');
    await cluster.kubectl('delete', 'namespace', 'gone', '--timeout=30s');
    await expect(cluster.kubectl('get', 'pg', 'inside', '-n', 'gone')).rejects.toThrow(/not found/);
    await apply(group('owner'));
    const uid = await cluster.kubectl('get', 'pg', 'owner', '-o', 'jsonpath={.metadata.uid}');
    const owner = `{apiVersion: muster.dev/v1alpha1, kind: ProcessGroup, name: owner, uid: ${uid}}`;
    await apply(`{apiVersion: v1, kind: ConfigMap, metadata: {name: owned, ownerReferences: [${owner}]}}`);
    await cluster.kubectl('delete', 'pg', 'owner');
    await eventually(() => expect(cluster.kubectl('get', 'cm', 'owned')).rejects.toThrow(/not found/));
  });

  it('lets users do what their roles allow, and tells them what that is', async () => {
    const kubeconfig = await cluster.kubeconfigOf({ name: 'alice', groups: ['devs'] });
    const alice = (...args: string[]): Promise<string> => cluster.kubectlWith({ kubeconfig }, ...args);
    await expect(alice('get', 'pg')).rejects.toThrow(/cannot list resource "processgroups"/);
    await cluster.kubectl('create', 'role', 'r', '--verb=get,list', '--resource=processgroups.muster.dev');
    await cluster.kubectl('create', 'rolebinding', 'r', '--role=r', '--group=devs');
    await eventually(() => alice('get', 'pg').then(() => undefined));
    expect(await alice('auth', 'can-i', 'list', 'pg')).toContain('yes');
    expect(await alice('auth', 'can-i', '--list')).toContain('processgroups.muster.dev');
    expect(await alice('auth', 'whoami')).toContain('alice');
    await expect(alice('delete', 'pg', 'first')).rejects.toThrow(/forbidden/i);
  });

  it('makes tokens for service accounts and judges them', async () => {
    await cluster.kubectl('create', 'serviceaccount', 'robot');
    await cluster.kubectl('create', 'rolebinding', 'robot', '--role=r', '--serviceaccount=default:robot');
    const token = (await cluster.kubectl('create', 'token', 'robot')).trim();
    const kubeconfig = cluster.tokenKubeconfig(token);
    await eventually(async () => {
      expect(await cluster.kubectlWith({ kubeconfig }, 'get', 'pg', '-o', 'name')).toContain('first');
    });
    const other = (await cluster.kubectl('create', 'token', 'robot', '--audience=muster')).trim();
    const foreign = cluster.tokenKubeconfig(other);
    await expect(cluster.kubectlWith({ kubeconfig: foreign }, 'get', 'pg')).rejects.toThrow(
      /Unauthorized|logged in/,
    );
    const review = async (audience: string): Promise<string> =>
      cluster.kubectlWith(
        {
          input: `{apiVersion: authentication.k8s.io/v1, kind: TokenReview, metadata: {name: x}, spec: {token: ${other}, audiences: [${audience}]}}`,
        },
        'create',
        '-f',
        '-',
        '-o',
        'jsonpath={.status.authenticated} {.status.user.username}',
      );
    expect(await review('muster')).toBe('true system:serviceaccount:default:robot');
    expect(await review('nobody')).not.toContain('true');
  });

  it('shows events of events.k8s.io where kubectl looks for them', async () => {
    const uid = await cluster.kubectl('get', 'pg', 'first', '-o', 'jsonpath={.metadata.uid}');
    const regarding = `{apiVersion: muster.dev/v1alpha1, kind: ProcessGroup, name: first, namespace: default, uid: ${uid}}`;
    await apply(
      `{apiVersion: events.k8s.io/v1, kind: Event, metadata: {name: first.1}, eventTime: "2026-01-01T00:00:00.000000Z", action: Place, reason: Placed, type: Normal, note: on two nodes, reportingController: muster.dev/test, reportingInstance: test, regarding: ${regarding}}`,
    );
    expect(await cluster.kubectl('describe', 'pg', 'first')).toContain('on two nodes');
    expect(await cluster.kubectl('events', '--for', 'pg/first')).toContain('Placed');
  });

  it('keeps its objects over a restart, and forgets what a restored backup does not hold', async () => {
    await cluster.stopServer('SIGKILL');
    await cluster.startServer();
    expect(await cluster.kubectl('get', 'pg', '-o', 'name')).toContain('first');
    const kept = await cluster.keepData();
    await apply(group('later'));
    await cluster.restoreData(kept);
    expect(await cluster.kubectl('get', 'pg', '-o', 'name')).not.toContain('later');
  });
});
