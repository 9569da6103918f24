// The thin front against a real agent: descriptors of log segments over the local socket, growth told by the pump, standard
// input through the spool. The control plane is a socket of the test that says what the real one would.
import { createHash } from 'node:crypto';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { native, type PacketSocket } from '../../native/addon/index.ts';
import { AgentProcess, nativeDir, specOf } from './harness.ts';
import { TestHub } from './hub.ts';

const program = join(nativeDir, 'front');
const front = { text: 16, job: 17, sandbox: 18, done: 21 } as const;

let hub: TestHub;
let agent: AgentProcess;

beforeAll(async () => {
  hub = await TestHub.start();
  agent = await AgentProcess.start(hub, 'node1');
});

afterAll(async () => {
  await agent[Symbol.asyncDispose]();
  await hub[Symbol.asyncDispose]();
});

function packet(type: number, ...parts: (number | string | Buffer)[]): Buffer {
  const words = parts.map((part) => {
    if (typeof part !== 'number') return Buffer.from(part);
    const word = Buffer.alloc(4);
    word.writeInt32LE(part);
    return word;
  });
  const head = Buffer.alloc(4);
  head.writeUInt32LE(type);
  return Buffer.concat([head, ...words]);
}

let homes = 0;

/** `muster run` whose job is this spec; `during` runs while it does. */
async function run(
  spec: ReturnType<typeof specOf>,
  options: { stdin?: Buffer; during?: () => Promise<void> } = {},
): Promise<{ code: number | null; out: Buffer; err: Buffer }> {
  const home = join(hub.directory, `home${String(++homes)}`);
  mkdirSync(join(home, 'run'), { recursive: true });
  const server = native().listenPacket(join(home, 'run/front.sock'), 0o600);
  const connections: PacketSocket[] = [];
  server.onConnection = (socket) => {
    connections.push(socket);
    socket.onPacket = ({ bytes, fds }) => {
      for (const fd of fds) native().close(fd);
      const type = bytes.readUInt32LE(0);
      if (type !== 1) return;
      socket.send(packet(front.job, `${spec.id.groupUid} test token 0`));
      hub.desire('node1', spec);
      void hub
        .until(() => ['Running', 'Ending', 'Ended'].includes(hub.fact(spec.id)?.state ?? ''), 'it to run')
        .then(async () => {
          socket.send(packet(front.sandbox, 0, 1, spec.stdin === 'Rank0' ? 1 : 0, agent.localSocket));
          const fact = await hub.ended(spec.id, 60_000);
          socket.send(packet(front.done, fact.failures[0] ? fact.failures[0].waitStatus >> 8 : 0, 1, ''));
        });
    };
  };
  const child = spawn(program, ['run', 'x'], { env: { MUSTER_HOME: home }, stdio: ['pipe', 'pipe', 'pipe'] });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on('data', (data: Buffer) => out.push(data));
  child.stderr.on('data', (data: Buffer) => err.push(data));
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.stdin ?? '');
  const closed = new Promise<number | null>((resolve) => child.on('close', resolve));
  await options.during?.();
  const code = await closed;
  for (const socket of connections) socket.close();
  server.close();
  hub.remove('node1', spec.id);
  return { code, out: Buffer.concat(out), err: Buffer.concat(err) };
}

describe.skipIf(!existsSync(program))('the front', () => {
  test('shows what ranks write and exits as they do', async () => {
    const spec = specOf({
      argv: ['sh', '-c', 'echo out; echo err >&2; exit 9'],
      overrides: { frontToken: 'token' },
    });
    const { code, out, err } = await run(spec);
    expect([code, out.toString(), err.toString()]).toEqual([9, 'out\n', 'err\n']);
  });

  test('200 MB come through whole', async () => {
    const spec = specOf({
      argv: ['sh', '-c', 'head -c 200000000 /dev/zero | tr "\\0" x'],
      overrides: { frontToken: 'token', logQuotaBytes: 1 << 30 },
    });
    const started = performance.now();
    const { code, out } = await run(spec);
    console.log(`200 MB to the front: ${(performance.now() - started).toFixed(0)} ms`);
    expect([code, out.length]).toEqual([0, 200_000_000]);
  });

  test('standard input reaches rank 0', async () => {
    const stdin = Buffer.alloc(50_000_000, 'some input of the caller\n');
    const spec = specOf({ argv: ['sha256sum'], overrides: { frontToken: 'token', stdin: 'Rank0' } });
    const { code, out } = await run(spec, { stdin });
    expect([code, out.toString()]).toEqual([0, `${createHash('sha256').update(stdin).digest('hex')}  -\n`]);
  });

  test('an agent killed meanwhile costs no byte', async () => {
    const lines = 50_000;
    const spec = specOf({
      argv: [
        'bash',
        '-c',
        `for ((i = 0; i < ${String(lines)}; i++)); do echo $i; ((i % 500)) || read -t 0.03 <> <(:); done`,
      ],
      overrides: { frontToken: 'token' },
    });
    const { code, out } = await run(spec, {
      during: async () => {
        await hub.until(() => hub.fact(spec.id)?.state === 'Running', 'it to run');
        for (let kills = 0; kills < 5; kills++) {
          await after(Math.random() * 200);
          await agent.kill();
          agent.run();
          await hub.until(() => hub.nodes.has('node1'), 'the agent to be back');
        }
      },
    });
    expect(code).toBe(0);
    expect(out.toString() === Array.from({ length: lines }, (_, i) => `${String(i)}\n`).join('')).toBe(true);
  });

  test('refuses whoever does not know the token', async () => {
    const spec = specOf({ argv: ['sleep', '1000'], overrides: { frontToken: 'token' } });
    hub.desire('node1', spec);
    await hub.until(() => hub.fact(spec.id)?.state === 'Running', 'it to run');
    const answer = await new Promise<string>((resolve, reject) => {
      // As another user: this process is root, who may open everything.
      const script = `import socket,sys; s=socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(sys.argv[1]); s.send((32).to_bytes(4,'little')+sys.argv[2].encode()); print(s.recv(4096))`;
      const child = spawn('python3', ['-c', script, agent.localSocket, `${spec.id.groupUid} 0 1 wrong`], {
        uid: 4321,
        gid: 4321,
      });
      let text = '';
      child.stdout.on('data', (data: Buffer) => (text += data.toString()));
      child.stderr.on('data', (data: Buffer) => (text += data.toString()));
      child.on('error', reject);
      child.on('close', () => resolve(text));
    });
    expect(answer).toContain('MUSTER_NO_SANDBOX');
    hub.remove('node1', spec.id);
  });
});
