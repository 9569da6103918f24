// Whole copies of files of the host's that ranks had open for writing (openFiles Snapshot): taken while nothing moves, put
// back before the ranks are. They share blocks with the file where its file system and that of the images are one that can.
// What a file is when it is put back stays beside it; all of it is written with the rights of the rank that wrote it.
import { constants, createReadStream, openSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { AgentError, errnoOf, messageOf } from '../agent-error.ts';
import { feedAs } from '../feed-as.ts';
import { hostPath, statOnHost } from '../host-root.ts';
import { digestFile } from './digests.ts';
import type { Image, Manifest, SavedFile } from './image.ts';

/** A file, and a descriptor of it that a process holds, as a path. */
export interface OpenFile {
  readonly file: SavedFile;
  readonly held: string;
}

const copyName = (at: number): string => `file.${String(at)}`;

/** Gives the files, each with the name of its copy. */
export async function takeSnapshots(files: readonly OpenFile[], image: Image): Promise<SavedFile[]> {
  const saved: SavedFile[] = [];
  for (const [at, { file, held }] of files.entries()) {
    const copy = copyName(at);
    try {
      // By the descriptor: a path may lead elsewhere by now.
      await copyFile(held, image.pathOf(copy), constants.COPYFILE_FICLONE);
    } catch (cause) {
      const full = errnoOf(cause) === 'ENOSPC';
      throw new AgentError(
        'failed',
        full ? 'StorageFull' : 'DumpFailed',
        full ? 'MUSTER_NO_ROOM' : 'MUSTER_OPEN_FILE',
        `file ${file.path} cannot be copied into the image: ${messageOf(cause)}`,
        { cause },
      );
    }
    saved.push({ ...file, copy });
  }
  return saved;
}

/** Puts one back where it was, as its user. Done again, it does nothing. */
export async function putBack(
  { path, uid, gid, copy = '' }: SavedFile,
  image: Image,
  { checkpointUid, files }: Manifest,
  signal: AbortSignal,
): Promise<void> {
  const now = statOnHost(path);
  if (now && !now.isFile()) throw new Error('it is no plain file any more');
  const expected = files.find(({ name }) => name === copy);
  if (!expected) throw new Error('the image has no copy of it');
  if (now?.size === expected.bytes) {
    const { sha256 } = await digestFile(hostPath(path), signal);
    if (sha256 === expected.sha256) return;
  }
  // What is there is kept, not copied: the name gets a new file.
  const script =
    'if [ -e "$1" ]; then mv --backup=numbered -- "$1" "$2"; fi; cat >"$1"; [ ! -e "$2" ] || chmod --reference="$2" -- "$1"';
  const fd = openSync(image.pathOf(copy), constants.O_RDONLY | constants.O_NOFOLLOW);
  await feedAs({ uid, gid }, script, [path, `${path}.after-${checkpointUid}`], createReadStream('', { fd }));
}
