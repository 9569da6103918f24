import { spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { native } from './index.ts';

const n = native();
const directory = fs.mkdtempSync(join(tmpdir(), 'muster-fds-'));
afterAll(() => {
  fs.rmSync(directory, { recursive: true });
});
const errno = (code: string, syscall: string): unknown => expect.objectContaining({ code, syscall });

describe('descriptors', () => {
  it('are close-on-exec', () => {
    const [read, write] = n.pipe();
    const all = [
      read,
      write,
      n.dup(read),
      n.memfd('m', Buffer.from('x'), false),
      n.eventfd(),
      n.pidfdOpen(process.pid),
    ];
    for (const fd of all) {
      const flags = /flags:\s+(\d+)/.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]!;
      expect(parseInt(flags, 8) & 0o2000000).not.toBe(0);
      n.close(fd);
    }
  });

  it('throw errors with code, syscall and errno', () => {
    expect(() => {
      n.close(999_999);
    }).toThrow(errno('EBADF', 'close'));
    expect(() => n.dup('3' as unknown as number)).toThrow(TypeError);
    expect(() => n.dup(1.5)).toThrow(TypeError);
  });

  it('seals a memfd against every change', () => {
    const fd = n.memfd('start', Buffer.from('hello'), true);
    expect(n.readAll(fd, 100).toString()).toBe('hello');
    expect(() => n.readAll(fd, 4)).toThrow(errno('EFBIG', 'read'));
    expect(() => fs.writeSync(fd, 'x', 0)).toThrow('EPERM');
    expect(() => {
      fs.ftruncateSync(fd, 1);
    }).toThrow('EPERM');
    n.close(fd);
    const open = n.memfd('open', Buffer.from('hello'), false);
    expect(fs.writeSync(open, 'y', 0)).toBe(1);
    n.close(open);
  });

  it('reads files whose size is not told', () => {
    const fd = fs.openSync('/proc/self/status', 'r');
    expect(n.readAll(fd, 1 << 20).toString()).toContain('Pid:');
    fs.closeSync(fd);
  });

  it('maps shared memory and sees it change; refuses to map past the end', () => {
    const fd = n.memfd('state', Buffer.from([1, 2, 3, 4]), false);
    const view = new Uint8Array(n.mapReadOnly(fd, 4));
    expect([...view]).toEqual([1, 2, 3, 4]);
    fs.writeSync(fd, Buffer.from([9]), 0, 1, 2);
    expect(view[2]).toBe(9);
    expect(() => n.mapReadOnly(fd, 5)).toThrow(errno('EOVERFLOW', 'mmap'));
    n.close(fd);
    expect(view[3]).toBe(4);
  });

  it('locks a file for one description at a time', () => {
    const path = join(directory, 'lock');
    const one = fs.openSync(path, 'w');
    const other = fs.openSync(path, 'w');
    expect(n.flock(one)).toBe(true);
    expect(n.flock(one)).toBe(true);
    expect(n.flock(other)).toBe(false);
    fs.closeSync(one);
    expect(n.flock(other)).toBe(true);
    fs.closeSync(other);
  });

  it('counts on an eventfd and watches it until stopped', async () => {
    const fd = n.eventfd();
    expect(n.eventfdRead(fd)).toBe(0n);
    const seen = new Promise<bigint>((resolve) => {
      const watch = n.watch(fd, () => {
        watch.stop();
        resolve(n.eventfdRead(fd));
      });
    });
    fs.writeSync(fd, Buffer.from([3, 0, 0, 0, 0, 0, 0, 0]));
    expect(await seen).toBe(3n);
    n.close(fd);
  });

  it('punches holes', () => {
    const fd = fs.openSync(join(directory, 'hole'), 'w+');
    fs.writeSync(fd, Buffer.alloc(8192, 1));
    n.fallocatePunchHole(fd, 0n, 4096n);
    const bytes = n.readAll(fd, 8192);
    expect(bytes.subarray(0, 4096).every((byte) => byte === 0)).toBe(true);
    expect(bytes[4096]).toBe(1);
    fs.closeSync(fd);
  });
});

describe('processes', () => {
  it('are signalled through a pidfd and seen to end', async () => {
    const child = spawn('sleep', ['1000']);
    const pidfd = n.pidfdOpen(child.pid!);
    expect(n.reap(pidfd)).toBeNull();
    const ended = new Promise<void>((resolve) => {
      const watch = n.watch(pidfd, () => {
        watch.stop();
        resolve();
      });
    });
    n.pidfdSignal(pidfd, 15);
    await Promise.all([ended, once(child, 'exit')]);
    expect(n.reap(pidfd)).toBeNull();
    expect(() => {
      n.pidfdSignal(pidfd, 15);
    }).toThrow(errno('ESRCH', 'pidfd_send_signal'));
    n.close(pidfd);
  });

  it('are reaped as orphans by a subreaper, with exit code or signal', async () => {
    n.setChildSubreaper();
    for (const [command, status] of [
      ['exit 7', 7 << 8],
      ['kill -9 $$', 9],
    ] as const) {
      const parent = spawn('sh', ['-c', `sh -c 'read x; ${command}' <&3 & echo $!`], {
        stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
      });
      const [line] = (await once(parent.stdout!, 'data')) as [Buffer];
      const pidfd = n.pidfdOpen(Number(line.toString()));
      await once(parent, 'exit');
      const ended = new Promise<void>((resolve) => {
        const watch = n.watch(pidfd, () => {
          watch.stop();
          resolve();
        });
      });
      (parent.stdio[3] as unknown as NodeJS.WritableStream).write('\n');
      await ended;
      expect(n.reap(pidfd)).toBe(status);
      n.close(pidfd);
    }
  });

  it("give a duplicate of another process's descriptor", () => {
    const fd = n.memfd('theirs', Buffer.from('shared'), false);
    const pidfd = n.pidfdOpen(process.pid);
    const copy = n.pidfdGetfd(pidfd, fd);
    expect(n.readAll(copy, 10).toString()).toBe('shared');
    for (const each of [fd, pidfd, copy]) n.close(each);
  });
});

describe('users', () => {
  it('are found by name and number', () => {
    expect(n.user('root')).toEqual({
      name: 'root',
      uid: 0,
      gid: 0,
      home: '/root',
      shell: expect.any(String) as string,
    });
    expect(n.user(0)?.name).toBe('root');
    expect(n.user('no-such-user-here')).toBeNull();
    expect(n.user(4_000_000_001)).toBeNull();
    expect(n.group('root')).toEqual({ name: 'root', gid: 0 });
    expect(n.group(4_000_000_001)).toBeNull();
  });

  it('have at least the group that was named', () => {
    expect(n.groupsOf(userInfo().username, 12345)).toContain(12345);
  });
});
