/**
 * Ranks of MPI jobs that move between hosts while their peers on others run on: to and fro, all of a job to other hosts, two jobs that
 * swap nodes; and with the host that they go to cut off in the middle.
 */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { criuProgram } from '../criu/criu.ts';
import { Cluster, muster, programs } from '../hosts/cluster.ts';
import { eventually } from '../hosts/processes.ts';

/** More of them: test/soak. */
const roundTrips = 10;
/** A directory that each host has of its own. */
const local = '/srv';
let cluster: Cluster;

beforeAll(async () => {
  criuProgram();
  cluster = await Cluster.make([1, 2, 3].map(() => ({ separate: [local] })));
});
afterEach(() => cluster.heal());
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
});

/** Four ranks over two nodes, every pair of which sends to each other. */
async function ring(name: string, nodes: string): Promise<void> {
  const size = ['-n', '4', '--ppn', '2', '--nodes', nodes];
  const args = ['--seconds', '3600', '--report-every', '1', '--bytes', '16384'];
  await cluster.succeed(['run', '--detach', '--name', name, ...size, `${programs}/ring`, ...args]);
  await eventually(async () => (await cluster.ringLines(name, 0)).length > 5, `${name} to say something`);
}

/** It runs on to the end that it is told, every iteration of every rank once, in order; it checks what it passes on itself. */
async function expectWhole(name: string): Promise<void> {
  await finish(name);
  const { code, stderr } = await cluster.muster(['wait', name, '--timeout', '120']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  await expectInOrder(name);
}

async function finish(name: string): Promise<void> {
  const before = (await cluster.ringLines(name, 0)).length;
  await eventually(async () => (await cluster.ringLines(name, 0)).length > before + 10, `${name} to go on`);
  expect(await cluster.succeed(['signal', 'USR1', name, '-r', '0'])).toContain('reached 1 process');
}

async function expectInOrder(name: string): Promise<void> {
  for (let rank = 0; rank < 4; rank++) {
    const lines = await cluster.ringLines(name, rank);
    expect(lines.length).toBeGreaterThan(10);
    lines.forEach((line, at) => expect(line).toContain(`rank ${rank} iteration ${at} `));
  }
}

const migrate = (name: string, ...args: string[]): Promise<string> =>
  cluster.succeed(['migrate', name, ...args]);

it('moves to and fro between hosts, and all of a job to others, while two jobs swap', async () => {
  await Promise.all([ring('one', 'node2,node3'), ring('two', 'node3,node1')]);
  const fro = async (): Promise<void> => {
    for (let trip = 0; trip < roundTrips; trip++) {
      await migrate('one', '--from', 'node2', '--to', 'node1');
      await migrate('one', '--from', 'node1', '--to', 'node2');
    }
  };
  const swap = async (): Promise<void> => {
    await migrate('two', '--ranks', '2-3', '--to', 'node2');
    expect(await cluster.succeed(['ps', 'two'])).not.toContain('node1');
    await migrate('two', '--from', 'node2', '--to', 'node1');
  };
  await Promise.all([fro(), swap()]);
  await expectWhole('two');
  await expectWhole('one');
});

it('takes along files that its ranks use and the other host lacks, to and fro, or says which they are', async () => {
  for (const name of ['node2', 'node3']) await cluster.host(name).sh(`mkdir -m 777 ${local}/job`);
  await cluster
    .host('node2')
    .sh(`printf 'read me' > ${local}/job/read; cp /bin/sh ${local}/job/shell; chmod 755 ${local}/job/shell`);
  const file = `${local}/job/lines`;
  const script = `exec 4<read 5>>lines; i=0; while [ $i -lt 300 ]; do echo $i >&5; i=$((i+1)); sleep 0.05; done; cat <&4`;
  const args = ['--nodes', 'node2', '--wdir', `${local}/job`, `${local}/job/shell`, '-c', script];
  await cluster.succeed(['run', '--detach', '--name', 'writer', '-n', '1', ...args]);
  const linesOn = async (name: string): Promise<string[]> =>
    (await cluster.host(name).sh(`cat ${file} 2>/dev/null || true`)).split('\n').slice(0, -1);
  await eventually(async () => (await linesOn('node2')).length > 3, 'some lines');
  const refused = await cluster.muster([
    'migrate',
    'writer',
    '--from',
    'node2',
    '--to',
    'node3',
    '--no-copy-files',
  ]);
  expect(refused.stderr).toMatch(
    /PreflightFailed: node node3, sandbox 0: MUSTER_FILES_MISSING: .*\/srv\/job\/lines, which rank 0, shell \(process \d+\) uses, is not on node node3/,
  );
  await cluster.host('node3').sh(`chmod 755 ${local}/job`);
  const forbidden = await cluster.muster(['migrate', 'writer', '--from', 'node2', '--to', 'node3']);
  expect(forbidden.stderr).toMatch(
    /TransferFailed: node node3, .* cannot be made on node node3: .*Permission denied/,
  );
  await cluster.host('node3').sh(`chmod 777 ${local}/job`);
  for (const [from, to] of [
    ['node2', 'node3'],
    ['node3', 'node2'],
  ] as const) {
    await migrate('writer', '--from', from, '--to', to);
    const before = (await linesOn(to)).length;
    await eventually(async () => (await linesOn(to)).length > before, `it to go on on ${to}`);
  }
  const { code } = await cluster.muster(['wait', 'writer', '--timeout', '120']);
  expect(code).toBe(0);
  expect(await linesOn('node2')).toEqual(Array.from({ length: 300 }, (_, at) => String(at)));
  expect(await cluster.succeed(['logs', 'writer', '--no-label'])).toBe('read me');
});

it('stays where it is when there is no room for it where it is to go to', async () => {
  await ring('room', 'node2,node1');
  const node = cluster.host('node3');
  const { base } = node;
  const sh = (script: string): Promise<string> => node.sh(script);
  const used = Number(await sh(`df --output=used -k ${base} | tail -1`));
  await sh(`mount -t tmpfs -o size=4m none /dev/shm; mount -t tmpfs -o size=4m none /run
    mount -o remount,size=${used + 4096}k ${base}`);
  const refused = await cluster.muster(['migrate', 'room', '--from', 'node2', '--to', 'node3']);
  await sh(`mount -o remount,size=50% ${base}; umount /run /dev/shm`);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/StorageFull: node node3, sandbox 0: MUSTER_NO_ROOM: /);
  await expectWhole('room');
});

it('is whole where it was, or where it went, when the host that it goes to is cut off in the middle', async () => {
  await ring('cut', 'node2,node1');
  const wanted = ['--from', 'node2', '--to', 'node3', '--deadline', '6', '--name', 'cut-off'];
  await cluster.succeed(['migrate', 'cut', ...wanted, '--no-wait']);
  await cluster.host('node3').link(false);
  await eventually(async () => {
    const { status } = JSON.parse(await cluster.succeed(['get', 'mig', 'cut-off', '-o', 'json'])) as {
      status?: { phase?: string };
    };
    return ['Completed', 'Failed', 'Switching'].includes(status?.phase ?? '');
  }, 'the migration to come to its end');
  await cluster.host('node3').link(true);
  await expectWhole('cut');
});

it('is followed by an attached client from its machine to another and back, to the byte', async () => {
  const args = ['--seconds', '3600', '--report-every', '1', '--bytes', '16384'];
  const size = ['-n', '4', '--ppn', '2', '--nodes', 'node1,node2'];
  const attached = cluster.muster(['run', '--name', 'attached', ...size, `${programs}/ring`, ...args]);
  await eventually(
    async () => (await cluster.ringLines('attached', 0)).length > 5,
    'attached to say something',
  );
  // And one that is given its input line by line meanwhile: from the client's machine to another, to a third, and home.
  const feed = 'i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); sleep 0.05; done';
  const command = `(${feed}) | ${muster} run --name fed -n 1 --nodes node1 cat`;
  const fed = cluster.front.run(['sh', '-c', command]);
  await eventually(
    async () => (await cluster.muster(['logs', 'fed', '--no-label'])).stdout.length > 50,
    'some lines',
  );
  await migrate('attached', '--from', 'node1', '--to', 'node3');
  await migrate('fed', '--from', 'node1', '--to', 'node3');
  await migrate('attached', '--from', 'node3', '--to', 'node1');
  await migrate('fed', '--from', 'node3', '--to', 'node2');
  await migrate('fed', '--from', 'node2', '--to', 'node1');
  const read = await fed;
  expect({ code: read.code, stderr: read.stderr }).toEqual({ code: 0, stderr: '' });
  expect(read.stdout.toString()).toBe(Array.from({ length: 300 }, (_, at) => `line ${at}\n`).join(''));
  await finish('attached');
  const { code, stdout, stderr } = await attached;
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  for (let rank = 0; rank < 4; rank++) {
    const lines = stdout
      .toString()
      .split('\n')
      .filter((line) => line.startsWith(`rank ${rank} `));
    expect(lines).toEqual(await cluster.ringLines('attached', rank));
  }
  await expectInOrder('attached');
});
