/** The check of ranges of addresses for networks of jobs, where the user gave some. */
import { networkPoolOf } from '../controllers/network/pool.ts';
import { parseRange } from '../wire/job-addresses.ts';
import { CommandError } from './errors.ts';
import type { NetworkOptions } from './network-options.ts';

export function checkNetworkRanges({ networkPool, reservedRanges }: NetworkOptions): void {
  if (networkPool !== undefined) check('--network-pool', networkPool, () => networkPoolOf('', networkPool));
  for (const range of rangesOf(reservedRanges)) check('--reserved-ranges', range, () => parseRange(range));
}

export const rangesOf = (text: string | undefined): string[] =>
  (text ?? '').split(',').flatMap((range) => (range.trim() === '' ? [] : [range.trim()]));

function check(option: string, range: string, parse: () => void): void {
  try {
    parse();
  } catch (cause) {
    throw new CommandError(`${option} ${range}: ${(cause as Error).message}`, 2, { cause });
  }
}
