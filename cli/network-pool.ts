/** The check of a range of addresses for networks of jobs, where the user gave one. */
import { networkPoolOf } from '../controllers/network/pool.ts';
import { CommandError } from './errors.ts';

export function checkNetworkPool(range: string | undefined): void {
  if (range === undefined) return;
  try {
    networkPoolOf('', range);
  } catch (cause) {
    throw new CommandError(`--network-pool ${range}: ${(cause as Error).message}`, 2, { cause });
  }
}
