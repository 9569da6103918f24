/**
 * Takes the pictures of the web page that the documentation shows, docs/pictures/*.png, of a real cluster with real jobs: to be run by
 * hand when the page looks different (`node scripts/pictures.ts`, as root, after `make build` and `scripts/setup.sh test`).
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { chromium } from 'playwright-core';
import { Cluster } from '../test/e2e/cluster.ts';

const pictures = join(import.meta.dirname, '..', 'docs', 'pictures');
mkdirSync(pictures, { recursive: true });

/** Ranks that compute for a share of the time that grows with their number, and say so now and then. */
const partly = (most: number): string[] => [
  ...['sh', '-c'],
  `share=$(( (PMI_RANK * 7 + 2) % ${most} )); n=0
   while :; do i=0; while [ $i -lt $((share * 1500)) ]; do i=$((i + 1)); done
   n=$((n + 1)); [ $((n % 40)) -eq 0 ] && echo "step $n, residual $((9000 / n))e-5"; sleep 0.1; done`,
];

await using cluster = await Cluster.up({ agents: 4 });
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
const door = cluster.spawn(['dashboard'], { timeoutMs: 600_000 });
try {
  await door.untilOutput('#login=');
  const run = (name: string, ranks: number, ...command: string[]) =>
    cluster.done(['run', '-n', String(ranks), '--detach', '--name', name, ...command]);
  const seconds = (count: number) => pause(count * 1000);
  await run('ocean', 12, ...partly(9));
  await seconds(6);
  await run('spectra', 6, ...partly(5));
  await run('survey', 8, 'sh', '-c', 'sleep 30');
  await seconds(8);
  await cluster.muster(['run', '-n', '4', '--name', 'typo', 'sh', '-c', 'exit $((PMI_RANK == 2 ? 3 : 0))']);
  const save = (name: string) => cluster.done(['checkpoint', name], { timeoutMs: 90_000 });
  await save('spectra');
  await seconds(6);
  await run('nightly', 8, 'sleep', '900');
  await seconds(6);
  await cluster.done(['suspend', 'spectra']);
  await seconds(9);
  await cluster.done(['resume', 'spectra']);
  await cluster.done(['suspend', 'nightly']);
  await save('ocean');
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, colorScheme: 'light' });
  await page.goto(/http:\S+/.exec(door.stdout)![0]);
  await page.locator('.link.live').waitFor();
  await page.locator('.jobs tbody tr', { hasText: 'ocean' }).click();
  await seconds(45);
  await page.mouse.move(2, 2);
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme });
    await seconds(1);
    await page.screenshot({ path: join(pictures, `page-${colorScheme}.png`) });
  }
} finally {
  await browser.close();
  door.child.kill('SIGTERM');
  await door.result;
}
