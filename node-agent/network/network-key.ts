// The pair of keys by which this node's tunnels are encrypted (X25519, in the words of WireGuard), kept in a file of its own that only
// root reads, and the address that follows from a public key: within a cluster's tunnels nodes are known by it, and nobody else can
// have it. It knows nothing of links.
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';

export interface NetworkKey {
  /** Of the private key, as base64. */
  readonly file: string;
  /** As base64. */
  readonly publicKey: string;
}

/** DER around the 32 bytes of a private key (RFC 8410). */
const pkcs8 = Buffer.from('302e020100300506032b656e04220420', 'hex');

/** The key in this file, made where there is none. */
export function networkKeyIn(file: string): NetworkKey {
  if (!existsSync(file)) {
    const { privateKey } = generateKeyPairSync('x25519');
    const own = privateKey.export({ type: 'pkcs8', format: 'der' }).subarray(pkcs8.length);
    writeFileSync(`${file}.new`, `${own.toString('base64')}\n`, { mode: 0o600, flush: true });
    renameSync(`${file}.new`, file);
  }
  const bytes = Buffer.from(readFileSync(file, 'utf8'), 'base64');
  if (bytes.length !== 32)
    throw new Error(
      `MUSTER_NETWORK_KEY: ${file} holds no key of 32 bytes: remove it, and the agent makes another`,
    );
  const key = createPrivateKey({ key: Buffer.concat([pkcs8, bytes]), type: 'pkcs8', format: 'der' });
  const { x = '' } = createPublicKey(key).export({ format: 'jwk' });
  return { file, publicKey: Buffer.from(x, 'base64url').toString('base64') };
}

/** Unique local (RFC 4193): a cluster's 48 bits, then 64 of the key. */
export function sealedAddressOf(clusterId: string, publicKey: string): string {
  const hash = (text: string, bytes: number): Buffer =>
    createHash('sha256').update(text).digest().subarray(0, bytes);
  const bytes = Buffer.concat([Buffer.from([0xfd, 0x4d]), hash(clusterId, 6), hash(publicKey, 8)]);
  return bytes.toString('hex').match(/.{4}/g)!.join(':');
}

export const sealedPrefix = 64;
/** Of all clusters. */
export const sealedRange = 'fd4d::/16';
