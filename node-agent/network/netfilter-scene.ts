// For netfilter.test.ts, in a network namespace of its own: elements put into the sets of the real table, and what nft(8) makes of it.
import { execFileSync } from 'node:child_process';
import { native } from '../../native/addon/index.ts';
import { tableText } from './firewall.ts';
import { networkNames } from './names.ts';
import { Netfilter } from './netfilter.ts';

const names = networkNames('test', 'node1');
const { table } = names;
execFileSync('nft', ['-f', '-'], { input: tableText(names, 4789) });

function shown(): string[] {
  const text = execFileSync('nft', ['-j', 'list', 'table', 'inet', table], { encoding: 'utf8' });
  type Element = string | { prefix: { addr: string; len: number } } | { concat: unknown[] };
  const { nftables } = JSON.parse(text) as { nftables: { set?: { name: string; elem?: Element[] } }[] };
  return nftables
    .flatMap(({ set }) => (set?.elem ?? []).map((element) => `${set?.name ?? ''} { ${textOf(element)} }`))
    .sort();
  function textOf(element: Element): string {
    if (typeof element === 'string') return `"${element}"`;
    if ('concat' in element) return element.concat.join(' . ');
    return `${element.prefix.addr}/${String(element.prefix.len)}`;
  }
}

const all = [
  'closed { "mb1" }',
  'inside { 100.64.5.0/28 }',
  'inside { 100.64.5.16/28 }',
  'sealed { fd4d::1 . 7 }',
  'tunnels { 10.0.0.2 . 77000 }',
  'tunnels6 { fd00::3 . 7 }',
];
using netfilter = new Netfilter(native());
const before = await netfilter.generation();
const added = await netfilter.change(table, [], all);
const seen = {
  added,
  shown: shown(),
  again: await netfilter.change(table, [], all.slice(0, 2)),
  // One that is not there: nothing of it is done.
  goneAndNothing: await netfilter.change(table, [all[0]!, 'tunnels { 10.0.0.3 . 1 }'], []),
  stillShown: shown().length,
  gone: await netfilter.change(
    table,
    all.filter((element) => element !== all[2]),
    [],
  ),
  left: shown(),
  raisedBy: (await netfilter.generation()) - before,
  noTable: await netfilter.change('nothing', [], [all[0]!]),
};
console.log(JSON.stringify(seen));
