/**
 * `muster checkpoint`: makes a Checkpoint of a job and waits until it is restorable, with progress where somebody looks on. Ctrl-C
 * leaves it to itself; exit 1, the reason on stderr, where it fails.
 */
import { bytesText } from '../../crds/quantity.ts';
import type { Checkpoint } from '../../crds/types.gen.ts';
import { checkpointType, connect } from '../client.ts';
import type { Config } from '../config.ts';
import { CommandError } from '../errors.ts';
import { untilObject, type GroupView } from '../group-wait.ts';
import { ProgressLine } from '../progress-line.ts';

export interface CheckpointOptions {
  readonly name?: string;
  readonly stop?: boolean;
  readonly copies?: string;
  readonly storage?: string;
  readonly deadline?: string;
  readonly wait: boolean;
}

export async function checkpoint(
  config: Config,
  args: string[],
  options: CheckpointOptions,
): Promise<number> {
  const client = connect(config.server);
  const [group = ''] = args;
  const { namespace } = config;
  const made = await client.store.create<Checkpoint>(checkpointType, {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'Checkpoint',
    metadata: {
      namespace,
      ...(options.name === undefined ? { generateName: `${group}-` } : { name: options.name }),
    },
    spec: {
      processGroupName: group,
      ...(options.stop === true ? { then: 'Stop' } : {}),
      ...(options.storage === undefined ? {} : { storage: options.storage }),
      ...numberOf('copies', options.copies),
      ...numberOf('deadlineSeconds', options.deadline),
    },
  } as Checkpoint);
  const { name } = made.metadata;
  if (!options.wait) {
    process.stdout.write(`checkpoint/${name} asked for\n`);
    return 0;
  }
  const progress = new ProgressLine(process.stderr);
  const beganMs = performance.now();
  const done = await untilObject(client, checkpointType, { namespace, name }, (view) => {
    progress.show(progressText(view.object as unknown as Checkpoint, performance.now() - beganMs));
    return view.is('Ready') || view.is('Failed') || view.is('Stalled');
  });
  progress.end();
  if (!done.is('Ready')) throw new CommandError(`checkpoint/${name} failed: ${whyOf(done)}`);
  process.stdout.write(`${doneText(done.object as unknown as Checkpoint)}\n`);
  return 0;
}

function whyOf(view: GroupView): string {
  const why =
    view.condition('Failed')?.status === 'True' ? view.condition('Failed') : view.condition('Stalled');
  return `${why?.reason ?? ''}: ${why?.message ?? ''}`;
}

function doneText({ metadata, status = {} }: Checkpoint): string {
  const parts = [`${status.size ?? 0} ranks`, `${status.imageSize ?? ''}B`];
  if (status.downtimeMilliseconds !== undefined)
    parts.push(`stood still for ${status.downtimeMilliseconds} ms`);
  if (status.candidateNodes !== undefined)
    parts.push(`${status.candidateNodes} node${status.candidateNodes === 1 ? '' : 's'} can bring it back`);
  return `checkpoint/${metadata.name} ready: ${parts.join(', ')}`;
}

function numberOf(field: string, text: string | undefined): Record<string, number> {
  if (text === undefined) return {};
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new CommandError(`${text}: expected a number above 0`, 2);
  return { [field]: value };
}

function progressText({ status }: Checkpoint, elapsedMs: number): string {
  const { phase = 'Pending', progress } = status ?? {};
  const bytes = progress?.bytesWritten ?? 0;
  const rate = bytes / Math.max(0.001, elapsedMs / 1000);
  const sizes = bytes === 0 ? '' : `, ${bytesText(bytes)}B, ${bytesText(rate)}B/s`;
  const counts = progress
    ? `: ${progress.dumped ?? 0} of ${progress.sandboxes ?? 0} sandboxes dumped, ${progress.saved ?? 0} saved${sizes}`
    : '';
  return `${phase}${counts}`;
}
