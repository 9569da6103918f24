// Waits for what the kernel does within moments but announces nowhere (a frozen cgroup, an emptied one): looks again after
// 1, 2, 4, ... at most 50 ms, and gives up with a transient error that says what it waited for.
import { setTimeout as after } from 'node:timers/promises';
import { AgentError } from './agent-error.ts';

export async function until(isTrue: () => boolean, withinMs: number, what: string): Promise<void> {
  let waitedMs = 0;
  for (let stepMs = 1; !isTrue(); stepMs = Math.min(50, stepMs * 2)) {
    if (waitedMs >= withinMs) {
      throw new AgentError(
        'transient',
        'SandboxFailed',
        'MUSTER_TIMEOUT',
        `waited ${String(withinMs)} ms for ${what}`,
      );
    }
    await after(stepMs);
    waitedMs += stepMs;
  }
}
