/** `muster kubeconfig`: the owner's kubeconfig, or one for another user with a role; and the end of a user's tokens. */
import { connect } from '../client.ts';
import type { Config } from '../config.ts';
import { CommandError } from '../errors.ts';
import { kubeconfigOf } from '../home.ts';
import { readFileSync } from 'node:fs';

export interface KubeconfigOptions {
  user?: string;
  role: string;
  namespace?: string;
  runAs?: string;
  ttl: string;
  token?: boolean;
  revoke?: string;
}

const path = '/apis/subresources.muster.dev/v1alpha1/credentials';

export async function kubeconfig(
  config: Config,
  _args: string[],
  options: KubeconfigOptions,
): Promise<number> {
  if (options.revoke !== undefined) {
    const client = connect(config.server);
    const answer = await client.request('DELETE', `${path}/${encodeURIComponent(options.revoke)}`);
    const { revoked } = answer as { revoked: number };
    process.stdout.write(`${revoked} token${revoked === 1 ? '' : 's'} of ${options.revoke} revoked\n`);
    return 0;
  }
  if (options.user === undefined) {
    process.stdout.write(ownText(config));
    return 0;
  }
  const { user, role, namespace, runAs, token } = options;
  const body = { user, role, namespace, runAs, ttlSeconds: Number(options.ttl), token: token === true };
  const made = (await connect(config.server).request('POST', path, body)) as { kubeconfig: string };
  process.stdout.write(made.kubeconfig);
  return 0;
}

function ownText(config: Config): string {
  const file = kubeconfigOf(config.home);
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new CommandError(`${file} cannot be read; start a control plane with: muster up --detach`, 1, {
      cause,
    });
  }
}
