/** The exit code of `muster run`, from the status of its group, and the line for stderr. As a shell and mpiexec have it. Pure. */
import { constants } from 'node:os';
import type { ProcessGroup } from '../../crds/types.gen.ts';

export interface RunEnd {
  readonly code: number;
  /** What a person should read; empty when the ranks' own output says it all. */
  readonly text: string;
}

/** Reasons of the Failed condition whose exit code is not the first failing rank's. */
const codesOfReasons: Readonly<Record<string, number>> = {
  WallTimeExceeded: 124,
  CpuTimeExceeded: 152,
  MemoryExceeded: 137,
  ClientGone: 129,
  Deleted: 143,
  InvalidSpec: 2,
  NotSupported: 2,
  NotAllowed: 126,
};

/** Undefined while the group has not ended. */
export function runEndOf(group: ProcessGroup): RunEnd | undefined {
  const conditions = group.status?.conditions ?? [];
  const holding = (type: string) => conditions.find((item) => item.type === type && item.status === 'True');
  if (holding('Succeeded')) return { code: 0, text: '' };
  const failed = holding('Failed') ?? holding('Stalled');
  if (!failed) return undefined;
  const summary = group.status?.exitSummary;
  const text = `muster: ${failed.message}`;
  const fixed = codesOfReasons[failed.reason];
  if (fixed !== undefined) return { code: fixed, text };
  if (failed.reason === 'StartFailed')
    return {
      code: summary?.code || (/no such file|not found in the search path/i.test(failed.message) ? 127 : 126),
      text,
    };
  const code = codeOf(summary?.code, summary?.signal);
  const plainExit = failed.reason === 'RankFailed' && (group.spec.size ?? group.status?.ranks?.desired) === 1;
  return { code, text: plainExit ? '' : text };
}

/** As a shell: 128 and the signal's number. */
export function codeOfWaitStatus(waitStatus: number): number {
  const signal = waitStatus & 127;
  return signal === 0 ? (waitStatus >> 8) & 255 : 128 + signal;
}

function codeOf(code: number | undefined, signal: string | undefined): number {
  const number = signal === undefined ? undefined : signalNumberOf(signal);
  if (number !== undefined) return 128 + number;
  return code === undefined || (code & 255) === 0 ? 1 : code & 255;
}

/** Real-time signals have no name but their number: SIG34. */
function signalNumberOf(name: string): number | undefined {
  const real = /^SIG(\d{1,2})$/.exec(name)?.[1];
  return real === undefined ? (constants.signals as Record<string, number>)[name] : Number(real);
}
