// What a cluster's authority is called in its certificate. The cluster's part of the name stays when the authority is replaced,
// so that whoever holds the certificate, as every agent does before it has spoken with a hub, knows which cluster is meant.
import { createHash, X509Certificate } from 'node:crypto';

/** No two authorities of a cluster have the same name, so that nobody takes one for the other: `madeMs` tells them apart. */
export function authorityName(clusterId: string, madeMs?: number): string {
  const name = `muster ${clusterId.slice(0, 8)}`;
  return madeMs === undefined ? name : `${name} ${new Date(madeMs).toISOString().slice(0, 19)}`;
}

/** The cluster of this authority (PEM; of several certificates the first); of one that is not named so, a hash of all. */
export function clusterOfAuthority(ca: string | Buffer): string {
  const { subject } = new X509Certificate(ca);
  const named = /^CN=muster (\S+)/m.exec(subject)?.[1];
  return named ?? createHash('sha256').update(ca).digest('hex').slice(0, 32);
}
