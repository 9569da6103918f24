/**
 * Who may write a group's standard input: one client at a time, since what two write would lie at the same offsets. The input of a
 * group that was started in the foreground is that client's, who shows the token whose hash the group carries. Nothing is stored:
 * after a restart whoever comes first has it.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { annotations } from '../../crds/names.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';

export const tokenHash = (token: string): string => createHash('sha256').update(token).digest('hex');

/** Whether this is the client that the group was started by and ends with. */
export function isOwnClient(group: ProcessGroup, token: string | undefined): boolean {
  const lease = group.metadata.annotations?.[annotations.clientLease.name];
  if (lease === undefined || token === undefined) return false;
  const hash = tokenHash(token);
  return lease.length === hash.length && timingSafeEqual(Buffer.from(lease), Buffer.from(hash));
}

export class InputDesk {
  readonly #writers = new Map<string, { readonly token: string; readonly give: () => void }>();

  /**
   * Gives the input of the group to the holder of the token; `lost` is called when the same client, which has lost its connection,
   * comes back on another one. A text says why not.
   */
  take(group: ProcessGroup, token: string, lost: () => void): Disposable | string {
    const { name, uid = '', annotations: given } = group.metadata;
    if (given?.[annotations.clientLease.name] !== undefined && !isOwnClient(group, token))
      return `processgroup ${name} was started in the foreground: its input is that client's`;
    const before = this.#writers.get(uid);
    if (before && before.token !== token)
      return `processgroup ${name}: another client writes to its input; detach that one first`;
    before?.give();
    const writer = { token, give: lost };
    this.#writers.set(uid, writer);
    return {
      [Symbol.dispose]: () => {
        if (this.#writers.get(uid) === writer) this.#writers.delete(uid);
      },
    };
  }
}
