// What all sandboxes of one agent share: the native module, pumps, pollers, cgroups, the tree of jobs, this node's facts.
// Made once by main.ts and handed down; nothing here acts by itself.
import type { Logger } from 'pino';
import type { Native } from '../native/addon/index.ts';
import type { Wire } from '../wire/load.ts';
import type { Cgroups } from './cgroups.ts';
import type { Checkpoints } from './checkpoint/checkpoints.ts';
import type { AgentConfig } from './config.ts';
import type { MachineTopology } from './hwloc.ts';
import type { InputSpools } from './input.ts';
import type { JobTree } from './job-tree.ts';
import type { Moves } from './migration/moves.ts';
import type { JobNetwork } from './network/job-network.ts';
import type { NetworkTroubles } from './network/troubles.ts';
import type { OutputSpool } from './output.ts';
import type { ProcessorLedger } from './processors.ts';
import type { PmiSockets } from './pmi-port.ts';
import type { TlsMaterial } from './tls.ts';
import type { Topology } from './topology.ts';

export interface Backend {
  readonly config: AgentConfig;
  readonly log: Logger;
  readonly native: Native;
  readonly wire: Wire;
  readonly tls: TlsMaterial;
  readonly topology: Topology;
  readonly hwloc: MachineTopology;
  readonly processors: ProcessorLedger;
  /** null without root or where none are mounted. */
  readonly cgroups: Cgroups | null;
  readonly checkpoints: Checkpoints;
  readonly moves: Moves;
  readonly output: OutputSpool;
  readonly input: InputSpools;
  readonly pmi: PmiSockets;
  readonly tree: JobTree;
  /** null where this node cannot have networks for jobs: `networkTroubles` says why. */
  readonly network: JobNetwork | null;
  readonly networkTroubles: NetworkTroubles;
  /** By which tunnels to this node are encrypted; empty: they cannot be. */
  readonly networkKey: string;
  /** Where ranks of other nodes reach ranks of this one. */
  readonly address: string;
  readonly agentUid: number;
  readonly bootId: string;
  readonly nowMs: () => number;
}
