/**
 * What the web page costs its reader in a real browser, with 64 nodes of 1,024 ranks each whose load changes twice a second: the time
 * to the first paint and until all ranks are shown, and how long frames take while the grid is scrolled. The feed is the real one,
 * over the real API server and door; only what agents would say is made up. `MUSTER_BENCH_SECONDS` (10), `MUSTER_BENCH_ROUNDS` (7);
 * `MUSTER_BENCH_PICTURE` is a file for a picture of it.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { pino } from 'pino';
import { chromium } from 'playwright-core';
import { Door } from '../cli/dashboard-door.ts';
import { FactTable } from '../controllers/hub/fact-table.ts';
import { NodeTable } from '../controllers/hub/node-table.ts';
import { Picture } from '../controllers/page/picture.ts';
import { addDashboard } from '../controllers/page/routes.ts';
import { compressPlacement } from '../controllers/placement/placement-status.ts';
import { nodeMonitorType } from '../controllers/resource-types.ts';
import { systemClock } from '../controllers/runtime/clock.ts';
import { verbsBase } from '../controllers/subresources/paths.ts';
import type { NodeMonitor, ProcessGroup } from '../crds/types.gen.ts';
import { HttpStore } from '../store/client/http-store.ts';
import { FileStore } from '../store/file/file-store.ts';
import { musterAdmit, musterTypes } from '../store/muster-types.ts';
import { ApiServer } from '../store/server/api-server.ts';
import type { AgentHello, Load, SandboxFact } from '../wire/agent-types.ts';
import { median, print, rounded } from './kit/report.ts';

const nodes = 64;
const ranksPerNode = 1024;
const seconds = Number(process.env['MUSTER_BENCH_SECONDS'] ?? 10);
const rounds = Number(process.env['MUSTER_BENCH_ROUNDS'] ?? 7);
const uid = 'wide-uid';

const directory = mkdtempSync(join(tmpdir(), 'muster-bench-page-'));
const logger = pino({ level: 'silent' });
await using store = await FileStore.open({
  directory: join(directory, 'store'),
  types: musterTypes(),
  admit: musterAdmit,
  log: logger,
});
const names = Array.from({ length: nodes }, (_, index) => `node${index + 1}`);
const hub = { facts: new FactTable(), nodes: new NodeTable(systemClock, 3_600_000, () => undefined) };
for (const [ordinal, name] of names.entries()) {
  const made = await store.create<NodeMonitor>(nodeMonitorType, {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'NodeMonitor',
    metadata: { name },
    spec: {},
  });
  await store.updateStatus<NodeMonitor>(nodeMonitorType, { ...made, status: { phase: 'Ready' } });
  const capacity = { cpus: ranksPerNode, memoryBytes: 2 ** 40 };
  hub.nodes.connected({ node: name, bootId: 'b', capacity } as unknown as AgentHello, 1);
  const load = { load1: 20 + ordinal * 13, memoryAvailableBytes: 2 ** 40 - ordinal * 2 ** 33 };
  hub.nodes.heard(name, load as unknown as Load);
  hub.nodes.toldFacts(name, true, 1);
  const id = { groupUid: uid, ordinal, incarnation: 1 };
  const fact = { id, state: 'Running', succeeded: '', failures: [], cpuUs: 0, memoryBytes: 2 ** 34 };
  const facts = { full: true, sandboxes: [fact as unknown as SandboxFact], forgotten: [], images: [] };
  hub.facts.fold(name, 'b', { ...facts, desiredRevision: 1 }, () => true);
}
const ranksOf = (ordinal: number): string => `${ordinal * ranksPerNode}-${(ordinal + 1) * ranksPerNode - 1}`;
const placement = compressPlacement(
  names.map((node, ordinal) => ({
    ...{ ordinal, node, incarnation: 1, ranks: ranksOf(ordinal), rankCount: ranksPerNode },
  })),
);
const group: ProcessGroup = {
  apiVersion: 'muster.dev/v1alpha1',
  kind: 'ProcessGroup',
  metadata: { name: 'wide', namespace: 'default', uid, creationTimestamp: new Date().toISOString() },
  spec: { size: nodes * ranksPerNode, processes: [{ name: 'all', ranks: '', command: ['wide'] }] },
  status: { phase: 'Running', placement, ranks: { running: nodes * ranksPerNode } },
};

/** Waves over the ranks of a node, another one each half second. */
function loadOf(ordinal: number): string {
  const step = Math.floor(performance.now() / 500) + ordinal * 3;
  let text = '';
  for (let rank = 0; rank < ranksPerNode; rank++)
    text += Math.round(4.5 + 4.5 * Math.sin((rank + step * 16) / 60));
  return text;
}

await using picture = new Picture({
  ...{ store, hub, groups: () => [group], clock: systemClock, logger },
  loads: { of: ({ ordinal }) => ({ load: loadOf(ordinal), cores: ranksPerNode / 2 }), run: async () => {} },
});
await using api = new ApiServer({
  types: [],
  authenticate: () => ({ name: 'bench', groups: [] }),
});
addDashboard(api.routes, {
  picture,
  clock: systemClock,
  directory: join(import.meta.dirname, '../build/page'),
});
const socketPath = join(directory, 'api.sock');
await api.listen({ path: socketPath });
using client = new HttpStore({ socketPath });
await using door = await Door.open({
  port: 0,
  now: Date.now,
  upstream: (path, query) =>
    client.request({ method: 'GET', path: `${verbsBase}${path}`, query, accept: '*/*' }),
});
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
const total = `${(nodes * ranksPerNode).toLocaleString('en')} ranks`;
/** Notes when all ranks are there, by the page's own clock. */
const noteShown = `(() => {
  const look = () => {
    if (document.querySelector('#told')?.textContent?.includes('${total}')) window.shownAtMs = performance.now();
    else requestAnimationFrame(look);
  };
  look();
})()`;

const open = async () => {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  await page.addInitScript(noteShown);
  await page.goto(door.newAddress(), { waitUntil: 'commit' });
  await page.locator('#told', { hasText: total }).waitFor();
  return { context, page };
};

try {
  const paints: number[] = [];
  const wholes: number[] = [];
  for (let round = -1; round < rounds; round++) {
    const { context, page } = await open();
    const whole = await page.evaluate<number>('window.shownAtMs');
    const paint = await page.evaluate<number>(
      "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN",
    );
    // The first warms up server and browser; a reader's cache is empty every time.
    if (round >= 0) {
      paints.push(paint);
      wholes.push(whole);
    }
    await context.close();
  }
  const parameters = { nodes, ranks: nodes * ranksPerNode };
  print({ bench: 'page-first-paint', ...parameters, value: rounded(median(paints)), unit: 'ms' });
  print({ bench: 'page-all-ranks', ...parameters, value: rounded(median(wholes)), unit: 'ms' });

  const { context, page } = await open();
  await pause(1500);
  const pictureFile = process.env['MUSTER_BENCH_PICTURE'];
  if (pictureFile !== undefined) await page.screenshot({ path: pictureFile });
  const heap = 'performance.memory.usedJSHeapSize / 2 ** 20';
  const frames = await page.evaluate<number[]>(`new Promise((resolve) => {
    const grid = document.getElementById('grid');
    const times = [];
    const begun = performance.now();
    let before = begun;
    const step = (now) => {
      times.push(now - before);
      before = now;
      grid.scrollTop = (1 - Math.cos((now - begun) / 1000)) / 2 * (grid.scrollHeight - grid.clientHeight);
      if (now - begun < ${seconds * 1000}) requestAnimationFrame(step);
      else resolve(times.slice(2));
    };
    requestAnimationFrame(step);
  })`);
  const sorted = frames.toSorted((a, b) => a - b);
  const at = (share: number): number => rounded(sorted[Math.floor(sorted.length * share)] ?? NaN);
  print({
    bench: 'page-frames',
    ...parameters,
    seconds,
    value: rounded((frames.length * 1000) / frames.reduce((sum, ms) => sum + ms, 0)),
    unit: 'frames/s',
    medianMs: at(0.5),
    p95Ms: at(0.95),
    longestMs: at(0.9999),
    heapMebibytes: rounded(await page.evaluate<number>(heap)),
  });
  await context.close();
} finally {
  await browser.close();
  rmSync(directory, { recursive: true, force: true });
}
