// For tests of the plan and the status: a group of which nothing is seen but itself and its sandboxes.
import type { Seen } from './seen.ts';

export const nothingElse: Omit<Seen, 'nowMs' | 'group' | 'sandboxes'> = {
  network: 'Host',
  networkClaim: undefined,
  restore: undefined,
  saving: undefined,
  lastCheckpoint: undefined,
  policyCheckpoints: [],
  carriers: undefined,
  placing: undefined,
  invalid: [],
  unsupported: [],
  clientLeaseLeftMs: undefined,
  endRequest: undefined,
  removedForMs: undefined,
};
