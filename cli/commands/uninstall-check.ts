/**
 * `muster uninstall-check`, what the chart runs before a release goes: refuses while groups run, or ends or saves them, waits until no
 * sandbox is left, and removes our finalizers from what has ended, since nobody would afterwards.
 */
import { setTimeout as pause } from 'node:timers/promises';
import {
  checkpointType,
  migrationType,
  nodeMonitorType,
  processGroupType,
} from '../../controllers/resource-types.ts';
import { requestEnd } from '../../controllers/process-group/end-request.ts';
import { conditionOf, isTrue } from '../../crds/conditions.ts';
import type { Checkpoint, NodeMonitor, ProcessGroup } from '../../crds/types.gen.ts';
import { isStoreError, type ObjectStore } from '../../store/object-store.ts';
import type { ResourceType } from '../../store/resource.ts';
import type { Config } from '../config.ts';
import { clusterStoreOf } from '../daemon/cluster-store.ts';
import { stopSignal } from '../daemon/stop-signal.ts';
import { CommandError } from '../errors.ts';
import {
  hasEnded,
  isNothing,
  isRunning,
  textOfLeft,
  uninstallPolicies,
  type UninstallPolicy,
  whatIsLeft,
  withoutOurs,
} from '../uninstall.ts';

export interface UninstallOptions {
  inCluster?: boolean;
  policy: string;
  timeout: string;
}

const lookAgainMs = 500;

export async function uninstallCheck(
  config: Config,
  _args: string[],
  options: UninstallOptions,
): Promise<number> {
  const policy = uninstallPolicies.find((each) => each === options.policy);
  if (policy === undefined)
    throw new CommandError(`--policy ${options.policy}: expected ${uninstallPolicies.join(', ')}`, 2);
  const untilMs = Date.now() + secondsOf(options.timeout) * 1000;
  using cluster = clusterStoreOf(config, options.inCluster ?? false);
  const { store } = cluster;
  const signal = stopSignal();
  const asked = new Set<string>();
  for (;;) {
    const groups = await listed<ProcessGroup>(store, processGroupType, signal);
    const left = whatIsLeft(groups, await listed<NodeMonitor>(store, nodeMonitorType, signal));
    if (isNothing(left)) break;
    if (policy === 'Refuse') {
      throw new CommandError(
        `MUSTER_UNINSTALL_REFUSED: ${textOfLeft(left)}. Wait for them, or end them (muster uninstall-check --policy Kill), and uninstall again. To keep the release instead: helm rollback NAME REVISION, the last that helm history shows`,
      );
    }
    for (const group of groups.filter(isRunning)) await part(store, group, policy, asked, signal);
    if (Date.now() > untilMs) {
      throw new CommandError(
        `MUSTER_UNINSTALL_TIMEOUT: after ${options.timeout} there are still ${textOfLeft(left)}; see their conditions, or start silent agents again`,
      );
    }
    await pause(lookAgainMs, undefined, { signal });
  }
  const freed = await removeFinalizers(store, { onlyEnded: true }, signal);
  process.stdout.write(`no group runs, no sandbox is left; finalizers removed from ${freed} objects\n`);
  return 0;
}

/** Has one group end, as the policy says; asked for once. */
async function part(
  store: ObjectStore,
  group: ProcessGroup,
  policy: UninstallPolicy,
  asked: Set<string>,
  signal: AbortSignal,
): Promise<void> {
  const { namespace, name, uid = '' } = group.metadata;
  if (policy === 'Kill') {
    if (!asked.has(uid)) await requestEnd(store, group, 'Kill');
    asked.add(uid);
    return;
  }
  const key = { namespace, name: `${name}-uninstall` };
  if (!asked.has(uid)) {
    const spec = { processGroupName: name, then: 'Stop' as const };
    const metadata = { ...key, namespace: namespace ?? 'default' };
    try {
      await store.create<Checkpoint>(
        checkpointType,
        { apiVersion: 'muster.dev/v1alpha1', kind: 'Checkpoint', metadata, spec },
        signal,
      );
    } catch (error) {
      if (!isStoreError(error, 'AlreadyExists')) throw error;
    }
    asked.add(uid);
  }
  const { status } = await store.get<Checkpoint>(checkpointType, key, signal);
  const bad = (['Failed', 'Stalled'] as const).find((type) => isTrue(status?.conditions, type));
  if (bad === undefined) return;
  const { reason, message } = conditionOf(status?.conditions, bad)!;
  throw new CommandError(
    `MUSTER_UNINSTALL_REFUSED: group ${namespace}/${name} could not be checkpointed: ${reason}: ${message}; it runs on`,
  );
}

export async function removeFinalizers(
  store: ObjectStore,
  { onlyEnded }: { readonly onlyEnded: boolean },
  signal?: AbortSignal,
): Promise<number> {
  let freed = 0;
  for (const type of [processGroupType, checkpointType, migrationType, nodeMonitorType]) {
    for (const object of await listed(store, type, signal)) {
      const finalizers = withoutOurs(object);
      if (finalizers === undefined) continue;
      if (onlyEnded && type === processGroupType && !hasEnded(object as ProcessGroup)) continue;
      const { namespace, name, resourceVersion } = object.metadata;
      const patch = { metadata: { resourceVersion, finalizers } };
      try {
        await store.patch(type, { namespace, name }, { type: 'merge', patch }, {}, signal);
        freed += 1;
      } catch (error) {
        // Gone, or somebody else was quicker; the latter shows the next time.
        if (!isStoreError(error, 'NotFound', 'Conflict')) throw error;
      }
    }
  }
  return freed;
}

/** Of a kind that is not installed there is none. */
async function listed<T extends ProcessGroup | NodeMonitor | Checkpoint>(
  store: ObjectStore,
  type: ResourceType,
  signal?: AbortSignal,
): Promise<readonly T[]> {
  try {
    return (await store.list<T>(type, {}, signal)).items;
  } catch (error) {
    if (isStoreError(error, 'NotFound')) return [];
    throw error;
  }
}

export function secondsOf(text: string): number {
  const match = /^(\d+)(s|m|h)?$/.exec(text);
  if (!match) throw new CommandError(`--timeout ${text}: expected a number with s, m or h, such as 90s`, 2);
  return Number(match[1]) * { s: 1, m: 60, h: 3600 }[(match[2] ?? 's') as 's' | 'm' | 'h'];
}
