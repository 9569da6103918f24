// A file system that takes root for nobody, as a server of NFS does with root_squash: bindfs over FUSE, run by nobody. Kernels of build
// machines seldom have a client of NFS; what is asked of root, and what root gets, is the same here. It is there for one command, in
// mounts of its own.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

export const nobody = 65534;

/** Why there can be none here; undefined: there can. */
export const squashTrouble = [
  [process.geteuid?.() === 0, 'only root can mount one'],
  [existsSync('/dev/fuse'), 'the kernel has no FUSE (/dev/fuse)'],
  [existsSync('/usr/bin/bindfs') && existsSync('/usr/bin/fusermount3'), 'bindfs and fuse3 are missing (scripts/packages.sh bindfs fuse3)'],
].find(([holds]) => !holds)?.[1] as string | undefined; // prettier-ignore

/** `back` is to be nobody's directory; `$1` of the script is where root sees it, `$2` an empty directory for that. */
const script = `set -e
work=$1 back=$2 seen=$3; shift 3
mknod "$work/fuse" c 10 229; chmod 666 "$work/fuse"; mount --bind "$work/fuse" /dev/fuse
echo user_allow_other >"$work/conf"; touch /etc/fuse.conf; mount --bind "$work/conf" /etc/fuse.conf
setpriv --reuid=${String(nobody)} --regid=${String(nobody)} --clear-groups bindfs -f -o allow_other "$back" "$seen" &
until mountpoint -q "$seen"; do kill -0 $!; sleep 0.02; done
code=0; "$@" || code=$?
umount "$seen"; wait $! || true; exit $code`;

/** Runs a command that finds what is in `back` at `seen`, as a server gives it that takes root for nobody. Gives what it printed. */
export function underSquash(work: string, back: string, seen: string, ...command: string[]): string {
  const args = ['-m', 'sh', '-c', script, 'sh', work, back, seen, ...command];
  const { status, stdout, stderr } = spawnSync('unshare', args, { encoding: 'utf8', timeout: 30_000 });
  if (status !== 0) throw new Error(`it ended with ${String(status)}: ${stderr}`);
  return stdout;
}
