// The name of a sandbox, (group uid, ordinal, incarnation), in its three spellings: the message's, the key of maps and
// directories `<uid>-<ordinal>-<incarnation>`, and the group slot `<uid>-<ordinal>` that only one incarnation may hold.
import type { SandboxId } from '../wire/agent-types.ts';

const uidShape = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const keyShape = /^(.+)-(\d+)-(\d+)$/;

export function keyOf(id: SandboxId): string {
  return `${id.groupUid}-${String(id.ordinal)}-${String(id.incarnation)}`;
}

export function slotOf(id: SandboxId): string {
  return `${id.groupUid}-${String(id.ordinal)}`;
}

/** A uid becomes a part of paths, so it is checked before anything is made of it. */
export function isValidId(id: SandboxId | null): id is SandboxId {
  return (
    id !== null &&
    uidShape.test(id.groupUid) &&
    Number.isInteger(id.ordinal) &&
    Number.isInteger(id.incarnation)
  );
}

export function idOfKey(key: string): SandboxId | null {
  const match = keyShape.exec(key);
  if (!match?.[1]) return null;
  const id = { groupUid: match[1], ordinal: Number(match[2]), incarnation: Number(match[3]) };
  return isValidId(id) && keyOf(id) === key ? id : null;
}
