// What a cluster's authority is called in its certificate. The cluster's part of the name stays when the authority is replaced,
// so that whoever holds the certificate, as every agent does before it has spoken with a hub, knows which cluster is meant.
import { createHash, X509Certificate } from 'node:crypto';

/** No two authorities of a cluster have the same name, so that nobody takes one for the other: `madeMs` tells them apart. */
export function authorityName(clusterId: string, madeMs?: number): string {
  const name = `muster ${nameOfCluster(clusterId)}`;
  return madeMs === undefined ? name : `${name} ${new Date(madeMs).toISOString().slice(0, 19)}`;
}

/** As much of a cluster's identity as stands in the name. */
export const nameOfCluster = (clusterId: string): string => clusterId.slice(0, 8);

/** The cluster of this authority (PEM; of several certificates the first); of one that is not named so, a hash of all. */
export function clusterOfAuthority(ca: string | Buffer): string {
  return clusterNamedBy(ca) ?? createHash('sha256').update(ca).digest('hex').slice(0, 32);
}

/** Undefined: the authority is not named after its cluster. */
export function clusterNamedBy(ca: string | Buffer): string | undefined {
  return /^CN=muster (\S+)/m.exec(new X509Certificate(ca).subject)?.[1];
}
