import { describe, expect, it } from 'vitest';
import { isAccountToken, nodeVerdict, type ReviewStatus } from './service-account.ts';

const account = { namespace: 'muster-system', name: 'muster-agents' };
const good: ReviewStatus = {
  authenticated: true,
  audiences: ['muster'],
  user: {
    username: 'system:serviceaccount:muster-system:muster-agents',
    extra: {
      'authentication.kubernetes.io/pod-name': ['muster-agents-x'],
      'authentication.kubernetes.io/node-name': ['node1'],
    },
  },
};
const extra = good.user!.extra!;

describe('a token of a service account', () => {
  it('speaks for the node of its Pod', () => {
    expect(nodeVerdict(good, account, 'node1')).toEqual({ ok: true });
  });

  it.each<[string, ReviewStatus, RegExp]>([
    ['is not valid', { authenticated: false, error: 'expired' }, /not valid.*expired/],
    ['says nothing', {}, /not valid/],
    ['is meant for others', { ...good, audiences: ['vault'] }, /audience "muster"/],
    [
      'is of another account',
      { ...good, user: { username: 'system:serviceaccount:default:muster-agents', extra } },
      /belongs to system:serviceaccount:default/,
    ],
    ['is of a user', { ...good, user: { username: 'alice', extra } }, /belongs to alice/],
    [
      'is bound to no Pod',
      { ...good, user: { username: good.user!.username!, extra: {} } },
      /bound to no Pod/,
    ],
    [
      'names no node',
      {
        ...good,
        user: {
          username: good.user!.username!,
          extra: { 'authentication.kubernetes.io/pod-name': ['p'] },
        },
      },
      /1\.30/,
    ],
  ])('is refused when it %s', (_what, status, message) => {
    const verdict = nodeVerdict(status, account, 'node1');
    expect(verdict).toMatchObject({ ok: false, code: 'MUSTER_JOIN_ACCOUNT_REFUSED' });
    expect(verdict.ok ? '' : verdict.message).toMatch(message);
  });

  it('speaks for no other node', () => {
    expect(nodeVerdict(good, account, 'node2')).toMatchObject({
      message: "The token's Pod muster-agents-x is on node node1, not on node2",
    });
  });

  it('is told from a one-time token by its look', () => {
    expect(isAccountToken('a.b.c')).toBe(true);
    expect(isAccountToken('Zm9v-_YmFy')).toBe(false);
  });
});
