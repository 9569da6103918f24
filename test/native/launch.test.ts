import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { describe, expect, it } from 'vitest';
import { native } from '../../native/addon/index.ts';
import { build, eventually, launch, message, Sandbox, type LaunchFailure } from './sandbox.ts';

const root = process.getuid?.() === 0;
const nobody = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];

/** Mount points and their types, options and roots, as a process inside sees them. */
function table(mountinfo: string): Record<string, string> {
  const rows = mountinfo
    .trim()
    .split('\n')
    .map((line) => line.split(' '));
  return Object.fromEntries(
    rows.map((row) => [row[4]!, `${row[row.indexOf('-') + 1]} ${row[5]!.split(',')[0]} ${row[3]}`]),
  );
}

/** Writable hierarchies of cgroups on this machine. */
function hierarchies(): { mount: string; unified: boolean; names: string }[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(' '))
    .filter((row) => /^cgroup2?$/.test(row[row.indexOf('-') + 1]!) && row[5]!.startsWith('rw'))
    .map((row) => ({ mount: row[4]!, unified: row[row.indexOf('-') + 1] === 'cgroup2', names: row.at(-1)! }));
}

describe.skipIf(!root)('the mounts of a sandbox', () => {
  it('are the table and nothing else', async () => {
    native().setChildSubreaper();
    const hosts = native().memfd('hosts', Buffer.from('127.0.0.1 localhost\n'), true);
    const directory = mkdtempSync('/var/tmp/muster-test-');
    writeFileSync(`${directory}/own`, 'from outside');
    try {
      const { answer } = launch(
        [
          '--hostname',
          'group-0',
          '--bind',
          `${directory}:/run/deep/er`,
          '--bind',
          `${directory}/own:/run/file:ro`,
        ]
          .concat([
            '--bind',
            `${directory}:/mnt:ro`,
            '--tmpfs',
            '/tmp:size=1m,mode=1777',
            '--tmpfs',
            '/run/more',
          ])
          .concat(['--file', '/etc/hosts:3', '--file', '/etc/no-such-file-here:3']),
        { fds: [hosts] },
      );
      if ('error' in answer) throw new Error(answer.error);
      await using sandbox = new Sandbox(answer.pid, 1024);
      expect(answer.skipped).toEqual(['/etc/no-such-file-here']);
      expect(readlinkSync(`/proc/${answer.pid}/ns/pid`)).toBe(`pid:[${answer.pidns}]`);
      expect(readFileSync(`/proc/${answer.pid}/stat`, 'utf8').split(' ')[21]).toBe(String(answer.startTime));
      const { output } = await sandbox.sh('cat /proc/self/mountinfo');
      expect(table(output)).toEqual({
        '/': expect.stringMatching(/ rw \/$/) as string,
        '/proc': 'proc rw /',
        '/sys': 'sysfs ro /',
        '/dev': 'tmpfs rw /',
        '/dev/pts': 'devpts rw /',
        '/dev/shm': 'tmpfs rw /',
        '/tmp': 'tmpfs rw /',
        '/run': 'tmpfs rw /',
        '/run/more': 'tmpfs rw /',
        '/run/deep/er': expect.stringContaining(` rw ${directory}`) as string,
        '/run/file': expect.stringContaining(` ro ${directory}/own`) as string,
        '/mnt': expect.stringContaining(` ro ${directory}`) as string,
        '/etc/hosts': expect.stringMatching(/^tmpfs ro /) as string,
      });
      const look =
        'cat /etc/hosts /run/deep/er/own; echo; hostname; ls -A /tmp /dev/shm; ls /dev | tr "\\n" " "; touch /mnt/x || echo refused';
      expect((await sandbox.sh(look)).output).toBe(
        '127.0.0.1 localhost\nfrom outside\ngroup-0\n/dev/shm:\n\n/tmp:\n' +
          'fd full null ptmx pts random shm stderr stdin stdout tty urandom zero refused\n',
      );
    } finally {
      native().close(hosts);
      rmSync(directory, { recursive: true });
    }
    expect(hostname()).not.toBe('group-0');
  });

  it('hold the devices asked for', async () => {
    await using sandbox = Sandbox.launch(['--device', '/dev/kmsg', '--device', '/dev/tty0']);
    expect((await sandbox.sh('ls -l /dev/kmsg /dev/tty0 | cut -c1')).output).toBe('c\nc\n');
  });

  it('do not let ranks see or reach what lies outside', async () => {
    await using sandbox = Sandbox.launch(['--net', 'new']);
    const look =
      'ls /proc | grep -c "^[0-9]"; cat /proc/1/comm; cat /sys/class/net/lo/flags; ls /sys/class/net; ls /sys/fs/cgroup';
    expect((await sandbox.sh(look)).output).toMatch(/^[345]\nrank-init\n0x9\nlo\n$/);
    expect((await sandbox.sh('kill -9 1; kill -0 1 2>&1', { uid: 65534, gid: 65534 })).output).toMatch(
      /permitted/,
    );
    expect((await sandbox.request(message.hello, [1])).result).toBe(0);
  });

  it('leave pid 1 without any descriptor of the host', async () => {
    await using sandbox = Sandbox.launch();
    const links = readdirSync(`/proc/${sandbox.pid}/fd`).map((fd) =>
      readlinkSync(`/proc/${sandbox.pid}/fd/${fd}`),
    );
    expect(
      links.filter((to) => !/^(\/dev\/null|socket:|pipe:|anon_inode:\[eventfd\]|\/memfd:muster-)/.test(to)),
    ).toEqual([]);
    expect(readlinkSync(`/proc/${sandbox.pid}/exe`)).toBe('/dev/.muster/rank-init');
    const stat = readFileSync(`/proc/${sandbox.pid}/stat`, 'utf8').split(' ');
    expect(stat[5]).not.toBe('0'); // a session of its own
  });
});

describe.skipIf(!root)('cgroups', () => {
  const name = `muster-test-${process.pid}`;

  it('of every hierarchy are made, set and entered, and removed when launching fails', async () => {
    const all = hierarchies();
    const args = all.flatMap(({ mount, names }) => [
      '--cgroup',
      `${mount}:${name}/sandbox`,
      ...(/\bpids\b/.test(names) ? ['--cgroup-set', 'pids.max=500'] : []),
    ]);
    const failure = launch([...args, '--bind', '/no/such:/mnt']);
    expect(failure).toMatchObject({
      status: 1,
      answer: { stage: 'bind', errno: 'ENOENT', path: '/no/such' },
    });
    for (const { mount } of all) expect(existsSync(`${mount}/${name}`)).toBe(false);
    {
      await using sandbox = Sandbox.launch(args);
      for (const { mount } of all)
        expect(readFileSync(`${mount}/${name}/sandbox/cgroup.procs`, 'utf8')).toBe(`${sandbox.pid}\n`);
    }
    for (const { mount } of all)
      for (const path of [`${mount}/${name}/sandbox`, `${mount}/${name}`])
        await eventually(() => {
          rmdirSync(path);
          return true;
        }, `empty ${path}`);
  });

  it('that were there before stay when launching fails', () => {
    const [first] = hierarchies();
    mkdirSync(`${first!.mount}/${name}`);
    launch(['--cgroup', `${first!.mount}:${name}/x`, '--bind', '/no/such:/mnt']);
    expect(existsSync(`${first!.mount}/${name}/x`)).toBe(false);
    expect(existsSync(`${first!.mount}/${name}`)).toBe(true);
    rmdirSync(`${first!.mount}/${name}`);
  });
});

describe.skipIf(!root)('a launch that fails', () => {
  it.each([
    [['--bind', '/etc:/no/such'], 'bind-target', 'ENOENT', '/no/such'],
    [['--root', '/no/such'], 'root', 'ENOENT', '/no/such'],
    [['--device', '/dev/no-such'], 'device', 'ENOENT', '/dev/no-such'],
    [['--device', '/dev/shm'], 'device', 'ENODEV', '/dev/shm'],
    [['--tmpfs', '/run/x:size=nonsense'], 'tmpfs', 'EINVAL', '/run/x'],
    [['--net', '/no/such'], 'network', 'ENOENT', '/no/such'],
    [['--slots', '0'], 'arguments', 'EINVAL', '--slots 0'],
    [['--cgroup', '/tmp:../x'], 'arguments', 'EINVAL', '--cgroup /tmp'],
    [['--nonsense'], 'arguments', 'EINVAL', '--nonsense'],
    [['--hostname', 'x'.repeat(65)], 'hostname', 'EINVAL', 'x'.repeat(65)],
  ])('says why: %j', (args, stage, errno, path) => {
    const { status, answer } = launch(args);
    expect(status).toBe(1);
    expect(answer).toMatchObject({ stage, errno });
    expect((answer as LaunchFailure).path).toContain(path);
    expect((answer as LaunchFailure).error).toMatch(/^MUSTER_LAUNCH_FAILED: /);
  });

  it('leaves no process when it is killed, at whatever instruction', async () => {
    native().setChildSubreaper();
    /** Sandboxes and launches without an owner have become children of this process: collects the ended ones. */
    const survivors = (): number[] =>
      readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8')
        .trim()
        .split(' ')
        .filter(
          (pid) => pid !== '' && /^(launch|rank-init)\n$/.test(readFileSync(`/proc/${pid}/comm`, 'utf8')),
        )
        .map(Number)
        .filter((pid) => {
          const pidfd = native().pidfdOpen(pid);
          const ended = native().reap(pidfd) !== null;
          native().close(pidfd);
          return !ended;
        });
    let told = 0;
    for (let i = 0; i < 300; i++) {
      const child = spawn(`${build}launch`, ['--init', `${build}rank-init`], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let output = '';
      child.stdout.on('data', (data) => (output += String(data)));
      const until = performance.now() + Math.random() * 3;
      while (performance.now() < until) continue;
      child.kill('SIGKILL');
      await once(child, 'close');
      if (output === '') continue;
      told++;
      try {
        process.kill((JSON.parse(output) as { pid: number }).pid, 'SIGKILL');
      } catch {
        // Killed after it told and before it let pid 1 go on: that one has ended by itself.
      }
    }
    await eventually(() => survivors().length === 0, 'end of all');
    expect(told).toBeLessThan(300);
  });
});

describe.skipIf(!root)('without privileges', () => {
  it('a user namespace gives a sandbox that its owner can run, and whose ranks cannot touch pid 1', async () => {
    await using sandbox = Sandbox.launch(['--user-namespace', '65534:65534'], 64, nobody);
    expect((await sandbox.sh('id -u; hostname; ls -A /tmp; cat /proc/1/comm')).output).toBe(
      '65534\ntest\nrank-init\n',
    );
    expect((await sandbox.sh('grep -h "^Cap" /proc/self/status')).output.match(/\t0+$/gm)).toHaveLength(5);
    expect(
      (await sandbox.sh('ls /proc/1/fd 2>&1; cat /proc/1/environ 2>&1')).output.match(/Permission denied/g),
    ).toHaveLength(2);
    const terminal = await sandbox.run({ argv: ['tty'], stdin: 'pty', stdout: 'pty' });
    expect(terminal.output).toBe('/dev/pts/0\r\n');
    expect((await sandbox.sh('true', { uid: 0, gid: 0 })).stage).toBe(5);
  });

  it('its owner adopts it', async () => {
    await using sandbox = Sandbox.launch(['--user-namespace', '65534:65534'], 64, nobody);
    const script = `const { Sandbox } = await import('${new URL('sandbox.ts', import.meta.url).href}');
      const sandbox = new Sandbox(${sandbox.pid}, 64);
      console.log((await sandbox.sh('echo adopted')).output);
      process.exit(0);`;
    sandbox.abandonControl();
    const child = spawn(
      'setpriv',
      [...nobody.slice(1), process.execPath, '--input-type=module', '-e', script],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    let output = '';
    child.stdout.on('data', (data) => (output += String(data)));
    await once(child, 'close');
    expect(output).toBe('adopted\n\n');
  });

  it('without a user namespace it says what is missing', () => {
    expect(launch([], { before: nobody })).toMatchObject({
      status: 1,
      answer: { stage: 'clone', errno: 'EPERM' },
    });
  });
});
