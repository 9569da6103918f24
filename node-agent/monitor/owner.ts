// Whether the owner of a workstation is back, by the rule in its NodeMonitor: somebody types at a terminal, programs that are not
// ranks keep the processors busy, or a file that the administrator has named is there. He counts as gone when none of it was so for
// a while, so that a pause in typing brings no job back. Terminals of jobs are in sandboxes and not seen here.
import { existsSync, readdirSync, statSync } from 'node:fs';
import type { OwnerFinding, OwnerRule } from '../../wire/agent-types.ts';
import { steadyMs } from './node-sampler.ts';

const goneAfterMs = 300_000;
/** A moment of work is not yet an owner. */
const busyRounds = 3;

export interface OwnerSigns {
  /** Since the last input at any terminal; null: there is none. */
  readonly inputAgoMs: number | null;
  /** Processors that others than ranks keep busy. */
  readonly othersCores: number;
  readonly hasFile: boolean;
}

export class Owner {
  readonly #nowMs: () => number;
  #seenMs = -Infinity;
  #why = '';
  #busy = 0;

  constructor(nowMs: () => number = steadyMs) {
    this.#nowMs = nowMs;
  }

  look(rule: OwnerRule, { inputAgoMs, othersCores, hasFile }: OwnerSigns): OwnerFinding {
    const nowMs = this.#nowMs();
    const awayMs = rule.idleSeconds > 0 ? rule.idleSeconds * 1000 : goneAfterMs;
    this.#busy = rule.maxLoad > 0 && othersCores > rule.maxLoad ? this.#busy + 1 : 0;
    const seen = (agoMs: number, why: string) => {
      if (nowMs - agoMs < this.#seenMs) return;
      this.#seenMs = nowMs - agoMs;
      this.#why = why;
    };
    if (hasFile) seen(0, 'the file of the owner is there');
    if (this.#busy >= busyRounds)
      seen(0, `programs that are not ranks keep ${othersCores.toFixed(1)} processors busy`);
    if (rule.idleSeconds > 0 && inputAgoMs !== null && inputAgoMs < awayMs)
      seen(inputAgoMs, 'somebody types at a terminal');
    const active = nowMs - this.#seenMs < awayMs;
    const message = active ? this.#why : 'no sign of the owner for as long as he takes to count as gone';
    return { active, message };
  }
}

/** Input sets the access time of a terminal. */
export function inputAgoMs(nowMs: number, dev = '/dev'): number | null {
  const terminals = [...entries(`${dev}/pts`, /^\d+$/), ...entries(dev, /^(?:tty\d+|ttyS\d+|console)$/)];
  const last = Math.max(...terminals.map((path) => accessMs(path)));
  return last === -Infinity || terminals.length === 0 ? null : Math.max(0, nowMs - last);
}

export const ownerFileIsThere = (path: string | undefined): boolean => path !== undefined && existsSync(path);

function entries(directory: string, pattern: RegExp): string[] {
  try {
    return readdirSync(directory)
      .filter((name) => pattern.test(name))
      .map((name) => `${directory}/${name}`);
  } catch {
    return [];
  }
}

/** A serial line or a console that nobody has used since the machine was started shows when that was. */
function accessMs(path: string): number {
  try {
    return statSync(path).atimeMs;
  } catch {
    return -Infinity;
  }
}
