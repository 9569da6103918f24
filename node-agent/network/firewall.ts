// What may enter and leave the job networks of a node, as one table of nftables (nft(8)): tunnelled packets only from nodes
// that hold sandboxes of that very network, none in clear that is to be encrypted, nothing from outside into a network, out of it only what asked to, behind the
// node's address. Changes that come while one is at work go together in the next. The text is made by pure functions.
import { isIPv6 } from 'node:net';
import type { Native } from '../../native/addon/index.ts';
import type { NetworkNames } from './names.ts';
import { Netfilter } from './netfilter.ts';
import { Nft } from './nft.ts';
import { jobsBySix } from '../../wire/job-addresses.ts';
import { sealedRange } from './network-key.ts';
import { canForwardSix, forwardsAll, forwardFrom, uplinks, type Family } from './underlay.ts';

export interface Tunnel {
  readonly vni: number;
  /** Addresses of the other nodes that hold sandboxes of the group: on the underlay, or where tunnels are encrypted within that. */
  readonly nodes: readonly string[];
  readonly isSealed: boolean;
}

/** What the rules have to know of one group here. */
export interface GroupRules {
  readonly tunnel: Tunnel | null;
  readonly bridge: string;
  /** ADDRESS/LENGTH */
  readonly subnet: string;
  /** Packets leave the network by this node, by IPv6 too where it has that. */
  readonly egress: boolean;
  readonly hasSix: boolean;
}

/** On frames that a bridge passes from port to port: where br_netfilter is loaded, the rules for what is routed see them too. */
const withinMark = '0x4d000000';

/**
 * The table, empty of tunnels. Made anew as a whole, in one transaction, so that a later version replaces an earlier one. Connections
 * within a network, and tunnels, are not followed (notrack): nothing asks for it, and it takes a good part of what a tunnel carries.
 */
export function tableText({ table, bridgePattern, sealedPattern }: NetworkNames, port: number): string {
  return `table inet ${table}
delete table inet ${table}
table bridge ${table}
delete table bridge ${table}
table bridge ${table} {
  chain forward {
    type filter hook forward priority -200; policy accept;
    oifname { "ms*", "mv*" } meta mark set meta mark or ${withinMark}
  }
}
table inet ${table} {
  set tunnels { typeof ip saddr . @th,96,24; }
  set tunnels6 { typeof ip6 saddr . @th,96,24; }
  set sealed { typeof ip6 saddr . @th,96,24; }
  set closed { type ifname; }
  set inside { type ipv4_addr; flags interval; }
  set uplinks { type ifname; }
  set uplinks6 { type ifname; }
  chain begin {
    type filter hook prerouting priority raw; policy accept;
    udp dport ${String(port)} notrack
    iifname "${bridgePattern}" ip daddr @inside notrack
    iifname "${bridgePattern}" ip6 daddr ${jobsBySix} notrack
  }
  chain input {
    type filter hook input priority filter - 5; policy accept;
    iifname "${sealedPattern}" udp dport ${String(port)} ip6 saddr . @th,96,24 @sealed accept
    iifname "${sealedPattern}" counter drop
    udp dport ${String(port)} ip saddr . @th,96,24 @tunnels accept
    udp dport ${String(port)} ip6 saddr . @th,96,24 @tunnels6 accept
    udp dport ${String(port)} counter drop
    iifname @closed counter drop
  }
  chain forward {
    type filter hook forward priority filter - 5; policy accept;
    meta mark and ${withinMark} == ${withinMark} accept
    iifname "${sealedPattern}" counter drop
    iifname @closed counter drop
    meta nfproto ipv4 iifname @uplinks oifname != "mb*" counter drop
    meta nfproto ipv6 iifname @uplinks6 oifname != "mb*" counter drop
    oifname "${bridgePattern}" ct state established,related accept
    oifname "${bridgePattern}" counter drop
  }
  chain send {
    type filter hook output priority raw; policy accept;
    udp dport ${String(port)} notrack
  }
  chain output {
    type filter hook output priority filter - 5; policy accept;
    udp dport ${String(port)} ip6 daddr ${sealedRange} oifname != "${sealedPattern}" counter drop
    oifname "${bridgePattern}" ct state established,related accept
    oifname "${bridgePattern}" meta l4proto { tcp, udp, sctp } counter drop
  }
  chain leave {
    type nat hook postrouting priority srcnat; policy accept;
    iifname "${bridgePattern}" oifname != "${bridgePattern}" masquerade
  }
}
`;
}

/** What stands in the table's sets for a group: SET { ELEMENT }, in the words of nft(8). */
export function elementsOf({ tunnel, bridge, subnet, egress }: GroupRules): string[] {
  const setOf = (node: string): string =>
    tunnel?.isSealed === true ? 'sealed' : isIPv6(node) ? 'tunnels6' : 'tunnels';
  const from = (tunnel?.nodes ?? []).map((node) => `${setOf(node)} { ${node} . ${String(tunnel?.vni)} }`);
  return [...from, `inside { ${subnet} }`, ...(egress ? [] : [`closed { "${bridge}" }`])];
}

const uplinkSets = { ipv4: 'uplinks', ipv6: 'uplinks6' } as const;
const families: readonly Family[] = ['ipv4', 'ipv6'];
const uplinkElement = (link: string, family: Family): string => `${uplinkSets[family]} { "${link}" }`;

/** From what stands in the sets to what is to stand there; empty when that is the same. Adding first makes deleting safe. */
export function changeText(table: string, before: ReadonlySet<string>, now: ReadonlySet<string>): string {
  const lines: string[] = [];
  for (const element of before)
    if (!now.has(element))
      lines.push(`add element inet ${table} ${element}`, `delete element inet ${table} ${element}`);
  for (const element of now) if (!before.has(element)) lines.push(`add element inet ${table} ${element}`);
  return lines.map((line) => `${line}\n`).join('');
}

/** What stands in a set, as nft(8) writes JSON. */
interface SetListing {
  readonly nftables: readonly { set?: { elem?: readonly SetElement[] } }[];
}
type SetElement = string | { readonly concat: readonly [string, number] };

const attemptsMost = 5;

/**
 * Brings the table to what groups need, with one nft(8) at a time, and with none where the kernel says that nobody else has changed
 * anything since. Agents of one cluster on one machine share the table: each adds and removes its own.
 */
export class Firewall implements AsyncDisposable {
  readonly #names: NetworkNames;
  readonly #netfilter: Netfilter;
  readonly #nft = new Nft();
  readonly #groups = new Map<string, GroupRules>();
  #port = 0;
  /** What this agent has put into the sets. */
  #applied = new Set<string>();
  /** Of the kernel's rules when `#applied` was true; null: not known. */
  #generation: number | null = null;
  #uplinks: Readonly<Record<Family, readonly string[]>> = { ipv4: [], ipv6: [] };
  /** Links are listed, and their settings written, anew. */
  #isDue = true;
  #last: Promise<void> = Promise.resolve();
  #waiting: Promise<void> | null = null;

  constructor(native: Native, names: NetworkNames) {
    this.#names = names;
    this.#netfilter = new Netfilter(native);
    this.#nft.keepSpare();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last.catch(() => undefined);
    this.#nft[Symbol.dispose]();
    this.#netfilter[Symbol.dispose]();
  }

  /** Resolves when the rules let through what the group needs, and nothing else. */
  allow(groupUid: string, port: number, rules: GroupRules): Promise<void> {
    this.#port = port;
    this.#groups.set(groupUid, rules);
    return this.bring();
  }

  /** The group's network is gone from this node; `isLast` when no other agent of this machine has it either. */
  async forget(groupUid: string, isLast: boolean): Promise<void> {
    const rules = this.#groups.get(groupUid);
    this.#groups.delete(groupUid);
    if (rules && !isLast) for (const element of elementsOf(rules)) this.#applied.delete(element);
    await this.bring();
  }

  /** As `bring`, and what others may have changed of links is seen too: for that the kernel's lock on links is waited for. */
  check(): Promise<void> {
    this.#isDue = true;
    return this.bring();
  }

  /** Whatever is asked while a change is on its way goes together in the next. */
  bring(): Promise<void> {
    this.#waiting ??= this.#last
      .catch(() => undefined)
      .then(() => {
        this.#waiting = null;
        return this.#pass();
      });
    this.#last = this.#waiting;
    return this.#waiting;
  }

  /** A change of other tables of this agent, in turn with those of its own, in one transaction. */
  apply(text: string): Promise<void> {
    const done = this.#last
      .catch(() => undefined)
      .then(async () => {
        const begun = await this.#netfilter.generation();
        await this.#nft.apply(text);
        const now = await this.#netfilter.generation();
        if (this.#generation === begun && now === begun + 1) this.#generation = now;
      });
    this.#last = done;
    return done;
  }

  /** Names of all tables of chains that are hooked to single links. */
  tablesOfLinks(): Promise<string[]> {
    const asked = this.#last.catch(() => undefined).then(() => this.#netfilter.tablesOfLinks());
    this.#last = asked.then(
      () => undefined,
      () => undefined,
    );
    return asked;
  }

  async #pass(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#attempt(attempt > 2);
      } catch (error) {
        // Another agent of this machine may have taken the table away meanwhile: it saw no network. Or the table is of an earlier version.
        this.#generation = null;
        this.#isDue = true;
        if (attempt === attemptsMost) throw error;
      }
    }
  }

  async #attempt(anew: boolean): Promise<void> {
    const { table } = this.#names;
    const before = this.#generation === null ? null : await this.#netfilter.generation();
    const isKnown = before !== null && before === this.#generation;
    const isThere = isKnown || (!anew && (await this.#netfilter.hasTable(table)));
    if (!isThere && this.#groups.size === 0) return this.#applied.clear();
    const [isDue, known] = [this.#isDue, this.#uplinks];
    this.#isDue = false;
    const links = { ipv4: this.#linksToForward('ipv4', isDue), ipv6: this.#linksToForward('ipv6', isDue) };
    const wanted = new Set([...this.#groups.values()].flatMap(elementsOf));
    for (const family of families) for (const link of links[family]) wanted.add(uplinkElement(link, family));
    const stale = isThere ? [...this.#applied].filter((element) => !wanted.has(element)) : [];
    const standing = isKnown ? this.#applied : new Set(stale);
    const text = (isThere ? '' : tableText(this.#names, this.#port)) + changeText(table, standing, wanted);
    const begun = isKnown ? before : await this.#netfilter.generation();
    if (text !== '' && !(isThere && (await this.#changeSets(standing, wanted)))) await this.#nft.apply(text);
    this.#applied = wanted;
    const now = await this.#netfilter.generation();
    this.#generation = now === begun + (text === '' ? 0 : 1) ? now : null;
    this.#uplinks = links;
    for (const family of families)
      for (const link of links[family])
        if (isDue || !known[family].includes(link)) forwardFrom(link, family, true);
  }

  /** Without a process of nft(8). False: that has to be asked after all. */
  #changeSets(before: ReadonlySet<string>, now: ReadonlySet<string>): Promise<boolean> {
    return this.#netfilter.change(
      this.#names.table,
      [...before].filter((element) => !now.has(element)),
      [...now].filter((element) => !before.has(element)),
    );
  }

  /** Where this machine forwards anyway, nobody else's packets are ours to stop. Other agents may need those of before. */
  #linksToForward(family: Family, isDue: boolean): readonly string[] {
    const before = this.#uplinks[family];
    if (before.length > 0 && !isDue) return before;
    if (forwardsAll(family)) return [];
    const leaves = [...this.#groups.values()].some(
      ({ egress, hasSix }) => egress && (family === 'ipv4' || (hasSix && canForwardSix())),
    );
    return leaves ? [...new Set([...before, ...uplinks()])] : before;
  }

  /** Takes away what lets packets of networks in that are on this node no more. */
  async sweep(vnis: ReadonlySet<number>, bridges: ReadonlySet<string>): Promise<void> {
    const { table } = this.#names;
    const gone = new Set<string>();
    for (const set of ['tunnels', 'tunnels6', 'sealed'])
      for (const element of await this.#elements(set))
        if (typeof element !== 'string' && !vnis.has(element.concat[1]))
          gone.add(`${set} { ${element.concat.join(' . ')} }`);
    for (const name of await this.#elements('closed'))
      if (typeof name === 'string' && !bridges.has(name)) gone.add(`closed { "${name}" }`);
    if (gone.size > 0) await this.#nft.apply(changeText(table, gone, new Set()));
  }

  /** Nothing, where there is no such set. */
  async #elements(set: string): Promise<SetElement[]> {
    const { table } = this.#names;
    if (!(await this.#netfilter.hasTable(table))) return [];
    const text = await this.#nft.ask('-j', 'list', 'set', 'inet', table, set).catch(() => '{"nftables":[]}');
    const { nftables } = JSON.parse(text) as SetListing;
    return nftables.flatMap((each) => [...(each.set?.elem ?? [])]);
  }

  /** All of it, since no network of the cluster is on this machine; `isAlone`: of no other cluster either. */
  remove(isAlone: boolean): Promise<void> {
    const done = this.#last.catch(() => undefined).then(() => this.#remove(isAlone));
    this.#last = done;
    return done;
  }

  async #remove(isAlone: boolean): Promise<void> {
    const { table } = this.#names;
    if (!(await this.#netfilter.hasTable(table))) return;
    const forwarding = families.map(
      async (family) => [family, await this.#elements(uplinkSets[family])] as const,
    );
    const links = await Promise.all(forwarding);
    await this.#nft.apply(
      ['inet', 'bridge'].map((kind) => `table ${kind} ${table}\ndelete table ${kind} ${table}\n`).join(''),
    );
    this.#applied.clear();
    this.#uplinks = { ipv4: [], ipv6: [] };
    if (!isAlone) return;
    for (const [family, elements] of links)
      for (const link of elements)
        if (typeof link === 'string' && !forwardsAll(family)) forwardFrom(link, family, false);
  }
}
