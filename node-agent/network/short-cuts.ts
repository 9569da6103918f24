// Short cuts around a group's bridge: what comes in by a sandbox's port or the tunnel and is for another sandbox of the group goes
// straight to the link behind which that is, before a bridge and the rules of this machine, ours and others', have looked at it
// (nftables, fwd at the netdev ingress hook), which takes a message between nodes a fifth of its time. They are there for speed
// alone: what finds none, and all where there are none, goes over the bridge. So a change of the group takes them away first, and a
// while after the last one they are made anew.
import { addressOf, macOf, parseSubnet } from '../../wire/job-addresses.ts';
import type { Firewall } from './firewall.ts';
import { indexOf } from './link-changes.ts';
import type { NetworkNames } from './names.ts';

/** Jobs that end before gain nothing by them. */
const afterMs = 500;

/** What comes in by the link `from` goes to these links, by its hardware address. */
export interface ShortCut {
  readonly from: string;
  readonly to: ReadonlyMap<string, string>;
}

/** `own`: ports of this agent that are joined to the bridge, and whose they are; `elsewhere`: ordinals behind the tunnel. */
export function shortCutsOf(
  subnetText: string,
  own: ReadonlyMap<string, number>,
  tunnel: string,
  elsewhere: readonly number[],
): ShortCut[] {
  const subnet = parseSubnet(subnetText);
  const macAt = (ordinal: number): string => macOf(addressOf(subnet, ordinal));
  const here = new Map([...own].map(([port, ordinal]) => [macAt(ordinal), port]));
  const away = elsewhere.map((ordinal) => [macAt(ordinal), tunnel] as const);
  const all = new Map([...away, ...here]); // one that has just come is not elsewhere any more
  const fromPorts = [...own.keys()].map((from) => ({
    from,
    to: new Map([...all].filter(([, to]) => to !== from)),
  }));
  const cuts = elsewhere.length === 0 ? fromPorts : [...fromPorts, { from: tunnel, to: here }];
  return cuts.filter(({ to }) => to.size > 0);
}

/** The table as nft(8) reads it, in place of what it was. */
export function shortCutText(table: string, cuts: readonly ShortCut[]): string {
  const chains = cuts.map(({ from, to }) => {
    const elements = [...to].map(([mac, link]) => `${mac} : ${String(indexOf(link))}`).join(', ');
    return `  map to_${from} { type ether_addr : iface_index; elements = { ${elements} }; }
  chain ${from} {
    type filter hook ingress device "${from}" priority 0; policy accept;
    fwd to ether daddr map @to_${from}
  }
`;
  });
  return `table netdev ${table}\ndelete table netdev ${table}\ntable netdev ${table} {\n${chains.join('')}}\n`;
}

const removalText = (table: string): string => `table netdev ${table}\ndelete table netdev ${table}\n`;

export class ShortCuts implements Disposable {
  readonly #names: NetworkNames;
  readonly #firewall: Firewall;
  /** Tables that are there, or may be; null: not looked at yet. */
  #there: Promise<Set<string>> | null = null;
  readonly #timers = new Map<string, NodeJS.Timeout>();

  constructor(names: NetworkNames, firewall: Firewall) {
    this.#names = names;
    this.#firewall = firewall;
  }

  /** Those that are there stay. */
  [Symbol.dispose](): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  /** Resolves when the group has none; `cutsOf` tells which it is to have after a while. */
  async change(groupUid: string, cutsOf: () => readonly ShortCut[]): Promise<void> {
    const table = this.#names.shortCuts(groupUid);
    clearTimeout(this.#timers.get(table));
    const timer = setTimeout(() => {
      this.#timers.delete(table);
      void this.#make(table, cutsOf()).catch(() => undefined);
    }, afterMs).unref();
    this.#timers.set(table, timer);
    const there = await this.#look();
    if (!there.has(table)) return;
    await this.#firewall.apply(removalText(table));
    if (this.#timers.get(table) === timer) there.delete(table);
  }

  /** A kernel may not have them, and a link may have gone with its sandbox: the bridge copes with both. */
  async #make(table: string, cuts: readonly ShortCut[]): Promise<void> {
    if (cuts.length === 0) return;
    (await this.#look()).add(table);
    await this.#firewall.apply(shortCutText(table, cuts));
  }

  /** An earlier agent may have left some. */
  #look(): Promise<Set<string>> {
    const looked = (this.#there ??= this.#firewall
      .tablesOfLinks()
      .then((tables) => new Set(tables.filter((table) => this.#names.isOwnShortCuts(table)))));
    looked.catch(() => (this.#there = null));
    return looked;
  }

  /** Takes away those of other groups than these. */
  async sweep(groupUids: Iterable<string>): Promise<void> {
    const kept = new Set([...groupUids].map((uid) => this.#names.shortCuts(uid)));
    const there = await this.#look();
    const gone = [...there].filter((table) => !kept.has(table));
    if (gone.length === 0) return;
    await this.#firewall.apply(gone.map(removalText).join(''));
    for (const table of gone) there.delete(table);
  }
}
