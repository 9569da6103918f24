import { expect, test } from 'vitest';
import { resolverFor } from './resolver.ts';

test('servers that can be reached stay, with everything else that is said', () => {
  const own =
    'search example.org\nnameserver 127.0.0.1\nnameserver 10.0.0.53\nnameserver fd00::53\noptions edns0\n';
  expect(resolverFor(own, '')).toBe('search example.org\nnameserver 10.0.0.53\noptions edns0\n');
});

test('behind a server of the node’s own are those that it asks', () => {
  expect(resolverFor('nameserver 127.0.0.53\n', 'nameserver 10.0.0.53\n')).toBe('nameserver 10.0.0.53\n');
});

test('where nobody can be reached the node’s own words stay', () => {
  expect(resolverFor('nameserver 127.0.0.53\n', '')).toBe('nameserver 127.0.0.53\n');
  expect(resolverFor('', '')).toBe('');
});
