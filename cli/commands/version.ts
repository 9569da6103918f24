/** `muster version`: of this program and of the control plane, if one answers. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from '../client.ts';
import { type Config, installRoot } from '../config.ts';

export function ownVersion(): string {
  return (JSON.parse(readFileSync(join(installRoot(), 'package.json'), 'utf8')) as { version: string })
    .version;
}

export async function version(
  config: Config,
  _args: string[],
  options: { output?: string },
): Promise<number> {
  const server = (await connect(config.server)
    .request('GET', '/version')
    .catch(() => undefined)) as { gitVersion?: string } | undefined;
  const versions = { client: `v${ownVersion()}`, server: server?.gitVersion ?? null, node: process.version };
  if (options.output === 'json') process.stdout.write(`${JSON.stringify(versions)}\n`);
  else
    process.stdout.write(
      `muster ${versions.client} (Node ${versions.node})\ncontrol plane ${versions.server ?? 'not running'}\n`,
    );
  return 0;
}
