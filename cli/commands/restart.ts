/** `muster restart`: makes a job that goes on from a Checkpoint, and waits until its ranks run (or have run to their end). */
import { NodeListError, parseNodeList } from '../../crds/node-list.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { checkpointType, connect, processGroupType } from '../client.ts';
import type { Config } from '../config.ts';
import { CommandError } from '../errors.ts';
import { untilGroup } from '../group-wait.ts';

export interface RestartOptions {
  readonly name?: string;
  readonly nodes?: string;
  readonly wait: boolean;
}

export async function restart(config: Config, args: string[], options: RestartOptions): Promise<number> {
  const client = connect(config.server);
  const { namespace } = config;
  const [checkpointName = ''] = args;
  await client.store.get(checkpointType, { namespace, name: checkpointName });
  const nodes = options.nodes === undefined ? undefined : nodesOf(options.nodes);
  const made = await client.store.create<ProcessGroup>(processGroupType, {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup',
    metadata: {
      namespace,
      ...(options.name === undefined ? { generateName: `${checkpointName}-` } : { name: options.name }),
    },
    spec: { restoreFrom: { checkpointName }, ...(nodes === undefined ? {} : { placement: { nodes } }) },
  } as ProcessGroup);
  const { name } = made.metadata;
  if (!options.wait) {
    process.stdout.write(`processgroup/${name} is to go on from checkpoint/${checkpointName}\n`);
    return 0;
  }
  const group = await untilGroup(
    client,
    { namespace, name },
    (view) => view.is('Running') || view.is('Succeeded') || view.is('Failed') || view.is('Stalled'),
  );
  for (const type of ['Failed', 'Stalled']) {
    const why = group.condition(type);
    if (why?.status === 'True') throw new CommandError(`processgroup/${name} ${why.reason}: ${why.message}`);
  }
  process.stdout.write(`processgroup/${name} goes on from checkpoint/${checkpointName}\n`);
  return 0;
}

/** Names, or a node list such as node[1-4]. */
function nodesOf(text: string): string[] {
  try {
    return parseNodeList(text);
  } catch (error) {
    if (!(error instanceof NodeListError)) throw error;
    throw new CommandError(`--nodes ${text}: ${error.message}`, 2);
  }
}
