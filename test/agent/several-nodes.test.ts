import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { SandboxSpec, Sent } from '../../wire/agent-types.ts';
import { AgentProcess, hasPrograms, programs, specOf } from './harness.ts';
import { TestHub } from './hub.ts';

const nodes = ['node1', 'node2', 'node3'];
let hub: TestHub;
const agents = new Map<string, AgentProcess>();

beforeAll(async () => {
  hub = await TestHub.start();
  for (const node of nodes) agents.set(node, await AgentProcess.start(hub, node));
});

afterAll(async () => {
  for (const agent of agents.values()) await agent[Symbol.asyncDispose]();
  await hub[Symbol.asyncDispose]();
});

/** One sandbox a node, `perNode` ranks each; a chain 0 <- 1 <- 2, so that the middle one is parent and child. */
export function jobOf(
  argv: string[],
  perNode: number,
  overrides: Omit<Sent<SandboxSpec>, 'id'> = {},
): ReturnType<typeof specOf>[] {
  const { groupUid } = specOf({ argv }).id;
  return nodes.map((_, ordinal) =>
    specOf({
      argv,
      size: perNode * nodes.length,
      groupUid,
      ordinal,
      sandboxes: nodes.length,
      ranks: `${String(ordinal * perNode)}-${String((ordinal + 1) * perNode - 1)}`,
      overrides: {
        processMapping: `(vector,(0,${String(nodes.length)},${String(perNode)}))`,
        env: [{ name: 'LD_LIBRARY_PATH', value: join(programs, 'lib') }],
        ...overrides,
        tree: treeOf(ordinal),
      },
    }),
  );
}

function treeOf(ordinal: number): NonNullable<Sent<SandboxSpec>['tree']> {
  const parent = Math.max(0, ordinal - 1);
  const parentNode = nodes[parent] ?? '';
  return {
    parent,
    parentNode,
    parentAddress: hub.nodes.get(parentNode)?.hello.peerAddress ?? '',
    children: ordinal + 1 < nodes.length ? [{ ordinal: ordinal + 1, node: nodes[ordinal + 1] ?? '' }] : [],
  };
}

/** As the hub does when an agent comes back at another port. */
function tellTrees(specs: ReturnType<typeof specOf>[]): void {
  specs.forEach((spec, ordinal) => {
    hub.desire(nodes[ordinal] ?? '', { ...spec, tree: treeOf(ordinal) });
  });
}

function run(specs: ReturnType<typeof specOf>[]): void {
  specs.forEach((spec, ordinal) => {
    hub.desire(nodes[ordinal] ?? '', spec);
  });
}

async function outcome(
  specs: ReturnType<typeof specOf>[],
  withinMs = 60_000,
): Promise<{ succeeded: string[]; out: string }> {
  const facts = await Promise.all(specs.map((spec) => hub.ended(spec.id, withinMs)));
  const logs = await Promise.all(specs.map((spec, ordinal) => hub.logs(nodes[ordinal] ?? '', spec.id)));
  specs.forEach((spec, ordinal) => {
    hub.remove(nodes[ordinal] ?? '', spec.id);
  });
  return {
    succeeded: facts.map((fact) => fact.succeeded),
    out: logs.flatMap((log) => [...log.values()].map(String)).join(''),
  };
}

describe.skipIf(!hasPrograms)('MPI over three agents', () => {
  test('cpi', async () => {
    const specs = jobOf([join(programs, 'cpi')], 2);
    run(specs);
    const { succeeded, out } = await outcome(specs);
    expect([succeeded, out]).toEqual([
      ['0-1', '2-3', '4-5'],
      expect.stringMatching(/pi is approximately 3\.14159/),
    ]);
  });

  test('an abort on one node is told with its code', async () => {
    const specs = jobOf(
      [
        'sh',
        '-c',
        'printf "cmd=init pmi_version=1 pmi_subversion=1\\ncmd=abort exitcode=42\\n" >&3; exec sleep 1000',
      ],
      1,
    );
    run(specs.slice(2));
    const fact = await hub.ended(specs[2]?.id ?? {});
    expect(fact.abort).toMatchObject({ rank: 2, exitCode: 42 });
    hub.remove('node3', specs[2]?.id ?? {});
  });

  test('a rank that leaves with 0 breaks the fence of those on other nodes, who tell it', async () => {
    const script = `[ $MUSTER_RANK = 1 ] && exit 0
      printf 'cmd=init pmi_version=1 pmi_subversion=1\\ncmd=barrier_in\\n' >&3; exec sleep 1000`;
    const specs = jobOf(['sh', '-c', script], 1);
    run(specs);
    const facts = await Promise.all(specs.map((spec) => hub.ended(spec.id)));
    expect(facts.map((fact) => fact.brokenFence)).toEqual([
      expect.objectContaining({ fence: 1, rank: 1 }),
      null,
      expect.objectContaining({ fence: 1, rank: 1 }),
    ]);
    expect(facts[1]?.succeeded).toBe('1');
    expect(facts[0]?.failures).toMatchObject([{ rank: 0, byUs: true }]);
    await outcome(specs);
  });

  test('it does so too when its sandbox has ended and its agent was started again before others come', async () => {
    const script = `[ $MUSTER_RANK = 1 ] && exit 0
      printf 'cmd=init pmi_version=1 pmi_subversion=1\\ncmd=barrier_in\\n' >&3; exec sleep 1000`;
    const specs = jobOf(['sh', '-c', script], 1);
    const agent = agents.get('node2')!;
    hub.desire('node2', specs[1]!);
    await hub.ended(specs[1]!.id);
    await agent.kill();
    const sessions = hub.sessions;
    agent.run();
    await hub.until(() => hub.sessions > sessions && hub.nodes.has('node2'), 'the agent to be back');
    tellTrees(specs);
    const facts = await Promise.all([specs[0], specs[2]].map((spec) => hub.ended(spec!.id)));
    for (const fact of facts) expect(fact.brokenFence).toMatchObject({ fence: 1, rank: 1 });
    await outcome(specs);
  });

  test('names published on one node are found on another', async () => {
    const talk = (lines: string) =>
      `exec 4<&3; ask() { printf '%s\\n' "$1" >&3; IFS= read -r line <&3; echo "$line"; }; ask 'cmd=init pmi_version=1 pmi_subversion=1'; ${lines}; ask cmd=finalize`;
    const script = talk(
      `if [ $MUSTER_RANK = 1 ]; then ask 'cmd=publish_name service=s port=p1'; ask 'cmd=publish_name service=s port=p2'; fi; ask cmd=barrier_in; if [ $MUSTER_RANK = 2 ]; then ask 'cmd=lookup_name service=s'; ask 'cmd=lookup_name service=t'; fi`,
    );
    const specs = jobOf(['bash', '-c', script], 1);
    run(specs);
    const { succeeded, out } = await outcome(specs);
    expect(succeeded).toEqual(['0', '1', '2']);
    expect(out).toContain(
      'cmd=publish_result info=ok rc=0 msg=success\ncmd=publish_result info=ok rc=1 msg=key_already_present',
    );
    expect(out).toContain(
      'cmd=lookup_result port=p1 info=ok rc=0 msg=success\ncmd=lookup_result rc=1 msg=service_not_found',
    );
  });

  test('agents killed at random moments harm no rank and lose no fence', async () => {
    const fences = 400;
    const script = `ask() { printf '%s\\n' "$1" >&3; IFS= read -r line <&3; }
      ask 'cmd=init pmi_version=1 pmi_subversion=1'; ask cmd=get_my_kvsname; kvs=\${line#*kvsname=}
      for ((i = 0; i < ${String(fences)}; i++)); do
        ask "cmd=put kvsname=$kvs key=k$MUSTER_RANK-$i value=v$MUSTER_RANK-$i"; ask cmd=barrier_in
        peer=$(( (MUSTER_RANK + 1) % MUSTER_SIZE )); ask "cmd=get kvsname=$kvs key=k$peer-$i"
        [ "$line" = "cmd=get_result rc=0 msg=success value=v$peer-$i" ] || { echo "fence $i: $line"; exit 1; }
      done
      ask cmd=finalize; echo done`;
    const specs = jobOf(['bash', '-c', script], 2);
    run(specs);
    await hub.until(() => specs.every((spec) => hub.fact(spec.id)?.ranksRunning === 2), 'all ranks to run');
    let kills = 0;
    let over = false;
    const ends = outcome(specs, 120_000).finally(() => (over = true));
    ends.catch(() => undefined);
    while (!over && kills < 30) {
      const agent = agents.get(nodes[kills % nodes.length] ?? '');
      if (!agent) break;
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 40));
      await agent.kill();
      kills++;
      agent.run();
      await hub.until(
        () => (hub.nodes.get(agent.node)?.hello.instance ?? '') !== '' && hub.nodes.size === nodes.length,
        'the agent to be back',
      );
      if (!over) tellTrees(specs);
    }
    const { succeeded, out } = await ends;
    expect([kills > 0, succeeded, out]).toEqual([true, ['0-1', '2-3', '4-5'], 'done\n'.repeat(6)]);
    console.log(`fences survived ${String(kills)} kills`);
  });
});
