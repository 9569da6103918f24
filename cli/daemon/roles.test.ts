import { describe, expect, it } from 'vitest';
import { administrators, roleAllows, roleGroup, type Role } from './roles.ts';

const allows = (groups: string[], verb: string, resource: string, more: object = {}): boolean =>
  roleAllows({ user: { name: 'u', groups }, verb, path: '', group: 'muster.dev', resource, ...more });

describe('roles', () => {
  const may = (role: Role, verb: string, resource: string, more: object = {}): boolean =>
    allows([roleGroup(role, 'team')], verb, resource, { namespace: 'team', ...more });

  it.each([
    ['view', 'list', 'processgroups', {}, true],
    ['view', 'create', 'processgroups', {}, false],
    ['view', 'get', 'secrets', { group: '' }, false],
    ['view', 'get', 'processgroups', { group: 'subresources.muster.dev', subresource: 'log' }, true],
    ['view', 'create', 'processgroups', { group: 'subresources.muster.dev', subresource: 'signal' }, false],
    ['edit', 'create', 'processgroups', {}, true],
    ['edit', 'create', 'checkpoints', {}, false],
    ['edit', 'delete', 'checkpoints', {}, true],
    ['edit', 'update', 'processgroups', { subresource: 'status' }, false],
    ['edit', 'create', 'processgroups', { group: 'subresources.muster.dev', subresource: 'signal' }, true],
    ['admin', 'create', 'checkpoints', {}, true],
    ['admin', 'create', 'processgroups', { namespace: 'other' }, false],
    ['edit', 'list', 'processgroups', { namespace: undefined }, false],
    ['admin', 'delete', 'nodemonitors', { namespace: undefined }, false],
    ['view', 'get', 'nodemonitors', { namespace: undefined }, true],
  ] as const)('%s may %s %s %j: %s', (role, verb, resource, more, expected) => {
    expect(may(role, verb, resource, more)).toBe(expected);
  });

  it('reach all namespaces without one', () => {
    expect(allows([roleGroup('view', undefined)], 'list', 'processgroups')).toBe(true);
    expect(roleGroup('admin', undefined)).toBe(administrators);
    expect(allows([administrators], 'delete', 'nodemonitors')).toBe(true);
  });

  it('give nothing to nobody but discovery and questions about oneself', () => {
    expect(allows([], 'list', 'processgroups')).toBe(false);
    const user = { name: 'u', groups: [] };
    expect(roleAllows({ user, verb: 'get', path: '/apis/muster.dev/v1alpha1' })).toBe(true);
    expect(roleAllows({ user, verb: 'get', path: '/metrics' })).toBe(false);
    const review = { group: 'authorization.k8s.io', resource: 'selfsubjectaccessreviews' };
    expect(roleAllows({ user, verb: 'create', path: '', ...review })).toBe(true);
  });
});
