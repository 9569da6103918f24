import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Cluster, collect, muster, programs } from '../hosts/cluster.ts';
import { eventually } from '../hosts/processes.ts';
import { criuProgram, dump, restore, unknownMounts, type SandboxOnHost } from './criu.ts';

const criu = criuProgram();
let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.make([{}], {}, { supervised: false });
});

afterEach(() => cluster.heal());

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

/** A job in the foreground, on the only node. */
async function foreground(name: string, args: readonly string[], input: Uint8Array | null = null) {
  const { child } = await cluster.front.start([
    muster,
    'run',
    '--network',
    'host',
    '--name',
    name,
    '-l',
    ...args,
  ]);
  const output = collect(child);
  const code = new Promise<number | null>((resolve) => child.once('close', resolve));
  child.stdin!.on('error', () => undefined);
  if (input) child.stdin!.write(input);
  return { output, code, stdin: child.stdin! };
}

/** The lines of rank r, without its label. */
const linesOf = (output: string, rank: number): string[] =>
  output.split('\n').flatMap((line) => (line.startsWith(`[${rank}] `) ? [line.slice(4)] : []));

const pidsOf = (sandbox: SandboxOnHost): string[] =>
  readFileSync(`${sandbox.cgroups[0]}/cgroup.procs`, 'utf8').trim().split('\n');

/** A rank waits for room in the pipe of its output, now that nobody reads. */
const isBlocked = (sandbox: SandboxOnHost): boolean =>
  pidsOf(sandbox).some((pid) => readFileSync(`/proc/${pid}/wchan`, 'utf8').includes('pipe_write'));

async function tellToEnd(ring: string): Promise<void> {
  await eventually(async () => {
    const { stdout } = await cluster.muster(['signal', 'USR1', ring, '-r', '0']);
    return stdout.toString().includes('reached 1 process');
  }, `${ring} to be told to end`);
}

describe('a one-node MPI job', () => {
  it('is dumped and restored with CRIU, and runs on to its end: no line lost or doubled, exit 0', async () => {
    const host = cluster.front;
    const ring = ['-n', '2', `${programs}/ring`, '--bytes', '4096', '--report-every', '1'];
    const job = await foreground('ring', [...ring, '--seconds', '3600']);
    await eventually(() => linesOf(job.output(), 0).length > 100, 'output of the ring');
    const sandbox = await sandboxOf('ring');
    expect(await unknownMounts(sandbox)).toEqual([]);

    await cluster.agents.get('node1')!.end();
    await eventually(() => isBlocked(sandbox), 'full pipes');
    const dumped = await dump(criu, sandbox, `${host.base}/images-ring`);
    expect((await host.run(['kill', '-0', String(sandbox.pid)])).code).not.toBe(0);
    expect(pidsOf(sandbox)).toEqual(['']);
    const shown = job.output().length;

    const restored = await restore(criu, sandbox, dumped);
    expect(await unknownMounts({ ...sandbox, pid: restored.pid })).toEqual([]);
    expect(await host.sh('nft list tables')).toBe('');
    await adopt({ ...sandbox, pid: restored.pid });
    await cluster.startAgent(host);
    await tellToEnd('ring');
    expect(await job.code).toBe(0);
    console.log(
      JSON.stringify({ dumpMs: Math.round(dumped.elapsedMs), restoreMs: Math.round(restored.elapsedMs) }),
    );

    const said = job.output();
    expect(said.length).toBeGreaterThan(shown + 65_536);
    const [, iterations = '', checksum = ''] =
      /^\[0\] DONE iterations=(\d+) ranks=2 checksum=([0-9a-f]{16})$/m.exec(said) ?? [];
    // The same without a break: every line of both ranks, and the checksum, are the same.
    const whole = await cluster.muster(['run', '-l', ...ring, '--iterations', iterations]);
    expect(whole.code).toBe(0);
    expect(linesOf(said, 0)).toHaveLength(Number(iterations) + 1);
    for (const rank of [0, 1]) expect(linesOf(said, rank)).toEqual(linesOf(whole.stdout.toString(), rank));
    expect(whole.stdout.toString()).toContain(`DONE iterations=${iterations} ranks=2 checksum=${checksum}`);
    expect((await cluster.group('ring')).status).toMatchObject({ phase: 'Succeeded' });
    expect(await cluster.succeed(['ps', 'ring'])).toMatch(
      / 0 +node1 +\S+ +Ended +\S+ +\S+ +0 .*\n.* 1 +node1 +\S+ +Ended +\S+ +\S+ +0 /,
    );
  });

  it('goes on with its standard input where it was', async () => {
    const host = cluster.front;
    const half = (first: number) =>
      Buffer.from(Array.from({ length: 100_000 }, (_, at) => `line ${first + at}\n`).join(''));
    const script =
      'n=0; while read -r word number; do [ "$number" = $n ] || exit 3; n=$((n+1)); done; echo "DONE $n"';
    const job = await foreground('reader', ['-n', '1', 'sh', '-c', script], half(0));
    const sandbox = await sandboxOf('reader');
    await eventually(
      async () => (await host.sh(`cat ${sandbox.directory}/input/spool | wc -c`)) !== '0\n',
      'input in the spool',
    );

    await cluster.agents.get('node1')!.end();
    const dumped = await dump(criu, sandbox, `${host.base}/images-reader`);
    expect(dumped.files).toHaveLength(1);
    const restored = await restore(criu, sandbox, dumped);
    // Not before: CRIU takes no file back that has grown meanwhile.
    job.stdin.end(half(100_000));
    await adopt({ ...sandbox, pid: restored.pid });
    await cluster.startAgent(host);
    expect({ code: await job.code, said: job.output() }).toEqual({ code: 0, said: '[0] DONE 200000\n' });
  });

  it('runs on when it could not be dumped', async () => {
    const host = cluster.front;
    const job = await foreground('kept', [
      '-n',
      '2',
      '--stdin',
      'none',
      `${programs}/ring`,
      '--seconds',
      '3600',
      '--report-every',
      '100',
    ]);
    await eventually(() => linesOf(job.output(), 0).length > 1, 'output of the ring');
    const sandbox = await sandboxOf('kept');
    await cluster.agents.get('node1')!.end();
    // A file is in the place of the images.
    await host.sh(`mkdir -p ${host.base}/images-kept; mkdir ${host.base}/images-kept/inventory.img`);
    await expect(dump(criu, sandbox, `${host.base}/images-kept`)).rejects.toThrow(/criu dump: status 1/);
    await cluster.startAgent(host);
    await tellToEnd('kept');
    expect(await job.code).toBe(0);
    expect(job.output()).toMatch(/^\[0\] DONE /m);
  });
});
