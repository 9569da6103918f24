import { expect, test } from 'vitest';
import {
  generatedFiles,
  isPrivatePath,
  mountTableOf,
  parseMountinfo,
  privatePathHint,
  visibleMounts,
} from './mounts.ts';

const mountinfo = [
  '22 27 0:21 / /proc rw,relatime - proc proc rw',
  '23 27 0:22 / /sys rw,relatime - sysfs sysfs rw',
  '24 27 0:6 / /dev rw,relatime - devtmpfs devtmpfs rw',
  '27 1 254:0 / / rw,relatime - ext4 /dev/vda rw',
  '28 27 0:25 / /home rw,relatime - ext4 /dev/vdb rw',
  '29 27 0:26 / /home/my\\040disk rw,relatime shared:3 - nfs4 server:/x rw',
  '30 27 0:27 / /run rw - tmpfs tmpfs rw',
  '31 30 0:28 / /run/user/0 rw - tmpfs tmpfs rw',
  '32 27 0:29 / /tmp rw - tmpfs tmpfs rw',
  '33 27 0:30 / /scratch rw - tmpfs tmpfs rw',
  '34 27 254:0 /x /etc/hosts rw - ext4 /dev/vda rw',
  '35 27 0:31 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw',
  '36 27 0:32 / /mnt/auto rw - autofs systemd-1 rw',
  '',
].join('\n');

const files = [{ path: '/etc/hosts', content: '' }];

test('real file systems outside the private trees are seen, parents first', () => {
  expect(visibleMounts(parseMountinfo(mountinfo))).toEqual([
    '/etc/hosts',
    '/home',
    '/home/my disk',
    '/scratch',
  ]);
});

test('a mount hides what was mounted below its place before', () => {
  const hidden = `${mountinfo}40 27 0:40 / /home rw - ext4 /dev/vdc rw\n`;
  expect(visibleMounts(parseMountinfo(hidden))).toEqual(['/etc/hosts', '/home', '/scratch']);
});

test('what runtimes mount for their containers is not seen', () => {
  const more = [
    '40 27 0:40 / /var/lib/kubelet/pods/1/volumes/x rw - tmpfs tmpfs rw',
    '41 27 0:41 / /var/lib/containerd/state/2/shm rw - tmpfs tmpfs rw',
    '42 27 0:42 / /var/lib/docker/overlay2/3/merged rw - overlay overlay rw',
  ];
  expect(visibleMounts(parseMountinfo(`${mountinfo}${more.join('\n')}\n`))).not.toContainEqual(
    expect.stringContaining('/var/lib'),
  );
});

test('the table: host mounts but for generated files, and what the node binds, also in private trees', () => {
  const table = mountTableOf({
    root: '/',
    hostMounts: parseMountinfo(mountinfo),
    binds: [
      { source: '/run/munge', readOnly: true },
      { source: '/data', target: '/scratch' },
    ],
    files,
  });
  expect(table.binds).toEqual([
    { source: '/home', target: '/home', readOnly: false },
    { source: '/home/my disk', target: '/home/my disk', readOnly: false },
    { source: '/run/munge', target: '/run/munge', readOnly: true },
    { source: '/data', target: '/scratch', readOnly: false },
  ]);
});

test('another root takes nothing of the host but what is bound', () => {
  expect(
    mountTableOf({ root: '/srv/root', hostMounts: parseMountinfo(mountinfo), binds: [], files }).binds,
  ).toEqual([]);
});

test('private paths and the hint about them', () => {
  expect(['/tmp', '/tmp/x', '/run/x', '/dev/shm/x', '/proc/1'].every(isPrivatePath)).toBe(true);
  expect(['/', '/tmpfs', '/home/tmp', '/runner'].some(isPrivatePath)).toBe(false);
  expect(privatePathHint('/tmp/a.out')).toContain('/tmp is private in a sandbox');
  expect(privatePathHint('/home/a.out')).toBe('');
});

test('generated files name the job, its nodes and their addresses', () => {
  const options = {
    hostname: 'node1',
    address: '10.0.0.1',
    hosts: '10.0.0.1 node1 job-0\n10.0.0.2 node2 job-1\n',
    account: { name: 'ada', uid: 1000, gid: 100, home: '/home/ada', shell: '/bin/bash' },
    groups: [{ name: 'users', gid: 100 }],
    resolvConf: 'nameserver 10.0.0.53\n',
  };
  const generated = generatedFiles(options);
  const content = Object.fromEntries(generated.map((file) => [file.path, file.content]));
  expect(content['/etc/hosts']).toBe(
    '127.0.0.1 localhost\n::1 localhost\n10.0.0.1 node1 job-0\n10.0.0.2 node2 job-1\n',
  );
  const alone = generatedFiles({ ...options, hosts: '' }).find(({ path }) => path === '/etc/hosts');
  expect(alone?.content).toBe('127.0.0.1 localhost\n::1 localhost\n10.0.0.1 node1\n');
  expect(content['/etc/passwd']).toContain('ada:x:1000:100::/home/ada:/bin/bash\n');
  expect(content['/etc/passwd']).toContain('root:x:0:0:');
  expect(content['/etc/passwd']).toContain('nobody:x:65534:65534:');
  expect(content['/etc/group']).toBe('root:x:0:\nnogroup:x:65534:\nusers:x:100:\n');
  expect(content['/etc/nsswitch.conf']).toContain('hosts: files dns\n');
  expect(content['/etc/resolv.conf']).toBe('nameserver 10.0.0.53\n');
});
