/**
 * How far the readers of groups have shown their output, for ranks that wait when a log is full. Readers tell it anew after
 * every start of the hub, and the hub tells agents anew in every session, so it is kept in memory only and may be lost.
 * The furthest reader counts. Who may say so is decided elsewhere.
 */
import { RankSet } from '../../crds/rank-set.ts';
import type { LogPosition, SandboxId, Sent, Shown } from '../../wire/agent-types.ts';
import type { Entry } from './desired-book.ts';

export interface ShownPorts {
  readonly sandboxesOf: (uid: string) => readonly Entry[];
  readonly send: (node: string, shown: Sent<Shown>) => void;
}

export class ShownBook {
  readonly #ports: ShownPorts;
  readonly #groups = new Map<string, Map<string, LogPosition>>();

  constructor(ports: ShownPorts) {
    this.#ports = ports;
  }

  /** A reader of the group has all before these offsets. */
  told(uid: string, positions: readonly LogPosition[]): void {
    const sandboxes = this.#ports.sandboxesOf(uid);
    if (sandboxes.length === 0) return;
    const further = this.#groupOf(uid);
    const news = positions.filter(({ rank, stream, offset }) => {
      const known = further.get(`${rank}/${stream}`);
      return known === undefined || known.offset < offset;
    });
    for (const position of news) further.set(`${position.rank}/${position.stream}`, position);
    for (const entry of sandboxes) this.#send(entry, news);
  }

  /** An agent has come back: it knows nothing of readers. */
  connected(entries: Iterable<Entry>): void {
    for (const entry of entries) {
      const group = this.#groups.get(entry.spec.id.groupUid);
      if (group) this.#send(entry, [...group.values()]);
    }
  }

  #groupOf(uid: string): Map<string, LogPosition> {
    const known = this.#groups.get(uid);
    if (known) return known;
    for (const other of this.#groups.keys())
      if (this.#ports.sandboxesOf(other).length === 0) this.#groups.delete(other);
    const fresh = new Map<string, LogPosition>();
    this.#groups.set(uid, fresh);
    return fresh;
  }

  #send({ node, spec }: Entry, positions: readonly LogPosition[]): void {
    const ranks = RankSet.parse(spec.ranks ?? '');
    const own = positions.filter(({ rank }) => ranks.has(rank));
    const id: SandboxId = spec.id;
    if (own.length > 0) this.#ports.send(node, { id, positions: own });
  }
}
