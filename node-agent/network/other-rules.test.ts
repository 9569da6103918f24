import { expect, test } from 'vitest';
import { droppingChains, letsBridgesPass } from './other-rules.ts';

const listing = (...chains: object[]): string =>
  JSON.stringify({ nftables: [{ metainfo: {} }, ...chains.map((chain) => ({ chain }))] });
const forward = { family: 'ip', table: 'filter', name: 'FORWARD', hook: 'forward', policy: 'drop' };

test('a chain that drops what is passed on is found, others are not', () => {
  expect(droppingChains(listing(forward))).toEqual([forward]);
  for (const other of [{ policy: 'accept' }, { hook: 'input' }, { family: 'ip6' }, { hook: undefined }])
    expect(droppingChains(listing({ ...forward, ...other }))).toEqual([]);
});

test('what lets the bridges pass is seen in the words of both programs', () => {
  expect(letsBridgesPass('\t\tiifname "mb*" counter packets 0 bytes 0 accept\n')).toBe(true);
  expect(letsBridgesPass('-P FORWARD DROP\n-A DOCKER-USER -i mb+ -j ACCEPT\n')).toBe(true);
  expect(letsBridgesPass('-P FORWARD DROP\n-A FORWARD -i docker0 -j ACCEPT\n')).toBe(false);
});
