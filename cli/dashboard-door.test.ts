import http from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Door } from './dashboard-door.ts';

interface Answer {
  readonly code: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

describe('the door to the page', () => {
  let door: Door;
  let api: http.Server;
  let nowMs: number;
  let asked: string[];

  beforeEach(async () => {
    nowMs = 1_000_000;
    asked = [];
    api = http.createServer((request, response) => {
      asked.push(request.url ?? '');
      response.writeHead(200, { 'content-type': 'text/event-stream', 'set-cookie': 'theirs=1' });
      response.end('what the API says');
    });
    await new Promise<void>((resolve) => api.listen(0, '127.0.0.1', resolve));
    const { port } = api.address() as { port: number };
    door = await Door.open({
      port: 0,
      now: () => nowMs,
      upstream: (path, query) =>
        new Promise((resolve, reject) => {
          http
            .get({ host: '127.0.0.1', port, path: `${path}?${query.toString()}` }, resolve)
            .on('error', reject);
        }),
    });
  });
  afterEach(async () => {
    await door[Symbol.asyncDispose]();
    api.closeAllConnections();
    await new Promise((resolve) => api.close(resolve));
  });

  const ask = (path: string, options: http.RequestOptions = {}, body?: string): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const request = http.request({ host: '127.0.0.1', port: door.port, path, agent: false, ...options });
      request.once('error', reject);
      request.once('response', (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        response.once('end', () =>
          resolve({ code: response.statusCode ?? 0, headers: response.headers, body: text }),
        );
      });
      request.end(body);
    });
  const codeOf = (address: string): string => /#login=([\w-]+)$/.exec(address)?.[1] ?? '';
  const login = (code: string, headers: http.OutgoingHttpHeaders = {}): Promise<Answer> =>
    ask(
      '/login',
      { method: 'POST', headers: { 'content-type': 'application/json', ...headers } },
      JSON.stringify({ code }),
    );
  const signedIn = async (): Promise<{ cookie: string; 'x-muster-page-key': string }> => {
    const { headers, body } = await login(codeOf(door.newAddress()));
    const [cookie = ''] = (headers['set-cookie']?.[0] ?? '').split(';');
    return { cookie, 'x-muster-page-key': (JSON.parse(body) as { key: string }).key };
  };

  it('lets in who shows cookie and key, and nobody with only one of them', async () => {
    const both = await signedIn();
    const other = await signedIn();
    expect(await ask('/dashboardfeed?watch=true&after=1.2', { headers: both })).toMatchObject({
      code: 200,
      body: 'what the API says',
    });
    expect(asked).toEqual(['/dashboardfeed?watch=true&after=1.2']);
    for (const headers of [
      {},
      { cookie: both.cookie },
      { 'x-muster-page-key': both['x-muster-page-key'] },
      { ...both, 'x-muster-page-key': other['x-muster-page-key'] },
      { ...both, cookie: `${both.cookie}x` },
    ]) {
      expect((await ask('/dashboardfeed', { headers })).code).toBe(401);
    }
    expect(asked).toHaveLength(1);
  });
  it('gives a cookie that scripts and other sites cannot use', async () => {
    const { headers } = await login(codeOf(door.newAddress()));
    expect(headers['set-cookie']).toHaveLength(1);
    expect(headers['set-cookie']?.[0]).toMatch(
      new RegExp(`^muster-${door.port}=[\\w-]{43}; HttpOnly; SameSite=Strict; Path=/$`),
    );
  });
  it('takes a code once, not for long, and only from the page itself', async () => {
    const once = codeOf(door.newAddress());
    expect((await login(once)).code).toBe(200);
    expect((await login(once)).code).toBe(401);
    const late = codeOf(door.newAddress());
    nowMs += 5 * 60_000;
    expect(await login(late)).toMatchObject({
      code: 401,
      body: expect.stringContaining('too old') as string,
    });
    expect((await login('guess')).code).toBe(401);
    const code = codeOf(door.newAddress());
    expect((await login(code, { 'sec-fetch-site': 'same-site' })).code).toBe(403);
    expect((await login(code, { 'content-type': 'text/plain' })).code).toBe(403);
    expect((await login(code, { 'sec-fetch-site': 'same-origin' })).code).toBe(200);
    expect((await login('x'.repeat(5000))).code).toBe(413);
  });
  it('is found under no other name, so that no other site can point one at it', async () => {
    const headers = await signedIn();
    expect((await ask('/dashboardfeed', { headers: { ...headers, host: 'evil.example' } })).code).toBe(403);
    expect((await ask('/dashboard/', { headers: { host: `evil.example:${door.port}` } })).code).toBe(403);
    expect((await ask('/dashboard/', { headers: { host: `localhost:${door.port}` } })).code).toBe(200);
  });
  it('passes on what the page reads, and nothing else', async () => {
    const headers = await signedIn();
    for (const path of ['/namespaces/default/processgroups/a/log?follow=true', '/nodemonitors/node1/top'])
      expect((await ask(path, { headers })).code).toBe(200);
    asked = [];
    for (const path of [
      '/namespaces/default/processgroups/a/exec',
      '/namespaces/default/processgroups/a/attach',
      '/namespaces/default/processgroups/a%2f..%2fb/log',
      '/credentials',
      '/jointokens',
      '/namespaces/../credentials',
      '/dashboard/../credentials',
    ])
      expect([path, (await ask(path, { headers })).code]).toEqual([path, 404]);
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])
      expect((await ask('/namespaces/default/processgroups/a/log', { method, headers })).code).toBe(405);
    expect(asked).toEqual([]);
  });
  it('shows the files of the page to anybody, with no cookies of others, and guards every answer', async () => {
    for (const path of ['/dashboard/', '/dashboard/page.js', '/dashboardfeed', '/nothing']) {
      const { headers } = await ask(path);
      expect(headers['content-security-policy']).toMatch(/^default-src 'none'; script-src 'self';/);
      expect(headers['content-security-policy']).not.toContain('unsafe');
      expect(headers['x-content-type-options']).toBe('nosniff');
      expect(headers['set-cookie']).toBeUndefined();
    }
    expect(await ask('/')).toMatchObject({ code: 302, headers: { location: '/dashboard/' } });
  });
  it('says it when the API is not there', async () => {
    const headers = await signedIn();
    await new Promise((resolve) => {
      api.closeAllConnections();
      api.close(resolve);
    });
    expect(await ask('/dashboardfeed', { headers })).toMatchObject({
      code: 503,
      body: expect.stringContaining('cannot be reached') as string,
    });
    api.listen(0);
  });
});
