/** `muster run` in place of mpiexec: exit codes, signals, output, input, the caller's surroundings, job control. */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:os';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  Cluster,
  cpuTicksOf,
  eventually,
  inParallel,
  processesMarked,
  program,
  type Running,
} from './cluster.ts';

const leaseSeconds = 5;
let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.up({ agents: 2, env: { MUSTER_CLIENT_LEASE_SECONDS: String(leaseSeconds) } });
});
afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
});

let tags = 0;
/** Ranks of one job, found by a variable that only they have. */
function tagged(): { env: string[]; pids: () => number[] } {
  const entry = `E2E_JOB=${process.pid}-${++tags}`;
  return { env: ['--env', entry], pids: () => processesMarked(entry) };
}
const gone = (pids: () => number[]): Promise<void> =>
  eventually(
    () => pids().length === 0,
    'no rank left',
    () => pids().join(' '),
  );

describe('exit codes', () => {
  test('every code from 0 to 255 comes back', async () => {
    await inParallel(
      Array.from({ length: 256 }, (_, code) => code),
      6,
      async (code) => {
        const ended = await cluster.run(['-n', '1', program('exitwith'), 'code', String(code)]);
        expect(ended, `code ${code}`).toMatchObject({ code, stdout: '', stderr: '' });
      },
    );
  });

  test('every fatal signal is told as 128 + its number, and by name', async () => {
    const harmless = new Set([
      'SIGCHLD',
      'SIGCLD',
      'SIGCONT',
      'SIGSTOP',
      'SIGTSTP',
      'SIGTTIN',
      'SIGTTOU',
      'SIGURG',
      'SIGWINCH',
    ]);
    const byNumber = new Map<number, string[]>();
    for (const [name, number] of Object.entries(constants.signals)) {
      if (!harmless.has(name)) byNumber.set(number, [...(byNumber.get(number) ?? []), name]);
    }
    const all = [
      ...byNumber,
      ...[34, 50, 64].map((number): [number, string[]] => [number, [`SIG${number}`, `SIGRT`]]),
    ];
    expect(all.length).toBeGreaterThan(24);
    await inParallel(all, 4, async ([number, names]) => {
      const ended = await cluster.run([
        '-n',
        '2',
        program('exitwith'),
        '--rank',
        '1',
        'signal',
        String(number),
      ]);
      expect(ended.code, `signal ${number}: ${ended.stderr}`).toBe(128 + number);
      expect(ended.stderr).toMatch(/rank 1 on node[12] was ended/);
      expect(
        names.some((name) => ended.stderr.includes(name)),
        `${ended.stderr} names ${names.join(' or ')}`,
      ).toBe(true);
    });
  });

  test('the first failing rank ends the others and gives the code', async () => {
    const { env, pids } = tagged();
    const ended = await cluster.run([
      '-n',
      '6',
      '--nodes',
      'node1,node2',
      ...env,
      program('exitwith'),
      '--rank',
      '4',
      '--after-ms',
      '100',
      'code',
      '7',
    ]);
    expect(ended.code).toBe(7);
    expect(ended.stderr).toMatch(/rank 4 on node2 exited with 7/);
    await gone(pids);
  });

  test('with --keep-going the others finish', async () => {
    const script = cluster.file(
      'late.sh',
      '#!/bin/sh\nif [ $PMI_RANK = 0 ]; then exit 3; fi\nwhile [ ! -e "$1" ]; do read -r x </dev/null; sleep 0.02; done\necho rank $PMI_RANK is through\n',
    );
    const flag = cluster.file('other', '');
    const ended = await cluster.run(['-n', '2', '--keep-going', script, flag]);
    expect(ended.stdout).toBe('rank 1 is through\n');
    expect(ended.code).toBe(3);
  });
});

describe('output', () => {
  test('-l begins each line with its rank', async () => {
    const ended = await cluster.run([
      '-n',
      '4',
      '-l',
      '--nodes',
      'node1,node2',
      'sh',
      '-c',
      'echo one; echo two $PMI_RANK; echo three >&2',
    ]);
    expect(ended.code).toBe(0);
    const lines = ended.stdout.trimEnd().split('\n');
    expect([...lines].sort()).toEqual(
      [0, 1, 2, 3].flatMap((rank) => [`[${rank}] one`, `[${rank}] two ${rank}`]),
    );
    for (const rank of [0, 1, 2, 3]) {
      expect(lines.filter((line) => line.startsWith(`[${rank}]`))).toEqual([
        `[${rank}] one`,
        `[${rank}] two ${rank}`,
      ]);
    }
    expect(ended.stderr.trimEnd().split('\n').sort()).toEqual([0, 1, 2, 3].map((rank) => `[${rank}] three`));
  });

  test('64 MiB of eight ranks arrive whole, each in order, no line torn', async () => {
    const ended = await cluster.run([
      '-n',
      '8',
      '-l',
      '--nodes',
      'node1,node2',
      program('outgen'),
      '8',
      '4000',
    ]);
    expect(ended.code).toBe(0);
    const next = new Array<number>(8).fill(0);
    for (let at = 0; at < ended.bytes.length; at += 4004) {
      const head = ended.bytes.toString('latin1', at, at + 24);
      const match = /^\[(\d)\] (\d{7}) (\d{11}) $/.exec(head);
      if (!match || ended.bytes[at + 4003] !== 10) throw new Error(`torn at byte ${at}: ${head}`);
      const rank = Number(match[1]);
      if (Number(match[2]) !== rank || Number(match[3]) !== next[rank])
        throw new Error(`${head}: expected line ${next[rank]}`);
      next[rank]++;
    }
    expect(next).toEqual(new Array(8).fill(Math.floor((8 * 1048576) / 4000)));
  });

  test('output without a last newline, of zeros and of every byte comes as it was', async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
    const file = cluster.file('bytes', bytes);
    const ended = await cluster.run(['-n', '1', 'cat', file]);
    expect(ended.bytes.equals(bytes)).toBe(true);
  });

  test('a reader that leaves ends the job as a broken pipe', async () => {
    const { env, pids } = tagged();
    const ended = await cluster.shell(
      `muster run -n 2 ${env.join(' ')} sh -c 'while :; do echo line; done' | head -1; echo "\${PIPESTATUS[0]}"`,
    ).result;
    expect(ended.stdout).toBe('line\n141\n');
    await gone(pids);
  });

  test('a slow reader of one job slows no other', async () => {
    const slow = cluster.shell(`muster run -n 2 --name unread ${program('outgen')} 40`);
    slow.child.stdout!.pause();
    await eventually(async () => {
      const shown = await cluster.muster(['get', 'pg', 'unread', '-o', 'json']);
      return (
        shown.code === 0 &&
        (JSON.parse(shown.stdout) as { status?: { phase?: string } }).status?.phase === 'Succeeded'
      );
    }, 'the unread job to have written all');
    const ended = await cluster.run(['-n', '2', 'echo', 'quick']);
    expect(ended.stdout).toBe('quick\nquick\n');
    expect(slow.child.exitCode).toBeNull();
    slow.child.stdout!.resume();
    const { bytes, code } = await slow.result;
    expect(code).toBe(0);
    expect(bytes.length).toBe(2 * 40 * 1048576);
  });
});

describe('input', () => {
  const sizes = [0, 1, 50 * 1024 * 1024];
  const counted = (stdin: Buffer): string => `bytes=${stdin.length} crc32=${crc32(stdin)}`;

  test.each(sizes)('%i bytes reach rank 0, and the others read an end', async (size) => {
    const stdin = randomBytes(size);
    const ended = await cluster.run(['-n', '3', '-l', '--nodes', 'node1,node2', program('incount')], {
      stdin,
    });
    expect(ended.code, ended.stderr).toBe(0);
    const lines = ended.stdout.trimEnd().split('\n').sort();
    expect(lines[0]).toContain(`[0] ${counted(stdin)} `);
    expect(lines[1]).toContain(`[1] ${counted(Buffer.alloc(0))} `);
    expect(lines[2]).toContain(`[2] ${counted(Buffer.alloc(0))} `);
  });

  test.each(sizes)('%i bytes reach all ranks', async (size) => {
    const stdin = randomBytes(Math.min(size, 10 * 1024 * 1024));
    const ended = await cluster.run(
      ['-n', '4', '--stdin', 'all', '--nodes', 'node1,node2', program('incount')],
      { stdin },
    );
    expect(ended.code, ended.stderr).toBe(0);
    const lines = ended.stdout.trimEnd().split('\n');
    expect(lines).toHaveLength(4);
    for (const line of lines) expect(line).toContain(counted(stdin));
  });

  test('with none, nobody reads anything', async () => {
    const ended = await cluster.run(['-n', '2', '--stdin', 'none', program('incount')], {
      stdin: 'not for you',
    });
    expect(ended.stdout).toBe('bytes=0 crc32=00000000 reads=0\n'.repeat(2));
  });

  test('a job that reads nothing ends though its input never does', async () => {
    const running = cluster.spawn(['run', '-n', '1', 'true']);
    expect((await running.result).code).toBe(0);
  });

  test('what is typed is answered before the input ends', async () => {
    const running = cluster.spawn([
      'run',
      '-n',
      '1',
      'sh',
      '-c',
      'while read -r line; do echo "got $line"; done; echo end',
    ]);
    for (const word of ['one', 'two']) {
      running.child.stdin!.write(`${word}\n`);
      await running.untilOutput(`got ${word}`);
    }
    running.child.stdin!.end();
    expect((await running.result).stdout).toBe('got one\ngot two\nend\n');
  });
});

describe("the caller's surroundings", () => {
  test('the environment passes on, but not what belongs to the launcher', async () => {
    const env = { FRUIT: 'pear and plum', EMPTY: '', UNICODE: 'ä€😀', PMI_RANK: '77', HYDRA_X: '1' };
    const ended = await cluster.run(
      ['-n', '1', 'sh', '-c', 'echo "$FRUIT|$EMPTY|${EMPTY+set}|$UNICODE|$PMI_RANK|$HYDRA_X|$MUSTER_HOME"'],
      { env },
    );
    expect(ended.stdout).toBe('pear and plum||set|ä€😀|0||\n');
    const object = await cluster.done(['get', 'pg', '-o', 'json']);
    expect(object).not.toContain('pear and plum');
  });

  test('--env, -genv, -genvnone and -genvlist choose', async () => {
    const show = ['sh', '-c', 'echo "$A-$B-$C"'];
    const env = { A: 'a', B: 'b' };
    expect((await cluster.run(['-genvnone', '--env', 'C=c', ...show], { env })).stdout).toBe('--c\n');
    expect((await cluster.run(['-genvlist', 'B', ...show], { env })).stdout).toBe('-b-\n');
    expect((await cluster.run(['-genv', 'A', 'x', '-env', 'C', 'y', ...show], { env })).stdout).toBe(
      'x-b-y\n',
    );
  });

  test('MPI_LOCALRANKID and MUSTER_* say who and where a rank is', async () => {
    const ended = await cluster.run([
      '-n',
      '4',
      '--nodes',
      'node1,node2',
      'sh',
      '-c',
      'echo $MUSTER_RANK/$MUSTER_SIZE $MPI_LOCALRANKID/$MPI_LOCALNRANKS $MUSTER_NODE',
    ]);
    expect(ended.stdout.trimEnd().split('\n').sort()).toEqual([
      '0/4 0/2 node1',
      '1/4 1/2 node1',
      '2/4 0/2 node2',
      '3/4 1/2 node2',
    ]);
  });

  test('directory, umask and limits pass through', async () => {
    const line = `umask 0027; ulimit -Sn 333; ulimit -c 0; ulimit -s 4096; muster run -n 2 sh -c 'pwd; umask; ulimit -Sn; ulimit -c; ulimit -s'`;
    const ended = await cluster.shell(line, { cwd: '/usr/share' }).result;
    expect(ended.stderr).toBe('');
    const one = ['/usr/share', '0027', '333', '0', '4096'];
    expect(ended.stdout.trimEnd().split('\n').sort()).toEqual([...one, ...one].sort());
  });

  test('-wdir and --path', async () => {
    const file = cluster.file('own-program', '#!/bin/sh\npwd\n');
    const ended = await cluster.run(['-wdir', '/usr', '--path', file.replace(/\/[^/]*$/, ''), 'own-program']);
    expect(ended).toMatchObject({ code: 0, stdout: '/usr\n' });
  });
});

describe('placement and names', () => {
  test('--nodes runs there, in that order, a node named twice twice', async () => {
    const where = async (args: string[]): Promise<string[]> =>
      (await cluster.run([...args, '-l', 'sh', '-c', 'echo $MUSTER_NODE'])).stdout
        .trimEnd()
        .split('\n')
        .sort();
    expect(await where(['-n', '2', '--nodes', 'node2,node1'])).toEqual(['[0] node2', '[1] node1']);
    expect(await where(['-n', '3', '--host', 'node2'])).toEqual(['[0] node2', '[1] node2', '[2] node2']);
    expect(await where(['-n', '4', '--policy', 'cyclic', '--nodes', 'node1,node2'])).toEqual([
      '[0] node1',
      '[1] node2',
      '[2] node1',
      '[3] node2',
    ]);
  });

  test('a job for a node that is not there is refused, by name', async () => {
    const ended = await cluster.run(['-n', '1', '--nodes', 'node9', 'hostname']);
    expect(ended.code).toBe(2);
    expect(ended.stderr).toContain('node9');
  });

  test('a host file', async () => {
    const file = cluster.file('hosts', '# two on the second\nnode2:2\nnode1\n');
    const ended = await cluster.run(['-n', '3', '-f', file, '-l', 'sh', '-c', 'echo $MUSTER_NODE']);
    expect(ended.stdout.trimEnd().split('\n').sort()).toEqual(['[0] node2', '[1] node2', '[2] node1']);
  });

  test('programs between colons run as one job', async () => {
    const ended = await cluster.run([
      '-n',
      '1',
      '--env',
      'A=x',
      'sh',
      '-c',
      'echo a $A $PMI_RANK/$PMI_SIZE',
      ':',
      '-n',
      '2',
      'sh',
      '-c',
      'echo b $A $PMI_RANK/$PMI_SIZE',
    ]);
    expect(ended.stdout.trimEnd().split('\n').sort()).toEqual(['a x 0/3', 'b 1/3', 'b 2/3']);
  });

  test('--name names the job; --detach gives the name back and leaves it running', async () => {
    const started = await cluster.run(['-n', '2', '--detach', '--name', 'night', program('stubborn')]);
    expect(started).toMatchObject({ code: 0, stdout: 'night\n' });
    await cluster.wait('night', 'Running');
    const taken = await cluster.run(['--name', 'night', 'true']);
    expect(taken.code).toBe(2);
    expect(taken.stderr).toContain('night');
    await cluster.done(['kill', '--now', 'night']);
    expect((await cluster.condition('night', 'Failed'))?.status).toBe('True');
  });
});

describe('ends', () => {
  test('MPIEXEC_TIMEOUT ends the job and says so', async () => {
    const { env, pids } = tagged();
    const ended = await cluster.run(['-n', '2', ...env, 'sleep', '1000'], { env: { MPIEXEC_TIMEOUT: '1' } });
    expect(ended.code).toBe(124);
    expect(ended.stderr).toContain('wallTimeSeconds');
    expect(ended.ms).toBeGreaterThan(900);
    expect(ended.ms).toBeLessThan(25_000);
    await gone(pids);
  });

  test('Ctrl-C ends the job with SIGTERM; a program that tidies up may', async () => {
    const { env, pids } = tagged();
    const running = cluster.spawn([
      'run',
      '-n',
      '2',
      ...env,
      'sh',
      '-c',
      'trap "echo tidied; exit 0" TERM; echo ready; while :; do sleep 0.01; done',
    ]);
    await eventually(
      () => running.stdout === 'ready\nready\n',
      'both ready',
      () => running.stdout,
    );
    running.child.kill('SIGINT');
    const ended = await running.result;
    expect(ended.code).toBe(130);
    expect(ended.stdout).toBe('ready\nready\ntidied\ntidied\n');
    await gone(pids);
  });

  test('Ctrl-C kills after the grace period who does not listen', async () => {
    const { env, pids } = tagged();
    const running = cluster.spawn(['run', '-n', '1', '--grace', '1', ...env, program('stubborn')]);
    await running.untilOutput('ready');
    running.child.kill('SIGINT');
    const ended = await running.result;
    expect(ended.code).toBe(130);
    expect(ended.stdout).toContain('got signal 15');
    await gone(pids);
  });

  test('Ctrl-C twice kills at once', async () => {
    const { env, pids } = tagged();
    const running = cluster.spawn(['run', '-n', '2', '--grace', '600', ...env, program('stubborn')]);
    await eventually(
      () => running.stdout === 'ready\nready\n',
      'both ready',
      () => running.stdout,
    );
    running.child.kill('SIGINT');
    await running.untilOutput('got signal 15');
    running.child.kill('SIGINT');
    expect((await running.result).code).toBe(130);
    await gone(pids);
  });

  test('SIGUSR1 is passed on to the ranks', async () => {
    const running = cluster.spawn(['run', '-n', '1', '--grace', '0', program('stubborn')]);
    await running.untilOutput('ready');
    running.child.kill('SIGUSR1');
    await running.untilOutput(`got signal ${constants.signals.SIGUSR1}`);
    running.child.kill('SIGINT');
    await running.result;
  });

  test('a client that is killed takes its job with it after the lease', async () => {
    const { env, pids } = tagged();
    const running = cluster.spawn(['run', '-n', '2', '--name', 'left', ...env, 'sleep', '1000']);
    await cluster.wait('left', 'Running');
    expect(pids()).toHaveLength(2);
    const killedAt = performance.now();
    running.child.kill('SIGKILL');
    await running.result;
    await gone(pids);
    expect(performance.now() - killedAt).toBeGreaterThan(leaseSeconds * 900);
    expect((await cluster.condition('left', 'Failed'))?.reason).toBe('ClientGone');
  });

  test('a client that stays keeps its job beyond the lease', async () => {
    const running = cluster.spawn(['run', '-n', '1', 'sleep', String(2 * leaseSeconds + 1)]);
    expect((await running.result).code).toBe(0);
  });
});

describe('on a terminal', () => {
  const typing = async (running: Running, text: string): Promise<void> => {
    await new Promise<void>((resolve, reject) =>
      running.child.stdin!.write(text, (error) => (error ? reject(error) : resolve())),
    );
  };

  test('Ctrl-Z stops the job and the command, fg goes on with both', async () => {
    const { env, pids } = tagged();
    const spin = cluster.file(
      'spin.sh',
      '#!/bin/sh\ntrap "echo spun; exit 0" TERM\necho spinning\nwhile :; do :; done\n',
    );
    const shell = cluster.terminal();
    await shell.untilOutput('$ ');
    await typing(shell, `muster run -n 2 --nodes node1,node2 --name spin ${env.join(' ')} ${spin}\n`);
    await eventually(
      () => shell.stdout.split('spinning').length === 3,
      'both ranks spinning',
      () => shell.stdout,
    );
    await typing(shell, '\x1a');
    await shell.untilOutput('Stopped');
    expect((await cluster.condition('spin', 'Suspended'))?.status).toBe('True');
    const stood = pids().map(cpuTicksOf);
    expect(stood).toHaveLength(2);
    // Real work meanwhile, for longer than a clock tick.
    for (let turn = 0; turn < 3; turn++) expect((await cluster.run(['-n', '2', 'hostname'])).code).toBe(0);
    expect(pids().map(cpuTicksOf)).toEqual(stood);
    await typing(shell, 'fg\n');
    await eventually(
      () => pids().every((pid, index) => cpuTicksOf(pid) > (stood[index] ?? 0) + 2),
      'both ranks to spin on',
      () => shell.stdout,
    );
    await typing(shell, '\x03');
    await eventually(
      () => shell.stdout.split('spun').length === 3 && shell.stdout.endsWith('$ '),
      'the prompt again',
      () => shell.stdout,
    );
    await typing(shell, 'echo code=$?\n');
    await shell.untilOutput('code=130');
    shell.child.stdin!.end('exit\n');
    await shell.result;
    await gone(pids);
  });

  test('-t gives a rank a terminal', async () => {
    const shell = cluster.terminal();
    await shell.untilOutput('$ ');
    await typing(shell, `muster run -t sh -c 'test -t 0 && test -t 1 && echo a-ter""minal'\n`);
    await shell.untilOutput('a-terminal');
    shell.child.stdin!.end('exit\n');
    await shell.result;
  });
});

function crc32(bytes: Buffer): string {
  let crc = 0xffffffff;
  for (let at = 0; at < bytes.length; at++) crc = crcTable[(crc ^ bytes[at]!) & 255]! ^ (crc >>> 8);
  return ((crc ^ 0xffffffff) >>> 0).toString(16).padStart(8, '0');
}
const crcTable = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value >>> 0;
});
