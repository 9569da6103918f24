/**
 * Ranks of MPI jobs that move between hosts while their peers on others run on: to and fro, all of a job to other hosts, two jobs that
 * swap nodes; and with the host that they go to cut off in the middle.
 */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { criuProgram } from '../criu/criu.ts';
import { Cluster, programs } from '../hosts/cluster.ts';
import { eventually } from '../hosts/processes.ts';

const roundTrips = 3;
let cluster: Cluster;

beforeAll(async () => {
  criuProgram();
  cluster = await Cluster.make([{}, {}, {}]);
});
afterEach(() => cluster.heal());
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
});

/** Four ranks over two nodes, every pair of which sends to each other. */
async function ring(name: string, seconds: number, nodes: string): Promise<void> {
  const size = ['-n', '4', '--ppn', '2', '--nodes', nodes];
  const args = ['--seconds', String(seconds), '--report-every', '1', '--bytes', '16384'];
  await cluster.succeed(['run', '--detach', '--name', name, ...size, `${programs}/ring`, ...args]);
  await eventually(async () => (await logs(name, 0)).length > 5, `${name} to say something`);
}

async function logs(name: string, rank: number): Promise<string[]> {
  const text = await cluster.succeed(['logs', name, '-r', String(rank), '--no-label']);
  return text.split('\n').filter((line) => line.startsWith('rank '));
}

/** Every iteration of every rank once, in order; the program checks what it passes on itself. */
async function expectWhole(name: string): Promise<void> {
  const { code, stderr } = await cluster.muster(['wait', name, '--timeout', '120']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  for (let rank = 0; rank < 4; rank++) {
    const lines = await logs(name, rank);
    expect(lines.length).toBeGreaterThan(10);
    lines.forEach((line, at) => expect(line).toContain(`rank ${rank} iteration ${at} `));
  }
}

const migrate = (name: string, ...args: string[]): Promise<string> =>
  cluster.succeed(['migrate', name, ...args]);

it('moves to and fro between hosts, and all of a job to others, while two jobs swap', async () => {
  await Promise.all([ring('one', 45, 'node2,node3'), ring('two', 45, 'node3,node1')]);
  const fro = async (): Promise<void> => {
    for (let trip = 0; trip < roundTrips; trip++) {
      await migrate('one', '--from', 'node2', '--to', 'node1');
      await migrate('one', '--from', 'node1', '--to', 'node2');
    }
  };
  await Promise.all([fro(), migrate('two', '--ranks', '2-3', '--to', 'node2')]);
  expect(await cluster.succeed(['ps', 'two'])).not.toContain('node1');
  await migrate('two', '--from', 'node2', '--to', 'node1');
  await Promise.all([expectWhole('one'), expectWhole('two')]);
});

it('stays where it is when there is no room for it where it is to go to', async () => {
  await ring('room', 8, 'node2,node1');
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
  await ring('cut', 20, 'node2,node1');
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
  const args = ['--seconds', '25', '--report-every', '1', '--bytes', '16384'];
  const size = ['-n', '4', '--ppn', '2', '--nodes', 'node1,node2'];
  const attached = cluster.muster(['run', '--name', 'attached', ...size, `${programs}/ring`, ...args]);
  await eventually(
    async () => (await logs('attached', 0).catch(() => [])).length > 5,
    'attached to say something',
  );
  await migrate('attached', '--from', 'node1', '--to', 'node3');
  await migrate('attached', '--from', 'node3', '--to', 'node1');
  const { code, stdout, stderr } = await attached;
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  for (let rank = 0; rank < 4; rank++) {
    const lines = stdout
      .toString()
      .split('\n')
      .filter((line) => line.startsWith(`rank ${rank} `));
    expect(lines).toEqual(await logs('attached', rank));
  }
  await expectWhole('attached');
});
