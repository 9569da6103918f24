// How files of images are kept where the administrator wants them small, or secret: compressed (zstd), encrypted (AES-256-GCM, by
// a key of the administrator's that all nodes have), or both, in this order. An encrypted file begins with its nonce and
// ends with its tag, so it can be told to be whole from itself and the key alone.
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import {
  createReadStream,
  createWriteStream,
  lstatSync,
  readFileSync,
  statSync,
  type WriteStream,
} from 'node:fs';
import { open } from 'node:fs/promises';
import type { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib';
import { AgentError, messageOf } from '../agent-error.ts';

const cipherName = 'aes-256-gcm';
const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;
/** Fast, and nearly as small as any other: memory of programs is mostly empty, or numbers. */
const level = 1;

export interface ImageKey {
  readonly bytes: Buffer;
  /** Tells keys apart, and nothing of them. */
  readonly id: string;
}

export interface Packing {
  readonly compression: 'None' | 'Zstd';
  readonly key: ImageKey | null;
}

/** What was done to a file. */
export interface PackedAs {
  readonly zstd: boolean;
  /** The key's id; empty: it is not encrypted. */
  readonly key: string;
}

/** Throws AgentError unless the file is root's alone and holds 32 bytes, as they are or as 64 hexadecimal digits. */
export function readImageKey(path: string): ImageKey {
  const wrong = (why: string): AgentError =>
    new AgentError('refused', 'EngineMissing', 'MUSTER_IMAGE_KEY', `imageKeyFile ${path}: ${why}`);
  let content: Buffer;
  try {
    const { mode, uid } = statSync(path);
    if (uid !== (process.geteuid?.() ?? 0) || (mode & 0o077) !== 0)
      throw wrong('others could read it: chown root, chmod 600');
    content = readFileSync(path);
  } catch (error) {
    throw error instanceof AgentError ? error : wrong(messageOf(error));
  }
  const text = content.toString('latin1').trim();
  const bytes = /^[0-9a-f]{64}$/i.test(text) ? Buffer.from(text, 'hex') : content;
  if (bytes.length !== keyBytes)
    throw wrong(`expected ${String(keyBytes)} bytes or 64 hexadecimal digits, as of "openssl rand -hex 32"`);
  return {
    bytes,
    id: createHash('sha256').update('muster image key').update(bytes).digest('hex').slice(0, 16),
  };
}

export async function packFile(
  from: string,
  to: string,
  { compression, key }: Packing,
  signal: AbortSignal,
): Promise<void> {
  const steps: Transform[] = [];
  if (compression === 'Zstd')
    steps.push(createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: level } }));
  const out = createWriteStream(to, { mode: 0o600 });
  const cipher = key && createCipheriv(cipherName, key.bytes, nonceInto(out));
  if (cipher) steps.push(cipher);
  await pipeline([createReadStream(from), ...steps, out], { signal });
  if (!cipher) return;
  const file = await open(to, 'a');
  try {
    await file.write(cipher.getAuthTag());
  } finally {
    await file.close();
  }
}

function nonceInto(out: WriteStream): Buffer {
  const nonce = randomBytes(nonceBytes);
  out.write(nonce);
  return nonce;
}

/** Throws when it is not what was packed with this key. */
export async function unpackFile(
  from: string,
  to: string,
  { zstd, key: keyId }: PackedAs,
  key: ImageKey | null,
  signal: AbortSignal,
): Promise<void> {
  const steps: Transform[] = [];
  let range = {};
  if (keyId !== '') {
    const fitting = fittingKey(keyId, key);
    const end = lstatSync(from).size - tagBytes;
    const file = await open(from);
    try {
      const [nonce, tag] = [Buffer.alloc(nonceBytes), Buffer.alloc(tagBytes)];
      await file.read(nonce, 0, nonceBytes, 0);
      await file.read(tag, 0, tagBytes, end);
      const decipher = createDecipheriv(cipherName, fitting.bytes, nonce);
      decipher.setAuthTag(tag);
      steps.push(decipher);
    } finally {
      await file.close();
    }
    if (end <= nonceBytes) throw new Error(`${from} is too short`);
    range = { start: nonceBytes, end: end - 1 };
  }
  if (zstd) steps.push(createZstdDecompress());
  await pipeline([createReadStream(from, range), ...steps, createWriteStream(to, { mode: 0o600 })], {
    signal,
  });
}

export function sealText(text: string, key: ImageKey): string {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv(cipherName, key.bytes, nonce);
  const sealed = [nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()];
  return Buffer.concat(sealed).toString('base64');
}

export function openText(sealed: string, keyId: string, key: ImageKey | null): string {
  const bytes = Buffer.from(sealed, 'base64');
  const decipher = createDecipheriv(cipherName, fittingKey(keyId, key).bytes, bytes.subarray(0, nonceBytes));
  decipher.setAuthTag(bytes.subarray(bytes.length - tagBytes));
  const body = bytes.subarray(nonceBytes, bytes.length - tagBytes);
  return Buffer.concat([decipher.update(body), decipher.final()]).toString('utf8');
}

function fittingKey(keyId: string, key: ImageKey | null): ImageKey {
  if (key?.id === keyId) return key;
  const has = key === null ? 'this node has none' : `this node has ${key.id}`;
  throw new AgentError(
    'refused',
    'RestoreFailed',
    'MUSTER_IMAGE_KEY',
    `the image is encrypted with key ${keyId}, and ${has}: give all nodes the same imageKeyFile`,
  );
}
