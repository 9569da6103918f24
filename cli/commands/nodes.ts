/** `muster nodes`: the NodeMonitors as a table. */
import type { Config } from '../config.ts';
import { get } from './get.ts';

export const nodes = (config: Config, _args: string[], options: { output?: string }): Promise<number> =>
  get(config, ['nm'], { headers: true, ...(options.output === undefined ? {} : { output: options.output }) });
