import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { elementKeys } from './netfilter.ts';

test.each<[string, string, string[]]>([
  ['inside { 100.64.5.16/28 }', 'inside', ['64400510', '64400520 end']],
  ['tunnels { 10.0.0.2 . 77000 }', 'tunnels', ['0a000002012cc800']],
  ['sealed { fd4d::1 . 7 }', 'sealed', ['fd4d000000000000000000000000000100000700']],
  ['closed { "mb1" }', 'closed', [`6d6231${'00'.repeat(13)}`]],
])('the key of %s', (element, set, keys) => {
  const found = elementKeys(element);
  const shown = found.keys.map(({ key, isEnd }) => `${key.toString('hex')}${isEnd ? ' end' : ''}`);
  expect({ ...found, keys: shown }).toEqual({ set, keys });
});

test.runIf(process.geteuid?.() === 0)('what is put into sets is what nft(8) shows, and goes again', () => {
  const scene = new URL('netfilter-scene.ts', import.meta.url).pathname;
  const { stdout, stderr } = spawnSync('unshare', ['-n', process.execPath, scene], { encoding: 'utf8' });
  expect(stderr).toBe('');
  expect(JSON.parse(stdout)).toEqual({
    added: true,
    shown: [
      'closed { "mb1" }',
      'inside { 100.64.5.0/28 }',
      'inside { 100.64.5.16/28 }',
      'sealed { fd4d::1 . 7 }',
      'tunnels { 10.0.0.2 . 77000 }',
      'tunnels6 { fd00::3 . 7 }',
    ],
    again: true,
    goneAndNothing: false,
    stillShown: 6,
    gone: true,
    left: ['inside { 100.64.5.16/28 }'],
    raisedBy: 2, // what changes nothing does not
    noTable: false,
  });
});
