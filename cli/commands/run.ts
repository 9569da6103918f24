/**
 * `muster run` without the front: help and --dry-run need no daemon, a cluster of a kubeconfig is reached through its API; anything
 * else means that no control plane answers, since the front speaks to it directly.
 */
import { readFileSync } from 'node:fs';
import { dump } from 'js-yaml';
import type { Config } from '../config.ts';
import { CommandError } from '../errors.ts';
import { groupOfRun, parseHostFile, stemOf } from '../run-group.ts';
import { parseRun, runHelp } from '../run-options.ts';

export async function run(config: Config): Promise<number> {
  const words = process.argv.slice(process.argv.indexOf('run') + 1);
  const asked = parseRun(words);
  if (asked.help) {
    process.stdout.write(runHelp());
    return 0;
  }
  const request =
    asked.hostFile === undefined
      ? asked
      : { ...asked, nodes: parseHostFile(readFileSync(asked.hostFile, 'utf8'), asked.hostFile) };
  if (request.dryRun) {
    const caller = {
      workingDir: process.cwd(),
      umask: process.umask(),
      rlimits: [],
      environment: {},
      terminal: undefined,
    };
    process.stdout.write(
      dump(groupOfRun(request, caller, stemOf(request.programs[0]?.argv[0] ?? 'job')), { lineWidth: 120 }),
    );
    return 0;
  }
  if (config.isRemote) {
    const { remoteRun } = await import('../remote-run.ts');
    return remoteRun(config, request, process.env as Readonly<Record<string, string>>);
  }
  throw new CommandError(
    `no control plane answers in ${config.home.root}: start one with "muster up --detach", or name another home with MUSTER_HOME`,
  );
}
