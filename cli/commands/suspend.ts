/**
 * `muster suspend` and `muster resume`: write spec.suspend and wait until the group is as asked; exit 1, the reason on stderr, where
 * it comes to be otherwise.
 */
import { connect, processGroupType } from '../client.ts';
import type { Config } from '../config.ts';
import { CommandError } from '../errors.ts';
import { untilGroup, viewOf, type GroupView } from '../group-wait.ts';

export interface SuspendOptions {
  readonly policy?: string;
  readonly wait: boolean;
}

const policies: Readonly<Record<string, string>> = {
  freeze: 'Freeze',
  checkpoint: 'Checkpoint',
  stop: 'Stop',
};

const setSuspend =
  (suspended: boolean) =>
  async (config: Config, args: string[], { policy, wait }: SuspendOptions): Promise<number> => {
    const client = connect(config.server);
    const suspendPolicy = policy === undefined ? undefined : policies[policy.toLowerCase()];
    if (policy !== undefined && suspendPolicy === undefined)
      throw new CommandError(`--policy ${policy}: expected Freeze, Checkpoint or Stop`, 2);
    let code = 0;
    for (const name of args) {
      const key = { namespace: config.namespace, name };
      const spec = { suspend: suspended, ...(suspendPolicy === undefined ? {} : { suspendPolicy }) };
      const patched = await client.store.patch(processGroupType, key, {
        type: 'merge',
        patch: { spec },
      });
      const word = suspended ? 'suspended' : 'resumed';
      if (!wait) {
        process.stdout.write(`processgroup/${name} is to be ${word}\n`);
        continue;
      }
      const group = await untilGroup(client, key, (view) =>
        isSettled(view, suspended, patched.metadata.generation),
      );
      // One that was resumed may have run to its end since.
      const hadEnded = viewOf(patched).is('Succeeded');
      const problem = problemOf(group, suspended, hadEnded);
      if (problem === undefined) process.stdout.write(`processgroup/${name} ${word}\n`);
      else {
        process.stderr.write(`muster: processgroup/${name} is not ${word}: ${problem}\n`);
        code = 1;
      }
    }
    return code;
  };

function isSettled(group: GroupView, suspended: boolean, generation: number | undefined): boolean {
  if (group.is('Succeeded') || group.is('Failed') || group.is('Stalled')) return true;
  const status = group.object.status as { observedGeneration?: number } | undefined;
  if (generation !== undefined && (status?.observedGeneration ?? 0) < generation) return false;
  if (!suspended && heldText(group) !== undefined) return true;
  if (!suspended && group.condition('Placed')?.status === 'False') return isWaiting(group);
  return group.is('Suspended') === suspended && (suspended || !group.is('Reconciling'));
}

/** Somebody else keeps it from going on. */
function heldText(group: GroupView): string | undefined {
  if (!group.is('Suspended')) return undefined;
  const { holds } = group.object.status as { holds?: { name: string; message?: string }[] };
  return holds?.[0] && `${holds[0].name} holds it: ${holds[0].message ?? ''}`;
}

/** It cannot go on, for a reason that may last. */
function isWaiting(group: GroupView): boolean {
  return !['NotPlacedYet', 'Released', undefined].includes(group.condition('Placed')?.reason);
}

function problemOf(group: GroupView, suspended: boolean, hadEnded: boolean): string | undefined {
  for (const type of ['Failed', 'Stalled'])
    if (group.is(type)) return `${group.condition(type)?.reason}: ${group.condition(type)?.message}`;
  if (group.is('Succeeded')) return suspended || hadEnded ? 'it has ended' : undefined;
  const held = heldText(group);
  if (!suspended && held !== undefined) return held;
  if (suspended) return group.is('Suspended') ? undefined : group.condition('Suspended')?.message;
  return group.condition('Placed')?.status === 'False' ? group.condition('Placed')?.message : undefined;
}

export const suspend = setSuspend(true);
export const resume = setSuspend(false);
