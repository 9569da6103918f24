/**
 * The verbs on a running job, by the command and by the protocol, on the file store's API: through the machine's own socket and
 * through the kubeconfig that `muster up` writes, which is the way to a cluster elsewhere. Connections, the control plane and
 * clients are cut in the middle; every byte is counted.
 */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { WebSocket } from 'ws';
import { attachTo } from '../../cli/attach-client.ts';
import { connect } from '../../cli/client.ts';
import { endOfStatus } from '../../controllers/subresources/exit-status.ts';
import { groupVerbPath } from '../../controllers/subresources/paths.ts';
import { openWebSocket } from '../../store/client/web-socket.ts';
import { attachProtocol, decodeFromServer, type FromServer } from '../../wire/attach-frames.ts';
import { channelProtocol, decodeChannelMessage, encodeChannelMessage } from '../../wire/channel-frames.ts';
import { Readable } from 'node:stream';
import { eventually as settles } from '../contract/eventually.ts';
import { Cluster, program } from '../e2e/cluster.ts';
import { kill9, pidOfDaemon } from './daemons.ts';

const eventually = (check: () => Promise<void> | void): Promise<void> => settles(check, 60_000);

let cluster: Cluster;
let names = 0;

beforeAll(async () => {
  cluster = await Cluster.up({ agents: 2 });
}, 120_000);
afterAll(async () => {
  await cluster?.down();
  expect(cluster?.leftOvers()).toEqual([]);
  await cluster?.[Symbol.asyncDispose]();
}, 120_000);

const server = () => ({ socketPath: join(cluster.home, 'run', 'api.sock') });

/** Applies a job of these commands, a rank each, and waits until it runs. */
async function job(commands: readonly (readonly string[])[], spec: object = {}): Promise<string> {
  const name = `verbs-${++names}`;
  const processes = commands.map((command, rank) => ({ name: `p${rank}`, ranks: String(rank), command }));
  const object = {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup',
    metadata: { name },
    spec: { size: commands.length, processes, pmi: 'None', ...spec },
  };
  const { code, stderr } = await cluster.apply(JSON.stringify(object));
  expect([code, stderr]).toEqual([0, '']);
  expect((await cluster.wait(name, 'Running')).code).toBe(0);
  return name;
}

const sleeper = (): Promise<string> =>
  job([
    ['/bin/sleep', '600'],
    ['/bin/sleep', '600'],
  ]);
const shell = (text: string): string[] => ['/bin/sh', '-c', text];

/** All messages of a socket until it is closed. */
function messages(socket: WebSocket): { got: Buffer[]; closed: Promise<number> } {
  const got: Buffer[] = [];
  socket.on('message', (data: Buffer) => void got.push(data));
  socket.resume();
  return { got, closed: new Promise((resolve) => void socket.once('close', resolve)) };
}

/** Input in pieces, with a moment between them for whatever cuts connections. */
function trickle(bytes: Buffer, pieceBytes: number): Readable {
  let at = 0;
  return new Readable({
    read() {
      const piece = bytes.subarray(at, (at += pieceBytes));
      setTimeout(() => this.push(piece.length === 0 ? null : piece), 5);
    },
  });
}

describe('attach', () => {
  it('shows what comes from then on, and leaves the job as it is', async () => {
    const name = await job([
      shell('echo before; i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.1; done'),
    ]);
    await eventually(async () => expect(await cluster.done(['logs', name])).toContain('tick 2'));
    const attached = cluster.spawn(['attach', name]);
    await attached.untilOutput('tick');
    attached.child.kill('SIGINT');
    const { code, stdout, stderr } = await attached.result;
    expect(code).toBe(0);
    expect(stderr).toContain(`left processgroup/${name}, which runs on`);
    expect(stdout).not.toContain('before');
    expect(stdout).not.toContain('tick 0\n');
    expect((await cluster.condition(name, 'Running'))?.status).toBe('True');
    expect((await cluster.muster(['attach', name, '--tail', 'x'])).stderr).toContain('tail "x"');
    await cluster.done(['kill', '--now', name]);
  });

  it('brings input and the end of it, and gives the exit code of the job', async () => {
    const name = await job([shell('md5sum; exit 7')]);
    const bytes = randomBytes(3_000_000);
    const { code, stdout } = await cluster.muster(['attach', '-i', name, '--tail', '10'], { stdin: bytes });
    expect(stdout).toContain(createHash('md5').update(bytes).digest('hex'));
    expect(code).toBe(7);
    const late = await cluster.muster(['attach', name]);
    expect([late.code, late.stderr]).toEqual([
      1,
      expect.stringContaining(`has ended; its output: muster logs ${name}`),
    ]);
  });

  it('lets one client write at a time, and says so to the other', async () => {
    const name = await job([['/bin/cat']]);
    const first = cluster.spawn(['attach', '-i', name]);
    first.child.stdin?.write('one\n');
    await first.untilOutput('one');
    const second = cluster.spawn(['attach', '-i', name], { stdin: 'two\n' });
    await eventually(() => expect(second.stderr).toContain('another client writes to its input'));
    first.child.stdin?.end();
    expect((await first.result).code).toBe(0);
    expect((await second.result).stdout).not.toContain('two');
    expect(await cluster.done(['logs', '--no-label', name])).toBe('one\n');
  });

  it('loses and doubles no byte while the control plane is killed again and again', async () => {
    const name = await job([shell('tee /dev/stderr | md5sum')]);
    const bytes = randomBytes(1_500_000);
    const leaving = new AbortController();
    const client = connect(server());
    const { uid = '' } = (await cluster.get('pg', name)).metadata;
    const out = new Map([1, 2].map((stream) => [stream, [] as Buffer[]]));
    const attached = attachTo(
      client,
      {
        key: { namespace: 'default', name },
        uid,
        token: 'one-client',
        reading: {},
        input: trickle(bytes, 20_000),
        output: (frame) => Promise.resolve(void out.get(frame.stream)?.push(Buffer.from(frame.bytes))),
        notice: () => undefined,
      },
      leaving.signal,
    );
    const kills = (async () => {
      for (let i = 0; i < 3; i++) {
        const seen = (): number => Buffer.concat(out.get(2)!).length;
        const before = seen();
        await eventually(() => expect(seen()).toBeGreaterThan(Math.min(before + 50_000, bytes.length - 1)));
        await kill9(pidOfDaemon(cluster.home, 'controller'));
      }
    })();
    const [end] = await Promise.all([attached, kills]);
    expect(end).toEqual({ code: 0, text: '' });
    const sum = createHash('md5').update(bytes).digest('hex');
    expect(
      createHash('md5')
        .update(Buffer.concat(out.get(2)!))
        .digest('hex'),
    ).toBe(sum);
    expect(Buffer.concat(out.get(1)!).toString()).toBe(`${sum}  -\n`);
  });

  it('speaks the protocol of Kubernetes, in which an exit code is a Status', async () => {
    const name = await job([shell('read line; echo got $line; echo bad >&2; exit 3')]);
    const path = groupVerbPath({ name }, 'attach');
    const query = new URLSearchParams({ stdin: 'true', tail: '10' });
    const socket = await openWebSocket(server(), { path, query, protocols: [channelProtocol] });
    const { got, closed } = messages(socket);
    socket.send(encodeChannelMessage({ kind: 'bytes', channel: 0, bytes: Buffer.from('a line\n') }));
    socket.send(encodeChannelMessage({ kind: 'close', channel: 0 }));
    expect(await closed).toBe(1000);
    const decoded = got.map(decodeChannelMessage);
    const text = (channel: number): string =>
      decoded
        .map((one) => (one?.kind === 'bytes' && one.channel === channel ? one.bytes.toString() : ''))
        .join('');
    expect([text(1), text(2)]).toEqual(['got a line\n', 'bad\n']);
    const status = decoded.at(-1);
    expect(status?.kind === 'status' && endOfStatus(status.text).code).toBe(3);
  });

  it('cuts off a client that does not keep to the protocol, and harms nobody', async () => {
    const name = await job([['/bin/cat']]);
    const path = groupVerbPath({ name }, 'attach');
    const query = new URLSearchParams({ stdin: 'true' });
    const open = () => openWebSocket(server(), { path, query, protocols: [attachProtocol] });
    const beyond = await open();
    const { got, closed } = messages(beyond);
    const windows = (): FromServer[] =>
      got.map((one) => decodeFromServer(one)).filter((one) => one !== undefined && one.kind === 'window');
    await eventually(() => expect(windows().length).toBeGreaterThan(0));
    const gap = Buffer.alloc(9 + 1);
    gap.writeBigUInt64LE(4096n, 1);
    beyond.send(gap);
    expect(await closed).toBe(1002);
    const oversize = await open();
    const { closed: closedToo } = messages(oversize);
    oversize.on('error', () => undefined);
    oversize.send(Buffer.alloc(2 * 1024 * 1024));
    // The server does not read on: its reason may get lost.
    expect([1006, 1009]).toContain(await closedToo);
    const { code, stdout } = await cluster.muster(['attach', '-i', '--tail', '5', name], { stdin: 'fine\n' });
    expect([code, stdout]).toEqual([0, 'fine\n']);
  });
});

describe('exec', () => {
  it('runs a program beside a rank, with its output, its input and its exit code', async () => {
    const name = await sleeper();
    const done = await cluster.muster([
      'exec',
      name,
      '-r',
      '1',
      '--',
      ...shell('id -u; echo err >&2; exit 9'),
    ]);
    expect([done.code, done.stdout, done.stderr]).toEqual([9, '65534\n', 'err\n']);
    const bytes = randomBytes(5_000_000);
    const piped = await cluster.muster(['exec', '-i', name, '--', '/bin/cat'], { stdin: bytes });
    expect([piped.code, piped.bytes.equals(bytes)]).toEqual([0, true]);
    const killed = await cluster.muster(['exec', name, '--', ...shell('kill -9 $$')]);
    expect(killed.code).toBe(137);
    const missing = await cluster.muster(['exec', name, '--', '/no/such']);
    expect([missing.code, missing.stderr]).toEqual([
      126,
      expect.stringMatching(/exec \/no\/such: no such file/),
    ]);
    expect((await cluster.condition(name, 'Running'))?.status).toBe('True');
    await cluster.done(['kill', '--now', name]);
  });

  it('gives a terminal of the size of the own one, and the keys', async () => {
    const name = await sleeper();
    const terminal = cluster.terminal();
    terminal.child.stdin?.write(`stty rows 31 cols 97; muster shell ${name}; echo code=$?; exit\n`);
    await terminal.untilOutput('$ ');
    terminal.child.stdin?.write('stty size; echo three=$((1+2))\n');
    await terminal.untilOutput('three=3');
    expect(terminal.stdout).toContain('31 97');
    terminal.child.stdin?.write('exit 5\n');
    await terminal.untilOutput('code=5');
    await terminal.result;
    await cluster.done(['kill', '--now', name]);
  });

  it('ends the program when its client has gone, and what a killed agent left', async () => {
    const name = await sleeper();
    const isThere = async (seconds: string): Promise<boolean> =>
      (
        await cluster.done(['exec', name, '--', ...shell('cat /proc/[0-9]*/cmdline | tr "\\0" " "')])
      ).includes(`sleep ${seconds}`);
    const cut = cluster.spawn(['exec', name, '--', '/bin/sleep', '4711']);
    await eventually(async () => expect(await isThere('4711')).toBe(true));
    cut.child.kill('SIGKILL');
    await cut.result;
    await eventually(async () => expect(await isThere('4711')).toBe(false));
    const left = cluster.spawn(['exec', name, '--', '/bin/sleep', '4712']);
    await eventually(async () => expect(await isThere('4712')).toBe(true));
    const node = JSON.parse(await cluster.done(['ps', name, '-o', 'json'])) as { node: string }[];
    await kill9(pidOfDaemon(cluster.home, node[0]!.node));
    expect((await left.result).code).not.toBe(0);
    await eventually(async () => expect(await isThere('4712')).toBe(false));
    expect((await cluster.condition(name, 'Running'))?.status).toBe('True');
    await cluster.done(['kill', '--now', name]);
  });
});

describe('bad input', () => {
  let running = '';
  beforeAll(async () => {
    running = await sleeper();
  });

  it.each([
    [['attach', 'nosuch'], 1, /nosuch/],
    [['logs', 'nosuch'], 1, /nosuch/],
    [['exec', 'nosuch', '--', '/bin/true'], 1, /nosuch/],
    [
      ['exec', 'JOB', '-r', '7', '--', '/bin/true'],
      1,
      /there is no rank 7; processgroup \S+ has ranks 0 to 1/,
    ],
    [['exec', 'JOB', '-r', '0-1', '--', '/bin/true'], 1, /expected one rank/],
    [['attach', 'JOB', '-r', '5'], 1, /there is no rank 5/],
    [['logs', 'JOB', '-r', 'x'], 1, /ranks: .*x/],
    [['signal', 'NOPE', 'JOB'], 2, /unknown signal "NOPE"/],
    [['signal', 'TERM', 'JOB', '-r', '9'], 1, /there is no rank 9/],
    [['top', 'nosuch'], 1, /nosuch/],
    [['top', 'nodes', 'node9'], 1, /node9: no agent of this node/],
  ])('%j is refused by name', async (args, code, message) => {
    const words = args.map((word) => (word === 'JOB' ? running : word));
    const result = await cluster.muster(words);
    expect([result.code, result.stderr]).toEqual([code, expect.stringMatching(message)]);
  });

  it('a job that has ended takes no signal and runs no program', async () => {
    await cluster.done(['kill', '--now', running]);
    for (const args of [
      ['signal', 'TERM', running],
      ['exec', running, '--', '/bin/true'],
    ]) {
      const { code, stderr } = await cluster.muster(args);
      expect([code, stderr]).toEqual([1, expect.stringMatching(/has ended \(.*\)/)]);
    }
  });

  it('a program cannot run beside ranks that are suspended', async () => {
    const name = await sleeper();
    await cluster.done(['suspend', name]);
    expect((await cluster.wait(name, 'Suspended')).code).toBe(0);
    const { code, stderr } = await cluster.muster(['exec', name, '--', '/bin/true']);
    expect([code, stderr]).toEqual([126, expect.stringContaining('suspended; resume the group first')]);
    await cluster.done(['kill', '--now', name]);
  });
});

describe('muster run on the cluster of a kubeconfig', () => {
  const remote = (args: readonly string[], options: Parameters<Cluster['muster']>[1] = {}) =>
    cluster.muster(['--kubeconfig', join(cluster.home, 'kubeconfig'), 'run', ...args], options);

  it('needs nothing of this machine', () => {
    expect(existsSync(join(cluster.home, 'kubeconfig'))).toBe(true);
  });

  it('gives output, input, environment and exit code', async () => {
    const ran = await remote(['-n', '2', '-l', ...shell('echo $GREETING from $PMI_RANK')], {
      env: { GREETING: 'a b' },
    });
    expect(ran.code).toBe(0);
    expect(ran.stdout.split('\n').sort()).toEqual(['', '[0] a b from 0', '[1] a b from 1']);
    const bytes = randomBytes(4_000_000);
    const piped = await remote(['-n', '1', '/bin/cat'], { stdin: bytes });
    expect([piped.code, piped.bytes.equals(bytes)]).toEqual([0, true]);
    expect((await remote(['-n', '1', program('exitwith'), 'code', '42'])).code).toBe(42);
    expect((await remote(['--nodes', 'nope', '-n', '1', '/bin/true'])).stderr).toContain('nope is not known');
  });

  it('ends the job on Ctrl-C, and the environment goes with the job', async () => {
    const running = cluster.spawn([
      ...['--kubeconfig', join(cluster.home, 'kubeconfig')],
      ...['run', '--name', 'remote-int', ...shell('echo up; exec sleep 600')],
    ]);
    await running.untilOutput('up');
    const secrets = async (): Promise<string> =>
      cluster.done(['--kubeconfig', join(cluster.home, 'kubeconfig'), 'get', 'secrets', '-o', 'name']);
    expect(await secrets()).toContain('remote-int-environment');
    running.child.kill('SIGINT');
    expect((await running.result).code).toBe(130);
    await cluster.done(['delete', 'pg', 'remote-int']);
    await eventually(async () => expect(await secrets()).not.toContain('remote-int-environment'));
  });

  it('leaves a job running with --detach', async () => {
    const { code, stdout } = await remote(['-d', '-n', '1', '/bin/sleep', '600']);
    expect(code).toBe(0);
    await cluster.done(['kill', '--now', stdout.trim()]);
  });
});
