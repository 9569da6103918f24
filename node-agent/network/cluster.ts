// By what the job networks of one cluster are told from another's on the same machine: the cluster's authority, which every
// agent has before it has spoken with a hub.
import { createHash } from 'node:crypto';

export const networkClusterOf = (ca: string | Buffer): string =>
  createHash('sha256').update(ca).digest('hex').slice(0, 32);
