// A file that a user of the host could have made, made so: a shell with that user's rights and nothing else writes what it is fed.
import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { shellAs, type HostUser } from './host-root.ts';

/** Feeds `content`, which is closed however it goes, to the script. Throws with what the shell says when it fails. */
export async function feedAs(
  user: HostUser,
  script: string,
  args: readonly string[],
  content: Readable,
): Promise<void> {
  const [file, words, options] = shellAs(user, script, args);
  const shell = spawn(file, words, { ...options, stdio: ['pipe', 'ignore', 'pipe'] });
  let said = '';
  shell.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text.slice(0, 1000);
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    shell.once('error', reject);
    shell.once('close', resolve);
  });
  await pipeline(content, shell.stdin).catch(() => undefined); // why, the shell says
  const code = await ended;
  if (code !== 0) throw new Error(said.trim() === '' ? `the copy ended with ${String(code)}` : said.trim());
}
