import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { issue } from '../../controllers/pki/certificate.ts';
import { openAuthority } from '../../controllers/pki/key-files.ts';
import { environment } from '../compile-cache.ts';
import { TestAgent } from './test-agent.ts';

const program = fileURLToPath(new URL('./plane-process.ts', import.meta.url));
const rounds = 25;
let base = '';
let running: Plane | undefined;
const agents: TestAgent[] = [];
const uids = new Map<string, string>();

interface Plane {
  readonly child: ChildProcess;
  readonly port: number;
  /** The latest phase of each group by name, and its uid. */
  readonly groups: Map<string, { uid: string; phase: string | undefined }>;
}

async function start(): Promise<Plane> {
  const child = spawn(process.execPath, [program, join(base, 'store'), join(base, 'keys')], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: environment,
  });
  const groups: Plane['groups'] = new Map();
  const port = await new Promise<number>((resolve, reject) => {
    child.once('exit', (code) =>
      reject(new Error(`the control plane exited with ${code} before it was ready`)),
    );
    createInterface({ input: child.stdout }).on('line', (line) => {
      const said = JSON.parse(line) as { port?: number; name: string; uid: string; phase?: string };
      if (said.port !== undefined) resolve(said.port);
      else {
        groups.set(said.name, { uid: said.uid, phase: said.phase });
        uids.set(said.name, said.uid);
      }
    });
  });
  child.stdin.on('error', () => undefined);
  for (const agent of agents) agent.connect(port);
  return { child, port, groups };
}

async function kill({ child }: Plane): Promise<void> {
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
  for (const agent of agents) agent.disconnect();
}

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'muster-kill-'));
  const authority = await openAuthority(join(base, 'keys'), 'test');
  for (const node of ['node1', 'node2'])
    agents.push(new TestAgent(node, authority.cert, await issue(authority, { kind: 'node', node })));
});

afterEach(async () => {
  if (running) await kill(running);
  agents.length = 0;
  await rm(base, { recursive: true });
});

it(`survives ${rounds} kills at random moments: every group starts exactly once and ends as it did`, async () => {
  const names = Array.from({ length: rounds }, (_, i) => `g${i}`);
  for (const [round, name] of names.entries()) {
    running = await start();
    running.child.stdin!.write(`${name}\n`);
    if (round % 3 === 2) agents[0]!.finish(uids.get(`g${round - 2}`) ?? '');
    // The moment is the point here: nothing is waited for.
    await delay(Math.random() * 60);
    await kill(running);
  }
  running = await start();
  const { child, groups } = running;
  for (const name of names) child.stdin!.write(`${name}\n`);
  await vi.waitFor(
    () => {
      for (const name of names) expect(groups.get(name)?.phase).toBe('Running');
    },
    { timeout: 60_000, interval: 10 },
  );
  for (const { uid } of groups.values()) for (const agent of agents) agent.finish(uid);
  await vi.waitFor(
    () => {
      for (const name of names) expect(groups.get(name)?.phase).toBe('Succeeded');
    },
    { timeout: 60_000, interval: 10 },
  );
  for (const agent of agents) {
    expect(agent.starts.size).toBe(rounds);
    expect(new Set(agent.starts.values())).toEqual(new Set([1]));
  }
});
