import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { carriedMounts, findCarrier, lookForCarrier, podCgroup } from './carrier.ts';

const uid = '0b0ee3c6-9a9c-4f0f-8f8e-0d5f2b8f1c11';

describe('a carrier Pod on its node', () => {
  it.each([
    ['kubepods/burstable/pod0b0ee3c6-9a9c-4f0f-8f8e-0d5f2b8f1c11'],
    ['kubepods/pod0b0ee3c6-9a9c-4f0f-8f8e-0d5f2b8f1c11'],
    [
      'kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0b0ee3c6_9a9c_4f0f_8f8e_0d5f2b8f1c11.slice',
    ],
    ['kubepods.slice/kubepods-pod0b0ee3c6_9a9c_4f0f_8f8e_0d5f2b8f1c11.slice'],
    ['kubelet/kubepods/besteffort/pod0b0ee3c6-9a9c-4f0f-8f8e-0d5f2b8f1c11'],
    [
      'kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod0b0ee3c6_9a9c_4f0f_8f8e_0d5f2b8f1c11.slice',
    ],
  ])('is found at %s', (path) => {
    const mount = mkdtempSync(join(tmpdir(), 'muster-cgroups-'));
    try {
      mkdirSync(join(mount, path), { recursive: true });
      expect(podCgroup(mount, uid)).toBe(path);
      // Nothing waits in it.
      expect(lookForCarrier(uid, [mount])).toBeUndefined();
    } finally {
      rmSync(mount, { recursive: true });
    }
  });

  it('is not looked for by what is no uid', async () => {
    const carrier = {
      namespace: 'default',
      pod: 'p',
      uid: '../../user.slice',
      address: '',
      scratch: [],
      profile: '',
    };
    await expect(findCarrier(carrier, ['/sys/fs/cgroup'], 'node1')).rejects.toThrow(/odd uid/);
  });

  it('gives its volumes and its name service, and nothing of the kernel’s or of ours', () => {
    const points = [
      '/', '/proc', '/dev', '/dev/shm', '/sys', '/sys/fs/cgroup', '/.muster', '/data', '/data/in', '/etc/hosts', '/etc/hostname',
      '/etc/resolv.conf', '/var/run/secrets/token', '/proc/kcore', '/dev/termination-log', '/data',
    ]; // prettier-ignore
    const mounts = points.map((mountPoint, id) => ({ id, mountPoint, fsType: 'ext4', root: '/' }));
    expect(carriedMounts(mounts).map(({ target }) => target)).toEqual([
      '/data',
      '/data/in',
      '/etc/resolv.conf',
      '/var/run/secrets/token',
    ]);
  });
});
