import { expect, it } from 'vitest';
import type { AgentHello } from '../../wire/agent-types.ts';
import { protocolVersionMax, protocolVersionMin } from '../../wire/load.ts';
import { refusalOf } from './refusal.ts';

const first = {
  node: 'node1', instance: 'i1', bootId: 'b1', localSocket: '/home/a/node1.sock',
  versionMin: protocolVersionMin, versionMax: protocolVersionMax,
} as AgentHello; // prettier-ignore
const second: AgentHello = { ...first, instance: 'i2' };
const older = { versionMin: protocolVersionMin - 2, versionMax: protocolVersionMin - 1 };
const newer = { versionMin: protocolVersionMax + 1, versionMax: protocolVersionMax + 2 };
const patienceMs = 15_000;

/** Who says hello, under which certificate, after how much silence of the agent before (none: there is none), and the answer. */
const table: [string, AgentHello, string | undefined, number | undefined, string | undefined][] = [
  ['the first', first, 'node1', undefined, undefined],
  ['one without a certificate for a node', first, undefined, undefined, 'WrongNode'],
  ['one with the certificate of another node', first, 'node2', undefined, 'WrongNode'],
  ['one without a name', { ...first, node: '' }, '', undefined, 'WrongNode'],
  ['an older version', { ...first, ...older }, 'node1', undefined, 'VersionSkew'],
  ['a newer version', { ...first, ...newer }, 'node1', undefined, 'VersionSkew'],
  ['an older version too', { ...first, versionMin: 0 }, 'node1', undefined, undefined],
  ['the same again', first, 'node1', 0, undefined],
  ['its successor on the same machine', second, 'node1', 0, undefined],
  ['one of another home', { ...second, localSocket: '/home/b/node1.sock' }, 'node1', 0, 'SecondAgent'],
  ['one of another machine', { ...second, bootId: 'b2' }, 'node1', 0, 'SecondAgent'],
  ['one of an agent without a local socket', { ...second, localSocket: '' }, 'node1', 0, 'SecondAgent'],
  ['one of another machine, too early', { ...second, bootId: 'b2' }, 'node1', patienceMs - 1, 'SecondAgent'],
  ['one of another machine, the first silent', { ...second, bootId: 'b2' }, 'node1', patienceMs, undefined],
];

it.each(table)('%s', (_who, hello, certified, silentMs, code) => {
  const incumbent = silentMs === undefined ? undefined : { hello: first, silentMs };
  const refusal = refusalOf(hello, certified, incumbent, patienceMs);
  expect(refusal?.code).toBe(code);
  if (refusal) expect(refusal.message).toMatch(/; (join|install|stop) /);
});
