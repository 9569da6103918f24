/**
 * The private authority of a home, the control plane's certificate and those of nodes of this machine: made at the first start,
 * kept in files that only the owner reads.
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { issue, makeAuthority, verifyCertificate, type KeyAndCertificate, type Subject } from '../../controllers/pki/certificate.ts';
import { readIfThere, writePrivately } from '../../controllers/pki/key-files.ts';
import type { TlsPaths } from '../../node-agent/config.ts';
import { type Home, nodeDirectoryOf } from '../home.ts';

export interface ClusterKeys {
  readonly clusterId: string;
  readonly authority: KeyAndCertificate;
}

/** The authority of the home; the first caller makes it. Only the controller calls this, so nobody races. */
export async function openAuthority(home: Home): Promise<ClusterKeys> {
  const idFile = join(home.pki, 'cluster-id');
  let clusterId = await readIfThere(idFile);
  if (clusterId === undefined) {
    clusterId = randomUUID();
    await writePrivately(idFile, clusterId);
  }
  const found = await readPair(join(home.pki, 'ca'));
  if (found) return { clusterId, authority: found };
  const authority = await makeAuthority(`muster ${clusterId.slice(0, 8)}`);
  await writePair(join(home.pki, 'ca'), authority);
  return { clusterId, authority };
}

/** A certificate for a subject, kept at `path`.crt and `path`.key; made anew when it is of another authority or of no time. */
export async function keptCertificate(
  authority: KeyAndCertificate,
  subject: Subject,
  path: string,
): Promise<KeyAndCertificate> {
  const found = await readPair(path);
  if (found && (await verifyCertificate(authority.cert, found.cert, Date.now()))) return found;
  const made = await issue(authority, subject);
  await writePair(path, made);
  return made;
}

export const nodeKeyPaths = (home: Home, node: string): TlsPaths => {
  const directory = nodeDirectoryOf(home, node);
  return { ca: join(directory, 'ca.crt'), cert: join(directory, 'node.crt'), key: join(directory, 'node.key') };
};

/** Certificate of a node on this machine, whose agent may read the authority itself. */
export async function enrolLocalNode(home: Home, node: string): Promise<TlsPaths | undefined> {
  const authority = await readPair(join(home.pki, 'ca'));
  if (!authority) return undefined;
  const directory = nodeDirectoryOf(home, node);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const paths = nodeKeyPaths(home, node);
  await keptCertificate(authority, { kind: 'node', node }, join(directory, 'node'));
  if ((await readIfThere(paths.ca)) !== authority.cert) await writePrivately(paths.ca, authority.cert);
  return paths;
}

/** The key is written first: a certificate without its key would be taken for a pair that is there. */
async function writePair(path: string, pair: KeyAndCertificate): Promise<void> {
  await writePrivately(`${path}.key`, pair.key);
  await writePrivately(`${path}.crt`, pair.cert);
}

async function readPair(path: string): Promise<KeyAndCertificate | undefined> {
  const [key, cert] = await Promise.all([readIfThere(`${path}.key`), readIfThere(`${path}.crt`)]);
  return key === undefined || cert === undefined ? undefined : { key, cert };
}
