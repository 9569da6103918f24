/**
 * The peer: mpiexec.hydra of the MPICH that the test programs are compiled with, so that both launchers start the very same
 * programs.
 */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import type { Command } from './command.ts';

const scripts = path.join(path.dirname(path.dirname(import.meta.dirname)), 'scripts');
const prefix = execFileSync(path.join(scripts, 'mpich.sh'), { encoding: 'utf8' }).trim();
execFileSync(path.join(scripts, 'programs.sh'), { stdio: ['ignore', 'ignore', 'inherit'] });

export const hydra = (ranks: number, ...words: string[]): Command => ({
  file: path.join(prefix, 'bin', 'mpiexec.hydra'),
  args: ['-n', String(ranks), ...words],
});
