/** `muster token create`: a one-time token and the whole command that uses it on the other machine. */
import { connect } from '../client.ts';
import type { Config } from '../config.ts';
import { CommandError } from '../errors.ts';

export async function token(
  config: Config,
  args: string[],
  options: { ttl: string; node?: string },
): Promise<number> {
  if (args[0] !== 'create') throw new CommandError(`muster token ${args[0] ?? ''}: expected "create"`, 2);
  const client = connect(config.server);
  const path = '/apis/subresources.muster.dev/v1alpha1/jointokens';
  const body = {
    ttlSeconds: Number(options.ttl),
    ...(options.node === undefined ? {} : { node: options.node }),
  };
  const made = (await client.request('POST', path, body)) as {
    token: string;
    caHash: string;
    address: string;
  };
  process.stdout.write(
    `muster agent --join ${made.address} --token ${made.token} --ca-hash ${made.caHash}${options.node === undefined ? '' : ` --node ${options.node}`}\n`,
  );
  return 0;
}
