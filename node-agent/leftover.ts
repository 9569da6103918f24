// Takes away what runs of a sandbox, whoever started it: its rank-init, with which the kernel ends all in its pid namespace, then
// what may be left in its cgroups, then the cgroups. Every step may find its work done.
import type { Native } from '../native/addon/index.ts';
import type { AdoptedSandbox } from './adopted-sandbox.ts';
import type { SandboxCgroup } from './cgroups.ts';
import { isSameProcess } from './process-table.ts';
import type { Identity } from './sandbox-directory.ts';
import { until } from './until.ts';

const endsWithinMs = 10_000;

export async function clearProcesses(
  native: Native,
  {
    adopted,
    identity,
    cgroup,
  }: { adopted: AdoptedSandbox | null; identity: Identity | null; cgroup: SandboxCgroup | null },
): Promise<void> {
  if (cgroup?.keepsFrozen === true) cgroup.kill();
  if (adopted) {
    adopted.killInit();
    await until(() => adopted.isGone, endsWithinMs, 'rank-init to end');
  } else if (identity && isSameProcess(identity)) {
    const pidfd = native.pidfdOpen(identity.pid);
    try {
      if (isSameProcess(identity)) native.pidfdSignal(pidfd, 9);
      const isGone = (): boolean => !isSameProcess(identity) || native.reap(pidfd) !== null;
      await until(isGone, endsWithinMs, 'rank-init to end');
    } finally {
      native.close(pidfd);
    }
  }
}

export async function clearCgroup(cgroup: SandboxCgroup): Promise<void> {
  if (cgroup.populated()) cgroup.kill();
  await until(() => !cgroup.populated(), endsWithinMs, 'the cgroup to become empty');
  await until(() => cgroup.remove(), endsWithinMs, 'the cgroup to be removable');
}
