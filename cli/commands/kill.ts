/** `muster kill`: ends jobs; the objects and their logs stay. */
import { groupVerbPath } from '../../controllers/subresources/paths.ts';
import { type Client, connect } from '../client.ts';
import type { Config } from '../config.ts';
import { CommandError } from '../errors.ts';
import { untilGroup } from '../group-wait.ts';
import { endUnknown } from '../unknown.ts';

export interface KillOptions {
  readonly now?: boolean;
  readonly unknown?: boolean;
  readonly all?: boolean;
}

export async function kill(config: Config, args: string[], options: KillOptions): Promise<number> {
  const client = connect(config.server);
  if (options.unknown === true) return killUnknown(client, args, options.all === true);
  if (args.length === 0 || options.all === true)
    throw new CommandError('name the jobs to end; --all goes with --unknown only', 2);
  for (const name of args) {
    await client.request('POST', groupVerbPath({ namespace: config.namespace, name }, 'kill'), {
      now: options.now === true,
    });
  }
  for (const name of args) {
    await untilGroup(
      client,
      { namespace: config.namespace, name },
      (group) => group.is('Succeeded') || group.is('Failed') || group.is('Stalled'),
    );
    process.stdout.write(`processgroup/${name} ended\n`);
  }
  return 0;
}

async function killUnknown(client: Client, uids: readonly string[], all: boolean): Promise<number> {
  if (all === uids.length > 0)
    throw new CommandError(
      '--unknown: name the uids of groups that "muster ps --unknown" shows, or say --all',
      2,
    );
  const count = await endUnknown(client, all ? 'all' : uids);
  process.stdout.write(`${count} unknown ${count === 1 ? 'sandbox' : 'sandboxes'} told to end\n`);
  return count > 0 || all ? 0 : 1;
}
