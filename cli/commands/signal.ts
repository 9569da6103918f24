/** `muster signal`: a signal to a job's ranks through the hub, at most once; says how many processes it reached. */
import { constants } from 'node:os';
import { groupVerbPath } from '../../controllers/subresources/paths.ts';
import { connect } from '../client.ts';
import type { Config } from '../config.ts';
import { CommandError } from '../errors.ts';

export async function signal(config: Config, args: string[], options: { ranks?: string }): Promise<number> {
  const [word = '', name = ''] = args;
  const client = connect(config.server);
  const number = signalNumberOf(word);
  const answer = (await client.request(
    'POST',
    groupVerbPath({ namespace: config.namespace, name }, 'signal'),
    { signal: number, ...(options.ranks === undefined ? {} : { ranks: options.ranks }) },
  )) as {
    reached: number;
    message?: string;
  };
  process.stdout.write(`processgroup/${name}: signal ${word} reached ${answer.reached} processes\n`);
  if (answer.message) process.stderr.write(`${answer.message}\n`);
  return answer.message ? 1 : 0;
}

export function signalNumberOf(word: string): number {
  const table: Readonly<Record<string, number>> = constants.signals;
  const upper = word.toUpperCase();
  const number = /^\d+$/.test(word) ? Number(word) : (table[upper] ?? table[`SIG${upper}`]);
  if (number === undefined || number < 1 || number > 64) {
    throw new CommandError(`unknown signal "${word}": give a name such as TERM or a number from 1 to 64`, 2);
  }
  return number;
}
