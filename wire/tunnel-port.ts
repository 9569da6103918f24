// The UDP port of a cluster's tunnels, which follows from what its authority is called, so that nodes can tell of it before there is a
// job: none of the usual ones, and rarely another cluster's.
import { createHash } from 'node:crypto';
import { nameOfCluster } from './authority-name.ts';

const firstPort = 20_000;
const ports = 10_000;

/** Where WireGuard listens, where tunnels between nodes are encrypted. */
export const sealedPortOf = (clusterId: string): number => tunnelPortOf(clusterId) + ports;

export const tunnelPortOf = (clusterId: string): number =>
  firstPort + (createHash('sha256').update(nameOfCluster(clusterId)).digest().readUInt32BE(1) % ports);
