/**
 * The identity of a sandbox, and of an image, as one text, for maps. All parts count: another incarnation is another sandbox.
 */
import type { ImageId, SandboxId } from '../../wire/agent-types.ts';

export function sandboxKey({ groupUid, ordinal, incarnation }: SandboxId): string {
  return `${groupUid}/${ordinal}/${incarnation}`;
}

export function imageKey({ checkpointUid, ordinal }: ImageId): string {
  return `${checkpointUid}/${ordinal}`;
}
