/** `muster self-test`, what `helm test` runs: a group of two ranks is accepted, placed, run and removed. */
import { setTimeout as pause } from 'node:timers/promises';
import { processGroupType } from '../../controllers/resource-types.ts';
import { conditionOf, isTrue } from '../../crds/conditions.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { isStoreError } from '../../store/object-store.ts';
import type { Config } from '../config.ts';
import { clusterStoreOf } from '../daemon/cluster-store.ts';
import { stopSignal } from '../daemon/stop-signal.ts';
import { CommandError } from '../errors.ts';
import { secondsOf } from './uninstall-check.ts';

const lookAgainMs = 250;

export async function selfTest(
  config: Config,
  _args: string[],
  options: { inCluster?: boolean; timeout: string },
): Promise<number> {
  const untilMs = Date.now() + secondsOf(options.timeout) * 1000;
  using cluster = clusterStoreOf(config, options.inCluster ?? false);
  const { store, namespace } = cluster;
  const signal = stopSignal();
  const group = {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup',
    metadata: { generateName: 'muster-self-test-', namespace },
    spec: { size: 2, pmi: 'None', processes: [{ name: 'all', ranks: '0-1', command: ['true'] }] },
  } as unknown as ProcessGroup;
  const { name } = (await store.create<ProcessGroup>(processGroupType, group, signal)).metadata;
  const key = { namespace, name };
  try {
    for (;;) {
      const { status } = await store.get<ProcessGroup>(processGroupType, key, signal);
      if (isTrue(status?.conditions, 'Succeeded')) break;
      for (const type of ['Failed', 'Stalled'] as const) {
        const found = conditionOf(status?.conditions, type);
        if (found?.status === 'True')
          throw new CommandError(
            `MUSTER_SELF_TEST: group ${namespace}/${name}: ${found.reason}: ${found.message}`,
          );
      }
      if (Date.now() > untilMs) {
        const waits = (['Running', 'Placed'] as const)
          .map((type) => conditionOf(status?.conditions, type))
          .find((found) => found !== undefined);
        const why = waits ? `${waits.reason}: ${waits.message}` : 'no controller has seen it';
        throw new CommandError(
          `MUSTER_SELF_TEST: group ${namespace}/${name} has not run within ${options.timeout}: ${why}`,
        );
      }
      await pause(lookAgainMs, undefined, { signal });
    }
  } finally {
    await store.delete(processGroupType, key).catch((error: unknown) => {
      if (!isStoreError(error, 'NotFound')) throw error;
    });
  }
  process.stdout.write(`a group of two ranks ran in namespace ${namespace}\n`);
  return 0;
}
