// Files that went along with ranks, put where they are to be on the node that these go to: made with the rights of the rank that uses
// them, so that nothing comes to be that its user could not have made there. One that is there already and is another is kept beside
// it, by one name. It does not know how they came.
import { spawn } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { AgentError } from '../agent-error.ts';
import type { LackedFile } from './used-files.ts';

const script = `umask 022; mkdir -p -- "$(dirname -- "$1")"; umask 077; cat >"$1.coming"; chmod "$2" -- "$1.coming"
touch -d "@$3" -- "$1.coming"; if [ -e "$1" ]; then mv -fT -- "$1" "$1.before-move"; fi; mv -T -- "$1.coming" "$1"`;

/** `copy`: where its content is. Throws AgentError TransferFailed. */
export async function placeCopy({ file, path }: LackedFile, copy: string, node: string): Promise<void> {
  const mtime = (file.mtimeMs / 1000).toFixed(3);
  const shell = spawn('/bin/sh', ['-ec', script, 'sh', path, file.mode.toString(8), mtime], {
    cwd: '/',
    uid: file.uid,
    gid: file.gid,
    env: {},
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  let said = '';
  shell.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text.slice(0, 1000);
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    shell.once('error', reject);
    shell.once('close', resolve);
  });
  await pipeline(createReadStream(copy), shell.stdin).catch(() => undefined); // why, the shell says
  const code = await ended;
  if (code === 0) return;
  const why = said.trim() === '' ? `the copy ended with ${String(code)}` : said.trim();
  throw new AgentError(
    'failed',
    'TransferFailed',
    'MUSTER_FILE_NOT_COPIED',
    `file ${file.path}, which ${file.by} uses, cannot be made on node ${node}: ${why}: put it there before`,
  );
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
