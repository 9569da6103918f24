// Files that went along with ranks, put where they are to be on the node that these go to: made with the rights of the rank that uses
// them, so that nothing comes to be that its user could not have made there. One that is there already and is another is kept beside
// it, by one name. It does not know how they came.
import { createReadStream } from 'node:fs';
import { AgentError, messageOf } from '../agent-error.ts';
import { feedAs } from '../feed-as.ts';
import type { LackedFile } from './used-files.ts';

const script = `umask 022; mkdir -p -- "$(dirname -- "$1")"; umask 077; cat >"$1.coming"; chmod "$2" -- "$1.coming"
touch -d "@$3" -- "$1.coming"; if [ -e "$1" ]; then mv -fT -- "$1" "$1.before-move"; fi; mv -T -- "$1.coming" "$1"`;

/** `copy`: where its content is. Throws AgentError TransferFailed. */
export async function placeCopy({ file, path }: LackedFile, copy: string, node: string): Promise<void> {
  const mtime = (file.mtimeMs / 1000).toFixed(3);
  const args = [path, file.mode.toString(8), mtime];
  await feedAs(file, script, args, createReadStream(copy)).catch((cause: unknown) => {
    throw new AgentError(
      'failed',
      'TransferFailed',
      'MUSTER_FILE_NOT_COPIED',
      `file ${file.path}, which ${file.by} uses, cannot be made on node ${node}: ${messageOf(cause)}: put it there before`,
      { cause },
    );
  });
}

/** Why files stand in the way that are not to go along; null: none does. */
export function lackTrouble(lacked: readonly LackedFile[], node: string): AgentError | null {
  if (lacked.length === 0) return null;
  const named = lacked
    .slice(0, 4)
    .map(
      ({ file, isThere }) =>
        `${file.path}, which ${file.by} uses, is ${isThere ? 'another one' : 'not'} on node ${node}`,
    );
  const more = lacked.length > 4 ? `; and ${String(lacked.length - 4)} more` : '';
  return new AgentError(
    'refused',
    'PreflightFailed',
    'MUSTER_FILES_MISSING',
    `${named.join('; ')}${more}: put the files there, or let them go along (copyFiles)`,
  );
}
