import { describe, expect, it } from 'vitest';
import { StoreError } from '../../store/object-store.ts';
import { accessReviewer } from './access-review.ts';

const user = { name: 'ada', uid: '7', groups: ['dev'], extra: { team: ['x'] } };
const access = {
  user,
  verb: 'get',
  path: '/apis/x',
  group: 'subresources.muster.dev',
  resource: 'processgroups',
  subresource: 'log',
  namespace: 'ns',
  name: 'job',
};

/** A cluster whose roles are `rights`, and what it was asked. */
function cluster(rights: { allowed: boolean; reason?: string }) {
  const asked: unknown[] = [];
  return {
    asked,
    rights,
    store: {
      create: (_type: unknown, object: object) => {
        asked.push((object as { spec: unknown }).spec);
        return Promise.resolve({ ...object, status: { ...rights } } as never);
      },
    },
  };
}

describe('rights by SubjectAccessReview', () => {
  it('asks with all that is known of the user and of what he wants', async () => {
    const { store, asked } = cluster({ allowed: true });
    expect(await accessReviewer(store, () => 0)(access)).toEqual({ allowed: true });
    const { path: _path, user: _user, ...resource } = access;
    expect(asked).toEqual([
      {
        user: 'ada',
        uid: '7',
        groups: ['dev'],
        extra: { team: ['x'] },
        resourceAttributes: { ...resource, version: '*' },
      },
    ]);
  });

  it('asks for a path where there is no resource', async () => {
    const { store, asked } = cluster({ allowed: true });
    await accessReviewer(store, () => 0)({ user, verb: 'get', path: '/apis/x' });
    expect(asked).toMatchObject([{ nonResourceAttributes: { path: '/apis/x', verb: 'get' } }]);
  });

  it('remembers a verdict for some seconds and no longer, each for its own question', async () => {
    const { store, asked, rights } = cluster({ allowed: true });
    let nowMs = 0;
    const may = accessReviewer(store, () => nowMs);
    await may(access);
    rights.allowed = false;
    nowMs = 4_999;
    expect((await may(access)).allowed).toBe(true);
    expect((await may({ ...access, verb: 'create' })).allowed).toBe(false);
    expect((await may({ ...access, user: { ...user, groups: [] } })).allowed).toBe(false);
    nowMs = 5_000;
    expect((await may(access)).allowed).toBe(false);
    expect(asked).toHaveLength(4);
  });

  it('never asks about the masters', async () => {
    const { store, asked } = cluster({ allowed: false });
    const master = { ...user, groups: ['system:masters'] };
    expect(await accessReviewer(store, () => 0)({ ...access, user: master })).toEqual({ allowed: true });
    expect(asked).toEqual([]);
  });

  it('lets nobody in when nobody can be asked, and says what the controllers lack', async () => {
    const store = { create: () => Promise.reject(new StoreError('Forbidden', 'no')) };
    await expect(accessReviewer(store, () => 0)(access)).rejects.toThrow(/system:auth-delegator/);
    const away = { create: () => Promise.reject(new StoreError('Unavailable', 'away')) };
    await expect(accessReviewer(away, () => 0)(access)).rejects.toThrow(/away/);
  });
});
