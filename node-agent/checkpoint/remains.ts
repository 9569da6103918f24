// What an engine may leave that did not come to its end: processes of its own, connections in repair mode, its lock on the network.
// Done again it does nothing.
import type { Backend } from '../backend.ts';
import { until } from '../until.ts';
import { engineCgroupOf } from './criu-process.ts';
import { readLog, repair } from './repair.ts';

const removableWithinMs = 10_000;

/** Nothing of the engine that worked for a sandbox, or of what it started, runs any more. */
export async function clearEngine({ cgroups }: Backend, key: string): Promise<void> {
  const cgroup = cgroups?.of(engineCgroupOf(key));
  if (!cgroup?.exists()) return;
  if (cgroup.populated()) cgroup.kill();
  await until(() => cgroup.remove(), removableWithinMs, "the engine's cgroup to be removable");
}

/** `logPath`: the engine's own, of the run that was cut off. */
export async function mend(
  { native, log }: Backend,
  key: string,
  initPid: number,
  pids: readonly number[],
  logPath: string,
): Promise<void> {
  const undone = await repair(native, initPid, pids, readLog(logPath));
  if (undone.length > 0) log.warn({ sandbox: key, undone }, 'the engine left the sandbox unfinished');
}
