import { describe, expect, test } from 'vitest';
import type { Program, SandboxSpec } from '../wire/agent-types.ts';
import { checkUid } from './credentials.ts';
import { startPlanOf, type NodeContext, type StartPlan } from './ranks.ts';
import { startFailureMessage, startStages } from './start-failure.ts';
import { cpuMaskOf, parseCpuList } from './topology.ts';

const context: NodeContext = {
  node: 'node1',
  address: '10.0.0.1',
  account: { name: 'ada', uid: 1000, gid: 100, home: '/home/ada', shell: '/bin/bash' },
  groupsOfNode: [100, 27],
  hasTopology: false,
  binding: null,
};

function program(overrides: Partial<Program> = {}): Program {
  return {
    name: 'main',
    ranks: '4-7',
    argv: ['./a.out', 'x'],
    env: [],
    workingDir: '/work',
    path: '',
    appNumber: 0,
    coProcess: false,
    ...overrides,
  };
}

function spec(overrides: Partial<SandboxSpec> = {}): SandboxSpec {
  const whole = {
    id: { groupUid: 'u-1', ordinal: 1, incarnation: 1 },
    namespace: 'ns',
    groupName: 'job',
    size: 8,
    ranks: '4-7',
    pmi: 'PMI1',
    programs: [program()],
    uid: 1000,
    gid: 100,
    groups: [5],
    groupsFromNode: false,
    umask: 0o27,
    rlimits: [],
    environment: 'Clean',
    env: [],
    stdin: 'Rank0',
    stdout: 'Collect',
    stderr: 'Collect',
    stdoutPattern: '',
    stderrPattern: '',
    tty: false,
    binding: 'None',
    ...overrides,
  };
  return whole as SandboxSpec;
}

/** What execve would be given: the shared strings and the rank's own. */
function environmentOf(plan: StartPlan, rank: number): Map<string, string> {
  const start = plan.processes.find((each) => each.rank === rank);
  const all = [...plan.sharedEnv, ...(start?.env ?? [])];
  const env = new Map(
    all.map((text) => [text.slice(0, text.indexOf('=')), text.slice(text.indexOf('=') + 1)]),
  );
  expect(env.size, 'no variable stands twice').toBe(all.length);
  return env;
}

describe('environment', () => {
  test('clean, with what PMI and programs read', () => {
    const env = environmentOf(startPlanOf(spec(), context), 6);
    expect(Object.fromEntries(env)).toEqual({
      PATH: '/usr/local/bin:/usr/bin:/bin',
      HOME: '/home/ada',
      USER: 'ada',
      LOGNAME: 'ada',
      SHELL: '/bin/bash',
      LANG: 'C.UTF-8',
      PMI_FD: '3',
      PMI_RANK: '6',
      PMI_SIZE: '8',
      MPI_LOCALRANKID: '2',
      MPI_LOCALNRANKS: '4',
      MPIR_CVAR_CH3_INTERFACE_HOSTNAME: '10.0.0.1',
      MPICH_INTERFACE_HOSTNAME: '10.0.0.1',
      MUSTER_RANK: '6',
      MUSTER_SIZE: '8',
      MUSTER_LOCAL_RANK: '2',
      MUSTER_LOCAL_SIZE: '4',
      MUSTER_NODE: 'node1',
      MUSTER_ORDINAL: '1',
      MUSTER_INCARNATION: '1',
      MUSTER_GROUP: 'job',
      MUSTER_NAMESPACE: 'ns',
      MUSTER_UID: 'u-1',
    });
  });

  test('the program wins over the group, the group over the base, nobody over the agent; other launchers are scrubbed', () => {
    const value = (name: string, text: string) => ({ name, value: text, rankField: '' });
    const env = environmentOf(
      startPlanOf(
        spec({
          env: [
            value('A', 'group'),
            value('B', 'group'),
            value('HOME', '/else'),
            value('PMI_RANK', '99'),
            value('PMIX_RANK', '1'),
            value('MUSTER_SIZE', '1'),
            value('OMPI_X', '1'),
          ],
          programs: [program({ env: [value('A', 'program')] })],
        }),
        context,
      ),
      4,
    );
    expect([
      env.get('A'),
      env.get('B'),
      env.get('HOME'),
      env.get('PMI_RANK'),
      env.get('MUSTER_SIZE'),
    ]).toEqual(['program', 'group', '/else', '4', '8']);
    expect([env.has('PMIX_RANK'), env.has('OMPI_X')]).toEqual([false, false]);
  });

  test('rank fields are filled in', () => {
    const env = environmentOf(
      startPlanOf(
        spec({
          env: [
            { name: 'ME', value: '', rankField: 'LocalRank' },
            { name: 'WHO', value: '', rankField: 'ProcessName' },
          ],
        }),
        context,
      ),
      7,
    );
    expect([env.get('ME'), env.get('WHO')]).toEqual(['3', 'main']);
  });

  test('without PMI there is no trace of it', () => {
    const plan = startPlanOf(spec({ pmi: 'None' }), context);
    expect([...environmentOf(plan, 4).keys()].filter((name) => name.startsWith('PMI'))).toEqual([]);
    expect(plan.processes.every((each) => !each.pmi)).toBe(true);
  });
});

describe('streams', () => {
  test('input to rank 0 only where it is', () => {
    const kinds = (overrides: Partial<SandboxSpec>) =>
      startPlanOf(spec(overrides), context).processes.map((each) => each.stdin);
    expect(kinds({})).toEqual(['null', 'null', 'null', 'null']);
    expect(kinds({ ranks: '0-1', programs: [program({ ranks: '0-1' })] })).toEqual(['pipe', 'null']);
    expect(kinds({ stdin: 'All' })).toEqual(['pipe', 'pipe', 'pipe', 'pipe']);
  });

  test('files have names by pattern', () => {
    const [first] = startPlanOf(
      spec({ stdout: 'Files', stdoutPattern: 'out/%j.%r.%n.%%', stderr: 'Discard' }),
      context,
    ).processes;
    expect([first?.stdout, first?.stdoutFile, first?.stderr, first?.stderrFile]).toEqual([
      'file',
      'out/job.4.node1.%',
      'null',
      '',
    ]);
  });

  test('a terminal is all three', () => {
    const [first] = startPlanOf(spec({ tty: true }), context).processes;
    expect([first?.stdin, first?.stdout, first?.stderr, first?.rows]).toEqual(['pty', 'pty', 'pty', 24]);
  });
});

test('several programs keep the order of ranks, each with its own', () => {
  const plan = startPlanOf(
    spec({
      programs: [
        program({ name: 'b', ranks: '5,7', argv: ['b'] }),
        program({ name: 'a', ranks: '4,6', argv: ['a'] }),
      ],
    }),
    context,
  );
  expect(plan.processes.map((each) => [each.rank, each.argv[0]])).toEqual([
    [4, 'a'],
    [5, 'b'],
    [6, 'a'],
    [7, 'b'],
  ]);
});

test('groups of the node are taken where asked for', () => {
  expect(startPlanOf(spec(), context).processes[0]?.groups).toEqual([5]);
  expect(startPlanOf(spec({ groupsFromNode: true }), context).processes[0]?.groups).toEqual([100, 27, 5]);
});

test.each([
  [
    'ranks that no program names',
    { programs: [program({ ranks: '4-6' })] },
    /name 3 ranks, its rank set "4-7" has 4/,
  ],
  [
    'a rank of elsewhere',
    { programs: [program({ ranks: '3-7' })] },
    /rank 3 on node1: it is not of this sandbox/,
  ],
  ['an empty command', { programs: [program({ argv: [] })] }, /the command is empty/],
  [
    'an argument that is too long',
    { programs: [program({ argv: ['a', 'x'.repeat(131_072)] })] },
    /argument 1 is 131072 bytes long \(E2BIG\)/,
  ],
  [
    'a variable that is too long',
    { env: [{ name: 'X', value: 'x'.repeat(131_072), rankField: '' }] },
    /environment variable X is 131074 bytes long/,
  ],
  [
    'a limit that does not exist',
    { rlimits: [{ name: 'NONSENSE', soft: 1, hard: 1 }] },
    /resource limit NONSENSE is not known/,
  ],
  ['files without a name', { stdout: 'Files' }, /no file name pattern/],
])('tells %s', (_, overrides: Partial<SandboxSpec>, message) => {
  expect(() => startPlanOf(spec(overrides), context)).toThrow(message);
});

test('a string just short enough is let through', () => {
  expect(() =>
    startPlanOf(spec({ programs: [program({ argv: ['a', 'x'.repeat(131_071)] })] }), context),
  ).not.toThrow();
});

test('masks and lists of processors', () => {
  expect([...cpuMaskOf([0, 9])]).toEqual([1, 2, 0, 0, 0, 0, 0, 0]);
  expect(cpuMaskOf([64]).length).toBe(16);
  expect(parseCpuList('0-2,5')).toEqual([0, 1, 2, 5]);
});

test('the allow-list of users', () => {
  expect(() => checkUid(1000, '1000-65534', 'n', 0)).not.toThrow();
  expect(() => checkUid(70_000, '1000-65534, 70000', 'n', 0)).not.toThrow();
  expect(() => checkUid(0, '1000-65534', 'n', 0)).toThrow(/uid 0 is not in this node's allowed uids/);
  expect(() => checkUid(999, '1000-65534', 'n', 0)).toThrow(/MUSTER_NOT_ALLOWED/);
  expect(() => checkUid(1000, '1000-65534', 'n', 1001)).toThrow(/ranks can run as uid 1001 only/);
});

test('every stage of a failed start has words', () => {
  const [start] = startPlanOf(spec(), context).processes;
  if (!start) throw new Error('no process');
  const messages = startStages.map((_, stage) => startFailureMessage(stage, 2, start, 'node1'));
  expect(new Set(messages).size).toBe(startStages.length);
  for (const message of messages) expect(message).toMatch(/^MUSTER_START_FAILED: rank 4 on node1: .*ENOENT/);
});
