/** The daemons of a home by name, to be killed. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '../contract/eventually.ts';

/** `controller`, or a node. */
export function pidOfDaemon(home: string, name: string): number {
  const record = JSON.parse(readFileSync(join(home, 'run', `${name}.pid.json`), 'utf8')) as { pid: number };
  return record.pid;
}

export async function kill9(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  await eventually(() => {
    if (existsSync(`/proc/${pid}/cmdline`) && readFileSync(`/proc/${pid}/cmdline`, 'utf8') !== '')
      throw new Error(`process ${pid} is there still`);
  });
}
