// Whether other rules of this machine stop what job networks need. Every table has its say, so one whose chain drops or rejects at its
// end what it was not told of (Docker's FORWARD, firewalld, ufw) stops packets of jobs too, unless it is told to let them pass. Seen
// are the rules of nftables and, where its tables are loaded, of the older iptables. What lets packets pass is known by its look, not
// by following packets: in doubt they pass.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

type Hook = 'forward' | 'input';

export interface Chain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook?: string;
}

/** Base chains that packets which are passed on, or come in, go through. Ours are no others. */
export function chainsAt(hook: Hook, listing: string): Chain[] {
  const { nftables } = JSON.parse(listing) as { nftables: readonly { readonly chain?: Chain }[] };
  return nftables.flatMap(({ chain }) =>
    chain?.hook === hook && ['ip', 'inet'].includes(chain.family) && !chain.table.startsWith('muster_')
      ? [chain]
      : [],
  );
}

/** The rules of each chain of a table, as nft(8) prints it; the first is what a base chain is hooked to. */
export function rulesOf(table: string): Map<string, string[]> {
  const chains = new Map<string, string[]>();
  let rules: string[] | null = null;
  for (const line of table.split('\n')) {
    const begun = /^\tchain (\S+) \{$/.exec(line);
    if (begun) chains.set(begun[1]!, (rules = []));
    else if (line === '\t}') rules = null;
    else if (line.trim() !== '') rules?.push(line.trim());
  }
  return chains;
}

const whatever =
  /^(?:(?:counter packets \d+ bytes \d+|log(?: prefix "[^"]*")?(?: (?:flags|group|level) \w+)*) )*/;
/** What a rule does with every packet; undefined: it looks at them first. */
function verdictOn(rule: string): string | undefined {
  return /^(accept|drop|reject)\b/.exec(rule.replace(whatever, ''))?.[1];
}

/** Packets that no other rule of the chain takes do not get through. */
export function stopsAtEnd(rules: readonly string[]): boolean {
  const last = rules.map(verdictOn).find((verdict) => verdict !== undefined);
  return last === undefined ? /policy drop;/.test(rules[0] ?? '') : last !== 'accept';
}

/** A rule with this look that accepts, or hands on to a chain that accepts all. */
function lets(chains: ReadonlyMap<string, readonly string[]>, looks: (rule: string) => boolean): boolean {
  const accepts = (rule: string): boolean => {
    if (/\baccept\b/.test(rule)) return true;
    const target = /\b(?:jump|goto) (\S+)/.exec(rule)?.[1];
    return (chains.get(target ?? '') ?? []).some((each) => verdictOn(each) === 'accept');
  };
  return [...chains.values()].flat().some((rule) => looks(rule) && accepts(rule));
}

const bridges = /iifname (?:"mb\*"|\{[^}]*"mb\*")/;

/** By nft(8)'s words. */
export const letsBridgesPass = (table: string): boolean => lets(rulesOf(table), (rule) => bridges.test(rule));

/** The tunnels' port, or all from a link or address. Port null: whichever. */
export function letsTunnelsPass(table: string, port: number | null): boolean {
  return lets(rulesOf(table), (rule) => {
    const ports = /(?:udp|th) dport (?:\{ ([^}]*) \}|(\S+))/.exec(rule);
    if (ports) return port === null || (ports[1] ?? ports[2])!.split(',').some((each) => holds(each, port));
    return (
      /^(?:iifname (?!"lo")|iif (?!"lo")|ip saddr )/.test(rule) &&
      !/\b(?:tcp|icmp|dport|ct state)\b/.test(rule)
    );
  });
}

/** A port, or from one to another. */
function holds(ports: string, port: number): boolean {
  const [first = NaN, last = first] = ports.trim().split('-').map(Number);
  return first <= port && port <= last;
}

/** In the words of iptables(8). */
export const iptablesLetsBridgesPass = (rules: string): boolean => /-i mb\+.*-j ACCEPT/.test(rules);

const byFirewalld = (table: string): boolean => table === 'firewalld';

/** Why nothing gets out of job networks, with the cure; null when nothing stands in the way. */
export function obstacleOnTheWay(): string | null {
  const stopping = stoppingAt('forward', letsBridgesPass);
  if (stopping) {
    const pass = byFirewalld(stopping.table)
      ? 'firewall-cmd --permanent --zone=trusted --add-interface=mb+; firewall-cmd --reload'
      : 'docs/network.md';
    return obstacle(nameOf(stopping), pass);
  }
  if (!legacyTables().includes('filter')) return null;
  const rules = said('iptables-legacy', '-S') || said('iptables', '-S');
  return /^-P FORWARD DROP$|^-A FORWARD -j (?:DROP|REJECT)\b/m.test(rules) && !iptablesLetsBridgesPass(rules)
    ? obstacle('chain FORWARD of iptables', 'docs/network.md')
    : null;
}

/** Why nothing comes in from other nodes' tunnels, with the cure; null when nothing seems to stand in the way. */
export function obstacleToTunnels(port: number | null): string | null {
  const stopping = stoppingAt('input', (table) => letsTunnelsPass(table, port));
  if (!stopping) return null;
  const which =
    port === null
      ? "the cluster's tunnel port (of 20000 to 29999; the agent's log names it)"
      : `UDP port ${String(port)}`;
  const open = byFirewalld(stopping.table)
    ? ` (firewall-cmd --permanent --add-port=${port === null ? 'PORT' : String(port)}/udp; firewall-cmd --reload)`
    : '';
  return `${nameOf(stopping)} stops what comes in, and no rule of its table seems to let tunnels of jobs pass: jobs over several nodes hang where it does; let ${which} in from the other nodes${open}`;
}

function stoppingAt(hook: Hook, letsPass: (table: string) => boolean): Chain | undefined {
  const chains = chainsAt(hook, said('nft', '-j', 'list', 'chains') || '{"nftables":[]}');
  return chains.find(({ family, table, name }) => {
    const listing = said('nft', 'list', 'table', family, table);
    return stopsAtEnd(rulesOf(listing).get(name) ?? []) && !letsPass(listing);
  });
}

const nameOf = ({ family, table, name }: Chain): string => `chain ${name} of table ${family} ${table}`;

const obstacle = (chain: string, pass: string): string =>
  `${chain} stops what is passed on, packets of jobs too: let links named mb* pass (${pass}), then start the agent again`;

function said(file: string, ...args: string[]): string {
  return spawnSync(file, args, { encoding: 'utf8', timeout: 5000, maxBuffer: 256 * 2 ** 20 }).stdout ?? '';
}

function legacyTables(): string[] {
  try {
    return readFileSync('/proc/net/ip_tables_names', 'utf8').trim().split('\n');
  } catch {
    return [];
  }
}
