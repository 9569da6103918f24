/** `muster checkpoints`: what is saved: of which job, how large, where, how old. */
import type { Config } from '../config.ts';
import { get, type GetOptions } from './get.ts';

export function checkpoints(
  config: Config,
  args: string[],
  options: Omit<GetOptions, 'headers'>,
): Promise<number> {
  const output = options.output === undefined ? {} : { output: options.output };
  return get(config, ['checkpoints', ...args], { ...options, output: 'wide', ...output, headers: true });
}
