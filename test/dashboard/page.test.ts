/**
 * The web page in a real browser, against a real control plane with real jobs: what it shows, how fast it hears of it, who gets in and
 * who does not, and that nothing in it breaks its own policy.
 */
import { existsSync, readFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cluster, eventually, type Running } from '../e2e/cluster.ts';

const program = '/usr/bin/chromium';

/** What runs in the browser is text here, since a browser's types are not Node's. */
const inPage = {
  watchPolicy: `window.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => window.violations.push(event.violatedDirective));`,
  violations: 'window.violations',
  breakPolicy: `(() => {
    const script = document.createElement('script');
    try {
      script.text = 'document.title = "broken"';
    } catch {
      // Refused before it is anywhere.
    }
    document.body.append(script);
    new Image().src = 'http://127.0.0.1:9/elsewhere.png';
    document.body.setAttribute('style', 'display: none');
  })()`,
  paper: 'getComputedStyle(document.body).backgroundColor',
  /** How much of the canvas has a colour of the style sheet. */
  pixelsOf: (variable: string) => `(() => {
    const canvas = document.querySelector('canvas');
    const text = getComputedStyle(document.documentElement).getPropertyValue('${variable}').trim();
    const wanted = [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let found = 0;
    for (let i = 0; i < data.length; i += 4)
      if (wanted.every((value, colour) => data[i + colour] === value)) found += 1;
    return found;
  })()`,
};

if (!existsSync(program))
  console.warn(`${program} is missing: the page is not tested ("make setup" of the tests brings it)`);

describe.skipIf(!existsSync(program))('the page', () => {
  let cluster: Cluster;
  let browser: Browser;
  let door: Running;
  let page: Page;
  const complaints: string[] = [];

  beforeAll(async () => {
    [cluster, browser] = await Promise.all([
      Cluster.up({ agents: 2 }),
      chromium.launch({ executablePath: program, args: ['--no-sandbox'] }),
    ]);
    await cluster.done([
      'run',
      '-n',
      '3',
      '--detach',
      '--name',
      'calm',
      'sh',
      '-c',
      'echo it goes; exec sleep 600',
    ]);
    door = cluster.spawn(['dashboard'], { timeoutMs: 180_000 });
    await door.untilOutput('#login=');
  }, 90_000);
  afterAll(async () => {
    await browser?.close();
    door?.child.kill('SIGTERM');
    await door?.result;
    await cluster?.[Symbol.asyncDispose]();
  });

  const address = (of: Running): string => /http:\S+/.exec(of.stdout)?.[0] ?? '';
  const base = (of: Running): string => address(of).split('/dashboard/')[0]!;
  const told = (): Promise<string> => page.locator('#told').innerText();
  const calmTimeline = async (): Promise<string> =>
    (await page.locator('.timeline-panel .row[aria-label^="calm:"]').getAttribute('aria-label')) ?? '';
  const rowOf = (name: string) => page.locator('.jobs tbody tr', { hasText: name });

  const pixelsOf = (variable: string): Promise<number> => page.evaluate(inPage.pixelsOf(variable));
  const violations = (): Promise<string[]> => page.evaluate(inPage.violations);

  it('lets nobody in without the one-time address', async () => {
    const stranger = await browser.newPage();
    await stranger.goto(`${base(door)}/dashboard/`);
    await stranger.getByRole('heading', { name: 'Not signed in' }).waitFor();
    expect(await stranger.getByText('muster dashboard').count()).toBe(1);
    expect((await stranger.request.get(`${base(door)}/dashboardfeed?watch=true`)).status()).toBe(401);
    await stranger.close();
    // Nor does the control plane itself, over the network.
    const { apiPort } = JSON.parse(readFileSync(join(cluster.home, 'run', 'hub.json'), 'utf8')) as {
      apiPort: number;
    };
    const api = `https://127.0.0.1:${apiPort}/apis/subresources.muster.dev/v1alpha1`;
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    for (const path of ['dashboard/', 'dashboardfeed?watch=true'])
      expect([path, (await context.request.get(`${api}/${path}`)).status()]).toEqual([path, 401]);
    await context.close();
  });

  it('is opened by the address, which leaves no trace of the code in it', async () => {
    const context = await browser.newContext({
      viewport: { width: 1440, height: 900 },
      colorScheme: 'light',
    });
    page = await context.newPage();
    page.on('console', (message) => {
      if (message.type() === 'error') complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(String(error)));
    await page.addInitScript(inPage.watchPolicy);
    await page.goto(address(door));
    await page.locator('.link.live').waitFor();
    expect(page.url()).toBe(`${base(door)}/dashboard/`);
    expect(await page.evaluate('document.cookie')).toBe('');
    const [cookie] = await context.cookies();
    expect(cookie).toMatchObject({ httpOnly: true, sameSite: 'Strict' });
    const second = await browser.newPage();
    await second.goto(address(door));
    await second.getByRole('heading', { name: 'Not signed in' }).waitFor();
    await second.close();
  });

  it('shows every rank in the grid, and what it is by the keyboard alone', async () => {
    await rowOf('calm').getByText('Running').waitFor();
    await eventually(
      async () => (await told()).includes('3 ranks on 2 nodes'),
      'all ranks',
      () => '',
    );
    await eventually(async () => (await pixelsOf('--idle')) > 100, 'cells of idle ranks');
    await page.keyboard.press('g');
    const seen = new Set<string>();
    for (const key of ['ArrowRight', 'ArrowRight', 'ArrowDown', 'Home', 'ArrowUp', 'Home', 'ArrowRight']) {
      await page.keyboard.press(key);
      const match = /default\/calm rank (\d)/.exec(await told());
      if (match) seen.add(match[1]!);
    }
    expect([...seen].sort()).toEqual(['0', '1', '2']);
    await page.keyboard.press('Home');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'default/calm' }).waitFor();
  });

  it("shows the chosen job's ranks and the end of its output", async () => {
    await eventually(async () => (await page.locator('.ranks .line').count()) === 3, 'three ranks');
    const lines = await page.locator('.ranks .line').allInnerTexts();
    expect(lines.map((line) => /^\s*(\d)\s+(node[12])\s+Running/.exec(line)?.[1])).toEqual(['0', '1', '2']);
    const measured = /\d+ %\s+[\d.]+ [KM]iB/;
    await eventually(
      async () => (await page.locator('.ranks .line').allInnerTexts()).every((line) => measured.test(line)),
      'processor and memory of each rank',
    );
    await eventually(
      async () => (await page.locator('#log').innerText()).match(/\[[012]\] it goes/g)?.length === 3,
      'a line of each rank',
    );
    expect(await calmTimeline()).toMatch(/^calm: .*Running for/);
    expect(await page.locator('.events').innerText()).toContain('RanksRunning');
  });

  it('hears at once of a suspension, a resumption, a new job and its end', async () => {
    expect(await pixelsOf('--frozen')).toBe(0);
    await cluster.done(['suspend', 'calm']);
    await rowOf('calm').getByText('Suspended').waitFor();
    await eventually(async () => (await pixelsOf('--frozen')) > 100, 'frozen cells');
    await eventually(
      async () => (await calmTimeline()).includes('Suspended for'),
      'the suspension in the timeline',
    );
    await cluster.done(['resume', 'calm']);
    await rowOf('calm').getByText('Running').waitFor();
    await eventually(async () => (await pixelsOf('--frozen')) === 0, 'no frozen cell');
    await cluster.run(['-n', '2', '--name', 'fails', 'sh', '-c', 'exit 3']);
    await rowOf('fails').getByText('Failed').waitFor();
    await page.keyboard.press('/');
    await page.keyboard.type('fail');
    await eventually(
      async () => (await page.locator('.jobs tbody tr').count()) === 1,
      'one job by the filter',
    );
    await page.keyboard.press('Escape');
    await eventually(async () => (await page.locator('.jobs tbody tr').count()) === 2, 'both jobs');
  });

  it('goes on by itself when the control plane was killed', async () => {
    const record = join(cluster.home, 'run', 'controller.pid.json');
    const pidOf = (): number => (JSON.parse(readFileSync(record, 'utf8')) as { pid: number }).pid;
    process.kill(pidOf(), 'SIGKILL');
    await page.locator('.link.lost').waitFor();
    await page.locator('.link.live').waitFor();
    // A ledger of the new process: what was before, it has from the status.
    await eventually(
      async () => /Running for.*Suspended for.*Running for/.test(await calmTimeline()),
      'the past',
    );
    await cluster.done(['suspend', 'calm']);
    await rowOf('calm').getByText('Suspended').waitFor();
    // What went on meanwhile is no complaint of the page's.
    const own = complaints.filter((text) => !/ERR_|Failed to load resource/.test(text));
    expect(own).toEqual([]);
  });

  it('is dark where the reader wants it dark', async () => {
    const paper = (): Promise<string> => page.evaluate(inPage.paper);
    const light = await paper();
    await page.emulateMedia({ colorScheme: 'dark' });
    expect(await paper()).not.toBe(light);
    await eventually(async () => (await pixelsOf('--frozen')) > 100, 'cells in the colours of the dark');
  });

  it('breaks no rule of its own, and would be stopped if it did', async () => {
    expect(await violations()).toEqual([]);
    await page.evaluate(inPage.breakPolicy);
    await eventually(async () => (await violations()).length >= 3, 'violations told');
    expect(await violations()).toEqual(
      expect.arrayContaining(['require-trusted-types-for', 'img-src', 'style-src-attr']),
    );
    expect(await page.title()).toBe('Muster');
  });

  it('shows a user with a role in one namespace what is there, and nothing else', async () => {
    const role = ['--user', 'ann', '--role', 'view', '--namespace', 'team'];
    const file = cluster.file('ann.yaml', await cluster.done(['kubeconfig', ...role, '--token']));
    const own = cluster.spawn(['--kubeconfig', file, 'dashboard'], { timeoutMs: 60_000 });
    try {
      await own.untilOutput('#login=');
      const first = await firstMessage(base(own), /#login=([\w-]+)/.exec(address(own))![1]!);
      const keys = Object.keys(first.set);
      expect(keys.filter((key) => key.startsWith('node/')).sort()).toEqual(['node/node1', 'node/node2']);
      expect(keys.filter((key) => !key.startsWith('node/'))).toEqual([]);
    } finally {
      own.child.kill('SIGTERM');
      await own.result;
    }
  });
});

async function firstMessage(base: string, code: string): Promise<{ set: Record<string, unknown> }> {
  const login = await fetch(`${base}/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ code }),
  });
  const { key } = (await login.json()) as { key: string };
  const cookie = login.headers.get('set-cookie')!.split(';')[0]!;
  const headers = { cookie, 'x-muster-page-key': key };
  return new Promise((resolve, reject) => {
    const request = http.get(`${base}/dashboardfeed?watch=true`, { headers }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
        const data = /^data: (.*)\n\n/m.exec(text)?.[1];
        if (data === undefined) return;
        resolve(JSON.parse(data) as { set: Record<string, unknown> });
        request.destroy();
      });
    });
    request.once('error', reject);
  });
}
