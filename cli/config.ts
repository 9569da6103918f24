/**
 * What the environment and the installation tell the CLI; the only file of it that reads them.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defaultHome, homeOf, type Home } from './home.ts';

export interface Config {
  readonly home: Home;
  readonly namespace: string;
  readonly colour: boolean;
  readonly columns: number;
}

export function configOf(
  options: { home?: string | undefined; namespace?: string | undefined } = {},
): Config {
  return {
    home: homeOf(options.home ?? defaultHome(process.env)),
    namespace: options.namespace ?? 'default',
    colour: process.stdout.isTTY && process.env['NO_COLOR'] === undefined && process.env['TERM'] !== 'dumb',
    columns: process.stdout.isTTY ? process.stdout.columns : Number(process.env['COLUMNS'] ?? 0),
  };
}

/** The checkout or installation: where `native/` binaries, CRDs and the proto file lie. Works bundled and from source. */
export function installRoot(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(directory, 'package.json'))) {
    const parent = dirname(directory);
    if (parent === directory) {
      throw new Error(
        'MUSTER_INSTALL_BROKEN: no package.json above the program; build Muster with "make build"',
      );
    }
    directory = parent;
  }
  return directory;
}

export const nativeDirectory = (): string => join(installRoot(), 'build', 'native');

/** How to start this same program again as a daemon: the running Node and the running script. */
export function selfCommand(args: readonly string[]): { file: string; args: string[] } {
  const script = process.argv[1];
  if (script === undefined) throw new Error('MUSTER_INSTALL_BROKEN: no script to start again');
  return { file: process.execPath, args: [...process.execArgv, script, ...args] };
}

/** MPIEXEC_TIMEOUT of a caller's environment, in seconds. */
export function mpiexecTimeoutOf(environment: Readonly<Record<string, string>>): number | undefined {
  const seconds = Number(environment['MPIEXEC_TIMEOUT'] ?? '');
  return Number.isSafeInteger(seconds) && seconds > 0 ? seconds : undefined;
}

/** How long a foreground job outlives its client, when MUSTER_CLIENT_LEASE_SECONDS says other than the usual 30. */
export function clientLeaseMs(): number | undefined {
  const seconds = Number(process.env['MUSTER_CLIENT_LEASE_SECONDS'] ?? '');
  return seconds > 0 && seconds <= 86_400 ? seconds * 1000 : undefined;
}
