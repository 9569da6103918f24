/** `muster suspend` and `muster resume`: write spec.suspend and wait until the group is as asked. */
import { connect, processGroupType } from '../client.ts';
import type { Config } from '../config.ts';
import { untilGroup } from '../group-wait.ts';

const setSuspend =
  (suspended: boolean) =>
  async (config: Config, args: string[]): Promise<number> => {
    const client = connect(config.server);
    for (const name of args) {
      const key = { namespace: config.namespace, name };
      await client.store.patch(processGroupType, key, {
        type: 'merge',
        patch: { spec: { suspend: suspended } },
      });
      await untilGroup(client, key, (group) => {
        const finished = group.is('Succeeded') || group.is('Failed') || group.is('Stalled');
        return finished || group.is('Suspended') === suspended;
      });
      process.stdout.write(`processgroup/${name} ${suspended ? 'suspended' : 'resumed'}\n`);
    }
    return 0;
  };

export const suspend = setSuspend(true);
export const resume = setSuspend(false);
