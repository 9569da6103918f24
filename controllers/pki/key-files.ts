/**
 * Keys, certificates and the list of join tokens as files: each written whole or not at all, keys readable by their owner
 * only. It knows what the files are called and nothing of what is in them; what makes certificates is loaded (5 MiB) only
 * where one is to be made, which an agent's start seldom needs.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { KeyAndCertificate, Subject } from './certificate.ts';

export async function writePrivately(path: string, text: string): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  const file = await open(temporary, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}

export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** The authority in this directory (`ca.crt`, `ca.key`), made when there is none. */
export async function openAuthority(directory: string, name: string): Promise<KeyAndCertificate> {
  return openPair(directory, 'ca', async () => (await import('./certificate.ts')).makeAuthority(name));
}

/** A certificate of the authority by file name, issued when there is none. */
export async function openCertificate(
  directory: string,
  fileName: string,
  authority: KeyAndCertificate,
  subject: Subject,
): Promise<KeyAndCertificate> {
  return openPair(directory, fileName, async () =>
    (await import('./certificate.ts')).issue(authority, subject),
  );
}

/** The key is written last: a certificate without its key, left by a crash, is made anew. */
async function openPair(
  directory: string,
  fileName: string,
  make: () => Promise<KeyAndCertificate>,
): Promise<KeyAndCertificate> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const [key, cert] = [join(directory, `${fileName}.key`), join(directory, `${fileName}.crt`)];
  const [keyText, certText] = [await readIfThere(key), await readIfThere(cert)];
  if (keyText !== undefined && certText !== undefined) return { key: keyText, cert: certText };
  const made = await make();
  await writePrivately(cert, made.cert);
  await writePrivately(key, made.key);
  return made;
}
