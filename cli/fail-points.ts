/**
 * Where tests kill a daemon: a daemon that reaches a point whose name stands as a line of the file MUSTER_FAIL_POINTS strikes the line
 * out and kills itself with SIGKILL. Without that variable there are no such points.
 */
import { readFileSync, writeFileSync } from 'node:fs';

export type Reached = (point: string) => void;

export function failPoints(path: string | undefined): Reached | undefined {
  if (path === undefined || path === '') return undefined;
  return (point) => {
    const points = linesOf(path);
    const at = points.indexOf(point);
    if (at < 0) return;
    writeFileSync(path, points.toSpliced(at, 1).join('\n'));
    process.kill(process.pid, 'SIGKILL');
  };
}

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line !== '');
  } catch {
    return [];
  }
}
