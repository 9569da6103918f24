/**
 * The contract of ObjectStore on the real Kubernetes API, and what only that backend has to deal with.
 */
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { kubeDaemonTargetOf } from '../../store/client/kubeconfig.ts';
import { KubernetesStore } from '../../store/kubernetes/kubernetes-store.ts';
import type { ResourceType } from '../../store/resource.ts';
import { describeObjectStore, eventually, racks, take, widget, widgets } from '../contract/object-store.ts';
import { KubeCluster } from './cluster.ts';

let cluster: KubeCluster;
beforeAll(async () => {
  cluster = await KubeCluster.start();
  await cluster.kubectlWith(
    { input: JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [crdOf(widgets), crdOf(racks)] }) },
    'apply',
    '-f',
    '-',
  );
  await cluster.kubectl(
    'wait',
    '--for=condition=Established',
    'crd/widgets.test.muster.dev',
    'crd/racks.test.muster.dev',
  );
  for (const namespace of ['other', 'a-b']) await cluster.kubectl('create', 'namespace', namespace);
}, 900_000);
afterAll(async () => cluster?.[Symbol.asyncDispose]());

function crdOf({ group, version, kind, plural, namespaced }: ResourceType): object {
  const anything = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope: namespaced ? 'Namespaced' : 'Cluster',
      names: { kind, plural },
      versions: [
        {
          name: version,
          served: true,
          storage: true,
          subresources: { status: {} },
          schema: { openAPIV3Schema: { type: 'object', properties: { spec: anything, status: anything } } },
        },
      ],
    },
  };
}

const newStore = (options: Partial<ConstructorParameters<typeof KubernetesStore>[0]> = {}): KubernetesStore =>
  new KubernetesStore({
    server: kubeDaemonTargetOf(cluster.kubeconfig, undefined).server,
    logger: pino({ level: 'silent' }),
    ...options,
  });

/** An empty store: what the test before left is gone. */
async function emptied(options: Parameters<typeof newStore>[0] = {}) {
  const store = newStore(options);
  const clear = async (): Promise<void> => {
    for (const type of [widgets, racks]) {
      for (const { metadata } of (await store.list(type)).items) {
        const key = { namespace: metadata.namespace, name: metadata.name! };
        const free = { type: 'merge', patch: { metadata: { finalizers: null } } } as const;
        await store.patch(type, key, free).catch(() => undefined);
        await store.delete(type, key).catch(() => undefined);
      }
      expect((await store.list(type)).items).toEqual([]);
    }
  };
  await eventually(clear);
  return {
    store,
    close: async () => {
      store[Symbol.dispose]();
      return Promise.resolve();
    },
  };
}

describeObjectStore('KubernetesStore', () => emptied());

describeObjectStore('KubernetesStore with tiny pages and watches that end every second', () =>
  emptied({ pageSize: 2, watchTimes: { lastsSeconds: 1 } }),
);

describe('KubernetesStore', () => {
  it('takes up the kinds of a definition that is only just there', async () => {
    const { store, close } = await emptied();
    const fresh = { ...widgets, plural: 'gadgets', kind: 'Gadget' };
    await cluster.kubectlWith({ input: JSON.stringify(crdOf(fresh)) }, 'create', '-f', '-');
    await eventually(async () => {
      await store.create(fresh, { ...widget('a'), kind: 'Gadget' });
    });
    expect((await take(store.watch(fresh), 1))[0]!.type).toBe('ADDED');
    await cluster.kubectl('delete', 'crd', 'gadgets.test.muster.dev');
    await expect(store.list(fresh)).rejects.toMatchObject({ reason: 'NotFound' });
    await close();
  });
});
