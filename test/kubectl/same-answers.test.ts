/** Our API server beside the one of Kubernetes: the same requests, the same answers. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startApi, type Api } from './api.ts';
import { comparable, RawClient, type Answer, type Step } from './answers.ts';
import { startKubernetes } from './kubernetes.ts';
import { scaledWidgets } from './scripts.ts';

const groups = '/apis/muster.dev/v1alpha1/namespaces/default/processgroups';
const widgets = '/apis/test.muster.dev/v1/namespaces/default/widgets';

const group = (name: string, spec: object = {}, metadata: object = {}): object => ({
  apiVersion: 'muster.dev/v1alpha1',
  kind: 'ProcessGroup',
  metadata: { name, ...metadata },
  spec: { size: 2, processes: [{ name: 'all', ranks: '0-1', command: ['x'] }], ...spec },
});
const part = (name: string, spec: object, metadata: object = {}): object => ({
  apiVersion: 'muster.dev/v1alpha1',
  kind: 'ProcessGroup',
  metadata: { name, ...metadata },
  spec,
});
const widget = (name: string, spec: object = { size: 1 }): object => ({
  apiVersion: 'test.muster.dev/v1',
  kind: 'Widget',
  metadata: { name },
  spec,
});
const merge = { 'content-type': 'application/merge-patch+json' };
const json = { 'content-type': 'application/json-patch+json' };
const applying = { 'content-type': 'application/apply-patch+yaml' };
const as = (form: string): Record<string, string> => ({
  accept: `application/json;as=${form};v=v1;g=meta.k8s.io`,
});
const get = (name: string, path: string, headers: Record<string, string> = {}): Step => ({
  name,
  method: 'GET',
  path,
  headers,
});
const post = (name: string, path: string, body: unknown, headers: Record<string, string> = {}): Step => ({
  name,
  method: 'POST',
  path,
  body,
  headers,
});
const put = (name: string, path: string, body: unknown): Step => ({ name, method: 'PUT', path, body });
const patch = (name: string, path: string, body: unknown, headers: Record<string, string>): Step => ({
  name,
  method: 'PATCH',
  path,
  body,
  headers,
});
const remove = (name: string, path: string, body?: unknown): Step => ({ name, method: 'DELETE', path, body });
const apply = (name: string, manager: string, body: object, more = ''): Step => {
  const { metadata } = body as { metadata: { name: string } };
  return patch(name, `${groups}/${metadata.name}?fieldManager=${manager}${more}`, body, applying);
};

const odd = (ours: number, step: Step): Step => ({ ...step, ours });

/** In this order; later ones see what earlier ones did. */
const steps: readonly Step[] = [
  post('create', `${groups}?fieldManager=maker`, group('a', { priority: 3 }, { labels: { x: 'y' } })),
  post('create again', groups, group('a')),
  get('get', `${groups}/a`),
  get('get what is not there', `${groups}/none`),
  get('get in a namespace that is not there', '/apis/muster.dev/v1alpha1/namespaces/none/processgroups/a'),
  get('list in a namespace that is not there', '/apis/muster.dev/v1alpha1/namespaces/none/processgroups'),
  post(
    'create in a namespace that is not there',
    '/apis/muster.dev/v1alpha1/namespaces/none/processgroups',
    group('a'),
  ),
  post('create without a name', groups, group('')),
  post('create with a bad name', groups, group('Bad_Name')),
  post('create with a bad label', groups, group('b', {}, { labels: { 'a b': 'c d' } })),
  post('create what is invalid', groups, group('b', { size: 0 })),
  post('create what lacks a field', groups, part('b', { size: 1 })),
  post('create with the wrong type', groups, group('b', { priority: 'high' })),
  post('create what a rule refuses', groups, group('b', { stdio: { stdout: 'Files' } })),
  post('create no JSON', groups, '{"apiVersion":'),
  post('create a list', groups, '[]'),
  odd(400, post('create another kind', groups, { ...group('b'), kind: 'Checkpoint' })),
  post('create in another namespace than the path', groups, group('b', {}, { namespace: 'other' })),
  odd(400, post('create with a version', groups, group('b', {}, { resourceVersion: '7' }))),
  post('create from text', groups, 'x', { 'content-type': 'text/plain' }),
  post(
    'create from YAML',
    groups,
    'apiVersion: muster.dev/v1alpha1\nkind: ProcessGroup\nmetadata: {name: yaml}\nspec: {size: 1, processes: [{name: a, ranks: "0", command: [x]}]}\n',
    { 'content-type': 'application/yaml' },
  ),
  post('create strictly', `${groups}?fieldValidation=Strict`, group('b', { sise: 1 })),
  post('create and be warned', `${groups}?fieldValidation=Warn&fieldManager=m`, group('warned', { sise: 1 })),
  post(
    'create, unknown fields dropped',
    `${groups}?fieldValidation=Ignore&fieldManager=m`,
    group('dropped', { sise: 1 }),
  ),
  post('create with an unknown validation', `${groups}?fieldValidation=Hard`, group('b')),
  post('create as a dry run', `${groups}?dryRun=All&fieldManager=m`, group('dry')),
  post('create as an unknown dry run', `${groups}?dryRun=Some`, group('b')),
  put('replace with an old version', `${groups}/a`, group('a', {}, { resourceVersion: '1' })),
  put('replace under another name', `${groups}/a`, group('b', {}, { resourceVersion: '1' })),
  put('replace what is not there', `${groups}/none`, group('none', {}, { resourceVersion: '1' })),
  patch(
    'merge',
    `${groups}/a?fieldManager=merger`,
    { spec: { suspend: true }, metadata: { labels: { z: 'w' } } },
    merge,
  ),
  patch('merge nothing', `${groups}/a?fieldManager=other`, { spec: { suspend: true } }, merge),
  patch(
    'merge what is fixed',
    `${groups}/a`,
    { spec: { size: null, restoreFrom: { checkpointName: 'c' }, processes: null } },
    merge,
  ),
  patch('merge on an old version', `${groups}/a`, { metadata: { resourceVersion: '1' } }, merge),
  odd(409, patch('merge another uid', `${groups}/a`, { metadata: { uid: 'x' } }, merge)),
  patch('merge another name', `${groups}/a`, { metadata: { name: 'b' } }, merge),
  patch(
    'JSON patch',
    `${groups}/a?fieldManager=json`,
    [{ op: 'replace', path: '/spec/priority', value: 4 }],
    json,
  ),
  patch(
    'JSON patch whose test fails',
    `${groups}/a`,
    [{ op: 'test', path: '/spec/priority', value: 5 }],
    json,
  ),
  patch('JSON patch of nothing', `${groups}/a`, [{ op: 'remove', path: '/spec/none' }], json),
  patch(
    'strategic merge patch',
    `${groups}/a`,
    {},
    { 'content-type': 'application/strategic-merge-patch+json' },
  ),
  patch('patch without a type', `${groups}/a`, {}, { 'content-type': 'application/json' }),
  patch('patch what is not there', `${groups}/none`, {}, merge),
  patch('forced merge', `${groups}/a?force=true`, {}, merge),
  patch(
    'status',
    `${groups}/a/status?fieldManager=controller`,
    { status: { phase: 'Pending' }, spec: { priority: 9 } },
    merge,
  ),
  patch('status that is invalid', `${groups}/a/status`, { status: { phase: 'Dancing' } }, merge),
  get('get the status', `${groups}/a/status`),

  apply('apply anew', 'one', group('s', {}, { labels: { l: '1' } })),
  apply('apply the same again', 'one', group('s', {}, { labels: { l: '1' } })),
  apply('apply more, by another', 'two', part('s', { priority: 5 }, { labels: { m: '2' } })),
  apply('apply what another owns', 'three', part('s', { priority: 6 })),
  apply('apply what two others own', 'three', part('s', { priority: 6 }, { labels: { l: '9' } })),
  apply('apply what another owns, by force', 'three', part('s', { priority: 6 }), '&force=true'),
  apply('apply the same as another', 'four', part('s', { priority: 6 })),
  apply('apply less', 'two', part('s', {})),
  apply('apply nothing', 'three', part('s', {})),
  apply('apply nothing, the last owner', 'four', part('s', {})),
  apply('apply without a manager', '', part('s', {})),
  odd(400, apply('apply an unknown field', 'one', part('s', { sise: 2 }), '&fieldValidation=Strict')),
  apply('apply with managedFields', 'one', part('s', {}, { managedFields: [{ manager: 'x' }] })),
  apply(
    'apply what is fixed',
    'one',
    group('s', { size: 3, processes: [{ name: 'all', ranks: '0-2', command: ['x'] }] }),
    '&force=true',
  ),
  apply(
    'apply as a dry run',
    'one',
    part('fresh', { size: 1, processes: [{ name: 'p', ranks: '0', command: ['x'] }] }),
    '&dryRun=All',
  ),
  patch(
    'apply a status',
    `${groups}/s/status?fieldManager=controller`,
    {
      ...part('s', {}),
      status: {
        phase: 'Running',
        conditions: [
          {
            type: 'Ready',
            status: 'True',
            reason: 'R',
            message: '',
            lastTransitionTime: '2026-01-01T00:00:00Z',
          },
        ],
      },
    },
    applying,
  ),
  patch(
    'apply another status',
    `${groups}/s/status?fieldManager=other`,
    {
      ...part('s', {}),
      status: {
        conditions: [
          {
            type: 'Failed',
            status: 'False',
            reason: 'R',
            message: '',
            lastTransitionTime: '2026-01-01T00:00:00Z',
          },
        ],
      },
    },
    applying,
  ),
  patch('apply over an update', `${groups}/a?fieldManager=applier`, part('a', { suspend: false }), applying),
  patch(
    'forget the owners',
    `${groups}/a`,
    [{ op: 'replace', path: '/metadata/managedFields', value: [{}] }],
    json,
  ),
  apply('apply to what nobody owns', 'late', part('a', { suspend: true })),
  apply('change what nobody owns', 'late', part('a', { suspend: false })),
  get('get what was applied', `${groups}/s`),

  get('list', groups),
  get('list by label', `${groups}?labelSelector=x%3Dy`),
  get('list by a bad label', `${groups}?labelSelector=a%20b`),
  get('list by field', `${groups}?fieldSelector=metadata.name%3Da`),
  get('list by a field of the kind', `${groups}?fieldSelector=status.phase%3DRunning`),
  get('list by an unknown field', `${groups}?fieldSelector=spec.size%3D2`),
  get('list a page', `${groups}?limit=2`),
  get('list from a broken token', `${groups}?continue=xyz`),
  get('list with a bad version', `${groups}?resourceVersion=abc`),
  get('list as a table', groups, as('Table')),
  get('get as a table', `${groups}/s`, as('Table')),
  get('list metadata', groups, as('PartialObjectMetadataList')),
  get('get metadata', `${groups}/s`, as('PartialObjectMetadata')),
  get('get in a form nobody has', `${groups}/s`, { accept: 'text/html' }),
  odd(400, get('watch from a bad version', `${groups}?watch=1&resourceVersion=abc`)),
  get('watch with first objects, not said how', `${groups}?watch=1&sendInitialEvents=true`),

  post('create a widget', `${widgets}?fieldManager=m`, widget('w')),
  get('get a scale', `${widgets}/w/scale`),
  put('scale', `${widgets}/w/scale?fieldManager=m`, {
    apiVersion: 'autoscaling/v1',
    kind: 'Scale',
    metadata: { name: 'w', namespace: 'default' },
    spec: { replicas: 3 },
  }),
  patch('scale by a patch', `${widgets}/w/scale?fieldManager=m`, { spec: { replicas: 4 } }, merge),
  odd(
    422,
    put('scale below zero', `${widgets}/w/scale`, {
      apiVersion: 'autoscaling/v1',
      kind: 'Scale',
      metadata: { name: 'w', namespace: 'default' },
      spec: { replicas: -1 },
    }),
  ),
  get('get the scale of what has none', `${groups}/a/scale`),

  odd(
    409,
    remove('delete with another uid', `${groups}/a`, {
      preconditions: { uid: '00000000-0000-4000-8000-000000000000' },
    }),
  ),
  remove('delete with a bad policy', `${groups}/a`, { propagationPolicy: 'Sometimes' }),
  remove('delete as a dry run', `${groups}/a?dryRun=All`),
  remove('delete', `${groups}/a`),
  remove('delete again', `${groups}/a`),
  patch('hold', `${groups}/s?fieldManager=holder`, { metadata: { finalizers: ['test.dev/hold'] } }, merge),
  remove('delete what is held', `${groups}/s`),
  patch(
    'hold it more',
    `${groups}/s`,
    { metadata: { finalizers: ['test.dev/hold', 'test.dev/more'] } },
    merge,
  ),
  post('create what is being deleted', groups, group('s')),
  patch('let it go', `${groups}/s?fieldManager=holder`, { metadata: { finalizers: null } }, merge),
  get('it is gone', `${groups}/s`),
  remove('delete all by label', `${groups}?labelSelector=x%3Dy`),
  remove('delete all', groups),

  odd(405, { name: 'an unknown method on a collection', method: 'PUT', path: groups }),
  odd(405, { name: 'an unknown method on an object', method: 'POST', path: `${groups}/a`, body: {} }),
  get('an unknown kind', '/apis/muster.dev/v1alpha1/namespaces/default/things'),
  get('an unknown group', '/apis/none.dev/v1'),
  get('an unknown path', '/nowhere'),
  get('health', '/readyz'),
  get('the kinds of our group', '/apis/muster.dev/v1alpha1'),
  get('our group', '/apis/muster.dev'),
  odd(200, get('the versions of the core group', '/api')),
  odd(
    201,
    post('ask for access', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SelfSubjectAccessReview',
      spec: { resourceAttributes: { verb: 'get', resource: 'pods' } },
    }),
  ),
];

describe("our API server and Kubernetes'", () => {
  const answers = new Map<string, { ours: Answer; theirs: Answer }>();
  let api: Api;
  beforeAll(async () => {
    api = await startApi({ moreTypes: [scaledWidgets] });
    await using cluster = await startKubernetes();
    using ours = new RawClient(api.kubeconfig);
    using theirs = new RawClient(cluster.kubeconfig);
    for (const { name, ours: _, ...step } of steps) {
      answers.set(name, { ours: await ours.send(step), theirs: await theirs.send(step) });
    }
  }, 900_000);
  afterAll(async () => api?.[Symbol.asyncDispose]());

  it.each(steps.map(({ name, ours: code }) => [name, code] as const))('%s', (name, code) => {
    const { ours, theirs } = answers.get(name)!;
    if (code === undefined) expect(comparable(ours)).toEqual(comparable(theirs));
    else expect(ours.code).toBe(code);
  });
});
