import { describe, expect, it } from 'vitest';
import { authorityName, clusterOfAuthority } from '../../wire/authority-name.ts';
import { bundleOf } from './authority-rotation.ts';
import { makeAuthority } from './certificate.ts';

describe('the name of an authority', () => {
  const [one, other] = ['0b7d0c1e-5a5e-4b8f-8f2e-1f0a5f1c2d3e', '5a5e0c1e-5a5e-4b8f-8f2e-1f0a5f1c2d3e'];
  const certificateOf = async (name: string): Promise<string> => (await makeAuthority(name)).cert;

  it('names the same cluster after the authority was replaced, and while both count', async () => {
    const previous = await makeAuthority(authorityName(one));
    const current = await makeAuthority(authorityName(one, Date.parse('2026-05-01T10:00:00Z')));
    const cluster = clusterOfAuthority(previous.cert);
    expect(clusterOfAuthority(current.cert)).toBe(cluster);
    const bundle = bundleOf({ current, previous: previous.cert, sinceMs: 0 });
    expect(clusterOfAuthority(Buffer.from(bundle))).toBe(cluster);
    expect(clusterOfAuthority(await certificateOf(authorityName(other)))).not.toBe(cluster);
  });

  it('tells authorities apart that are called otherwise', async () => {
    const [first, second] = [await certificateOf('site'), await certificateOf('site')];
    expect(clusterOfAuthority(first)).toBe(clusterOfAuthority(first));
    expect(clusterOfAuthority(first)).not.toBe(clusterOfAuthority(second));
  });
});
