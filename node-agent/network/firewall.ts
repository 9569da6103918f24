// What may enter and leave the job networks of a node, as one table of nftables (nft(8)): tunnelled packets only from nodes
// that hold sandboxes of that very network, nothing from outside into a network, out of it only what asked to, behind the
// node's address. Changes that come while one is at work go together in the next. The text is made by pure functions.
import { spawn } from 'node:child_process';
import { isIPv6 } from 'node:net';
import type { NetworkNames } from './names.ts';

export interface Tunnel {
  readonly vni: number;
  /** Addresses on the underlay of the other nodes that hold sandboxes of the group. */
  readonly nodes: readonly string[];
}

/** On frames that a bridge passes from port to port: where br_netfilter is loaded, the rules for what is routed see them too. */
const withinMark = '0x4d000000';

/** The table, empty of tunnels. Made anew as a whole, in one transaction, so that a later version replaces an earlier one. */
export function tableText({ table, bridgePattern }: NetworkNames, port: number): string {
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
  set closed { type ifname; }
  set uplinks { type ifname; }
  chain input {
    type filter hook input priority filter - 5; policy accept;
    udp dport ${String(port)} ip saddr . @th,96,24 @tunnels accept
    udp dport ${String(port)} ip6 saddr . @th,96,24 @tunnels6 accept
    udp dport ${String(port)} counter drop
    iifname @closed counter drop
  }
  chain forward {
    type filter hook forward priority filter - 5; policy accept;
    meta mark and ${withinMark} == ${withinMark} accept
    iifname @closed counter drop
    iifname @uplinks oifname != "mb*" counter drop
    oifname "${bridgePattern}" ct state established,related accept
    oifname "${bridgePattern}" counter drop
  }
  chain output {
    type filter hook output priority filter - 5; policy accept;
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

function elements({ vni, nodes }: Tunnel, six: boolean): string {
  return nodes
    .filter((node) => isIPv6(node) === six)
    .map((node) => `${node} . ${String(vni)}`)
    .join(', ');
}

/** From one set of tunnels to the next; empty when nothing changes. */
export function tunnelText(table: string, before: Tunnel | null, now: Tunnel | null): string {
  const gone: Tunnel | null = before && {
    ...before,
    nodes: before.nodes.filter((node) => !now?.nodes.includes(node)),
  };
  const fresh: Tunnel | null = now && {
    ...now,
    nodes: now.nodes.filter((node) => !before?.nodes.includes(node)),
  };
  const lines: string[] = [];
  for (const [verb, tunnel] of [
    ['delete', gone],
    ['add', fresh],
  ] as const) {
    for (const six of [false, true]) {
      const text = tunnel ? elements(tunnel, six) : '';
      // Adding first makes deleting safe when another agent of this machine has deleted it already.
      if (text !== '' && verb === 'delete')
        lines.push(`add element inet ${table} tunnels${six ? '6' : ''} { ${text} }`);
      if (text !== '') lines.push(`${verb} element inet ${table} tunnels${six ? '6' : ''} { ${text} }`);
    }
  }
  return lines.map((line) => `${line}\n`).join('');
}

export const closedText = (table: string, bridge: string, verb: 'add' | 'delete'): string =>
  `add element inet ${table} closed { "${bridge}" }\n` +
  (verb === 'delete' ? `delete element inet ${table} closed { "${bridge}" }\n` : '');

/** These links forward for job networks alone. */
export const uplinksText = (table: string, links: readonly string[]): string =>
  links.length === 0
    ? ''
    : `add element inet ${table} uplinks { ${links.map((link) => `"${link}"`).join(', ')} }\n`;

/** What stands in a set, as nft(8) writes JSON. */
interface SetListing {
  readonly nftables: readonly { set?: { elem?: readonly SetElement[] } }[];
}
type SetElement = string | { readonly concat: readonly [string, number] };

/** Runs nft one at a time; what is asked meanwhile is one transaction. */
export class Firewall {
  readonly #names: NetworkNames;
  #waiting: { text: string; done: PromiseWithResolvers<void> } | null = null;
  #working: Promise<void> | null = null;

  constructor(names: NetworkNames) {
    this.#names = names;
  }

  /** Makes the table where it is missing. */
  async prepare(port: number): Promise<void> {
    if (!(await this.#isThere())) await this.apply(tableText(this.#names, port));
  }

  /** Links that were made to forward for job networks. */
  async uplinks(): Promise<string[]> {
    return (await this.#elements('uplinks')).filter((element) => typeof element === 'string');
  }

  /** Takes away what lets packets of networks in that are on this node no more. */
  async sweep(vnis: ReadonlySet<number>, bridges: ReadonlySet<string>): Promise<void> {
    const { table } = this.#names;
    const lines: string[] = [];
    for (const set of ['tunnels', 'tunnels6']) {
      for (const element of await this.#elements(set)) {
        if (typeof element === 'string' || vnis.has(element.concat[1])) continue;
        lines.push(`delete element inet ${table} ${set} { ${element.concat.join(' . ')} }\n`);
      }
    }
    for (const name of await this.#elements('closed'))
      if (typeof name === 'string' && !bridges.has(name)) lines.push(closedText(table, name, 'delete'));
    await this.apply(lines.join(''));
  }

  /** Nothing, where there is no such set. */
  async #elements(set: string): Promise<SetElement[]> {
    const text = await nft(['-j', 'list', 'set', 'inet', this.#names.table, set]).catch(() => '{"nftables":[]}');
    const { nftables } = JSON.parse(text) as SetListing;
    return nftables.flatMap((each) => [...(each.set?.elem ?? [])]);
  }

  #isThere(): Promise<boolean> {
    return nft(['list', 'table', 'inet', this.#names.table]).then(
      () => true,
      () => false,
    );
  }

  async remove(): Promise<void> {
    if (!(await this.#isThere())) return;
    const { table } = this.#names;
    await this.apply(
      ['inet', 'bridge'].map((kind) => `table ${kind} ${table}\ndelete table ${kind} ${table}\n`).join(''),
    );
  }

  /** Resolves when the kernel has taken it. */
  async apply(text: string): Promise<void> {
    if (text === '') return;
    this.#waiting ??= { text: '', done: Promise.withResolvers<void>() };
    this.#waiting.text += text;
    const { promise } = this.#waiting.done;
    this.#working ??= this.#work();
    await promise;
  }

  async #work(): Promise<void> {
    while (this.#waiting) {
      const { text, done } = this.#waiting;
      this.#waiting = null;
      await nft(['-f', '-'], text).then(() => done.resolve(), done.reject);
    }
    this.#working = null;
  }
}

/** What it prints. */
function nft(args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('nft', args, { stdio: ['pipe', 'pipe', 'pipe'] });
    let complaint = '';
    let said = '';
    child.stdout.on('data', (data: Buffer) => (said += data.toString('utf8')));
    child.stderr.on('data', (data: Buffer) => (complaint += data.toString('utf8').slice(0, 4096)));
    child.stdin.on('error', () => undefined); // its end tells
    child.on('error', (cause) =>
      reject(new Error('MUSTER_NETWORK_NO_NFT: nft does not start: install nftables', { cause })),
    );
    child.on('close', (code) =>
      code === 0
        ? resolve(said)
        : reject(new Error(`MUSTER_NETWORK_REFUSED: nft: ${complaint.trim() || `status ${String(code)}`}`)),
    );
    child.stdin.end(input);
  });
}
