/**
 * `muster down`: stops the supervisor with its daemons, or what a killed one left, then ends what still runs of the nodes of
 * this home. Objects and logs stay.
 */
import { readdirSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { Config } from '../config.ts';
import { stopLeftOver } from '../daemon/supervisor.ts';
import { sweepNodes } from '../daemon/sweep.ts';
import { CommandError } from '../errors.ts';
import { processFileOf } from '../home.ts';
import { isLiving, livingProcess, removeProcessRecord } from '../process-record.ts';

const stopWithinMs = 60_000;

export async function down(config: Config): Promise<number> {
  const { home } = config;
  const file = processFileOf(home, 'supervisor');
  const supervisor = livingProcess(file);
  if (supervisor) {
    process.kill(supervisor.pid, 'SIGTERM');
    const deadline = Date.now() + stopWithinMs;
    // It removes its record a moment before it ends.
    while (isLiving(supervisor)) {
      if (Date.now() > deadline) {
        throw new CommandError(
          `the supervisor (process ${supervisor.pid}) did not stop within 60 s; see ${home.logs}`,
        );
      }
      await pause(20);
    }
  }
  removeProcessRecord(file);
  let stopped = supervisor !== undefined;
  for (const name of daemonNames(home.run)) stopped = (await stopLeftOver(home, name)) || stopped;
  const ended = await sweepNodes(home);
  if (ended > 0) process.stdout.write(`ended ${ended} sandbox${ended === 1 ? '' : 'es'} that still ran\n`);
  process.stdout.write(
    stopped ? `Muster is down (home ${home.root})\n` : `nothing was running in ${home.root}\n`,
  );
  return 0;
}

function daemonNames(directory: string): string[] {
  try {
    return readdirSync(directory)
      .filter((name) => name.endsWith('.pid.json'))
      .map((name) => name.slice(0, -'.pid.json'.length));
  } catch {
    return [];
  }
}
