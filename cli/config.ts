/**
 * What the environment and the installation tell the CLI; the only file of it that reads them.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { HttpStoreOptions } from '../store/client/http-store.ts';
import { apiSocketOf, defaultHome, homeOf, type Home } from './home.ts';

export interface Config {
  readonly home: Home;
  readonly namespace: string;
  /** Where the API is. */
  readonly server: HttpStoreOptions;
  /** The API is not that of the home, but one that a kubeconfig names. */
  readonly isRemote: boolean;
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
  readonly colour: boolean;
  readonly columns: number;
}

export interface ConfigOptions {
  readonly home?: string | undefined;
  readonly namespace?: string | undefined;
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
}

/** What the user's kubeconfig says where it is asked for, or always as a plugin of kubectl; else the cluster of the home. */
export async function configOf(options: ConfigOptions = {}): Promise<Config> {
  const home = homeOf(options.home ?? defaultHome(process.env));
  const common = {
    home,
    colour: process.stdout.isTTY && process.env['NO_COLOR'] === undefined && process.env['TERM'] !== 'dumb',
    columns: process.stdout.isTTY ? process.stdout.columns : Number(process.env['COLUMNS'] ?? 0),
  };
  const { kubeconfig, context, namespace } = options;
  if (kubeconfig === undefined && context === undefined && !isPlugin()) {
    const server = { socketPath: apiSocketOf(home) };
    return { ...common, server, namespace: namespace ?? 'default', isRemote: false };
  }
  const { kubeDaemonTargetOf } = await import('../store/client/kubeconfig.ts');
  const target = kubeDaemonTargetOf(kubeconfig, context);
  return {
    ...common,
    server: target.server,
    namespace: namespace ?? target.namespace ?? 'default',
    isRemote: true,
    kubeconfig,
    context,
  };
}

/** Called as `kubectl muster`: the front says so. */
const isPlugin = (): boolean => process.env['MUSTER_AS_PLUGIN'] === '1';

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

/** The files of the web page. */
export const pageDirectory = (): string => join(installRoot(), 'build', 'page');

/** Where CRIU may be, in order: as set-up brought it, or as the machine has it. */
export function criuPrograms(): string[] {
  const brought = join(installRoot(), 'build', 'criu', 'bin', 'criu');
  return [brought, '/usr/local/sbin/criu', '/usr/sbin/criu'];
}

/** Where the points are at which a daemon is to kill itself, for tests. */
export const failPointsFile = (): string | undefined => process.env['MUSTER_FAIL_POINTS'];

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

/** Where OpenTelemetry's own variables say that traces go; the exporter reads headers and the like from the same ones. */
export const otlpEndpoint = (): string | undefined =>
  process.env['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'] ??
  process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] ??
  undefined;
