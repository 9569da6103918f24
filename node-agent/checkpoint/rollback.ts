// Files outside of an image that ranks had open for writing, and that have grown since: going back in time takes them back to
// the length that they had at the cut, what they had more being kept beside them. It is done with the rights of the rank that
// wrote them, so a link put in a file's place leads nowhere that its owner could not write anyway. Those of a carrier Pod are another
// file's business.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { AgentError, messageOf } from '../agent-error.ts';
import type { CarrierRecord } from '../carrier.ts';
import { shellAs, statOnHost } from '../host-root.ts';
import { rollBackCarried } from './carried-rollback.ts';
import type { OuterMount } from './engine.ts';
import type { Image, Manifest, SavedFile } from './image.ts';
import { putBack } from './snapshots.ts';

const run = promisify(execFile);
const script = 'tail -c "+$(($3 + 1))" -- "$1" >>"$2" && truncate -s "$3" -- "$1"';

/** Where a file of the sandbox is on this node. */
export function hostPathOf(path: string, root: string, mounts: readonly OuterMount[]): string {
  const [mount] = mounts
    .filter(({ target }) => path === target || path.startsWith(`${target}/`))
    .sort((a, b) => b.target.length - a.target.length);
  if (mount) return `${mount.source}${path.slice(mount.target.length)}`;
  return root === '/' ? path : `${root}${path}`;
}

/** Throws AgentError when a file cannot be taken back, or must not be by `policy`. Done again, it does nothing. */
export async function rollBack(
  manifest: Manifest,
  {
    image,
    policy,
    mounts,
    carrier = null,
  }: { image: Image; policy: string; mounts: readonly OuterMount[]; carrier?: CarrierRecord | null },
  signal: AbortSignal,
): Promise<void> {
  const { openFiles, checkpointUid, root } = manifest;
  for (const file of openFiles) {
    if (carrier && !mounts.some(({ target }) => file.path.startsWith(`${target}/`))) {
      await rollBackCarried(file, { carrier, image, policy, manifest }, signal).catch((cause: unknown) => {
        throw failure(file, messageOf(cause), cause);
      });
      continue;
    }
    const path = hostPathOf(file.path, root, mounts);
    if (policy === 'Snapshot' && file.copy !== undefined) {
      await putBack({ ...file, path }, image, manifest, signal).catch((cause: unknown) => {
        throw failure(file, `its copy cannot be put back: ${messageOf(cause)}`, cause);
      });
      continue;
    }
    const now = statOnHost(path);
    if (!now?.isFile() || now.size <= file.bytes) continue; // what is missing or short the engine tells
    if (policy === 'Refuse')
      throw failure(
        file,
        `it has grown since the checkpoint, and openFiles is Refuse: move it away, or use Truncate`,
      );
    try {
      await run(...shellAs(file, script, [path, `${path}.after-${checkpointUid}`, String(file.bytes)]));
    } catch (cause) {
      throw failure(
        file,
        `it has grown since the checkpoint and cannot be taken back: ${messageOf(cause)}`,
        cause,
      );
    }
  }
}

function failure({ path, bytes }: SavedFile, why: string, cause?: unknown): AgentError {
  const message = `file ${path}, of ${String(bytes)} bytes at the checkpoint: ${why}`;
  return new AgentError('failed', 'RestoreFailed', 'MUSTER_OPEN_FILE', message, { cause });
}
