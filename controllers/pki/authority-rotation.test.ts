import { describe, expect, it } from 'vitest';
import { bundleOf, rotated, rotationStepOf, usualTimes, type Authorities } from './authority-rotation.ts';
import { certifyNode, makeAuthority, makeRequest, verifyCertificate } from './certificate.ts';

const dayMs = 86_400_000;
const pair = (name: string) => ({ key: `key ${name}`, cert: `cert ${name}` });
const alone: Authorities = { current: pair('a'), sinceMs: 0 };

describe('rotation of the authority', () => {
  it.each<[string, Authorities, object, string]>([
    ['young', alone, { nowMs: dayMs, beganMs: 0 }, 'None'],
    ['two thirds over', alone, { nowMs: 2434 * dayMs, beganMs: 0 }, 'MakeNext'],
    ['asked for', alone, { nowMs: dayMs, beganMs: 0, askedMs: 1 }, 'MakeNext'],
    ['asked for before it was made', alone, { nowMs: dayMs, beganMs: 10, askedMs: 5 }, 'None'],
    ['told a moment ago', { ...alone, next: pair('b') }, { nowMs: dayMs - 1, beganMs: 0 }, 'None'],
    ['told long enough', { ...alone, next: pair('b') }, { nowMs: dayMs, beganMs: 0 }, 'Promote'],
    ['still believed', { ...alone, previous: 'z' }, { nowMs: 8 * dayMs - 1, beganMs: 0 }, 'None'],
    ['believed long enough', { ...alone, previous: 'z' }, { nowMs: 8 * dayMs, beganMs: 0 }, 'DropPrevious'],
  ])('%s', (_what, authorities, at, step) => {
    expect(rotationStepOf(authorities, at as { nowMs: number; beganMs: number })).toBe(step);
  });

  it('goes round and comes to rest, and at no time is a certificate of use not believed', async () => {
    let authorities: Authorities = { current: await makeAuthority('a'), sinceMs: 0 };
    const made = await makeAuthority('b');
    let beganMs = 0;
    let nowMs = 2500 * dayMs;
    const steps: string[] = [];
    const certificates: { cert: string; untilMs: number }[] = [];
    let bundle = '';
    for (; ; nowMs += dayMs / 2) {
      const { csr } = await makeRequest('node1');
      const { cert } = await certifyNode(authorities.current, 'node1', csr);
      certificates.push({ cert, untilMs: nowMs + usualTimes.nodeValidMs });
      const step = rotationStepOf(authorities, { nowMs, beganMs });
      if (step === 'Promote') beganMs = nowMs;
      authorities = rotated(authorities, step, nowMs, made);
      if (step !== 'None') steps.push(step);
      const before = bundle;
      bundle = bundleOf(authorities);
      const believed = bundle.split(/(?<=-----END CERTIFICATE-----\n)/);
      for (const { cert: each } of certificates.filter(({ untilMs }) => untilMs > nowMs)) {
        const judged = await Promise.all(believed.map((ca) => verifyCertificate(ca, each, Date.now())));
        expect(judged).toContain(true);
      }
      // Whoever signs from now on has been told before.
      if (before !== '') expect(before).toContain(authorities.current.cert.trim());
      if (steps.at(-1) === 'DropPrevious') break;
    }
    expect(steps).toEqual(['MakeNext', 'Promote', 'DropPrevious']);
    expect(authorities.current).toBe(made);
    expect(rotationStepOf(authorities, { nowMs, beganMs })).toBe('None');
  }, 60_000);
});
