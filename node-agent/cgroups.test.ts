import { mkdtempSync, rmSync } from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import { Cgroups, type Hierarchy, type SandboxLimits } from './cgroups.ts';

const mount = mkdtempSync('/tmp/muster-cgroups-');
afterAll(() => {
  rmSync(mount, { recursive: true });
});
const v1 = (...controllers: string[]): Hierarchy => ({
  mount: `/v1/${controllers[0]}`,
  version: 1,
  controllers,
});
const v2 = (...controllers: string[]): Hierarchy => ({ mount, version: 2, controllers });

function entered(hierarchies: readonly Hierarchy[], limits: Partial<SandboxLimits> = {}): string[] {
  const cgroups = new Cgroups(hierarchies, 'muster.slice', '/state', 'node1');
  return cgroups
    .requestsFor('key', { memoryBytes: 0, cpuMilli: 0, processes: 10, ...limits })
    .map((request) => [request.mount, ...request.values.map(([file]) => file)].join(' '));
}

describe('what a sandbox enters', () => {
  const separate = [v2(), v1('cpu', 'cpuacct'), v1('memory'), v1('pids')];

  test('processors of version 1 only for a limit: a group of its own has one share, however many ranks', () => {
    expect(entered(separate)).toEqual([mount, '/v1/memory', '/v1/pids pids.max']);
    expect(entered(separate, { cpuMilli: 500 })).toEqual([
      mount,
      '/v1/memory',
      '/v1/cpu cpu.cfs_period_us cpu.cfs_quota_us',
      '/v1/pids pids.max',
    ]);
  });

  test('processors with what else their hierarchy limits', () => {
    expect(entered([v2(), v1('cpu', 'memory'), v1('pids')])).toEqual([mount, '/v1/cpu', '/v1/pids pids.max']);
  });

  test('all that an agent in a container would have left it in, which end with that: its Pod’s, or none', () => {
    const hierarchies = [...separate, v1('devices'), v1('devices')];
    const cgroups = new Cgroups(hierarchies, 'muster.slice', '/state', 'node1', true);
    const others = (pod?: Record<string, string>) =>
      cgroups
        .requestsFor('key', { memoryBytes: 0, cpuMilli: 0, processes: 0 }, pod)
        .slice(3)
        .map((request) => `${request.mount} ${request.path}`);
    expect(others()).toEqual(['/v1/cpu .', '/v1/devices .']);
    const pod = Object.fromEntries(cgroups.mounts.map((each) => [each, 'kubepods/pod1']));
    expect(others(pod)).toEqual(['/v1/cpu kubepods/pod1', '/v1/devices kubepods/pod1']);
  });

  test('the freezer of version 1 and its count of processor time where version 2 is not mounted', () => {
    expect(entered([v1('freezer'), v1('cpu', 'cpuacct'), v1('pids')])).toEqual([
      '/v1/freezer',
      '/v1/cpu',
      '/v1/pids pids.max',
    ]);
  });
});
