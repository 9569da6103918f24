import { describe, expect, it } from 'vitest';
import { authorityName, clusterOfAuthority } from '../../wire/authority-name.ts';
import { makeAuthority } from './certificate.ts';

describe('the name of an authority', () => {
  const [one, other] = ['0b7d0c1e-5a5e-4b8f-8f2e-1f0a5f1c2d3e', '5a5e0c1e-5a5e-4b8f-8f2e-1f0a5f1c2d3e'];
  const certificateOf = async (name: string): Promise<string> => (await makeAuthority(name)).cert;

  it('names the same cluster after the authority was replaced, and while both count', async () => {
    const first = await certificateOf(authorityName(one));
    const second = await certificateOf(authorityName(one, Date.parse('2026-05-01T10:00:00Z')));
    const cluster = clusterOfAuthority(first);
    expect(clusterOfAuthority(second)).toBe(cluster);
    expect(clusterOfAuthority(Buffer.from(second + first))).toBe(cluster);
    expect(clusterOfAuthority(await certificateOf(authorityName(other)))).not.toBe(cluster);
  });

  it('tells authorities apart that are called otherwise', async () => {
    const [first, second] = [await certificateOf('site'), await certificateOf('site')];
    expect(clusterOfAuthority(first)).toBe(clusterOfAuthority(first));
    expect(clusterOfAuthority(first)).not.toBe(clusterOfAuthority(second));
  });
});
