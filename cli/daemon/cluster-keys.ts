/**
 * The private authority of a home and the certificates of nodes of this machine: made at the first start, kept in files that
 * only the owner reads. Nodes of other machines join with a token instead.
 */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { KeyAndCertificate } from '../../controllers/pki/certificate.ts';
import {
  openAuthority,
  openCertificate,
  readIfThere,
  writePrivately,
} from '../../controllers/pki/key-files.ts';
import { authorityName } from '../../wire/authority-name.ts';
import type { TlsPaths } from '../../node-agent/config.ts';
import { type Home, nodeDirectoryOf } from '../home.ts';

export interface ClusterKeys {
  readonly clusterId: string;
  readonly authority: KeyAndCertificate;
}

/** The cluster is made after its store, so where it is there was a store. */
export const hasCluster = (home: Home): boolean => existsSync(join(home.pki, 'cluster-id'));

/** The authority of the home; the first caller makes it. Only the controller calls this, so nobody races. */
export async function openCluster(home: Home): Promise<ClusterKeys> {
  const idFile = join(home.pki, 'cluster-id');
  let clusterId = await readIfThere(idFile);
  if (clusterId === undefined) {
    clusterId = randomUUID();
    await writePrivately(idFile, clusterId);
  }
  return { clusterId, authority: await openAuthority(home.pki, authorityName(clusterId)) };
}

export const nodeKeyPaths = (home: Home, node: string): TlsPaths => {
  const directory = nodeDirectoryOf(home, node);
  return {
    ca: join(directory, 'ca.crt'),
    cert: join(directory, 'node.crt'),
    key: join(directory, 'node.key'),
  };
};

/** Whether a node of this name took its certificate here, as one on this machine does, instead of joining. */
export const isLocalNode = (home: Home, node: string): boolean =>
  existsSync(nodeKeyPaths(home, node).cert) && !existsSync(join(nodeDirectoryOf(home, node), 'joined.json'));

/** Certificate of a node on this machine, whose agent may read the authority itself; undefined until there is one. */
export async function enrolLocalNode(home: Home, node: string): Promise<TlsPaths | undefined> {
  const [cert, key] = await Promise.all(
    ['ca.crt', 'ca.key'].map((name) => readIfThere(join(home.pki, name))),
  );
  if (cert === undefined || key === undefined) return undefined;
  const paths = nodeKeyPaths(home, node);
  await openCertificate(nodeDirectoryOf(home, node), 'node', { cert, key }, { kind: 'node', node });
  if ((await readIfThere(paths.ca)) !== cert) await writePrivately(paths.ca, cert);
  return paths;
}
