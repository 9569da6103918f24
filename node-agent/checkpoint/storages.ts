// Directories that an administrator shares among nodes for images: an image that is whole is copied there, read again, and
// then every node that has the storage has it. Images decide what root restores, so only root may write there: a storage
// whose server takes root for nobody (root_squash) is refused, as is one that others could write.
import { constants, lstatSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { AgentError, messageOf } from '../agent-error.ts';
import { manifestName, type Image } from './image.ts';

/** Why images cannot be kept in this directory, found out by trying; null: they can. */
export function storageTrouble(directory: string, node: string): string | null {
  const probe = `${directory}/.probe-${node}`;
  try {
    const stat = lstatSync(directory);
    if (!stat.isDirectory()) return `${directory} is no directory`;
    if ((stat.mode & 0o022) !== 0) return `others could write ${directory}: chmod go-w`;
    rmSync(probe, { recursive: true, force: true });
    mkdirSync(probe, { mode: 0o700 });
    try {
      writeFileSync(`${probe}/file`, node, { mode: 0o600 });
      const { uid } = lstatSync(`${probe}/file`);
      if (uid !== (process.geteuid?.() ?? 0))
        return `what root writes in ${directory} belongs to user ${String(uid)}: export it with no_root_squash`;
      if (readFileSync(`${probe}/file`, 'utf8') !== node)
        return `${directory} does not give back what was written`;
      return null;
    } finally {
      rmSync(probe, { recursive: true, force: true });
    }
  } catch (error) {
    return `${directory} cannot be used by root: ${messageOf(error)}; if it is on NFS, export it with no_root_squash`;
  }
}

/** Settles once all of it is there and was read again. Throws AgentError; then nothing of it is. */
export async function storeImage(image: Image, target: Image, signal: AbortSignal): Promise<void> {
  const { part } = target;
  part.create();
  try {
    const names = image.manifest().files.map(({ name }) => name);
    for (const name of names) {
      signal.throwIfAborted();
      await copyFile(image.pathOf(name), part.pathOf(name), constants.COPYFILE_FICLONE);
    }
    part.writeManifest(readFileSync(image.pathOf(manifestName)));
    await part.check(image.digest(), signal);
    target.replaceByPart();
  } catch (cause) {
    part.remove();
    if (cause instanceof AgentError) throw cause;
    throw new AgentError(
      'failed',
      'StorageFull',
      'MUSTER_STORAGE',
      `the image cannot be written to ${target.path}: ${messageOf(cause)}`,
      { cause },
    );
  }
}
