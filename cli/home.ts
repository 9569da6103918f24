/**
 * The layout of MUSTER_HOME, one cluster's whole state on this machine: several homes are several clusters side by side.
 * It knows names only; who may write what is said beside each. Directories are 0700, keys and side files 0600.
 */
import { mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

export interface Home {
  readonly root: string;
  /** The file store; the controller alone. */
  readonly store: string;
  /** Manifests a user drops in; the controller only reads. */
  readonly manifests: string;
  /** CA, certificates and keys of the control plane. */
  readonly pki: string;
  /** Environments of foreground jobs, kept out of the objects. */
  readonly secrets: string;
  readonly logs: string;
  /** Sockets and process records; may be emptied while nothing runs. */
  readonly run: string;
  readonly nodes: string;
}

export function homeOf(root: string): Home {
  const base = resolve(root);
  return {
    root: base,
    store: join(base, 'store'),
    manifests: join(base, 'manifests'),
    pki: join(base, 'pki'),
    secrets: join(base, 'secrets'),
    logs: join(base, 'logs'),
    run: join(base, 'run'),
    nodes: join(base, 'nodes'),
  };
}

export const apiSocketOf = (home: Home): string => join(home.run, 'api.sock');
export const frontSocketOf = (home: Home): string => join(home.run, 'front.sock');
export const hubFileOf = (home: Home): string => join(home.run, 'hub.json');
/** How kubectl reaches this cluster as its administrator. */
export const kubeconfigOf = (home: Home): string => join(home.root, 'kubeconfig');
export const processFileOf = (home: Home, name: string): string => join(home.run, `${name}.pid.json`);
export const nodeDirectoryOf = (home: Home, node: string): string => join(home.nodes, node);
export const nodeStateOf = (home: Home, node: string): string => join(home.nodes, node, 'state');
export const nodeSocketOf = (home: Home, node: string): string => join(home.run, `${node}.sock`);

/** `--home`, else MUSTER_HOME, else ~/.muster. */
export function defaultHome(environment: NodeJS.ProcessEnv): string {
  return environment['MUSTER_HOME'] ?? join(environment['HOME'] ?? homedir(), '.muster');
}

/**
 * Makes the directories. The home itself is 0711 and `run` 0755 so that other users of this machine may reach the sockets, which
 * ask the kernel who they are; everything else is the owner's alone.
 */
export function makeHome(home: Home): void {
  mkdirSync(home.root, { recursive: true, mode: 0o711 });
  mkdirSync(home.run, { recursive: true, mode: 0o755 });
  for (const directory of [home.store, home.manifests, home.pki, home.secrets, home.logs, home.nodes]) {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  }
}
