// Whether a sandbox that was only got ready is wanted as it was built. The hub tells of it before the group's placement is on record;
// where that never came to be, the same incarnation may be placed anew, with other ranks, programs or addresses. Pure.
import { isDeepStrictEqual } from 'node:util';
import type { SandboxSpec } from '../wire/agent-types.ts';

/** Not what may change while it is there, nor what is said of it only before its ranks are started. */
const builtFrom = ({ network, ...spec }: SandboxSpec): object => ({
  ...spec,
  want: '',
  graceSeconds: 0,
  frontToken: '',
  abortOnFailure: false,
  hosts: '',
  tree: null,
  checkpoint: null,
  restore: null,
  move: null,
  network: network && [network.subnet, network.subnet6, network.vni, network.egress, network.encryption],
});

/** `known` was never told to run, and what is wanted now is another one of the same name. */
export const isPreparedAnew = (known: SandboxSpec, wanted: SandboxSpec): boolean =>
  known.want === 'Prepare' && !isDeepStrictEqual(builtFrom(known), builtFrom(wanted));
