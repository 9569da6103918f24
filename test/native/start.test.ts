import { readFileSync, mkdtempSync, chmodSync, rmSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { native } from '../../native/addon/index.ts';
import { close, eventually, message, readToEnd, Sandbox, slotState } from './sandbox.ts';

const nobody = { uid: 65534, gid: 65534 };
const exitCode = (waitStatus: number): number => (waitStatus >> 8) & 0xff;
const stage = { stdio: 2, rlimit: 3, affinity: 4, credentials: 5, chdir: 6, exec: 7, badRequest: 8 };

describe('a start', () => {
  let sandbox: Sandbox;
  beforeAll(() => {
    sandbox = Sandbox.launch(['--bind', '/var/tmp:/var/tmp'], 4096);
  });
  afterAll(() => sandbox[Symbol.asyncDispose]());

  it('tells every exit code', async () => {
    const { words } = await sandbox.start(
      Array.from({ length: 256 }, (_, code) => ({ argv: ['/bin/sh', '-c', `exit ${code}`], startId: 7 })),
    );
    for (let code = 0; code < 256; code++)
      expect(exitCode((await sandbox.ended(words[0]! + code)).waitStatus)).toBe(code);
  });

  it('tells every fatal signal', async () => {
    const signals = [1, 2, 3, 6, 9, 11, 13, 14, 15];
    const { words } = await sandbox.start(
      signals.map((signal) => ({ argv: ['sh', '-c', `kill -${signal} $$`], startId: 8 })),
    );
    for (const [i, signal] of signals.entries())
      expect((await sandbox.ended(words[0]! + i)).waitStatus & 0x7f).toBe(signal);
  });

  it('takes output up to the end, and 200 kB of argument', async () => {
    const long = 'x'.repeat(100_000);
    const { output } = await sandbox.run({ argv: ['printf', '%s', long, long], env: [`PATH=/usr/bin:/bin`] });
    expect(output).toBe(long + long);
  });

  it.each([
    ['no such program', { argv: ['/no/such'] }, stage.exec, 'ENOENT'],
    ['not on the search path', { argv: ['no-such-program'] }, stage.exec, 'ENOENT'],
    ['not executable', { argv: ['/etc/passwd'] }, stage.exec, 'EACCES'],
    ['a directory', { argv: ['/etc'] }, stage.exec, 'EACCES'],
    ['no such working directory', { argv: ['true'], cwd: '/no/such' }, stage.chdir, 'ENOENT'],
    ['a forbidden working directory', { argv: ['true'], cwd: '/root', ...nobody }, stage.chdir, 'EACCES'],
    ['no such limit', { argv: ['true'], rlimits: [[999, 1n, 1n]] as const }, stage.rlimit, 'EINVAL'],
    ['no such processor', { argv: ['true'], cpuMask: new Uint8Array([0]) }, stage.affinity, 'EINVAL'],
    [
      'a forbidden file',
      { argv: ['true'], stdout: 'file', stdoutFile: '/etc/x', ...nobody },
      stage.stdio,
      'EACCES',
    ],
    ['no file name', { argv: ['true'], stdout: 'file' }, stage.badRequest, 'EINVAL'],
    ['a terminal for stderr alone', { argv: ['true'], stderr: 'pty' }, stage.badRequest, 'EINVAL'],
    ['no argument at all', { argv: [] }, stage.badRequest, 'EINVAL'],
    [
      'too much argument',
      { argv: ['true', ...Array.from({ length: 40 }, () => 'x'.repeat(100_000))] },
      stage.exec,
      'E2BIG',
    ],
  ] as const)('says where it failed: %s', async (_, entry, failedStage, errno) => {
    const slot = await sandbox.run(entry);
    expect(slot).toMatchObject({
      state: slotState.notStarted,
      stage: failedStage,
      error: constants.errno[errno],
    });
  });

  it('says that the program on the search path is not executable, but prefers one that is', async () => {
    using file = temporaryFile('echo found\n', 0o644);
    const directory = file.path.replace(/\/file$/, '');
    const slot = await sandbox.run({ argv: ['file'], path: `/nowhere:${directory}:/etc/passwd/x` });
    expect(slot).toMatchObject({
      state: slotState.notStarted,
      stage: stage.exec,
      error: constants.errno.EACCES,
    });
    writeFileSync(`${directory}/true`, 'exit 1');
    expect((await sandbox.run({ argv: ['true'], path: `${directory}:/bin` })).waitStatus).toBe(0);
  });

  it('is not confused by a program that exits 127', async () => {
    expect(await sandbox.sh('exit 127')).toMatchObject({
      state: slotState.exited,
      stage: 0,
      waitStatus: 127 << 8,
    });
  });

  it('runs a text without an interpreter line as the shell does', async () => {
    using file = temporaryFile('echo text $1\n', 0o755);
    expect((await sandbox.run({ argv: [file.path, 'one'] })).output).toBe('text one\n');
  });

  it('gives the environment: own variables over shared ones, and nothing else', async () => {
    const entry = { argv: ['/usr/bin/env'], env: ['A=own', 'B=2'] };
    expect((await sandbox.run(entry, ['A=shared', 'C=3', 'AB=4'])).output).toBe('A=own\nB=2\nC=3\nAB=4\n');
    expect((await sandbox.run({ ...entry, sharedEnv: false }, ['C=3'])).output).toBe('A=own\nB=2\n');
  });

  it('leaves a rank no capability, no_new_privs, its ids, umask and descriptors only', async () => {
    const { output } = await sandbox.sh('cat /proc/self/status; umask; ls /proc/self/fd | tr "\\n" " "; id', {
      ...nobody,
      groups: [100, 101],
      umask: 0o27,
    });
    for (const set of ['Inh', 'Prm', 'Eff', 'Bnd', 'Amb'])
      expect(output).toMatch(new RegExp(`^Cap${set}:\t0+$`, 'm'));
    expect(output).toMatch(/^NoNewPrivs:\t1$/m);
    expect(output).toMatch(/^SigBlk:\t0+$/m);
    expect(output).toMatch(/^SigIgn:\t0+$/m);
    expect(output).toMatch(/^Uid:\t65534\t65534\t65534\t65534$/m);
    expect(output).toContain('groups=65534(nogroup),100(users),101');
    expect(output).toContain('\n0027\n0 1 2 3 ');
  });

  it('leaves even a rank of root no capability', async () => {
    const { output } = await sandbox.sh('grep Cap /proc/self/status', { uid: 0, gid: 0 });
    expect(output.match(/:\t0+$/gm)).toHaveLength(5);
  });

  it('limits open files as the agent was limited, unless asked', async () => {
    const limit = /Max open files +(\d+) +(\d+)/;
    const own = limit.exec(readFileSync('/proc/self/limits', 'utf8'))!;
    expect((await sandbox.sh('ulimit -Hn')).output.trim()).toBe(own[2]);
    const { output } = await sandbox.sh('ulimit -n; ulimit -c', {
      rlimits: [
        [7, 99n, 100n],
        [4, 0n, 0n],
      ],
    });
    expect(output).toBe('99\n0\n');
  });

  it('binds to processors', async () => {
    const { output } = await sandbox.sh('grep Cpus_allowed_list /proc/self/status', {
      cpuMask: new Uint8Array([1]),
    });
    expect(output).toBe('Cpus_allowed_list:\t0\n');
  });

  it('appends to files as the user', async () => {
    const directory = mkdtempSync('/var/tmp/muster-test-');
    chmodSync(directory, 0o777);
    try {
      const entry = {
        argv: ['sh', '-c', 'echo out; echo err >&2'],
        cwd: directory,
        stdout: 'file',
        stderr: 'file',
      } as const;
      const files = { stdoutFile: 'both', stderrFile: `${directory}/both`, ...nobody };
      for (let i = 0; i < 2; i++)
        expect((await sandbox.run({ ...entry, ...files })).state).toBe(slotState.exited);
      expect(readFileSync(`${directory}/both`, 'utf8')).toBe('out\nerr\nout\nerr\n');
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('does the same start once', async () => {
    const entry = { argv: ['true'], rank: 5, startId: 77 };
    const first = await sandbox.start([entry]);
    const used = sandbox.slotsUsed;
    expect(await sandbox.start([entry])).toEqual(first);
    expect(sandbox.slotsUsed).toBe(used);
  });

  it('delivers input until its end', async () => {
    const { words } = await sandbox.start([{ argv: ['cat'], stdin: 'pipe', startId: 9 }]);
    const slot = sandbox.slot(words[0]!);
    const input = sandbox.take(slot.fdStdin);
    writeFileSync(input, 'some input');
    native().close(input);
    expect((await sandbox.request(message.close, [words[0]!, close.stdin])).result).toBe(0);
    expect((await readToEnd(sandbox.take(slot.fdStdout))).toString()).toBe('some input');
    expect(sandbox.slot(words[0]!).fdStdin).toBe(-1);
  });

  it('keeps a descriptor for the input spool', async () => {
    const { words } = await sandbox.start([{ argv: ['true'], startId: 10 }]);
    const spool = native().memfd('spool', Buffer.from('spooled'), false);
    expect((await sandbox.request(message.hold, [words[0]!], [spool])).result).toBe(0);
    native().close(spool);
    const kept = sandbox.take(sandbox.slot(words[0]!).fdInput);
    expect(native().readAll(kept, 100).toString()).toBe('spooled');
    native().close(kept);
    await sandbox.request(message.close, [words[0]!, close.input]);
    expect(sandbox.slot(words[0]!).fdInput).toBe(-1);
  });

  it('gives a shell a terminal of its own', async () => {
    const terminal = {
      stdin: 'pty',
      stdout: 'pty',
      stderr: 'pty',
      rows: 33,
      columns: 111,
      startId: 11,
    } as const;
    const { words } = await sandbox.start([{ argv: ['sh', '-i'], env: ['PS1=> '], ...terminal, ...nobody }]);
    const slot = sandbox.slot(words[0]!);
    expect(slot.fdStdin).toBe(slot.fdStdout);
    expect(slot.fdStderr).toBe(-1);
    const master = sandbox.take(slot.fdStdin);
    writeFileSync(master, 'stty size; tty; ls -l $(tty); sleep 0.01 & fg; exit 3\n');
    const output = (await readToEnd(master)).toString();
    expect(output).toContain('33 111\r\n/dev/pts/');
    expect(output).toMatch(/crw--w---- 1 nobody tty/);
    expect(output).not.toContain('job control turned off');
    expect(exitCode((await sandbox.ended(words[0]!)).waitStatus)).toBe(3);
  });

  it('signals each id at most once, whole process groups', async () => {
    const { words } = await sandbox.start([
      { argv: ['sh', '-c', 'sleep 1000 & sleep 1000'], startId: 12 },
      {
        argv: ['sh', '-c', 'trap "echo got; exit 5" USR1; echo ready; while :; do sleep 0.01; done'],
        startId: 12,
      },
    ]);
    const [first, second] = [words[0]!, words[0]! + 1];
    const output = sandbox.take(sandbox.slot(second).fdStdout);
    const text = readToEnd(output);
    expect(await sandbox.signal(10n, 15, [first])).toEqual({ result: 0, words: [1] });
    expect((await sandbox.ended(first)).waitStatus).toBe(15);
    expect((await sandbox.signal(10n, 9, [second])).result).toBe(-constants.errno.EALREADY);
    expect((await sandbox.signal(9n, 9, [second])).result).toBe(-constants.errno.EALREADY);
    expect(sandbox.slot(second).state).toBe(slotState.running);
    expect(await sandbox.signal(11n, 9, [first, second, 4_000_000])).toEqual({ result: 0, words: [1] });
    expect((await sandbox.ended(second)).waitStatus).toBe(9);
    expect((await text).toString()).not.toContain('got');
    expect((await sandbox.signal(12n, 99)).result).toBe(-constants.errno.EINVAL);
  });

  it('stops and continues all', async () => {
    const { words } = await sandbox.start([{ argv: ['sleep', '1000'], startId: 13 }]);
    const { pid } = sandbox.slot(words[0]!);
    const ps = async (): Promise<string> =>
      (await sandbox.sh(`sed 's/.*) //; s/ .*//' /proc/${pid}/stat`)).output.trim();
    await sandbox.request(message.stop);
    expect(await ps()).toBe('T');
    await sandbox.request(message.continue);
    expect(await ps()).toMatch(/[RS]/);
    await sandbox.request(message.kill);
    expect((await sandbox.ended(words[0]!)).waitStatus).toBe(9);
    await eventually(() => sandbox.descendants === 0, 'nobody left');
  });

  it('refuses more than its slots, and messages it does not know', async () => {
    const entries = Array.from({ length: 4097 }, () => ({ argv: ['true'], startId: 14 }));
    const used = sandbox.slotsUsed;
    expect((await sandbox.start(entries)).result).toBe(-constants.errno.ENOSPC);
    expect(sandbox.slotsUsed).toBe(used);
    expect((await sandbox.request(99)).result).toBe(-constants.errno.ENOSYS);
    expect((await sandbox.request(message.start)).result).toBe(-constants.errno.EINVAL);
    expect((await sandbox.request(message.close, [4_000_000, 1])).result).toBe(-constants.errno.EINVAL);
    expect((await sandbox.request(message.hello, [1])).words).toEqual([1]);
  });

  it('refuses a file that could still change', async () => {
    const fd = native().memfd('start', Buffer.alloc(64), false);
    expect((await sandbox.request(message.start, [], [fd])).result).toBe(-constants.errno.EINVAL);
    native().close(fd);
  });
});

describe('1,024 ranks', () => {
  it('start and end, each with its own output', async () => {
    await using sandbox = Sandbox.launch([], 1032);
    const entries = Array.from({ length: 1024 }, (_, rank) => ({
      argv: ['/bin/echo', String(rank)],
      stdin: 'pipe' as const,
      stderr: 'pipe' as const,
      pmi: true,
    }));
    expect(await sandbox.start(entries)).toEqual({ result: 0, words: [0, 1024] });
    for (let rank = 0; rank < 1024; rank++) expect((await sandbox.ended(rank)).waitStatus).toBe(0);
    const texts = await Promise.all(
      entries.map(async (_, rank) => (await readToEnd(sandbox.take(sandbox.slot(rank).fdStdout))).toString()),
    );
    expect(texts).toEqual(entries.map((_, rank) => `${rank}\n`));
    expect((await sandbox.start([{ argv: ['true'] }], [], 1024)).words).toEqual([1024, 1]);
  });
});

function temporaryFile(text: string, mode: number): Disposable & { path: string } {
  const directory = mkdtempSync('/var/tmp/muster-test-');
  writeFileSync(`${directory}/file`, text);
  chmodSync(`${directory}/file`, mode);
  return { path: `${directory}/file`, [Symbol.dispose]: () => rmSync(directory, { recursive: true }) };
}
