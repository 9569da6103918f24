/** What people and programs are told of ranks and nodes: live figures, history, totals that outlive daemons. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { apiSocketOf, homeOf } from '../../cli/home.ts';
import { promtool } from '../chart/promtool.ts';
import { eventually as within } from '../contract/eventually.ts';
import { Cluster } from './cluster.ts';

const base = '/apis/subresources.muster.dev/v1alpha1';
/** On a machine that has much else to do too. */
const eventually = (check: () => Promise<void> | void): Promise<void> => within(check, 60_000);

let cluster: Cluster;
let scratch: string;
/** What receives traces: OTLP as JSON over HTTP. */
let collector: Server;
const spans: Span[] = [];

interface Span {
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  status: { code: number };
}

interface Usage {
  pid: number;
  state: string;
  userSeconds: number;
  systemSeconds: number;
  cores: number;
  memoryBytes: number;
  processes: number;
}
interface Row {
  rank: number;
  usage?: Usage;
}

/** Rank 0 works, the others wait; all write a little to disk. */
const script =
  'head -c 4000000 /dev/zero >/var/tmp/$SCRATCH_FILE.$PMI_RANK; sync /var/tmp/$SCRATCH_FILE.$PMI_RANK; rm /var/tmp/$SCRATCH_FILE.$PMI_RANK; if [ "$PMI_RANK" = 0 ]; then while :; do :; done; else exec sleep 600; fi';

beforeAll(async () => {
  scratch = mkdtempSync('/var/tmp/monitor-');
  mkdirSync(join(scratch, 'checks'), { mode: 0o755 });
  const config = join(scratch, 'node.yaml');
  writeFileSync(config, `healthChecks: ${scratch}/checks\nownerFile: ${scratch}/owner\n`);
  collector = createServer((asked, response) => {
    void text(asked).then((body) => {
      const { resourceSpans } = JSON.parse(body) as { resourceSpans: { scopeSpans: { spans: Span[] }[] }[] };
      for (const { scopeSpans } of resourceSpans) spans.push(...scopeSpans.flatMap((each) => each.spans));
      response.setHeader('content-type', 'application/json').end('{}');
    });
  });
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
  const { port } = collector.address() as AddressInfo;
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${String(port)}` };
  cluster = await Cluster.up({ agents: 2, args: ['--node-config', config], env });
  for (const node of ['node1', 'node2'])
    await raw(`/apis/muster.dev/v1alpha1/nodemonitors/${node}`, { spec: { intervalSeconds: 1 } });
  await cluster.done(['run', '-n', '4', '--detach', '--name', 'spin', '--env', `SCRATCH_FILE=monitor.${String(process.pid)}`, 'sh', '-c', script]); // prettier-ignore
});
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
  collector?.close();
  rmSync(scratch, { recursive: true, force: true });
});

const rowsOf = async (): Promise<Row[]> =>
  JSON.parse(await cluster.done(['ps', 'spin', '-o', 'json'])) as Row[];
const raw = async (path: string, patch?: object): Promise<unknown> => JSON.parse(await rawText(path, patch));

async function rawText(path: string, patch?: object): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socketPath = apiSocketOf(homeOf(cluster.home));
  const headers = { 'content-type': 'application/merge-patch+json' };
  const options = { socketPath, path, ...(patch === undefined ? {} : { method: 'PATCH', headers }) };
  request(options, (response) => void text(response).then(resolve, reject))
    .on('error', reject)
    .end(patch && JSON.stringify(patch));
  return promise;
}

/** Without a chance to say goodbye; it is started again by itself. */
function kill(daemon: string): void {
  const file = join(cluster.home, 'run', `${daemon}.pid.json`);
  process.kill((JSON.parse(readFileSync(file, 'utf8')) as { pid: number }).pid, 'SIGKILL');
}

const usedSeconds = ({ usage }: Row): number => (usage ? usage.userSeconds + usage.systemSeconds : 0);

test('muster ps tells each rank with its process, its time and its memory', async () => {
  await eventually(async () => {
    const rows = await rowsOf();
    expect(rows.map(({ usage }) => usage?.processes)).toEqual([1, 1, 1, 1]);
    expect(rows[0]!.usage).toMatchObject({ state: 'R' });
    expect(rows[3]!.usage).toMatchObject({ state: 'S' });
    expect(usedSeconds(rows[0]!)).toBeGreaterThan(usedSeconds(rows[3]!));
    expect(new Set(rows.map(({ usage }) => usage?.pid)).size).toBe(4);
    for (const { usage } of rows) expect(usage!.memoryBytes).toBeGreaterThan(100_000);
  });
  expect(await cluster.done(['ps', 'spin', '-o', 'wide'])).toMatch(/DOES +BUSY +PEAK/);
});

test('a launch, a checkpoint, a restore from it and a migration are traces over controllers and agents', async () => {
  await cluster.done(['run', '-n', '2', '--ppn', '1', '--detach', '--name', 'goes', 'sleep', '600']);
  await cluster.wait('goes', 'Running');
  await cluster.done(['checkpoint', 'goes', '--name', 'traced']);
  await cluster.done(['migrate', 'goes', '--from', 'node1', '--to', 'node2']);
  await cluster.done(['kill', '--now', 'goes']);
  await cluster.done(['restart', 'traced', '--name', 'again']);
  await cluster.done(['kill', '--now', 'again']);
  const traceOf = (root: Span | undefined): Span[] => {
    const all = spans.filter(({ traceId }) => traceId === root?.traceId);
    const ids = new Set(all.map(({ spanId }) => spanId));
    expect(ids.size).toBe(all.length);
    for (const { parentSpanId = '', startTimeUnixNano, endTimeUnixNano } of all) {
      expect(parentSpanId === '' || ids.has(parentSpanId)).toBe(true);
      expect(BigInt(endTimeUnixNano)).toBeGreaterThanOrEqual(BigInt(startTimeUnixNano));
    }
    return all;
  };
  const namesOf = (trace: Span[]): string[] => trace.map(({ name }) => name).sort();
  await eventually(() => {
    const [, launch, restore] = spans.filter(({ name }) => name === 'launch');
    expect(namesOf(traceOf(launch))).toEqual(['agents', 'build', 'build', 'launch', 'place', 'sandbox', 'sandbox', 'start', 'start']); // prettier-ignore
    expect(namesOf(traceOf(restore))).toEqual(['agents', 'launch', 'place', 'restore', 'restore']);
    const checkpoint = spans.find(({ name }) => name === 'checkpoint');
    expect(namesOf(traceOf(checkpoint))).toEqual(['checkpoint', 'dumping', 'hold', 'hold', 'preparing', 'save', 'save', 'saving']); // prettier-ignore
    const migration = spans.find(({ name }) => name === 'migration');
    const ofMove = traceOf(migration);
    expect(namesOf(ofMove)).toEqual(['come', 'copying', 'leave', 'migration', 'prepare', 'prepare', 'preparing', 'run', 'switching']); // prettier-ignore
    expect(spans.filter(({ status }) => status.code !== 1)).toEqual([]);
    // What takes its time is told with that: bringing back processes takes some.
    for (const { name, startTimeUnixNano, endTimeUnixNano } of [...ofMove, ...traceOf(restore)])
      if (['restore', 'come', 'leave', 'copying'].includes(name))
        expect(BigInt(endTimeUnixNano) - BigInt(startTimeUnixNano)).toBeGreaterThan(5_000_000n);
  });
});

test('muster top shows who works, as a table where there is no terminal', async () => {
  await eventually(async () => {
    const [job] = JSON.parse(await cluster.done(['top', '-o', 'json'])) as {
      job: string;
      imbalancePercent: number;
    }[];
    expect(job).toMatchObject({ job: 'spin', ranks: 4, nodes: 2, state: 'Running' });
    expect(job!.imbalancePercent).toBeGreaterThan(100);
  });
  expect(await cluster.done(['top'])).toMatch(/^JOB .*IMBALANCE[^]*\nspin +Running +4 +2 .*█▁▁▁/);
  const ranks = await cluster.done(['top', 'ranks', 'spin', '--sort', 'busy', '--once']);
  expect(ranks.split('\n')[1]).toMatch(/^spin +0 +node1/);
  expect(await cluster.done(['top', 'nodes'])).toMatch(/node1 +Connected[^]*node2 +Connected/);
  const wrong = await cluster.muster(['top', '--sort', 'nosuch']);
  expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('expected one of job, state')]);
});

test('muster top is live on a terminal, and gives it back', async () => {
  const line = `stty cols 100 rows 20; exec muster top --interval 0.2`;
  const live = cluster.shell(`script -qefc '${line}' /dev/null`, { env: { TERM: 'xterm' } });
  await live.untilOutput('IMBALANCE');
  await live.untilOutput('█▁▁▁');
  live.child.stdin?.write('n');
  await live.untilOutput('PRESSURE');
  live.child.stdin?.write('rs');
  await live.untilOutput('DOES');
  await live.untilOutput('by node');
  live.child.stdin?.write('q');
  const { code, stdout } = await live.result;
  expect(code).toBe(0);
  expect(stdout.indexOf('\u001b[?1049h')).toBeGreaterThanOrEqual(0);
  expect(stdout.endsWith('\u001b[?25h\u001b[?1049l')).toBe(true);
});

test('agents and the controller may be killed: what a rank has used never falls', async () => {
  const before = await rowsOf();
  for (const daemon of ['node1', 'controller']) {
    kill(daemon);
    await eventually(async () => {
      const now = await rowsOf();
      expect(now.every(({ usage }) => usage !== undefined)).toBe(true);
      now.forEach((row, rank) => expect(usedSeconds(row)).toBeGreaterThanOrEqual(usedSeconds(before[rank]!)));
    });
  }
});

test('the last hour of ranks and nodes can be asked for', async () => {
  await eventually(async () => {
    const { timelines } = (await raw(`${base}/namespaces/default/processgroups/spin/history?ranks=0,3`)) as {
      timelines: { rank: number; tiers: { stepSeconds: number; cores: (number | null)[] }[] }[];
    };
    expect(timelines.map(({ rank }) => rank)).toEqual([0, 3]);
    const [fine] = timelines[0]!.tiers;
    expect(fine).toMatchObject({ stepSeconds: 1 });
    expect(fine!.cores.at(-1)).toBeGreaterThan(0.01);
    const node = (await raw(`${base}/nodemonitors/node1/history`)) as {
      tiers: { memoryBytes: (number | null)[] }[];
    };
    expect(node.tiers[0]!.memoryBytes.at(-1)).toBeGreaterThan(1e6);
  });
});

test('the control plane tells what it counted', async () => {
  const told = await rawText('/metrics');
  for (const line of [
    'muster_leading 1',
    'muster_nodes{standing="Connected"} 2',
    'muster_groups{phase="Running"} 1',
    'muster_ranks_running 4',
  ])
    // prettier-ignore
    expect(told.split('\n')).toContain(line);
  expect(await promtool(['check', 'metrics'], told)).toBe('');
  // Asked a hundred times at once, it is looked up no more often than once a second.
  const begunMs = performance.now();
  const answers = await Promise.all(Array.from({ length: 100 }, () => rawText('/metrics')));
  const seconds = (performance.now() - begunMs) / 1000;
  expect(new Set(answers).size).toBeLessThanOrEqual(Math.ceil(seconds) + 1);
});

test('usage stands in the status in the end, whole', async () => {
  const used = usedSeconds((await rowsOf())[0]!);
  await cluster.done(['kill', 'spin']);
  await cluster.wait('spin', 'Failed');
  const { status } = (await cluster.get('pg', 'spin')) as unknown as {
    status: { usage: Record<string, number> };
  };
  expect(status.usage['cpuSeconds']).toBeGreaterThanOrEqual(used * 0.9);
  expect(status.usage['memoryBytes']).toBe(0);
  expect(status.usage['peakMemoryBytes']).toBeGreaterThan(100_000);
  expect(status.usage['writtenBytes']).toBeGreaterThanOrEqual(4 * 4_000_000);
  expect(status.usage['efficiencyPercent']).toBeGreaterThan(0);
});

const conditionOf = async (node: string, type: string) =>
  (await cluster.get('nm', node)).status?.conditions?.find((each) => each.type === type);

test('a check that fails cordons its node, and its owner gets it back; both are taken back', async () => {
  const program = `#!/bin/sh\ntest -e ${scratch}/broken || exit 0\necho the scratch disk is gone\nexit 1\n`;
  writeFileSync(join(scratch, 'checks', 'scratch'), program, { mode: 0o755 });
  const check = {
    name: 'scratch',
    intervalSeconds: 1,
    timeoutSeconds: 5,
    failureThreshold: 1,
    action: 'Cordon',
  };
  const path = '/apis/muster.dev/v1alpha1/nodemonitors/node2';
  await raw(path, { spec: { healthChecks: [check], ownerReclaim: { idleSeconds: 1, policy: 'Suspend' } } });
  await eventually(async () => expect(await conditionOf('node2', 'Healthy')).toMatchObject({ status: 'True', reason: 'ChecksPassed' })); // prettier-ignore
  writeFileSync(join(scratch, 'broken'), '');
  await eventually(async () => {
    const { status } = (await cluster.get('nm', 'node2')) as { status?: { cordoned?: boolean } };
    expect(status).toMatchObject({ cordoned: true, phase: 'Cordoned' });
    expect(await conditionOf('node2', 'Healthy')).toMatchObject({
      status: 'False',
      reason: 'CheckFailed',
      message: 'scratch: exit code 1: the scratch disk is gone',
    });
  });
  rmSync(join(scratch, 'broken'));
  await eventually(async () => {
    expect((await cluster.get('nm', 'node2')).status).toMatchObject({ cordoned: false });
  });
  writeFileSync(join(scratch, 'owner'), '');
  await eventually(async () => expect(await conditionOf('node2', 'Reclaimed')).toMatchObject({ status: 'True', reason: 'OwnerActive' })); // prettier-ignore
  expect((await cluster.get('nm', 'node2')).status).toMatchObject({ cordoned: true });
  rmSync(join(scratch, 'owner'));
  await eventually(async () => expect(await conditionOf('node2', 'Reclaimed')).toMatchObject({ status: 'False', reason: 'OwnerIdle' })); // prettier-ignore
  await eventually(async () =>
    expect((await cluster.get('nm', 'node2')).status).toMatchObject({ cordoned: false }),
  );
});
