/** Jobs as objects: what every subcommand does with them, how they are shown, and what may be changed. */
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { load } from 'js-yaml';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  checkout,
  Cluster,
  cpuTicksOf,
  eventually,
  processesWithArgument,
  program,
  type Shown,
} from './cluster.ts';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.up({ agents: 2 });
});
afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
});

const manifest = (name: string, command: readonly string[], more = '', size = 1): string => `
apiVersion: muster.dev/v1alpha1
kind: ProcessGroup
metadata: { name: ${name} }
spec:
  size: ${size}
  processes:
    - name: main
      ranks: '${size === 1 ? '0' : `0-${size - 1}`}'
      command: ${JSON.stringify(command)}
${more}
`;
const sleeper = (name: string): string => manifest(name, ['sleep', '1000'], '  gracePeriodSeconds: 1');
const has = async (kind: string, name: string): Promise<boolean> =>
  (await cluster.muster(['get', kind, name])).code === 0;

describe('apply', () => {
  test('creates, then says unchanged, then configures', async () => {
    const text = sleeper('applied');
    expect((await cluster.apply(text)).stdout).toBe('processgroup/applied created\n');
    expect((await cluster.apply(text)).stdout).toBe('processgroup/applied unchanged\n');
    expect((await cluster.apply(`${text}  priority: 5\n`)).stdout).toBe('processgroup/applied configured\n');
    expect((await cluster.get('pg', 'applied')).spec['priority']).toBe(5);
    await cluster.done(['delete', 'pg', 'applied']);
  });

  test('from standard input, several documents, a directory', async () => {
    const two = `${manifest('first', ['true'])}---${manifest('second', ['true'])}`;
    const ended = await cluster.muster(['apply', '-f', '-'], { stdin: two });
    expect(ended.stdout).toBe('processgroup/first created\nprocessgroup/second created\n');
    const directory = cluster.file('a.yaml', manifest('third', ['true'])).replace(/\/a\.yaml$/, '');
    expect(await cluster.done(['apply', '-f', directory])).toBe('processgroup/third created\n');
    for (const name of ['first', 'second', 'third'])
      expect((await cluster.wait(name, 'Finished')).code).toBe(0);
  });

  test('--dry-run makes nothing', async () => {
    const file = cluster.file('job.yaml', sleeper('dry'));
    expect(await cluster.done(['apply', '--dry-run', '-f', file])).toContain('created (dry run)');
    expect(await has('pg', 'dry')).toBe(false);
  });

  test('a fixed field of a running group is refused by name, with what to do; the group runs on', async () => {
    await cluster.apply(sleeper('fixed'));
    await cluster.wait('fixed', 'Running');
    const refused = await cluster.apply(manifest('fixed', ['sleep', '2000'], '  gracePeriodSeconds: 1'));
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/processes/);
    const larger = await cluster.apply(manifest('fixed', ['sleep', '1000'], '  gracePeriodSeconds: 1', 2));
    expect(larger.code).toBe(1);
    expect(larger.stderr).toMatch(/size/);
    expect((await cluster.condition('fixed', 'Running'))?.status).toBe('True');
    await cluster.done(['delete', 'pg', 'fixed']);
  });

  test('wall time may grow but not shrink', async () => {
    const text = (seconds: number): string =>
      manifest(
        'timed',
        ['sleep', '1000'],
        `  gracePeriodSeconds: 1\n  limits: { wallTimeSeconds: ${seconds} }`,
      );
    await cluster.apply(text(500));
    expect((await cluster.apply(text(600))).stdout).toContain('configured');
    const shrunk = await cluster.apply(text(400));
    expect(shrunk.code).toBe(1);
    expect(shrunk.stderr).toContain('wallTimeSeconds');
    await cluster.done(['delete', 'pg', 'timed']);
  });

  test('what this build does not carry out is Stalled by name before anything starts', async () => {
    const tag = `never-${process.pid}`;
    await cluster.apply(manifest('unsupported', ['sleep', '1000', tag], '  queueName: nights'));
    await eventually(
      async () => (await cluster.condition('unsupported', 'Stalled'))?.status === 'True',
      'Stalled',
    );
    const stalled = await cluster.condition('unsupported', 'Stalled');
    expect(stalled?.reason).toBe('NotSupported');
    expect(stalled?.message).toContain('queueName');
    expect(processesWithArgument(tag)).toEqual([]);
    const waited = await cluster.wait('unsupported', 'Finished', 30);
    expect(waited.code).toBe(1);
    expect(waited.stderr).toContain('NotSupported');
    await cluster.done(['delete', 'pg', 'unsupported']);
  });

  test('an unknown kind is named', async () => {
    const ended = await cluster.apply(
      'apiVersion: muster.dev/v1alpha1\nkind: ProcessGroop\nmetadata: { name: x }\nspec: {}\n',
    );
    expect(ended.code).toBe(1);
    expect(ended.stderr).toContain('ProcessGroop');
    const shown = await cluster.muster(['get', 'wombats']);
    expect(shown.code).toBe(2);
    expect(shown.stderr).toMatch(/unknown kind "wombats".*processgroups/);
  });
});

describe('get and describe', () => {
  beforeAll(async () => {
    await cluster.apply(
      manifest(
        'shown',
        [program('stubborn')],
        '  gracePeriodSeconds: 1\n  placement: { nodes: [node1, node2] }',
        4,
      ),
    );
    await cluster.wait('shown', 'Running');
  });
  afterAll(async () => {
    await cluster.done(['delete', 'pg', 'shown']);
  });

  test('as table, wide, name, json and yaml', async () => {
    expect(await cluster.done(['get', 'pg', 'shown'])).toMatch(
      /^NAME +STATE +RANKS .*\nshown +Running +4\/4 /,
    );
    expect(await cluster.done(['get', 'pg', 'shown', '--no-headers'])).toMatch(/^shown +Running +4\/4 /);
    expect((await cluster.done(['get', 'pg', '-o', 'wide'])).split('\n')[0]).toMatch(/NODES/);
    expect(await cluster.done(['get', 'pg', 'shown', '-o', 'name'])).toBe('processgroups.muster.dev/shown\n');
    const json = await cluster.get('pg', 'shown');
    const yaml = load(await cluster.done(['get', 'pg', 'shown', '-o', 'yaml'])) as Shown;
    expect(yaml.metadata).toEqual(json.metadata);
    expect(yaml.spec).toEqual(json.spec);
    expect(json.status?.placement?.[0]).toMatchObject({ ordinal: 0, ranks: '0-1' });
    const list = JSON.parse(await cluster.done(['get', 'pg,nm', '-o', 'json'])) as {
      kind: string;
      items: Shown[];
    };
    expect(list.items.map(({ kind, metadata }) => `${kind}/${metadata.name}`)).toEqual(
      expect.arrayContaining(['ProcessGroup/shown', 'NodeMonitor/node2']),
    );
    const unknown = await cluster.muster(['get', 'pg', '-o', 'toml']);
    expect(unknown.code).not.toBe(0);
    expect(unknown.stderr).toContain('toml');
  });

  test('describe has conditions and events', async () => {
    const text = await cluster.done(['describe', 'pg', 'shown']);
    for (const word of ['Name:', 'shown', 'CONDITION', 'RanksRunning', 'all ranks run', 'TYPE', 'Placed'])
      expect(text).toContain(word);
  });

  test('an object that is not there is named, exit code 1', async () => {
    for (const words of [
      ['get', 'pg', 'nope'],
      ['describe', 'pg', 'nope'],
      ['logs', 'nope'],
      ['ps', 'nope'],
      ['kill', 'nope'],
      ['suspend', 'nope'],
      ['delete', 'pg', 'nope'],
    ]) {
      const ended = await cluster.muster(words);
      expect(ended.code, words.join(' ')).toBe(1);
      expect(ended.stderr, words.join(' ')).toContain('nope');
    }
    expect((await cluster.muster(['delete', 'pg', 'nope', '--ignore-not-found'])).code).toBe(0);
  });

  test('ps lists ranks with node and state', async () => {
    const rows = JSON.parse(await cluster.done(['ps', 'shown', '-o', 'json'])) as {
      rank: number;
      node: string;
      state: string;
    }[];
    expect(rows.map(({ rank, node, state }) => `${rank} ${node} ${state}`)).toEqual([
      '0 node1 Running',
      '1 node1 Running',
      '2 node2 Running',
      '3 node2 Running',
    ]);
    expect(await cluster.done(['ps', 'shown'])).toMatch(/^GROUP +RANK +NODE +PID +STATE/);
  });

  test('signal reaches all ranks or some, once each', async () => {
    const logOf = async (): Promise<string[]> =>
      (await cluster.done(['logs', 'shown'])).trimEnd().split('\n').sort();
    await eventually(async () => (await logOf()).length === 4, 'all ready');
    expect(await cluster.done(['signal', 'USR1', 'shown'])).toContain('reached 4 processes');
    await eventually(async () => (await logOf()).length === 8, 'all signalled');
    expect(await cluster.done(['signal', '12', 'shown', '--ranks', '1,3'])).toContain('reached 2 processes');
    await eventually(async () => (await logOf()).length === 10, 'two signalled');
    expect((await logOf()).filter((line) => line.includes('signal 12'))).toEqual([
      '[1] got signal 12',
      '[3] got signal 12',
    ]);
    const wrong = await cluster.muster(['signal', 'WOMBAT', 'shown']);
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain('WOMBAT');
  });

  test('logs: ranks, tail, no labels', async () => {
    expect(await cluster.done(['logs', 'shown', '--ranks', '2', '--no-label', '--tail', '1'])).toMatch(
      /^(ready|got signal 10)\n$/,
    );
    expect(await cluster.done(['logs', 'shown', '--ranks', '0', '--stderr'])).toBe('');
  });
});

describe('the life of a job', () => {
  test('logs -f follows to the end, also of a job that has not started', async () => {
    const flag = cluster.file('dir', '');
    const follow = cluster.file(
      'go.sh',
      `#!/bin/sh\necho begun\nwhile [ ! -s ${flag} ]; do sleep 0.02; done\necho through\n`,
    );
    await cluster.apply(manifest('followed', [follow]));
    const running = cluster.spawn(['logs', '-f', 'followed'], { stdin: '' });
    await running.untilOutput('[0] begun');
    writeFileSync(flag, 'go');
    expect(await running.result).toMatchObject({ code: 0, stdout: '[0] begun\n[0] through\n' });
    expect((await cluster.wait('followed', 'Finished')).code).toBe(0);
  });

  test('wait: success, failure, a condition, a time-out', async () => {
    await cluster.apply(manifest('good', ['true']));
    expect((await cluster.wait('good', 'Finished')).stdout).toBe('processgroup/good succeeded\n');
    await cluster.apply(manifest('bad', [program('exitwith'), 'code', '4']));
    const bad = await cluster.wait('bad', 'Finished');
    expect(bad.code).toBe(1);
    expect(bad.stderr).toMatch(/rank 0 on node\d exited with 4/);
    expect((await cluster.get('pg', 'bad')).status?.exitSummary).toMatchObject({
      rank: 0,
      code: 4,
      reason: 'RankFailed',
    });
    await cluster.apply(sleeper('long'));
    expect((await cluster.wait('long', 'Running')).code).toBe(0);
    const late = await cluster.muster(['wait', 'long', '--timeout', '0.2']);
    expect(late.code).toBe(1);
    expect(late.stderr).toContain('timed out');
    await cluster.done(['delete', 'pg', 'long']);
  });

  test('suspend freezes every rank, resume lets them go on', async () => {
    const tag = `spin-${process.pid}`;
    await cluster.apply(
      manifest(
        'spin',
        ['sh', '-c', 'while :; do :; done', tag],
        '  gracePeriodSeconds: 1\n  placement: { nodes: [node1, node2] }',
        2,
      ),
    );
    await eventually(() => processesWithArgument(tag).length === 2, 'both ranks');
    const pids = processesWithArgument(tag);
    await eventually(() => pids.every((pid) => cpuTicksOf(pid) > 0), 'both to spin');
    expect(await cluster.done(['suspend', 'spin'])).toContain('suspended');
    expect((await cluster.condition('spin', 'Suspended'))?.reason).toBe('Frozen');
    const stood = pids.map(cpuTicksOf);
    for (let turn = 0; turn < 3; turn++) await cluster.done(['run', 'hostname']);
    expect(pids.map(cpuTicksOf)).toEqual(stood);
    await cluster.done(['resume', 'spin']);
    await eventually(
      () => pids.every((pid, index) => cpuTicksOf(pid) > stood[index]! + 1),
      'both to spin on',
    );
    await cluster.done(['suspend', 'spin']);
    await cluster.done(['kill', 'spin']);
    expect(processesWithArgument(tag)).toEqual([]);
    expect((await cluster.condition('spin', 'Failed'))?.status).toBe('True');
  });

  test('a group born suspended starts nothing until it is resumed', async () => {
    await cluster.apply(manifest('born', ['sleep', '1000'], '  suspend: true\n  gracePeriodSeconds: 1'));
    await eventually(
      async () => (await cluster.condition('born', 'Suspended'))?.status === 'True',
      'Suspended',
    );
    expect((await cluster.get('pg', 'born')).status?.placement ?? []).toEqual([]);
    await cluster.done(['resume', 'born']);
    expect((await cluster.wait('born', 'Running')).code).toBe(0);
    await cluster.done(['delete', 'pg', 'born']);
  });

  test('a name may be used again while the old job ends', async () => {
    await cluster.apply(manifest('again', [program('stubborn')], '  gracePeriodSeconds: 2'));
    await cluster.wait('again', 'Running');
    const first = (await cluster.get('pg', 'again')).metadata.uid;
    await cluster.done(['delete', 'pg', 'again', '--no-wait']);
    const meanwhile = await cluster.apply(manifest('again', ['true']));
    if (meanwhile.code !== 0) expect(meanwhile.stderr).toMatch(/again/);
    await eventually(async () => {
      const made = await cluster.apply(manifest('again', ['true']));
      const shown = await cluster.muster(['get', 'pg', 'again', '-o', 'json']);
      return (
        made.code === 0 && shown.code === 0 && (JSON.parse(shown.stdout) as Shown).metadata.uid !== first
      );
    }, 'the new one');
    expect((await cluster.wait('again', 'Finished')).code).toBe(0);
  });

  test('wall time, memory and a signal beforehand', async () => {
    await cluster.apply(
      manifest(
        'walled',
        [program('stubborn')],
        '  gracePeriodSeconds: 1\n  limits: { wallTimeSeconds: 5, warningSignal: SIGUSR1, warningSeconds: 2 }',
      ),
    );
    const ended = await cluster.wait('walled', 'Finished');
    expect(ended.stderr).toContain('WallTimeExceeded');
    expect(await cluster.done(['logs', 'walled'])).toBe('[0] ready\n[0] got signal 10\n[0] got signal 15\n');
  });
});

describe('the manifests directory', () => {
  const file = (name: string): string => join(cluster.home, 'manifests', name);
  const put = (name: string, text: string): void => {
    writeFileSync(`${file(name)}.part`, text);
    renameSync(`${file(name)}.part`, file(name));
  };

  test('a file added, changed and removed creates, updates and deletes', async () => {
    put('jobs.yaml', `${sleeper('dropped')}---${sleeper('dropped2')}`);
    await eventually(
      async () => (await has('pg', 'dropped')) && (await has('pg', 'dropped2')),
      'both created',
    );
    put('jobs.yaml', `${sleeper('dropped')}  priority: 7\n---${sleeper('dropped2')}`);
    await eventually(async () => (await cluster.get('pg', 'dropped')).spec['priority'] === 7, 'the change');
    put('other.yaml', sleeper('dropped3'));
    put('more.yaml', sleeper('dropped4'));
    await eventually(
      async () => (await has('pg', 'dropped3')) && (await has('pg', 'dropped4')),
      'the others',
    );
    rmSync(file('other.yaml'));
    await eventually(async () => !(await has('pg', 'dropped3')), 'the removed one to go');
    expect(await has('pg', 'dropped')).toBe(true);
  });

  test('a broken file changes nothing', async () => {
    put('jobs.yaml', `${sleeper('dropped')}  priority: 7\n---\nkind: [broken`);
    await eventually(() => cluster.logs().includes('jobs.yaml'), 'a message about the file');
    expect(await has('pg', 'dropped')).toBe(true);
    expect(await has('pg', 'dropped2')).toBe(true);
  });

  test('a directory that vanishes deletes nothing', async () => {
    rmSync(join(cluster.home, 'manifests'), { recursive: true });
    expect((await cluster.run(['true'])).code).toBe(0);
    expect(await has('pg', 'dropped')).toBe(true);
    mkdirSync(join(cluster.home, 'manifests'), { mode: 0o700 });
    await cluster.done(['delete', 'pg', 'dropped', 'dropped2', 'dropped4']);
  });
});

describe('the rest', () => {
  test('nodes', async () => {
    const text = await cluster.done(['nodes']);
    expect(text).toMatch(/^NAME +STATE/);
    expect(text).toMatch(/^node1 +Ready/m);
    expect(text).toMatch(/^node2 +Ready/m);
  });

  test('version, completion, doctor', async () => {
    const version = JSON.parse(await cluster.done(['version', '-o', 'json'])) as Record<string, string>;
    expect(version['client']).toMatch(/^v\d/);
    expect(version['server']).toContain('muster');
    for (const shell of ['bash', 'zsh', 'fish']) {
      const script = await cluster.done(['completion', shell]);
      expect(script).toContain('suspend');
    }
    // A reader that has had enough is no error.
    const cut = await cluster.shell('muster completion bash | true; echo "${PIPESTATUS[0]}"').result;
    expect(cut).toMatchObject({ stdout: '141\n', stderr: '' });
    const bash = cluster.file('completion.bash', await cluster.done(['completion', 'bash']));
    expect((await cluster.shell(`bash -n ${bash}`).result).code).toBe(0);
    const doctor = JSON.parse(await cluster.done(['doctor', '-o', 'json'])) as {
      name: string;
      ok: boolean;
    }[];
    expect(doctor.find(({ name }) => name === 'native programs')?.ok).toBe(true);
  });

  test('help and mistakes', async () => {
    expect((await cluster.muster(['--help'])).stdout).toContain('muster run');
    expect((await cluster.run(['--help'])).stdout).toContain('Usage: muster run');
    const wrong = await cluster.muster(['frobnicate']);
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain('frobnicate');
    const option = await cluster.run(['--frobnicate', 'true']);
    expect(option.code).toBe(2);
    expect(option.stderr).toContain('--frobnicate');
    expect((await cluster.run([])).code).toBe(2);
    expect((await cluster.run(['-n', '0', 'true'])).code).toBe(2);
  });

  test('the example of the README', async () => {
    const { readFileSync } = await import('node:fs');
    const text = readFileSync(join(checkout, 'examples/cpi.yaml'), 'utf8').replaceAll(
      '/opt/muster',
      checkout,
    );
    expect((await cluster.apply(text)).code).toBe(0);
    expect((await cluster.wait('cpi', 'Finished')).code).toBe(0);
    expect(await cluster.done(['logs', 'cpi'])).toMatch(/pi is approximately 3\.14159265/);
  });

  test('without a control plane every command says so, and what to do', async () => {
    for (const words of [
      ['get', 'pg'],
      ['run', 'true'],
      ['logs', 'x'],
      ['apply', '-f', cluster.file('a.yaml', sleeper('x'))],
    ]) {
      const ended = await cluster.muster(words, { env: { MUSTER_HOME: '/var/tmp/muster-e2e-none' } });
      expect(ended.code, words.join(' ')).toBe(1);
      expect(ended.stderr, words.join(' ')).toMatch(/muster up/);
    }
    const again = await cluster.muster(['up', '--detach']);
    expect(again.code).toBe(1);
    expect(again.stderr).toMatch(/is up already/);
  });
});
