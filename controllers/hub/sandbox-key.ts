/**
 * The identity of a sandbox as one text, for maps. All three parts count: another incarnation is another sandbox.
 */
import type { SandboxId } from '../../wire/agent-types.ts';

export function sandboxKey({ groupUid, ordinal, incarnation }: SandboxId): string {
  return `${groupUid}/${ordinal}/${incarnation}`;
}
