/** Bad requests, readers that are slow or many, and loops of GitOps tools, on Muster's own API server. */
import * as k8s from '@kubernetes/client-node';
import http from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { musterTypes } from '../../store/muster-types.ts';
import { eventually } from '../contract/object-store.ts';
import { RawClient } from './answers.ts';
import { startApi, type Api } from './api.ts';

const path = '/apis/muster.dev/v1alpha1/namespaces/default/processgroups';
const type = musterTypes().find(({ kind }) => kind === 'ProcessGroup')!;
const group = (
  name: string,
  spec: object = {},
): Record<string, unknown> & { metadata: { name: string } } => ({
  apiVersion: 'muster.dev/v1alpha1',
  kind: 'ProcessGroup',
  metadata: { name },
  spec: { size: 1, processes: [{ name: 'all', ranks: '0', command: ['x'] }], ...spec },
});

describe('the API server', () => {
  let api: Api;
  let raw: RawClient;
  beforeAll(async () => {
    api = await startApi({ windowEvents: 16 });
    raw = new RawClient(api.kubeconfig);
  });
  afterAll(async () => {
    raw[Symbol.dispose]();
    await api[Symbol.asyncDispose]();
  });
  const { method, headers } = {
    method: 'PATCH',
    headers: { 'content-type': 'application/apply-patch+yaml' },
  };

  /** Lines of a watch as they come. */
  function watch(query: string): { lines: string[]; request: http.ClientRequest; ended: Promise<void> } {
    const lines: string[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    const request = http.get(`${api.url}${path}?watch=1&${query}`, { agent: false }, (response) => {
      let rest = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        const parts = (rest + text).split('\n');
        rest = parts.pop()!;
        lines.push(...parts);
      });
      response.on('close', resolve);
    });
    request.on('error', () => resolve());
    return { lines, request, ended: promise };
  }

  it('is left as it was by a GitOps loop that applies the same for ever', async () => {
    const { kubectl } = api;
    api.write('loop.json', JSON.stringify(group('loop', { priority: 3 })));
    const args = ['apply', '--server-side', '--force-conflicts', '--field-manager=gitops', '-f', 'loop.json'];
    await kubectl.run(...args);
    const first = await kubectl.json('get', 'pg', 'loop', '--show-managed-fields');
    for (let cycle = 0; cycle < 5; cycle++) await kubectl.run(...args);
    expect(await kubectl.json('get', 'pg', 'loop', '--show-managed-fields')).toEqual(first);
    // Somebody else changes a field that the repository sets: the next cycle takes it back, and then there is peace again.
    await kubectl.run('patch', 'pg', 'loop', '--type=merge', '-p', '{"spec":{"priority":9}}');
    expect(await kubectl.refused(args.filter((arg) => arg !== '--force-conflicts'))).toContain(
      'conflict with "kubectl-patch" using muster.dev/v1alpha1: .spec.priority',
    );
    await kubectl.run(...args);
    const healed = await kubectl.json('get', 'pg', 'loop');
    expect(healed).toMatchObject({ spec: { priority: 3 }, metadata: { generation: 3 } });
    await kubectl.run(...args);
    expect(await kubectl.json('get', 'pg', 'loop')).toEqual(healed);
    // A field that goes from the repository goes from the object, back to its default.
    api.write('loop.json', JSON.stringify(group('loop')));
    await kubectl.run(...args);
    expect(await kubectl.json('get', 'pg', 'loop')).toMatchObject({ spec: { priority: 0 } });
    await kubectl.run('delete', 'pg', 'loop');
  });

  it('lets kubectl go from client-side to server-side apply and back', async () => {
    const { kubectl } = api;
    api.write('moved.json', JSON.stringify(group('moved', { priority: 3 })));
    await kubectl.run('apply', '-f', 'moved.json');
    await kubectl.run('apply', '--server-side', '-f', 'moved.json');
    api.write('moved.json', JSON.stringify(group('moved')));
    await kubectl.run('apply', '--server-side', '-f', 'moved.json');
    expect(await kubectl.json('get', 'pg', 'moved')).toMatchObject({ spec: { priority: 0 } });
    expect(await kubectl.run('apply', '-f', 'moved.json')).toContain('moved');
    await kubectl.run('delete', 'pg', 'moved');
  });

  it('is listed, watched and informed of by @kubernetes/client-node', async () => {
    const config = new k8s.KubeConfig();
    config.loadFromFile(api.kubeconfig);
    const objects = config.makeApiClient(k8s.CustomObjectsApi);
    const where = { group: 'muster.dev', version: 'v1alpha1', namespace: 'default', plural: 'processgroups' };
    const list = (): Promise<k8s.KubernetesListObject<k8s.KubernetesObject>> =>
      objects.listNamespacedCustomObject(where) as Promise<k8s.KubernetesListObject<k8s.KubernetesObject>>;
    const informer = k8s.makeInformer(config, path, list);
    const seen: string[] = [];
    for (const what of ['add', 'update', 'delete'] as const)
      informer.on(what, (object) => void seen.push(`${what} ${object.metadata?.name}`));
    await informer.start();
    await objects.createNamespacedCustomObject({ ...where, body: group('node') });
    await objects.patchNamespacedCustomObject({
      ...where,
      name: 'node',
      body: [{ op: 'replace', path: '/spec/suspend', value: true }],
    });
    await eventually(() => expect(seen).toEqual(['add node', 'update node']));
    await objects.deleteNamespacedCustomObject({ ...where, name: 'node' });
    await eventually(() => expect(seen).toEqual(['add node', 'update node', 'delete node']));
    await informer.stop();
    const core = config.makeApiClient(k8s.CoreV1Api);
    expect((await core.listNamespace()).items.map(({ metadata }) => metadata?.name)).toContain('default');
  });

  it('tells a watch from too long ago to list again', async () => {
    await raw.send({ method: 'POST', path, body: group('old') });
    for (let size = 0; size < 64; size++)
      await raw.send({
        method,
        path: `${path}/old?fieldManager=m&force=true`,
        headers,
        body: group('old', { priority: size }),
      });
    const old = watch('resourceVersion=1');
    await old.ended;
    const said = JSON.parse(old.lines[0] ?? 'null') as { type?: string; object?: object } | null;
    const answer =
      said ?? (await raw.send({ method: 'GET', path: `${path}?watch=1&resourceVersion=1` })).body;
    expect((answer as { object?: object }).object ?? answer).toMatchObject({ code: 410, reason: 'Expired' });
  });

  it('sends bookmarks and ends the first objects with one, where asked', async () => {
    const asked = watch('sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true');
    await eventually(() => expect(asked.lines.at(-1)).toContain('"k8s.io/initial-events-end":"true"'));
    expect(asked.lines[0]).toContain('"type":"ADDED"');
    const bookmark = JSON.parse(asked.lines.at(-1)!) as { object: { kind: string } };
    expect(bookmark.object.kind).toBe('ProcessGroup');
    asked.request.destroy();
  });

  it(
    'serves hundreds of watches at once, and none waits for one that does not read',
    { timeout: 60_000 },
    async () => {
      const { resourceVersion } = await api.store.list(type);
      const stuck = http.get(`${api.url}${path}?watch=1&resourceVersion=${resourceVersion}`, {
        agent: false,
      });
      stuck.on('response', (response) => void response.pause());
      stuck.on('error', () => undefined);
      const watches = Array.from({ length: 300 }, () => watch(`resourceVersion=${resourceVersion}`));
      const filler = 'x'.repeat(200_000);
      for (let turn = 0; turn < 8; turn++) {
        const metadata = { name: `many${turn}`, annotations: { filler } };
        const answer = await raw.send({ method: 'POST', path, body: { ...group(''), metadata } });
        expect(answer.code).toBe(201);
        await eventually(
          () => expect(Math.min(...watches.map(({ lines }) => lines.length))).toBe(turn + 1),
          30_000,
        );
      }
      stuck.destroy();
      for (const { request } of watches) request.destroy();
    },
  );

  it('refuses what is too large, broken or of no known form, and goes on', async () => {
    const large = {
      ...group('large'),
      metadata: { name: 'large', annotations: { a: 'x'.repeat(5_000_000) } },
    };
    expect((await raw.send({ method: 'POST', path, body: large })).code).toBe(413);
    const deep = `{"metadata":{"name":"deep"},"spec":${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}}`;
    expect((await raw.send({ method: 'POST', path, body: deep })).code).toBeGreaterThanOrEqual(400);
    const yaml = { 'content-type': 'application/yaml' };
    const bomb = `a: &a [x,x,x,x,x,x,x,x]\n${['b', 'c', 'd', 'e', 'f', 'g', 'h', 'i']
      .map((name, index) => `${name}: &${name} [${Array(8).fill(`*${'abcdefgh'[index]}`).join(',')}]`)
      .join('\n')}`;
    expect((await raw.send({ method: 'POST', path, body: bomb, headers: yaml })).code).toBe(400);
    const protobuf = { 'content-type': 'application/vnd.kubernetes.protobuf' };
    expect((await raw.send({ method: 'POST', path, body: 'k8s\0\xff\xff', headers: protobuf })).code).toBe(
      400,
    );
    expect((await raw.send({ method: 'GET', path: '/readyz' })).body).toBe('ok');
  });
});
