import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { FileStore } from '../../store/file/file-store.ts';
import { HttpStore } from '../../store/client/http-store.ts';
import { ApiServer, type ApiServerOptions } from '../../store/server/api-server.ts';
import { tableText, type Table } from '../../store/server/table.ts';
import { describeObjectStore, eventually, racks, take, widget, widgets } from '../contract/object-store.ts';

const types = [widgets, racks];

interface Running {
  readonly backend: FileStore;
  readonly server: ApiServer;
  readonly store: HttpStore;
  readonly socketPath: string;
  close(): Promise<void>;
}

async function start(options: Partial<ApiServerOptions> = {}): Promise<Running> {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'muster-api-'));
  const socketPath = path.join(directory, 'api.sock');
  const backend = await FileStore.open({ directory: path.join(directory, 'store'), types });
  const authenticate = (): { name: string; groups: string[] } => ({ name: 'tester', groups: [] });
  const server = new ApiServer({ store: backend, types, authenticate, ...options });
  await server.listen({ path: socketPath });
  const store = new HttpStore({ socketPath });
  return {
    backend,
    server,
    store,
    socketPath,
    close: async () => {
      store[Symbol.dispose]();
      await server.close();
      await backend.close();
      fs.rmSync(directory, { recursive: true });
    },
  };
}

describeObjectStore('HttpStore over a unix socket', () => start());

describeObjectStore('HttpStore when the server ends watches all the time', () =>
  start({ maxWatchSeconds: 0.02 }),
);

describe('ApiServer', () => {
  let running: Running;
  const begin = async (options: Partial<ApiServerOptions> = {}): Promise<Running> =>
    (running = await start(options));
  afterEach(() => running.close());

  const raw = (
    options: http.RequestOptions,
    body?: string | Buffer,
  ): Promise<{ code: number; json: Record<string, unknown>; headers: http.IncomingHttpHeaders }> =>
    new Promise((resolve, reject) => {
      const request = http.request({ socketPath: running.socketPath, ...options }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          const json = JSON.parse(text) as Record<string, unknown>;
          resolve({ code: response.statusCode!, json, headers: response.headers });
        });
      });
      request.on('error', reject);
      request.end(body);
    });
  const collection = '/apis/test.muster.dev/v1/namespaces/default/widgets';

  it('tells what it has', async () => {
    await begin();
    const { groups } = (await raw({ path: '/apis' })).json as { groups: unknown[] };
    expect(groups[0]).toMatchObject({
      name: 'test.muster.dev',
      preferredVersion: { groupVersion: 'test.muster.dev/v1' },
    });
    const { json } = await raw({ path: '/apis/test.muster.dev/v1' });
    const names = (json['resources'] as { name: string }[]).map(({ name }) => name);
    expect(names).toEqual(['widgets', 'widgets/status', 'racks', 'racks/status']);
    expect((await raw({ path: '/version' })).json).toHaveProperty('gitVersion');
  });

  it('answers errors as Status objects', async () => {
    await begin();
    const missing = await raw({ path: `${collection}/none` });
    expect(missing).toMatchObject({ code: 404, json: { kind: 'Status', reason: 'NotFound' } });
    expect((await raw({ path: '/nowhere' })).code).toBe(404);
    expect((await raw({ path: collection, method: 'PUT' }, '{}')).code).toBe(405);
    expect((await raw({ path: collection, method: 'POST' }, '{"metadata":')).code).toBe(400);
    expect((await raw({ path: `${collection}?labelSelector=a%20b` })).code).toBe(400);
    expect((await raw({ path: `${collection}/%zz` })).code).toBe(400);
    expect((await raw({ path: `${collection}?dryRun=Some`, method: 'POST' }, '{}')).code).toBe(422);
    expect((await raw({ path: collection, headers: { accept: 'text/html' } })).code).toBe(406);
    const other = { metadata: { name: 'a', namespace: 'other' } };
    expect((await raw({ path: collection, method: 'POST' }, JSON.stringify(other))).code).toBe(400);
  });

  it('refuses a body over the limit, announced or not, and says how much is accepted', async () => {
    await begin({ maxBodyBytes: 1000 });
    const body = Buffer.alloc(100_000, 'x');
    const headers = { 'content-length': body.length };
    const announced = await raw({ path: collection, method: 'POST', headers }, body);
    expect(announced).toMatchObject({ code: 413, json: { reason: 'RequestEntityTooLarge' } });
    expect(announced.json['message']).toContain('at most 1000');
    const chunked = await raw(
      { path: collection, method: 'POST', headers: { 'transfer-encoding': 'chunked' } },
      body,
    );
    expect(chunked.code).toBe(413);
    await running.store.create(widgets, widget('a'));
  });

  it('answers nobody it does not know, and nothing that is not allowed', async () => {
    await begin({
      authenticate: (request) =>
        request.headers['x-user'] === undefined
          ? undefined
          : { name: String(request.headers['x-user']), groups: [] },
      authorize: ({ user, verb }) => ({
        allowed: user.name === 'root' || verb === 'get',
        reason: 'read only',
      }),
    });
    expect((await raw({ path: collection })).code).toBe(401);
    const refused = await raw({ path: collection, headers: { 'x-user': 'bob' } });
    expect(refused.code).toBe(403);
    expect(refused.json['message']).toBe(
      'widgets.test.muster.dev is forbidden: User "bob" cannot list resource "widgets" in API group "test.muster.dev" in the namespace "default": read only',
    );
    expect((await raw({ path: collection, headers: { 'x-user': 'root' } })).code).toBe(200);
  });

  it('prints tables with the printer columns', async () => {
    await begin({ now: () => Date.now() + 3 * 3600_000 });
    await running.store.create(widgets, widget('a', { size: 3, note: 'n' }));
    await running.store.create(widgets, widget('longer'));
    const accept = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json';
    const { json } = await raw({ path: collection, headers: { accept } });
    const table = json as unknown as Table;
    expect(table.kind).toBe('Table');
    expect(tableText(table)).toBe(
      'NAME     SIZE   PHASE   AGE\na        3              3h\nlonger   1              3h',
    );
    expect(tableText(table, { wide: true, withNamespace: true }).split('\n')[1]).toBe(
      'default     a        3              n      3h',
    );
  });

  it('bounds watches, and frees their places', async () => {
    await begin({ maxWatchesPerUser: 1 });
    const abort = new AbortController();
    await running.store.create(widgets, widget('a'));
    let events = 0;
    const first = (async () => {
      for await (const _ of running.store.watch(widgets, {}, abort.signal)) events += 1;
    })();
    await eventually(() => expect(events).toBe(1));
    await expect(take(running.store.watch(widgets), 1)).rejects.toMatchObject({ reason: 'TooManyRequests' });
    abort.abort();
    await first;
    await eventually(async () => {
      expect(await take(running.store.watch(widgets), 1)).toHaveLength(1);
    });
  });

  it('carries routes that others add', async () => {
    await begin();
    running.server.routes.add(
      'GET',
      '/apis/sub.test/v1/namespaces/{namespace}/widgets/{name}/log',
      (context) => {
        context.sendJson(200, context.parameters);
      },
    );
    const { json } = await raw({ path: '/apis/sub.test/v1/namespaces/n/widgets/w/log' });
    expect(json).toEqual({ namespace: 'n', name: 'w' });
  });

  it('says Unavailable when nothing answers', async () => {
    await begin();
    using store = new HttpStore({ socketPath: `${running.socketPath}.none` });
    await expect(store.list(widgets)).rejects.toMatchObject({ reason: 'Unavailable' });
  });
});
