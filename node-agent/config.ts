// What an agent is told when it starts, and what an administrator lets jobs do on this node. Plain data with defaults;
// nothing here reads files or the environment, and nothing of it comes from the API.
import type { Logger } from 'pino';
import type { Trace } from '../wire/trace.ts';

/** A directory or file of the host that sandboxes see too. */
export interface Bind {
  readonly source: string;
  /** Where it is in the sandbox; absent: at the same path. */
  readonly target?: string;
  readonly readOnly?: boolean;
}

export interface NodeConfig {
  readonly binds: readonly Bind[];
  /** Users that ranks may run as, whatever the API says: "1000-65534,70000". */
  readonly allowedUids: string;
  /** Directories that may serve as a sandbox's root in place of the host's own. */
  readonly allowedRoots: readonly string[];
  /** Device nodes that jobs may ask for, by the name of the set. */
  readonly devices: Readonly<Record<string, readonly string[]>>;
  /** Processes and threads that may be in a sandbox at once, beside one for each rank: what a fork bomb can do. */
  readonly processesPerSandbox: number;
  /** Bytes of log kept for each stream of a rank when the group does not say. */
  readonly logQuotaBytes: number;
  /** Bytes that images of checkpoints may take of the node's disk; 0: as much as there is. */
  readonly imageBudgetBytes: number;
  /** Directories that nodes share for images, by name. */
  readonly storages: Readonly<Record<string, string>>;
  /** How their files are kept. */
  readonly imageCompression: 'None' | 'Zstd';
  /** Holds the key that they are encrypted with, the same on all nodes; empty: they are not. */
  readonly imageKeyFile: string;
  /** Directory of the programs that a NodeMonitor may name as health checks; root's, and nobody else may write there. */
  readonly healthChecks: string;
  /** While this file is there, the node's owner counts as using it (spec.ownerReclaim). */
  readonly ownerFile?: string;
  /** Cgroup, delegated to the agent, below which those of sandboxes are made. */
  readonly cgroupParent: string;
}

export const defaultNodeConfig: NodeConfig = {
  binds: [],
  allowedUids: '1000-65534',
  allowedRoots: [],
  devices: {},
  processesPerSandbox: 10_000,
  logQuotaBytes: 256 * 1024 * 1024,
  imageBudgetBytes: 0,
  storages: {},
  imageCompression: 'None',
  imageKeyFile: '',
  healthChecks: '/etc/muster/checks',
  cgroupParent: 'muster.slice',
};

/** Files in PEM: the cluster's authority, this node's certificate (its common name is the node's name) and key. */
export interface TlsPaths {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface AgentConfig {
  readonly node: string;
  readonly stateDir: string;
  /** host:port of hubs, tried in turn. */
  readonly hubAddresses: readonly string[];
  /** Name in the hub's certificate when it is not the host part of its address. */
  readonly hubServerName?: string;
  readonly tls: TlsPaths;
  /** Where other nodes' agents reach this one; the port is chosen free when it is 0. */
  readonly peerHost: string;
  readonly peerPort: number;
  /** Address under which ranks of other nodes reach ranks here; absent: peerHost. */
  readonly address?: string;
  /** Path of the socket for `muster run` on this machine; empty: none. */
  readonly localSocket: string;
  /** Where CRIU may be, in order; it may come and go. */
  readonly criu?: readonly string[];
  /** Told of each step of a protocol once it is on the disk: for tests. */
  readonly reached?: (point: string) => void;
  /** Holds rank-init and launch. */
  readonly nativeDir: string;
  /** The agent's own mount and cgroup namespaces stand for the host's: sandboxes are built from them. */
  readonly keepNamespaces?: boolean;
  /** Where Prometheus may ask for metrics; absent: nowhere. */
  readonly metrics?: {
    readonly host: string;
    readonly port: number;
    readonly tokenFile?: string | undefined;
  };
  readonly labels?: Readonly<Record<string, string>>;
  readonly nodeConfig: NodeConfig;
  /** agent.proto, when it does not lie beside the code. */
  readonly protoPath?: string;
  /** Where spans of what this node does go; absent: nowhere. */
  readonly trace?: Trace;
  readonly build: string;
  readonly logger: Logger;
}
