/** `muster kill`: ends jobs; the objects and their logs stay. */
import { connect, subresourcePath } from '../client.ts';
import type { Config } from '../config.ts';
import { untilGroup } from '../group-wait.ts';

export async function kill(config: Config, args: string[], options: { now?: boolean }): Promise<number> {
  const client = connect(config.server);
  for (const name of args) {
    await client.request('POST', subresourcePath({ namespace: config.namespace, name }, 'end'), {
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
