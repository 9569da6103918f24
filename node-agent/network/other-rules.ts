// Whether other rules of this machine drop what job networks pass on. Every chain has its say, so one whose policy is to drop
// (Docker's FORWARD) drops packets of jobs too, unless it is told to let their bridges pass. Seen are the rules of nftables and, where
// its tables are loaded, of the older iptables.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

export interface Chain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook?: string;
  readonly policy?: string;
}

/** Base chains that packets which are passed on go through and that drop what they are not told of. */
export function droppingChains(listing: string): Chain[] {
  const { nftables } = JSON.parse(listing) as { nftables: readonly { readonly chain?: Chain }[] };
  return nftables.flatMap(({ chain }) =>
    chain?.hook === 'forward' && chain.policy === 'drop' && ['ip', 'inet'].includes(chain.family)
      ? [chain]
      : [],
  );
}

/** What is said to let the bridges pass, as nft(8) and iptables(8) print it. */
export const letsBridgesPass = (rules: string): boolean =>
  /iifname "mb\*".*accept/.test(rules) || /-i mb\+.*-j ACCEPT/.test(rules);

/** In a few words, with the cure; null when nothing stands in the way. */
export function obstacleOnTheWay(): string | null {
  const said = (file: string, ...args: string[]): string =>
    spawnSync(file, args, { encoding: 'utf8', timeout: 5000 }).stdout ?? '';
  for (const { family, table, name } of droppingChains(
    said('nft', '-j', 'list', 'chains') || '{"nftables":[]}',
  ))
    if (!letsBridgesPass(said('nft', 'list', 'table', family, table)))
      return obstacle(`chain ${name} of table ${family} ${table}`);
  if (!legacyTables().includes('filter')) return null;
  const rules = said('iptables-legacy', '-S') || said('iptables', '-S');
  return rules.includes('-P FORWARD DROP') && !letsBridgesPass(rules)
    ? obstacle('chain FORWARD of iptables')
    : null;
}

const obstacle = (chain: string): string =>
  `${chain} drops what is passed on, packets of jobs too: let links named mb* pass (docs/network.md), then start the agent again`;

function legacyTables(): string[] {
  try {
    return readFileSync('/proc/net/ip_tables_names', 'utf8').trim().split('\n');
  } catch {
    return [];
  }
}
