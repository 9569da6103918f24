// What this node can do for jobs and what it cannot, with the reason and the cure: told to the hub once a session and
// shown to people. Probed, not assumed.
import { existsSync, readFileSync } from 'node:fs';
import { encryptingFeature } from '../wire/encryption.ts';
import type { Cgroups } from './cgroups.ts';
import type { Probe } from './checkpoint/engine.ts';
import type { NetworkTroubles } from './network/troubles.ts';

export interface Features {
  readonly features: string[];
  /** "feature: why not" */
  readonly missing: string[];
}

export function featuresOf(
  agentUid: number,
  cgroups: Cgroups | null,
  network: NetworkTroubles,
  engine: Probe,
  pages: { readonly pagerTrouble: string | null; readonly trackerTrouble: string | null },
): Features {
  const features = ['sandbox', 'pmi1', 'logs', 'stdin', 'tty', 'exec', 'network-host', 'leases', 'samples'];
  const missing: string[] = [];
  const offer = (name: string, why: string | null) => {
    if (why === null) features.push(name);
    else missing.push(`${name}: ${why}`);
  };
  const notRoot = agentUid === 0 ? null : 'the agent is not root; run it as root';
  offer('any-user', notRoot && 'the agent is not root, so ranks run as its own user; run it as root');
  offer('devices', notRoot);
  offer(
    'pod-profile',
    notRoot ?? (isFiltered() ? 'the agent is under a seccomp filter itself; run it without' : null),
  );
  offer('user-namespace', agentUid === 0 ? null : userNamespaceTrouble());
  const noCgroups = notRoot ?? (cgroups === null ? 'no cgroup hierarchy is mounted' : null);
  const noFreezer = cgroups?.freezer ? null : 'neither cgroup v2 nor the freezer of v1 is mounted';
  offer('freezer', noCgroups ?? (noFreezer && `${noFreezer}; ranks are stopped with SIGSTOP instead`));
  offer(
    'memory-limit',
    noCgroups ?? (cgroups?.canLimit('memory') ? null : 'no memory controller is mounted or delegated'),
  );
  offer(
    'cpu-limit',
    noCgroups ?? (cgroups?.canLimit('cpu') ? null : 'no cpu controller is mounted or delegated'),
  );
  offer(
    'process-limit',
    noCgroups ??
      (cgroups?.canLimit('pids')
        ? null
        : 'no pids controller is mounted or delegated; a fork bomb is held by rlimits alone'),
  );
  offer('usage', noCgroups);
  offer('network-isolated', network.isolated);
  if (network.isolated === null) {
    offer('network-tunnels', network.tunnels);
    offer(encryptingFeature, network.encryption);
  }
  const noCheckpoint = notRoot ?? noFreezer ?? (engine.version === null ? engine.why : null);
  offer('checkpoint', noCheckpoint);
  const noUnified = cgroups?.unified
    ? null
    : 'no cgroup v2 hierarchy is mounted, by which ranks end whose memory is lost';
  const noPages = noCheckpoint ?? noUnified ?? pages.pagerTrouble;
  offer('post-copy', noPages);
  offer('pre-copy', noPages ?? pages.trackerTrouble);
  return { features, missing };
}

/** Then the kernel does not show it the filters of others. */
const isFiltered = (): boolean => !/^Seccomp:\s+0$/m.test(readFileSync('/proc/self/status', 'utf8'));

function userNamespaceTrouble(): string | null {
  const clone = '/proc/sys/kernel/unprivileged_userns_clone';
  if (!existsSync('/proc/self/ns/user')) return 'the kernel has no user namespaces';
  if (existsSync(clone) && readFileSync(clone, 'utf8').trim() === '0')
    return `${clone} is 0; set it to 1 or run the agent as root`;
  const apparmor = '/proc/sys/kernel/apparmor_restrict_unprivileged_userns';
  if (existsSync(apparmor) && readFileSync(apparmor, 'utf8').trim() === '1')
    return `${apparmor} is 1; set it to 0 or run the agent as root`;
  return null;
}
