/**
 * The verbs behind the real Kubernetes API server: an APIService, its own authentication and roles, the front proxy's headers. The
 * server of the verbs runs here, on a hub without agents; what verbs do to ranks is tested with agents elsewhere.
 */
import { join } from 'node:path';
import https from 'node:https';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runControlPlane, type ControlPlane } from '../../controllers/control-plane.ts';
import { issue, type KeyAndCertificate, makeAuthority } from '../../controllers/pki/certificate.ts';
import { systemClock } from '../../controllers/runtime/clock.ts';
import { apiServiceName, publishAuthority } from '../../controllers/subresources/api-service.ts';
import { GroupBook } from '../../controllers/subresources/group-book.ts';
import { InputDesk } from '../../controllers/subresources/input-desk.ts';
import { startVerbRelay, type VerbRelay } from '../../controllers/subresources/verb-relay.ts';
import { startVerbServer, type VerbServer } from '../../controllers/subresources/verb-server.ts';
import { groupVerbs, verbsBase } from '../../controllers/subresources/paths.ts';
import { kubeDaemonTargetOf } from '../../store/client/kubeconfig.ts';
import { HttpStore } from '../../store/client/http-store.ts';
import { openWebSocket } from '../../store/client/web-socket.ts';
import { KubernetesStore } from '../../store/kubernetes/kubernetes-store.ts';
import { attachProtocol } from '../../wire/attach-frames.ts';
import { eventually } from '../contract/object-store.ts';
import { KubeCluster } from '../kube/cluster.ts';

const logger = pino({ level: 'silent' });
const ended: string[] = [];
const stop = new AbortController();
let cluster: KubeCluster;
let store: KubernetesStore;
let plane: ControlPlane;
let server: VerbServer;
let relay: VerbRelay;
let authority: KeyAndCertificate;
let following: Promise<void>;
/** Kubeconfigs by user. */
const users: Record<string, string> = {};

const groupPath = (verb: string, name = 'job'): string =>
  `${verbsBase}/namespaces/default/processgroups/${name}/${verb}`;

beforeAll(async () => {
  cluster = await KubeCluster.start();
  await cluster.installCrds();
  store = new KubernetesStore({ server: kubeDaemonTargetOf(cluster.kubeconfig, undefined).server, logger });
  authority = await makeAuthority('muster');
  const names = ['muster-verbs.default.svc', '127.0.0.1'];
  const tls = await issue(authority, { kind: 'server', names });
  const planeTls = { ca: authority.cert, cert: tls.cert, key: tls.key };
  const secrets = { get: () => Promise.resolve(undefined) };
  plane = await runControlPlane(
    { store, hubListen: '127.0.0.1:0', tls: planeTls, clusterId: 'test', secrets, logger },
    stop.signal,
  );
  const groups = new GroupBook(store);
  following = groups.follow(() => undefined, stop.signal);
  const started = await startVerbServer(
    {
      listen: { host: '127.0.0.1', port: 0 },
      tls,
      clock: systemClock,
      logger,
      pageDirectory: join(import.meta.dirname, '../../build/page'),
      ports: {
        store,
        hub: plane.hub,
        groups,
        inputs: new InputDesk(),
        end: (group) => Promise.resolve(void ended.push(group.metadata.name)),
        lease: () => undefined,
        failed: () => undefined,
      },
    },
    stop.signal,
  );
  server = started!;
  // The API server reaches a replica that does not lead.
  relay = await startVerbRelay({
    listen: { host: '127.0.0.1', port: 0 },
    leader: () => `127.0.0.1:${server.port}`,
  });
  await apply(
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'muster-verbs', namespace: 'default' },
      spec: { ports: [{ name: 'verbs', port: 443 }] },
    },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: {
        name: 'muster-verbs-1',
        namespace: 'default',
        labels: { 'kubernetes.io/service-name': 'muster-verbs' },
      },
      addressType: 'IPv4',
      ports: [{ name: 'verbs', port: relay.port }],
      endpoints: [{ addresses: ['127.0.0.1'] }],
    },
    {
      apiVersion: 'apiregistration.k8s.io/v1',
      kind: 'APIService',
      metadata: { name: apiServiceName },
      spec: {
        group: 'subresources.muster.dev',
        version: 'v1alpha1',
        service: { name: 'muster-verbs', namespace: 'default' },
        groupPriorityMinimum: 1000,
        versionPriority: 15,
      },
    },
    {
      apiVersion: 'muster.dev/v1alpha1',
      kind: 'ProcessGroup',
      metadata: { name: 'job', namespace: 'default' },
      spec: { size: 2, processes: [{ name: 'all', ranks: '0-1', command: ['/bin/true'] }] },
    },
    ...rolesOf('viewer', ['get'], ['processgroups/ps', 'processgroups/log', 'processgroups/attach']),
    ...rolesOf(
      'operator',
      ['get', 'create'],
      Object.keys(groupVerbs).map((verb) => `processgroups/${verb}`),
    ),
  );
  expect(await publishAuthority(store, authority.cert, stop.signal)).toBe(true);
  for (const name of ['viewer', 'operator', 'stranger']) users[name] = await cluster.kubeconfigOf({ name });
  await eventually(async () => {
    await cluster.kubectl('get', '--raw', verbsBase);
  }, 30_000);
}, 900_000);

afterAll(async () => {
  stop.abort();
  await relay?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
  await plane?.close();
  await following;
  store?.[Symbol.dispose]();
  await cluster?.[Symbol.asyncDispose]();
}, 60_000);

const apply = (...items: object[]): Promise<string> =>
  cluster.kubectlWith(
    { input: JSON.stringify({ apiVersion: 'v1', kind: 'List', items }) },
    ...['apply', '--server-side', '-f', '-'],
  );

function rolesOf(user: string, verbs: string[], resources: string[]): object[] {
  const role = { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: user };
  return [
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'Role',
      metadata: { name: user, namespace: 'default' },
      rules: [{ apiGroups: ['subresources.muster.dev'], resources, verbs }],
    },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      metadata: { name: user, namespace: 'default' },
      roleRef: role,
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: user }],
    },
  ];
}

/** What kubectl says, or how it fails. */
const asUser = (user: string, ...args: string[]): Promise<string> =>
  cluster.kubectlWith({ kubeconfig: users[user]! }, ...args);

const refusal = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'it was not refused',
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );

const attachAs = async (user: string) => {
  const target = kubeDaemonTargetOf(users[user], undefined);
  const request = { path: groupPath('attach'), protocols: [attachProtocol] };
  return openWebSocket(target.server, request);
};

describe('the verbs behind the API server', () => {
  it('are found by kubectl', async () => {
    const listed = await cluster.kubectl('get', '--raw', '/apis/subresources.muster.dev/v1alpha1');
    const { resources } = JSON.parse(listed) as { resources: { name: string; verbs: string[] }[] };
    expect(resources.find(({ name }) => name === 'processgroups/attach')?.verbs).toEqual(['get', 'create']);
    expect(resources.map(({ name }) => name)).toContain('nodemonitors/top');
  });

  it('answer who may, in the words of the object', async () => {
    expect(JSON.parse(await asUser('viewer', 'get', '--raw', groupPath('ps')))).toEqual({ ranks: [] });
    expect(await refusal(asUser('operator', 'get', '--raw', groupPath('ps', 'nosuch')))).toMatch(
      /"?nosuch"? not found/,
    );
    expect(await refusal(cluster.kubectl('get', '--raw', `${verbsBase}/nodemonitors/n9/top`))).toMatch(
      /nodemonitor n9: no agent of this node has been heard of/,
    );
  });

  it('refuse who may not, naming verb and resource', async () => {
    expect(await refusal(asUser('stranger', 'get', '--raw', groupPath('ps')))).toMatch(
      /Forbidden.*stranger.*cannot get resource "processgroups\/ps".*subresources\.muster\.dev/s,
    );
    const kill = refusal(asUser('viewer', 'create', '--raw', groupPath('kill'), '-f', '-'));
    expect(await kill).toMatch(/Forbidden.*viewer.*cannot create resource "processgroups\/kill"/s);
    expect(ended).toEqual([]);
  });

  it('ask for more than looking before they let anybody into a job', async () => {
    // The API server lets a WebSocket, a GET, pass with "get"; the verbs themselves ask for "create" too.
    expect(await refusal(attachAs('viewer'))).toMatch(/"viewer" (may not|cannot) create.*attach/);
    const socket = await attachAs('operator');
    expect(socket.protocol).toBe(attachProtocol);
    const closed = Promise.withResolvers<void>();
    socket.once('close', () => closed.resolve());
    socket.terminate();
    await closed.promise;
  });

  it('carry out what is asked', async () => {
    await cluster.kubectlWith(
      { kubeconfig: users['operator']!, input: '{"now": true}' },
      ...['create', '--raw', groupPath('kill'), '-f', '-'],
    );
    expect(ended).toEqual(['job']);
  });

  it.each([
    ['a number that is none', '{"signal": 0}', /signal: expected a number from 1 to 64/],
    [
      'a rank that is not there',
      '{"signal": 15, "ranks": "7"}',
      /there is no rank 7; processgroup job has ranks 0 to 1/,
    ],
    ['no JSON', 'TERM', /not JSON/],
    ['a list', '[15]', /expected a JSON object/],
    ['ranks on no node', '{"signal": 15}', /no ranks on any node/],
  ])('refuse a signal with %s', async (_what, input, message) => {
    const call = cluster.kubectlWith({ input }, 'create', '--raw', groupPath('signal'), '-f', '-');
    expect(await refusal(call)).toMatch(message);
  });
});

describe('the page behind the API server', () => {
  const pageOf = (user: string): HttpStore =>
    new HttpStore(kubeDaemonTargetOf(users[user], undefined).server);
  const textOf = async (client: HttpStore, path: string, until: RegExp): Promise<string> => {
    const query = new URLSearchParams(path === 'dashboardfeed' ? { watch: 'true' } : {});
    const answer = await client.request({
      method: 'GET',
      path: `${verbsBase}/${path}`,
      query,
      accept: '*/*',
    });
    let text = '';
    for await (const chunk of answer.setEncoding('utf8')) {
      text += chunk as string;
      if (until.test(text)) break;
    }
    return text;
  };

  it('is served to who may, and tells each what he may list', async () => {
    await apply(
      {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'ClusterRole',
        metadata: { name: 'page' },
        rules: [
          {
            apiGroups: ['subresources.muster.dev'],
            resources: ['dashboard', 'dashboardfeed'],
            verbs: ['get', 'list', 'watch'],
          },
        ],
      },
      {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'ClusterRoleBinding',
        metadata: { name: 'page' },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'page' },
        subjects: ['viewer', 'operator'].map((name) => ({
          apiGroup: 'rbac.authorization.k8s.io',
          kind: 'User',
          name,
        })),
      },
      {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'Role',
        metadata: { name: 'lists', namespace: 'default' },
        rules: [{ apiGroups: ['muster.dev'], resources: ['processgroups'], verbs: ['list'] }],
      },
      {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'RoleBinding',
        metadata: { name: 'lists', namespace: 'default' },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'lists' },
        subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'viewer' }],
      },
    );
    using viewer = pageOf('viewer');
    await eventually(async () => {
      expect(await textOf(viewer, 'dashboard/', /<\/html>/)).toContain('src="page.js"');
    }, 60_000);
    expect(await textOf(viewer, 'dashboardfeed', /\n\n/)).toMatch(/"group\/default\/job":\{"kind":"group"/);
    using operator = pageOf('operator');
    expect(await textOf(operator, 'dashboardfeed', /\n\n/)).toMatch(
      /^id: \S+\ndata: \{"all":true,.*"set":\{\},/,
    );
    using stranger = pageOf('stranger');
    expect(await refusal(textOf(stranger, 'dashboardfeed', /./))).toMatch(/stranger.*cannot watch/);
  });
});

describe('whoever does not come through the API server', () => {
  const masters = { 'x-remote-user': 'mallory', 'x-remote-group': 'system:masters' };

  const call = (options: https.RequestOptions): Promise<number> => {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const request = https.get(
      {
        host: '127.0.0.1',
        port: server.port,
        path: groupPath('ps'),
        headers: masters,
        ca: authority.cert,
        agent: false,
        ...options,
      },
      (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      },
    );
    request.on('error', reject);
    return promise;
  };

  it('is nobody without a certificate, whatever the headers say', async () => {
    expect(await call({})).toBe(401);
  });

  it('is nobody with a certificate of another authority, also ours', async () => {
    for (const signer of [authority, await makeAuthority('front-proxy')]) {
      const { cert, key } = await issue(signer, { kind: 'client', name: 'front-proxy-client', groups: [] });
      expect(await call({ cert, key })).toBe(401);
    }
  });

  it('is nobody when it resumes the session of somebody who was nobody', async () => {
    const agent = new https.Agent({ maxCachedSessions: 10 });
    for (let i = 0; i < 3; i++) expect(await call({ agent })).toBe(401);
    agent.destroy();
  });
});
