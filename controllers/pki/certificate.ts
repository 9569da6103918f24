/**
 * Keys and X.509 certificates of Muster's private authority: ECDSA P-256, one authority a cluster, certificates for the
 * server, for each node and for administrators. It knows no files and no network; everything goes in and out as PEM.
 */
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import { createHash, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const dayMs = 86_400_000;
/** Clocks of nodes may be apart. */
export const backdateMs = dayMs;

x509.cryptoProvider.set(webcrypto as unknown as Parameters<typeof x509.cryptoProvider.set>[0]);

export interface KeyAndCertificate {
  /** PEM, PKCS #8. */
  readonly key: string;
  /** PEM. */
  readonly cert: string;
}

export type Subject =
  /** `names` are DNS names and addresses by which it is reached. */
  | { readonly kind: 'server'; readonly names: readonly string[] }
  | { readonly kind: 'node'; readonly node: string; readonly names?: readonly string[] }
  /** `admin` or a client; groups become organisations. */
  | { readonly kind: 'client'; readonly name: string; readonly groups: readonly string[] };

export async function makeAuthority(name: string, validDays = 3650): Promise<KeyAndCertificate> {
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: [{ CN: [name] }],
    ...validity(validDays),
    keys,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { key: await exportKey(keys.privateKey), cert: certificate.toString('pem') };
}

/** A new key and its certificate. */
export async function issue(
  authority: KeyAndCertificate,
  subject: Subject,
  validDays = 3650,
): Promise<KeyAndCertificate> {
  const keys = await newKeys();
  const cert = await certify(authority, subject, keys.publicKey, validDays);
  return { key: await exportKey(keys.privateKey), cert };
}

/** A request for a certificate, with the key that it is for. The name in it is only a wish. */
export async function makeRequest(node: string): Promise<{ readonly key: string; readonly csr: string }> {
  const keys = await newKeys();
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: [{ CN: [node] }],
    keys,
    signingAlgorithm: algorithm,
  });
  return { key: await exportKey(keys.privateKey), csr: request.toString('pem') };
}

/** Signs a request for a node: only its key is taken from it, and only if the asker holds that key. */
export async function certifyNode(
  authority: KeyAndCertificate,
  node: string,
  csr: string,
  validDays = 3650,
): Promise<{ cert: string; keyHash: string }> {
  const request = new x509.Pkcs10CertificateRequest(csr);
  if (!(await request.verify())) throw new Error('the request is not signed with its own key');
  const publicKey = await request.publicKey.export(algorithm, ['verify']);
  const cert = await certify(authority, { kind: 'node', node }, publicKey, validDays);
  const keyHash = createHash('sha256').update(Buffer.from(request.publicKey.rawData)).digest('hex');
  return { cert, keyHash };
}

/** What a joining node is given to know the authority by: SHA-256 of its public key. */
export function authorityHash(caCert: string): string {
  const certificate = new x509.X509Certificate(caCert);
  return createHash('sha256').update(Buffer.from(certificate.publicKey.rawData)).digest('hex');
}

/** Whether a certificate was signed by this authority, is of time, and for whom. */
export async function verifyCertificate(caCert: string, cert: string, nowMs: number): Promise<boolean> {
  const authority = new x509.X509Certificate(caCert);
  const certificate = new x509.X509Certificate(cert);
  return certificate.verify({ publicKey: authority.publicKey, date: new Date(nowMs) });
}

/** Of any agent, for who asks many and has one name to check. */
export const agentDnsName = 'agent.muster';

export function nodeDnsName(node: string): string {
  return `${node}.node.muster`;
}

async function certify(
  authority: KeyAndCertificate,
  subject: Subject,
  publicKey: CryptoKeyLike,
  validDays: number,
): Promise<string> {
  const issuer = new x509.X509Certificate(authority.cert);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: newSerial(),
    subject: subjectName(subject),
    issuer: issuer.subjectName,
    ...validity(validDays),
    signingKey: await importKey(authority.key),
    publicKey,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(usagesOf(subject)),
      ...namesOf(subject),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
    ],
  });
  return certificate.toString('pem');
}

function subjectName(subject: Subject): x509.JsonName {
  if (subject.kind === 'server') return [{ CN: ['muster-server'] }];
  if (subject.kind === 'node') return [{ O: ['muster:nodes'] }, { CN: [subject.node] }];
  return [...subject.groups.map((group) => ({ O: [group] })), { CN: [subject.name] }];
}

/** Agents are servers to one another as well. */
function usagesOf({ kind }: Subject): string[] {
  const { clientAuth, serverAuth } = x509.ExtendedKeyUsage;
  if (kind === 'server') return [serverAuth];
  return kind === 'node' ? [serverAuth, clientAuth] : [clientAuth];
}

function namesOf(subject: Subject): x509.Extension[] {
  if (subject.kind === 'client') return [];
  const names =
    subject.kind === 'node'
      ? [nodeDnsName(subject.node), agentDnsName, ...(subject.names ?? [])]
      : subject.names;
  const entries = names.map((value) => ({
    type: isIP(value) === 0 ? ('dns' as const) : ('ip' as const),
    value,
  }));
  return entries.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(entries)];
}

type CryptoKeyLike = webcrypto.CryptoKey;

async function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
}

async function exportKey(key: CryptoKeyLike): Promise<string> {
  const der = await webcrypto.subtle.exportKey('pkcs8', key);
  return x509.PemConverter.encode(der, 'PRIVATE KEY');
}

async function importKey(pem: string): Promise<CryptoKeyLike> {
  return webcrypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(pem), algorithm, false, ['sign']);
}

function validity(days: number): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(Date.now() - backdateMs), notAfter: new Date(Date.now() + days * dayMs) };
}

function newSerial(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16));
  bytes[0]! &= 0x7f;
  return Buffer.from(bytes).toString('hex');
}
