import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { authorityHash, makeAuthority, verifyCertificate } from './certificate.ts';
import { joinCluster } from './join-client.ts';
import { startJoinServer } from './join-server.ts';
import { JoinTokens } from './join-tokens.ts';
import { openAuthority, openCertificate } from './key-files.ts';

let directory = '';
let now = Date.now();
let stop: (() => Promise<void>) | undefined;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'muster-pki-'));
  now = Date.now();
});
afterEach(async () => {
  await stop?.();
  stop = undefined;
  await rm(directory, { recursive: true });
});

async function cluster() {
  const authority = await openAuthority(directory, 'muster test');
  const server = await openCertificate(directory, 'server', authority, {
    kind: 'server',
    names: ['localhost', '127.0.0.1'],
  });
  const tokens = new JoinTokens(join(directory, 'tokens.json'), () => now);
  const options = { authority, tokens, logger: pino({ level: 'silent' }), welcome: { hub: 'hub.example:1' } };
  const running = await startJoinServer({ host: '127.0.0.1', port: 0 }, server, options);
  stop = running.close;
  const target = { host: '127.0.0.1', port: running.port, caHash: `sha256:${authorityHash(authority.cert)}` };
  return { authority, tokens, target };
}

describe('pki', () => {
  it('keeps keys for their owner alone and opens them again', async () => {
    const authority = await openAuthority(directory, 'a');
    expect(await openAuthority(directory, 'a')).toEqual(authority);
    expect((await stat(join(directory, 'ca.key'))).mode & 0o777).toBe(0o600);
  });

  it('lets a node join once, and tells why not twice', async () => {
    const { authority, tokens, target } = await cluster();
    const token = await tokens.create();
    const joined = await joinCluster({ ...target, token, node: 'node1' });
    expect(await verifyCertificate(authority.cert, joined.cert, now)).toBe(true);
    expect(joined.welcome).toEqual({ hub: 'hub.example:1' });
    await expect(joinCluster({ ...target, token, node: 'node2' })).rejects.toMatchObject({
      code: 'MUSTER_JOIN_TOKEN_USED',
    });
    const second = await tokens.create();
    await expect(joinCluster({ ...target, token: second, node: 'node1' })).rejects.toMatchObject({
      code: 'MUSTER_JOIN_NAME_TAKEN',
    });
    const replacing = await tokens.create({ replace: true });
    await expect(joinCluster({ ...target, token: replacing, node: 'node1' })).resolves.toHaveProperty('cert');
  });

  it('refuses expired and unknown tokens, and bad names', async () => {
    const { tokens, target } = await cluster();
    const token = await tokens.create({ ttlMs: 1000 });
    now += 1001;
    await expect(joinCluster({ ...target, token, node: 'a' })).rejects.toMatchObject({
      code: 'MUSTER_JOIN_TOKEN_EXPIRED',
    });
    await expect(joinCluster({ ...target, token: 'x', node: 'a' })).rejects.toMatchObject({
      code: 'MUSTER_JOIN_TOKEN_UNKNOWN',
    });
    await expect(joinCluster({ ...target, token, node: 'A/b' })).rejects.toMatchObject({
      code: 'MUSTER_JOIN_BAD_REQUEST',
    });
  });

  it('sends no token to a server of another authority', async () => {
    const { tokens, target } = await cluster();
    const token = await tokens.create();
    const other = authorityHash((await makeAuthority('other')).cert);
    await expect(joinCluster({ ...target, caHash: other, token, node: 'a' })).rejects.toMatchObject({
      code: 'MUSTER_JOIN_WRONG_AUTHORITY',
    });
    await expect(joinCluster({ ...target, token, node: 'a' })).resolves.toHaveProperty('cert');
  });
});
