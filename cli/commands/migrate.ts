/**
 * `muster migrate`: makes a Migration of a job's ranks and waits until they run on the new node, with progress where somebody looks on.
 * Ctrl-C leaves it to itself; exit 1, the reason on stderr, where the ranks stay where they were.
 */
import { bytesText } from '../../crds/quantity.ts';
import type { Migration } from '../../crds/types.gen.ts';
import { connect, migrationType } from '../client.ts';
import type { Config } from '../config.ts';
import { CommandError } from '../errors.ts';
import { untilObject, type GroupView } from '../group-wait.ts';
import { ProgressLine } from '../progress-line.ts';

export interface MigrateOptions {
  readonly from?: string;
  readonly to?: string;
  readonly ranks?: string;
  readonly strategy?: string;
  readonly name?: string;
  readonly deadline?: string;
  readonly copyFiles: boolean;
  readonly wait: boolean;
}

export async function migrate(config: Config, args: string[], options: MigrateOptions): Promise<number> {
  const client = connect(config.server);
  const [group = ''] = args;
  const { namespace } = config;
  const { from, to, ranks, strategy, deadline, copyFiles } = options;
  if (from === undefined && ranks === undefined)
    throw new CommandError('say which node to leave, --from NODE, or which ranks move, --ranks SET', 2);
  const made = await client.store.create<Migration>(migrationType, {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'Migration',
    metadata: {
      namespace,
      ...(options.name === undefined ? { generateName: `${group}-` } : { name: options.name }),
    },
    spec: {
      processGroupName: group,
      ...(from === undefined ? {} : { from }),
      ...(to === undefined ? {} : { to }),
      ...(ranks === undefined ? {} : { ranks }),
      ...(strategy === undefined ? {} : { strategy: strategyOf(strategy) }),
      ...(copyFiles ? {} : { copyFiles }),
      ...(deadline === undefined ? {} : { deadlineSeconds: secondsOf(deadline) }),
    },
  } as Migration);
  const { name } = made.metadata;
  if (!options.wait) {
    process.stdout.write(`migration/${name} asked for\n`);
    return 0;
  }
  const progress = new ProgressLine(process.stderr);
  const done = await untilObject(client, migrationType, { namespace, name }, (view) => {
    progress.show(stateText(view));
    return view.is('Completed') || view.is('Failed') || view.is('Stalled');
  });
  progress.end();
  if (!done.is('Completed')) throw new CommandError(`migration/${name} failed: ${whyOf(done)}`);
  process.stdout.write(`${doneText(done)}\n`);
  return 0;
}

const strategies = ['Auto', 'StopAndCopy', 'PreCopy', 'PostCopy'];

function strategyOf(text: string): string {
  const found = strategies.find((each) => each.toLowerCase() === text.toLowerCase());
  if (found === undefined) throw new CommandError(`${text}: expected one of ${strategies.join(', ')}`, 2);
  return found;
}

function secondsOf(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new CommandError(`${text}: expected a number above 0`, 2);
  return value;
}

function stateText({ object, condition }: GroupView): string {
  const { phase = 'Pending' } = (object as unknown as Migration).status ?? {};
  const doing = condition('Reconciling');
  return doing?.status === 'True' ? `${phase}: ${doing.message}` : phase;
}

function whyOf(view: GroupView): string {
  const why = view.is('Failed') ? view.condition('Failed') : view.condition('Stalled');
  return `${why?.reason ?? ''}: ${why?.message ?? ''}`;
}

function doneText({ object, condition }: GroupView): string {
  const { metadata, status = {} } = object as unknown as Migration;
  const parts = [condition('Completed')?.message ?? ''];
  if (status.downtimeMilliseconds !== undefined)
    parts.push(`stood still for ${status.downtimeMilliseconds} ms`);
  if (status.transferredBytes !== undefined) parts.push(`${bytesText(status.transferredBytes)}B moved`);
  return `migration/${metadata.name} completed: ${parts.join(', ')}`;
}
