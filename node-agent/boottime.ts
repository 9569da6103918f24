// The clock of leases: it counts while the machine sleeps, nobody sets it, and rank-init has the same one (CLOCK_BOOTTIME). Read from
// the kernel's own file, floored to a hundredth of a second: too early is the safe side for whatever runs from it.
import { readFileSync } from 'node:fs';

export function boottimeNs(): bigint {
  const [text = ''] = readFileSync('/proc/uptime', 'utf8').split(' ', 1);
  const [whole = '0', hundredths = '0'] = text.split('.');
  return BigInt(whole) * 1_000_000_000n + BigInt(hundredths) * 10_000_000n;
}
