// An agent without root: user namespaces instead of users, SIGSTOP instead of the freezer, no cgroups. It says what is
// missing, and what it can do it does as well as the other.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AgentProcess, specOf } from './harness.ts';
import { TestHub } from './hub.ts';

const user = 65_534;
const canTry =
  process.getuid?.() === 0 &&
  spawnSync('unshare', ['--user', '--pid', '--fork', 'true'], { uid: user, gid: user }).status === 0;

let hub: TestHub;
let agent: AgentProcess;

describe.skipIf(!canTry)('without root', () => {
  beforeAll(async () => {
    hub = await TestHub.start();
    agent = await AgentProcess.start(hub, 'node1', { uid: user });
  });

  afterAll(async () => {
    await agent[Symbol.asyncDispose]();
    await hub[Symbol.asyncDispose]();
  });

  test('says what is missing and how to get it', () => {
    const { missing, features } = hub.nodes.get('node1')?.hello ?? { missing: [], features: [] };
    expect(features).toContain('user-namespace');
    expect(missing.find((line) => line.startsWith('memory-limit: '))).toContain('run it as root');
  });

  test('runs ranks as its own user in namespaces of their own', async () => {
    const spec = specOf({ argv: ['sh', '-c', 'id -u; echo $$ > /tmp/x; ls /tmp; exit 4'], size: 1 });
    hub.desire('node1', spec);
    const fact = await hub.ended(spec.id);
    const logs = await hub.logs('node1', spec.id);
    expect([fact.message, logs.get('0/1')?.toString(), logs.get('0/2')?.toString() ?? '']).toEqual([
      '',
      `${String(user)}\nx\n`,
      '',
    ]);
    expect(fact.failures[0]?.waitStatus).toBe(4 << 8);
    hub.remove('node1', spec.id);
  });

  test('refuses another user', async () => {
    const spec = specOf({ argv: ['true'], overrides: { uid: 1234 } });
    hub.desire('node1', spec);
    expect((await hub.ended(spec.id)).message).toMatch(
      /MUSTER_NOT_ALLOWED: node node1: ranks can run as uid 65534 only/,
    );
    hub.remove('node1', spec.id);
  });

  test('freezes, survives a kill of the agent, thaws, ends; leaves nothing', async () => {
    const spec = specOf({ argv: ['sleep', '1000'], size: 2 });
    hub.desire('node1', spec);
    await hub.until(() => hub.fact(spec.id)?.state === 'Running', 'it to run');
    hub.desire('node1', { ...spec, want: 'Freeze' });
    await hub.until(() => hub.fact(spec.id)?.frozen === true, 'it to be frozen');
    const { sessions } = hub;
    await agent.kill();
    agent.run();
    await hub.until(
      () => hub.sessions > sessions && hub.fact(spec.id)?.frozen === true,
      'it to be found frozen',
    );
    hub.desire('node1', spec);
    await hub.until(() => hub.fact(spec.id)?.frozen === false, 'it to be thawed');
    const init = hub.fact(spec.id)?.initPid ?? 0;
    expect(readFileSync(`/proc/${String(init)}/stat`, 'utf8')).toMatch(/^\d+ \(rank-init\) [RS]/);
    hub.remove('node1', spec.id);
    await hub.until(() => hub.fact(spec.id) === undefined, 'it to be forgotten');
    expect(existsSync(`/proc/${String(init)}/exe`)).toBe(false);
    expect(readdirSync(join(agent.stateDir, 'sandboxes'))).toEqual([]);
  });
});
