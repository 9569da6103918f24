/** Programs started without a fork of Node: their descriptors, signals, environment and end. */
import { closeSync, openSync, readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { native } from './index.ts';

const n = native();

function ended(pidfd: number): Promise<number | null> {
  return new Promise((resolve) => {
    const watch = n.watch(pidfd, () => {
      watch.stop();
      resolve(n.reap(pidfd));
      n.close(pidfd);
    });
  });
}

/** Runs a shell script with /dev/null, a file and `more` as descriptors 0, 1, ...; its wait status and what it wrote. */
async function shell(
  script: string,
  more: readonly number[] = [],
): Promise<{ status: number | null; text: string }> {
  const nothing = openSync('/dev/null', 'r');
  const out = n.memfd('out', Buffer.alloc(0), false);
  try {
    const status = await ended(n.spawnProgram('/bin/sh', ['-c', script], [nothing, out, ...more]));
    return { status, text: n.readAll(out, 1 << 20).toString('utf8') };
  } finally {
    closeSync(nothing);
    n.close(out);
  }
}

describe('spawnProgram', () => {
  it('tells exit codes and signals', async () => {
    expect((await shell('exit 3')).status).toBe(3 << 8);
    expect((await shell('kill -9 $$')).status).toBe(9);
  });

  it('gives the descriptors in order, whatever their numbers were, and no others', async () => {
    const [first, second] = ['first', 'second'].map((name) => n.memfd(name, Buffer.from(name), false));
    // Swapped: one that were copied to its place too early would overwrite the other.
    const { text } = await shell('cat /proc/self/fd/2 /proc/self/fd/3; echo; ls /proc/$$/fd', [
      second!,
      first!,
    ]);
    expect(text.split('\n').filter((line) => line !== '')).toEqual(['secondfirst', '0', '1', '2', '3']);
    n.close(first!);
    n.close(second!);
  });

  it('starts with an empty environment and no signal blocked or ignored (but the two that libc keeps to itself)', async () => {
    const { text } = await shell(
      'tr "\\0" "\\n" </proc/self/environ | grep -v "^PWD=\\|^_=\\|^OLDPWD=\\|^SHLVL="; grep ^Sig[BI] /proc/self/status',
    );
    expect(text.replaceAll(/\s+/g, ' ').trim()).toMatch(/^SigBlk: 0{16} SigIgn: 0{7}[01][08]0{7}$/);
  });

  it('says why a program cannot be started, and leaves no descriptor open', () => {
    const before = readdirSync('/proc/self/fd').length;
    expect(() => n.spawnProgram('/no/such/program', [], [1, 2])).toThrow(
      expect.objectContaining({ code: 'ENOENT', syscall: 'posix_spawn' }),
    );
    expect(readdirSync('/proc/self/fd')).toHaveLength(before);
  });
});
