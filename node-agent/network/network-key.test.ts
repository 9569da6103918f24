import { createPrivateKey, createPublicKey, diffieHellman } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isIPv6 } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { networkKeyIn, sealedAddressOf } from './network-key.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'muster-key-'));
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

test('a key is made once, for root alone, and found again', () => {
  const file = join(directory, 'key');
  const made = networkKeyIn(file);
  expect(Buffer.from(made.publicKey, 'base64')).toHaveLength(32);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(networkKeyIn(file)).toEqual(made);
  expect(networkKeyIn(join(directory, 'other')).publicKey).not.toBe(made.publicKey);
});

test('the public key is the one that follows from the private one', () => {
  const pairs = ['a', 'b'].map((name) => networkKeyIn(join(directory, name)));
  const secretOf = (own: number, other: number): string => {
    const privateKey = Buffer.from(readFileSync(pairs[own]!.file, 'utf8'), 'base64').toString('base64url');
    const publicOf = (key: string): string => Buffer.from(key, 'base64').toString('base64url');
    const jwk = { kty: 'OKP', crv: 'X25519' };
    return diffieHellman({
      privateKey: createPrivateKey({
        key: { ...jwk, d: privateKey, x: publicOf(pairs[own]!.publicKey) },
        format: 'jwk',
      }),
      publicKey: createPublicKey({ key: { ...jwk, x: publicOf(pairs[other]!.publicKey) }, format: 'jwk' }),
    }).toString('hex');
  };
  expect(secretOf(0, 1)).toBe(secretOf(1, 0));
});

test('a file that holds something else is told of', () => {
  writeFileSync(join(directory, 'key'), 'short');
  expect(() => networkKeyIn(join(directory, 'key'))).toThrow(
    /MUSTER_NETWORK_KEY: .* holds no key of 32 bytes/,
  );
});

test('an address follows from cluster and key', () => {
  const address = sealedAddressOf('c', 'key');
  expect(isIPv6(address)).toBe(true);
  expect(address).toMatch(/^fd4d:/);
  expect(sealedAddressOf('c', 'other')).not.toBe(address);
  expect(sealedAddressOf('d', 'key').slice(0, 19)).not.toBe(address.slice(0, 19));
});
