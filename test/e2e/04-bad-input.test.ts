/** What people, programs and machines get wrong: each with an error that names it, and nothing else harmed. */
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkout, Cluster, eventually, program, type Result } from './cluster.ts';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.up({ agents: 2 });
  // It runs through all of this and must not notice.
  await cluster.run([
    '-n',
    '2',
    '--nodes',
    'node1,node2',
    '--detach',
    '--name',
    'bystander',
    '--grace',
    '1',
    program('stubborn'),
  ]);
  await cluster.wait('bystander', 'Running');
});
afterAll(async () => {
  expect((await cluster.condition('bystander', 'Running'))?.status).toBe('True');
  await cluster[Symbol.asyncDispose]();
});

const group = (name: string, spec: string): string =>
  `apiVersion: muster.dev/v1alpha1\nkind: ProcessGroup\nmetadata: { name: ${name} }\nspec:\n${spec}`;
const one = (size: number | string, ranks: string, more = ''): string =>
  `  size: ${size}\n  processes:\n    - name: main\n      ranks: '${ranks}'\n      command: ['true']\n${more}`;

async function refused(text: string, ...words: (string | RegExp)[]): Promise<Result> {
  const ended = await cluster.apply(text);
  expect(ended.code, ended.stdout).toBe(1);
  for (const word of words)
    expect(ended.stderr).toMatch(
      word instanceof RegExp ? word : new RegExp(word.replaceAll(/[[\].]/g, '\\$&')),
    );
  return ended;
}

describe('manifests', () => {
  test('ranks with a gap, an overlap, out of bounds, not a set', async () => {
    await refused(group('gap', one(4, '0-1,3')), /ranks?.*2/);
    await refused(
      group('overlap', `${one(3, '0-1')}    - { name: other, ranks: '1-2', command: ['true'] }\n`),
      /1/,
      /overlap|twice|more than one|both|once/i,
    );
    await refused(group('beyond', one(2, '0-2')), /2/);
    await refused(group('words', one(2, 'zero-one')), 'ranks');
  });

  test('size 0 and 10 million', async () => {
    await refused(group('zero', one(0, '0')), 'size', '1');
    await refused(group('huge', one(10_000_000, '0-9999999')), 'size', '1048576');
    const run = await cluster.run(['-n', '10000000', 'true']);
    expect(run.code).toBe(2);
    expect(run.stderr).toContain('1048576');
  });

  test('an unknown field: file, line, field, and what was meant', async () => {
    const ended = await refused(
      group('unknown', one(1, '0', '  graecPeriodSeconds: 3\n')),
      'graecPeriodSeconds',
    );
    expect(ended.stderr).toMatch(/job\.yaml:10/);
    expect(ended.stderr).toContain('gracePeriodSeconds');
  });

  test('the wrong type, and two errors at once', async () => {
    const ended = await refused(group('types', one('many', '0', '  priority: high\n')), 'size', 'priority');
    expect(ended.stderr).toMatch(/job\.yaml:5/);
    expect(ended.stderr).toMatch(/job\.yaml:10/);
  });

  test('the same name twice in one group, the same key twice', async () => {
    await refused(
      group('twice', `${one(2, '0')}    - { name: main, ranks: '1', command: ['true'] }\n`),
      'main',
    );
    await refused(group('keys', `${one(1, '0')}  size: 2\n`), /job\.yaml:\d+/, /duplicate/i);
  });

  test('text that is not YAML', async () => {
    await refused('kind: [a\n', /job\.yaml:\d/);
    await refused(' \0\x01\x02', /job\.yaml/);
    await refused('# nothing\n', /job\.yaml holds no object/);
    await refused(
      'apiVersion: muster.dev/v1alpha1\nkind: ProcessGroup\nspec: {}\n',
      /job\.yaml:1: .*metadata/,
    );
  });

  test('a YAML bomb is refused quickly', async () => {
    const layers = Array.from(
      { length: 30 },
      (_, index) => `a${index + 1}: &a${index + 1} [${Array(10).fill(`*a${index}`).join(', ')}]`,
    );
    const started = performance.now();
    const ended = await cluster.apply(
      `a0: &a0 boom\n${layers.join('\n')}\n${group('bomb', one(1, '0', '  priority: *a30\n'))}`,
    );
    expect(ended.code).toBe(1);
    expect(ended.stderr).toMatch(/job\.yaml/);
    expect(performance.now() - started).toBeLessThan(30_000);
  });

  test('50 MB are refused without reading them', async () => {
    const ended = await cluster.apply(group('fat', one(1, '0')) + `# ${'x'.repeat(50 * 1024 * 1024)}\n`);
    expect(ended.code).toBe(1);
    expect(ended.stderr).toMatch(/4 MiB/);
    const fromStdin = await cluster.muster(['apply', '-f', '-'], {
      stdin: Buffer.alloc(50 * 1024 * 1024, '# 3456789\n'),
    });
    expect(fromStdin.code).not.toBe(0);
    // In the directory of manifests it is reported, and nobody is harmed.
    writeFileSync(join(cluster.home, 'manifests', 'fat.yaml'), Buffer.alloc(50 * 1024 * 1024, '# 3456789\n'));
    await eventually(() => cluster.logs().includes('fat.yaml'), 'a message about the file');
    rmSync(join(cluster.home, 'manifests', 'fat.yaml'));
    expect((await cluster.run(['echo', 'fine'])).stdout).toBe('fine\n');
  });
});

describe('programs that cannot start', () => {
  test('no such program: path and name, code 127; exiting with 127 is something else', async () => {
    const path = await cluster.run(['-n', '2', '/no/such/program']);
    expect(path.code).toBe(127);
    expect(path.stderr).toMatch(/rank [01] on node\d.*\/no\/such\/program.*no such file/);
    const name = await cluster.run(['no-such-program']);
    expect(name.code).toBe(127);
    expect(name.stderr).toContain('search path');
    const exited = await cluster.run(['sh', '-c', 'exit 127']);
    expect(exited).toMatchObject({ code: 127, stderr: '' });
  });

  test('a program that is missing on one of two nodes', async () => {
    // Both nodes are this machine, so it is what one rank is told to run that is not there.
    const ended = await cluster.run([
      '-n',
      '1',
      '--nodes',
      'node1,node2',
      'sleep',
      '100',
      ':',
      '-n',
      '1',
      '/opt/only/elsewhere',
    ]);
    expect(ended.code).toBe(127);
    expect(ended.stderr).toMatch(/rank 1 on node2.*\/opt\/only\/elsewhere/);
  });

  test('not executable, not a program, a directory', async () => {
    const plain = cluster.file('plain.txt', 'no program\n');
    chmodSync(plain, 0o644);
    const ended = await cluster.run([plain]);
    expect(ended.code).toBe(126);
    expect(ended.stderr).toMatch(/rank 0 on node\d.*permission denied/);
    const garbage = cluster.file('garbage', Buffer.from([0x7f, 0x45, 0x4c, 0x46, 1, 2, 3]));
    expect((await cluster.run([garbage])).code).not.toBe(0);
    expect((await cluster.run(['/usr'])).code).toBe(126);
  });

  test('a working directory that is missing, or may not be entered', async () => {
    const missing = await cluster.run(['-wdir', '/no/such/directory', 'true']);
    expect([126, 127]).toContain(missing.code);
    expect(missing.stderr).toMatch(/rank 0 on node\d.*\/no\/such\/directory/);
    const directory = join('/var/tmp', `muster-e2e-closed-${process.pid}`);
    mkdirSync(directory, { mode: 0o700 });
    try {
      const closed = await cluster.run(['-wdir', directory, 'true']);
      expect(closed.code).toBe(126);
      expect(closed.stderr).toMatch(/permission denied.*uid 65534/);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test('an unknown user, and users that the node does not allow', async () => {
    const unknown = await cluster.run(['--user', 'nobody-knows-him', 'true']);
    expect(unknown.code).toBe(2);
    expect(unknown.stderr).toContain('nobody-knows-him');
    const root = await cluster.run(['--user', 'root', 'id']);
    expect(root.code).not.toBe(0);
    expect(root.stdout).toBe('');
    expect(root.stderr).toMatch(/uid 0|root/);
  });

  test('arguments and environment of 2 MB', async () => {
    const argument = 'a'.repeat(100_000);
    const many = Array.from({ length: 21 }, () => argument);
    const ended = await cluster.shell(`muster run sh -c 'echo $#' x ${many.join(' ').slice(0, 100)}`).result;
    expect(ended.code).toBe(0);
    // The limit of this machine for one exec is a quarter of the stack, usually 2 MiB: the command itself has to start.
    const file = cluster.file(
      'big.yaml',
      group(
        'big',
        `  size: 1\n  processes:\n    - name: main\n      ranks: '0'\n      command: ['true']\n      args:\n${many.map((text) => `        - ${text}\n`).join('')}`,
      ),
    );
    const applied = await cluster.muster(['apply', '-f', file]);
    if (applied.code === 0) {
      const waited = await cluster.wait('big', 'Finished');
      if (waited.code !== 0) expect(waited.stderr).toMatch(/too (long|large|big)|E2BIG/);
    } else expect(applied.stderr).toMatch(/args|bytes|large|long|MiB/);
    const env = Object.fromEntries(many.slice(0, 15).map((text, index) => [`BIG_${index}`, text]));
    const loud = await cluster.run(['sh', '-c', 'echo ${#BIG_0}'], { env });
    expect(loud.code === 0 ? loud.stdout : loud.stderr).toMatch(/^100000$|too (long|large)|E2BIG/m);
  });
});

describe('ranks that speak PMI badly', () => {
  const speaking = (text: string): string[] => ['sh', '-c', `${text}`];

  test('garbage gets an error reply, and harms only itself', async () => {
    const ended = await cluster.run([
      '-n',
      '2',
      ...speaking('printf "what is this\\n" >&$PMI_FD; IFS= read -r answer <&$PMI_FD; echo "$answer"'),
    ]);
    expect(ended.code, ended.stderr).toBe(0);
    expect(ended.stdout.trimEnd().split('\n')).toHaveLength(2);
    expect(ended.stdout).toMatch(/rc=-1/);
  });

  test('a line of 1 MB', async () => {
    const ended = await cluster.run([
      '-n',
      '1',
      ...speaking('head -c 1000000 /dev/zero | tr "\\0" x >&$PMI_FD; echo written; exit 3'),
    ]);
    expect([3, 141]).toContain(ended.code);
    expect((await cluster.run(['-n', '2', program('cpi')])).code).toBe(0);
  });

  test('a line without an end, and silence', async () => {
    const ended = await cluster.run([
      '-n',
      '2',
      ...speaking('printf "cmd=init pmi_version=1" >&$PMI_FD; exit 0'),
    ]);
    expect(ended.code).toBe(0);
    expect((await cluster.run(['-n', '2', 'true'])).code).toBe(0);
  });

  test('binary noise', async () => {
    const ended = await cluster.run(['-n', '1', ...speaking('head -c 5000 /dev/urandom >&$PMI_FD; exit 0')]);
    expect(ended.code).toBe(0);
    expect((await cluster.run(['-n', '2', program('cpi')])).code).toBe(0);
  });
});

describe('a disk that is full', () => {
  let home: string;
  beforeAll(() => {
    home = `/var/tmp/muster-e2e-small-${process.pid}`;
    mkdirSync(home, { mode: 0o711 });
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m,mode=711', 'muster-e2e', home]);
  });
  afterAll(() => {
    execFileSync('umount', [home]);
    rmSync(home, { recursive: true });
  });

  test('what runs runs on, writers are told, and all is well again when there is room', async () => {
    const small = await Cluster.up({ agents: 1, home });
    try {
      await small.run(['-n', '1', '--detach', '--name', 'before', '--grace', '1', program('stubborn')]);
      await small.wait('before', 'Running');
      for (const name of ['ended', 'deleted']) {
        await small.run(['-n', '2', '--detach', '--name', name, 'sleep', '1000']);
        await small.wait(name, 'Running');
      }
      const filler = join(home, 'filler');
      fill(filler);
      // The last page of the store's file may still have room.
      let refusal = '';
      for (let turn = 0; turn < 50 && refusal === ''; turn++) {
        refusal = (await small.apply(group(`full-${turn}`, one(1, '0')))).stderr;
      }
      expect(refusal).toMatch(/disk of the store .* is full.*free some space/);
      const job = await small.run(['echo', 'no room']);
      expect(job.code).not.toBe(0);
      expect(job.stderr).toMatch(/space/);
      expect((await small.condition('before', 'Running'))?.status).toBe('True');
      // What is there can be ended and deleted, and its status told, without any room, also by a control plane started without.
      const pidFile = join(home, 'run', 'controller.pid.json');
      process.kill((JSON.parse(readFileSync(pidFile, 'utf8')) as { pid: number }).pid, 'SIGKILL');
      await eventually(
        async () => (await small.muster(['get', 'pg', 'before'])).code === 0,
        'the control plane to be there again',
        () => small.logs(),
      );
      await small.done(['kill', 'ended']);
      expect((await small.condition('ended', 'Failed'))?.status).toBe('True');
      await small.done(['delete', 'pg', 'deleted']);
      await small.done(['delete', 'pg', 'ended']);
      expect((await small.muster(['get', 'pg', 'deleted'])).code).toBe(1);
      rmSync(filler);
      await eventually(
        async () => (await small.run(['echo', 'room again'])).stdout === 'room again\n',
        'a job to run again',
        () => small.logs(),
      );
      expect(await small.done(['signal', 'USR1', 'before'])).toContain('reached 1 processes');
    } finally {
      await small[Symbol.asyncDispose]();
    }
  });

  test('a rank whose output fills it waits for room and loses nothing; the control plane answers meanwhile', async () => {
    const small = await Cluster.up({ agents: 1, home });
    try {
      const filler = join(home, 'filler');
      writeFileSync(filler, Buffer.alloc(12 << 20));
      const job = small.spawn(['run', '-n', '1', '--name', 'loud', program('outgen'), '16', '4096'], {
        stdin: '',
      });
      // Not by what the agent logs: there may be no room for that either.
      await eventually(() => statfsSync(home).bavail === 0, 'the disk to be full');
      for (let turn = 0; turn < 3; turn++) expect((await small.get('pg', 'loud')).metadata.name).toBe('loud');
      expect(job.child.exitCode).toBeNull();
      rmSync(filler);
      const ended = await job.result;
      expect(ended.code, ended.stderr).toBe(0);
      expect(ended.bytes.length).toBe(16 << 20);
      expect(ended.bytes.subarray(-4096).toString('latin1', 0, 19)).toBe('0000000 00000004095');
    } finally {
      await small[Symbol.asyncDispose]();
    }
  });

  function fill(path: string): void {
    execFileSync('sh', ['-c', 'cat /dev/zero >"$1" 2>/dev/null || true', 'fill', path]);
  }
});

describe('agents that may not join', () => {
  const agent = (home: string, args: readonly string[]): Promise<Result> =>
    cluster.muster(['--home', home, 'agent', ...args], { timeoutMs: 45_000 });
  const homeFor = (name: string): string => {
    const directory = join(cluster.home, `other-${name}`);
    mkdirSync(directory, { recursive: true, mode: 0o711 });
    return directory;
  };
  const tokenArgs = async (): Promise<string[]> =>
    (await cluster.done(['token', 'create'])).trim().split(' ').slice(2);

  test('a made-up token, and the wrong authority', async () => {
    const words = await tokenArgs();
    const madeUp = words.map((word, index) =>
      words[index - 1] === '--token' ? `${word.slice(0, -4)}0000` : word,
    );
    const ended = await agent(homeFor('madeup'), ['--node', 'node7', ...madeUp]);
    expect(ended.code).not.toBe(0);
    expect(ended.stderr + ended.stdout).toMatch(/token/i);
    const wrong = words.map((word, index) =>
      words[index - 1] === '--ca-hash' ? `sha256:${'0'.repeat(64)}` : word,
    );
    const other = await agent(homeFor('wrongca'), ['--node', 'node7', ...wrong]);
    expect(other.code).not.toBe(0);
    expect(other.stderr + other.stdout).toMatch(/CA|authority|hash/i);
  });

  test('a token is good for one machine', async () => {
    const words = await tokenArgs();
    const home = homeFor('first');
    const first = cluster.spawn(['--home', home, 'agent', '--node', 'node8', ...words], { stdin: '' });
    await eventually(
      async () => /node8 +Ready/.test(await cluster.done(['nodes'])),
      'node8 to be ready',
      () => first.stdout + first.stderr,
    );
    const second = await agent(homeFor('second'), ['--node', 'node9', ...words]);
    expect(second.code).not.toBe(0);
    expect(second.stderr + second.stdout).toMatch(/used|token/i);
    expect((await cluster.run(['--nodes', 'node8', 'echo', 'there'])).stdout).toBe('there\n');
    first.child.kill('SIGTERM');
    await first.result;
  });

  test('a second agent for the same node is refused, and the first goes on', async () => {
    const second = await agent(cluster.home, ['--node', 'node1']);
    expect(second.code).not.toBe(0);
    expect(second.stderr + second.stdout).toMatch(/node1/);
    expect((await cluster.run(['--nodes', 'node1', 'echo', 'there'])).stdout).toBe('there\n');
  });

  test('a certificate of another cluster is not let in', async () => {
    const other = await Cluster.up({ agents: 1 });
    try {
      const { hubPort, host } = JSON.parse(readFileSync(join(cluster.home, 'run/hub.json'), 'utf8')) as {
        hubPort: number;
        host: string;
      };
      const foreign = homeFor('foreign');
      const directory = join(foreign, 'nodes', 'node5');
      mkdirSync(directory, { recursive: true });
      for (const file of ['ca.crt', 'node.crt', 'node.key'])
        writeFileSync(join(directory, file), readFileSync(join(other.home, 'nodes/node1', file)), {
          mode: 0o600,
        });
      writeFileSync(join(directory, 'joined.json'), JSON.stringify({ hub: `${host}:${hubPort}` }));
      const child = spawn(join(checkout, 'bin/muster'), ['--home', foreign, 'agent', '--node', 'node5'], {
        env: cluster.environment(),
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let said = '';
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding('utf8').on('data', (text: string) => (said += text));
      const ended = new Promise((resolve) => child.once('exit', resolve));
      await eventually(
        () => /certificate|authority|self.signed|hub/i.test(said),
        'the agent to say what is wrong',
        () => said,
      );
      expect(await cluster.done(['nodes'])).not.toContain('node5');
      child.kill('SIGTERM');
      await ended;
    } finally {
      await other[Symbol.asyncDispose]();
    }
  });
});
