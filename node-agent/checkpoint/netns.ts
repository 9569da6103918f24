// Whether a sandbox has a network namespace of its own, which is somebody else's to bring back.
import { statSync } from 'node:fs';

/** The network namespace of a process, when it is not the agent's own. */
export function netnsOf(pid: number): { inode: number } | null {
  const [its, own] = [String(pid), 'self'].map((each) => statSync(`/proc/${each}/ns/net`).ino);
  return its === undefined || its === own ? null : { inode: its };
}
