import { expect, test } from 'vitest';
import { isReadOnly } from './file-systems.ts';
import {
  cpuSharesOf,
  diskTrafficOf,
  interfacesOf,
  loadAverageOf,
  memoryOf,
  pressureOf,
  procStatOf,
} from './node-text.ts';

const stat = (user: number, idle: number, steal = 0) =>
  procStatOf(
    `cpu  ${user} 0 10 ${idle} 5 0 0 ${steal} 0 0\ncpu0 ${user} 0 10 ${idle} 5 0 0 ${steal} 0 0\nintr 1 2\n`,
  )!;

test('shares of processors are of the time between two readings, steal told', () => {
  const before = stat(100, 1000);
  const now = stat(130, 1060, 10);
  expect(cpuSharesOf(before.all, now.all)).toEqual({
    busy: 0.4,
    user: 0.3,
    system: 0,
    iowait: 0,
    steal: 0.1,
  });
  expect(now.each.get(0)).toEqual(now.all);
});

test('counters that go back, as idle and iowait may, count as not moved; no time at all as idle', () => {
  const { all } = stat(100, 1000);
  expect(cpuSharesOf(all, { ...all, idle: 900, user: 110 })).toMatchObject({ busy: 1 });
  expect(cpuSharesOf(all, all)).toMatchObject({ busy: 0 });
  expect(cpuSharesOf(undefined, all)).toMatchObject({ busy: 0 });
});

test('what is missing or cut off is 0, never NaN', () => {
  expect(procStatOf('')).toBeNull();
  expect(memoryOf('MemTotal:  2048 kB\nMemAv')).toEqual({
    totalBytes: 2 ** 21,
    availableBytes: 0,
    swapTotalBytes: 0,
    swapUsedBytes: 0,
  });
  expect(pressureOf(null)).toBe(0);
  expect(pressureOf('some avg10=1.25 avg60=0.00 avg300=0.00 total=0\n')).toBe(1.25);
  expect(loadAverageOf('0.50 0.25 0.10 2/345 6789\n')).toEqual({
    load1: 0.5,
    load5: 0.25,
    load15: 0.1,
    processes: 345,
  });
  expect(interfacesOf('eth0: 1 2')).toEqual(new Map());
});

test('disks count once, without their partitions and what lies on them', () => {
  const line = (name: string, read: number, written: number) =>
    `   8       0 ${name} 1 0 ${read} 3 4 0 ${written} 7 0 9 10\n`;
  const text =
    line('sda', 100, 50) +
    line('sda1', 100, 50) +
    line('nvme0n1', 10, 0) +
    line('dm-0', 110, 50) +
    line('loop3', 9, 9);
  expect(diskTrafficOf(text)).toEqual({ readBytes: 110 * 512, writtenBytes: 50 * 512 });
});

test('interfaces have bytes, errors and drops of both ways; the loopback is none', () => {
  const text = `Inter-|   Receive |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0
  eth0: 1000 10 1 2 0 0 0 0 500 5 3 4 0 0 0 0
`;
  expect(interfacesOf(text)).toEqual(
    new Map([['eth0', { receivedBytes: 1000, sentBytes: 500, errors: 4, drops: 6 }]]),
  );
});

test('a path is read-only by the mount that it lies on, or by its file system', () => {
  const info = `21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
22 21 8:2 / /home rw,relatime - ext4 /dev/sda2 ro,errors=remount-ro
23 21 8:3 / /home\\040page ro - ext4 /dev/sda3 rw
`;
  expect(
    ['/var/lib', '/home', '/home/ada', '/homes', '/home page/x'].map((path) => isReadOnly(path, info)),
  ).toEqual([false, true, true, false, true]);
});
