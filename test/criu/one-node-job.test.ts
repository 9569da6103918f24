import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cluster, collect, muster, programs } from '../hosts/cluster.ts';
import { eventually } from '../hosts/processes.ts';
import { criuProgram, dump, restore, unknownMounts, type SandboxOnHost } from './criu.ts';

const criu = criuProgram();
let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.make([{}], {}, { supervised: false });
});

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
});

/** The one sandbox of a job, from what the agent keeps on disk. */
async function sandboxOf(name: string): Promise<SandboxOnHost & { directory: string }> {
  const { uid } = (await cluster.group(name)).metadata;
  const host = cluster.front;
  const directory = `${host.home}/nodes/node1/state/sandboxes/${uid}-0-1`;
  const identity = await eventually(
    async () => (await host.run(['cat', `${directory}/identity`])).stdout.toString() || undefined,
    `the sandbox of ${name}`,
  );
  const { pid } = JSON.parse(identity) as { pid: number };
  const cgroups = cluster.hosts.cgroups().filter((path) => path.endsWith(`/${uid}-0-1`));
  cgroups.sort((a, b) => Number(b.includes('/unified/')) - Number(a.includes('/unified/')));
  return { host, pid, cgroups, directory };
}

/** Tells the agent to come which process its sandbox is now. */
async function adopt({ host, pid, directory }: SandboxOnHost & { directory: string }): Promise<void> {
  const stat = await host.sh(`cat /proc/${pid}/stat`);
  const startTime = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
  const pidns = Number(await host.sh(`stat -L -c %i /proc/${pid}/ns/pid`));
  const bootId = (await host.sh('cat /proc/sys/kernel/random/boot_id')).trim();
  await host.sh(`printf '%s' '${JSON.stringify({ bootId, pid, startTime, pidns })}' > ${directory}/identity`);
}

describe('a one-node MPI job', () => {
  it('is dumped and restored with CRIU, and runs on to its end: no line lost or doubled, exit 0', async () => {
    const host = cluster.front;
    const { child } = await host.start([
      ...[muster, 'run', '--name', 'ring', '-n', '2', '-l', '--stdin', 'none'],
      ...[`${programs}/ring`, '--seconds', '6', '--bytes', '65536', '--report-every', '10'],
    ]);
    const output = collect(child);
    const code = new Promise<number | null>((resolve) => child.once('close', resolve));
    await eventually(() => output().split('\n').length > 50 || undefined, 'output of the ring');
    const sandbox = await sandboxOf('ring');
    expect(await unknownMounts(sandbox)).toEqual([]);

    await cluster.agents.get('node1')!.end();
    const images = `${host.base}/images`;
    const dumpMs = await dump(criu, sandbox, images);
    expect((await host.run(['kill', '-0', String(sandbox.pid)])).code).not.toBe(0);
    const { pid, elapsedMs: restoreMs } = await restore(criu, sandbox, images);
    console.log(JSON.stringify({ dumpMs: Math.round(dumpMs), restoreMs: Math.round(restoreMs) }));

    await adopt({ ...sandbox, pid });
    await cluster.startAgent(host);
    expect({ code: await code, said: output().slice(-300) }).toEqual({
      code: 0,
      said: expect.stringMatching(/DONE iterations=\d+ ranks=2 checksum=[0-9a-f]{16}\n$/) as string,
    });
  });
});
