// Why a rank could not start, in words: the stage and errno of rank-init's table become a message that names rank, node,
// program, directory or user, and says what to do where that is known. "Could not start" is never "exited 127".
import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';
import { firstExecStart, type ProcessStart } from './ranks.ts';
import { privatePathHint } from './mounts.ts';

/** enum start_stage of native/rank-init/protocol.h. */
export const startStages = [
  'None',
  'Fork',
  'Stdio',
  'Rlimit',
  'Affinity',
  'Credentials',
  'Chdir',
  'Exec',
  'BadRequest',
] as const;

export function errnoText(errno: number): string {
  const number = Math.abs(errno);
  const [name, text] = getSystemErrorMap().get(-number) ?? [`errno ${String(number)}`, 'unknown error'];
  return `${text} (${name})`;
}

export function startFailureMessage(stage: number, errno: number, start: ProcessStart, node: string): string {
  const other = start.startId >= firstExecStart ? 'exec' : 'co-process';
  const who = start.rank === null ? other : `rank ${String(start.rank)}`;
  return `MUSTER_START_FAILED: ${who} on ${node}: ${whatOf(stage, errno, start)}`;
}

function whatOf(stage: number, errno: number, start: ProcessStart): string {
  const why = errnoText(errno);
  const program = start.argv[0] ?? '';
  const missing = Math.abs(errno) === constants.errno.ENOENT;
  switch (startStages[stage]) {
    case 'Exec': {
      if (missing && !program.includes('/'))
        return `exec ${program}: not found in the search path ${start.searchPath}`;
      if (Math.abs(errno) === constants.errno.E2BIG)
        return `exec ${program}: arguments and environment together are too long: ${why}; pass them in a file`;
      const hint = missing ? privatePathHint(program) : '';
      return `exec ${program}: ${why}${hint}`;
    }
    case 'Chdir':
      return `working directory ${start.workingDir}: ${why}, as uid ${String(start.uid)}${missing ? privatePathHint(start.workingDir) : ''}`;
    case 'Credentials':
      return `become uid ${String(start.uid)} gid ${String(start.gid)}: ${why}`;
    case 'Stdio': {
      const files = [start.stdoutFile, start.stderrFile].filter((file) => file !== '');
      return files.length > 0
        ? `open ${files.join(' or ')} as uid ${String(start.uid)}: ${why}`
        : `make its standard streams: ${why}`;
    }
    case 'Rlimit':
      return `set its resource limits: ${why}; a hard limit above the node's own cannot be set`;
    case 'Affinity':
      return `bind it to processors: ${why}`;
    case 'Fork':
      return `fork: ${why}; the node is at its limit of processes or memory`;
    case 'BadRequest':
      return `rank-init refused the order to start it: ${why}`;
    default:
      return `unknown stage ${String(stage)}: ${why}`;
  }
}
