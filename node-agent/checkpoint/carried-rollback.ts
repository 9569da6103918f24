// The same as rollback.ts for files on a carrier Pod's volumes that others may have too. The node's root goes there without following a
// link, since within a Pod a link leads elsewhere than on the node, and does nothing that the rank that wrote the file could not do.
// What is on file systems that go with the Pod is put back whole (carried-restore.ts), and left alone here.
import { closeSync, constants, lstatSync, type Stats } from 'node:fs';
import { open, rename, type FileHandle } from 'node:fs/promises';
import type { CarrierRecord } from '../carrier.ts';
import { openRoot } from './carried-trees.ts';
import { atDirectory, statWithin, within } from './descent.ts';
import { digestFile } from './digests.ts';
import type { Image, Manifest, SavedFile } from './image.ts';

const { O_RDWR, O_WRONLY, O_CREAT, O_EXCL, O_APPEND, O_NOFOLLOW } = constants;
const chunkBytes = 1 << 20;

interface Sources {
  readonly carrier: CarrierRecord;
  readonly image: Image;
  readonly policy: string;
  readonly manifest: Manifest;
}

/** Throws an Error that says why it cannot be. */
export async function rollBackCarried(
  file: SavedFile,
  { carrier, image, policy, manifest }: Sources,
  signal: AbortSignal,
): Promise<void> {
  const root = openRoot(carrier);
  const at = file.path.lastIndexOf('/');
  const name = file.path.slice(at + 1);
  const aside = `${name}.after-${manifest.checkpointUid}`;
  try {
    await atDirectory(root, file.path.slice(0, at), async (directory) => {
      if (policy === 'Snapshot' && file.copy !== undefined) {
        await putBack(directory, { name, aside, file, copy: image.pathOf(file.copy) }, manifest, signal);
        return;
      }
      const now = statWithin(directory, name);
      if (!now?.isFile() || now.size <= file.bytes) return; // what is missing or short the engine tells
      if (policy === 'Refuse')
        throw new Error(
          'it has grown since the checkpoint, and openFiles is Refuse: move it away, or use Truncate',
        );
      checkWritable(now, directory, file);
      await cut(directory, { name, aside, file });
    });
  } finally {
    closeSync(root);
  }
}

function checkWritable(now: Stats | undefined, directory: number, file: SavedFile): void {
  const [own, around] = [
    now === undefined || mayWrite(now, file),
    mayWrite(lstatSync(within(directory, '.')), file),
  ];
  if (own && around) return;
  throw new Error(
    `user ${String(file.uid)}, whose it is, may not write ${own ? 'its directory' : 'it'} any more`,
  );
}

export function mayWrite(
  stat: Pick<Stats, 'mode' | 'uid' | 'gid'>,
  { uid, gid, groups }: Pick<SavedFile, 'uid' | 'gid' | 'groups'>,
): boolean {
  if (uid === 0) return true;
  if (stat.uid === uid) return (stat.mode & 0o200) !== 0;
  if (stat.gid === gid || groups.includes(stat.gid)) return (stat.mode & 0o020) !== 0;
  return (stat.mode & 0o002) !== 0;
}

interface Place {
  readonly name: string;
  /** What it is called that is kept of what it is now. */
  readonly aside: string;
  readonly file: SavedFile;
}

async function cut(directory: number, { name, aside, file }: Place): Promise<void> {
  const own = await open(within(directory, name), O_RDWR | O_NOFOLLOW);
  try {
    const kept = await open(within(directory, aside), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0o600);
    try {
      await copy(own, kept, file.bytes);
      await kept.chown(file.uid, file.gid);
    } finally {
      await kept.close();
    }
    await own.truncate(file.bytes);
  } finally {
    await own.close();
  }
}

async function putBack(
  directory: number,
  { name, aside, file, copy: copyPath }: Place & { readonly copy: string },
  { files }: Manifest,
  signal: AbortSignal,
): Promise<void> {
  const now = statWithin(directory, name);
  if (now && !now.isFile()) throw new Error('it is no plain file any more');
  const expected = files.find((each) => each.name === file.copy);
  if (!expected) throw new Error('the image has no copy of it');
  if (now?.size === expected.bytes) {
    const { sha256 } = await digestFile(within(directory, name), signal);
    if (sha256 === expected.sha256) return;
  }
  checkWritable(now, directory, file);
  if (now) await rename(within(directory, name), within(directory, aside));
  const from = await open(copyPath, 'r');
  try {
    const to = await open(within(directory, name), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    try {
      await copy(from, to, 0);
      await to.chown(file.uid, file.gid);
      await to.chmod(now ? now.mode & 0o777 : 0o644);
    } finally {
      await to.close();
    }
  } finally {
    await from.close();
  }
}

/** All from there on. */
async function copy(from: FileHandle, to: FileHandle, start: number): Promise<void> {
  const chunk = Buffer.allocUnsafe(chunkBytes);
  for (let at = start; ;) {
    const { bytesRead } = await from.read(chunk, 0, chunk.length, at);
    if (bytesRead === 0) return;
    await to.write(chunk, 0, bytesRead);
    at += bytesRead;
  }
}
