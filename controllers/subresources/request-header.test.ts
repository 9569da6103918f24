import { describe, expect, it } from 'vitest';
import { readRequestHeaderConfig, type RequestHeaderConfig, userOfHeaders } from './request-header.ts';

const config: RequestHeaderConfig = {
  ca: 'PEM',
  allowedNames: [],
  userHeaders: ['X-Remote-User', 'X-Also-User'],
  uidHeaders: ['X-Remote-Uid'],
  groupHeaders: ['X-Remote-Group'],
  extraPrefixes: ['X-Remote-Extra-'],
};

describe('the user of request headers', () => {
  it('has a name, a uid, groups with commas in them, and extras with escaped keys', () => {
    const headers = {
      'x-remote-user': ['ada, countess'],
      'x-remote-uid': ['42'],
      'x-remote-group': ['dev, ops', 'system:authenticated'],
      'x-remote-extra-acme.com%2fproject': ['one', 'two'],
      'x-other': ['ignored'],
    };
    expect(userOfHeaders(headers, config)).toEqual({
      name: 'ada, countess',
      uid: '42',
      groups: ['dev, ops', 'system:authenticated'],
      extra: { 'acme.com/project': ['one', 'two'] },
    });
  });

  it('is whom the first header with a name tells', () => {
    expect(userOfHeaders({ 'x-remote-user': [''], 'x-also-user': ['bob'] }, config)?.name).toBe('bob');
  });

  it('is nobody without a name, whatever groups are told', () => {
    expect(userOfHeaders({ 'x-remote-group': ['system:masters'] }, config)).toBeUndefined();
  });

  it('keeps an extra key that is not properly escaped as it is', () => {
    const user = userOfHeaders({ 'x-remote-user': ['a'], 'x-remote-extra-100%': ['v'] }, config);
    expect(user?.extra).toEqual({ '100%': ['v'] });
  });
});

describe('how the front proxy is known', () => {
  const storeWith = (data: Record<string, string>) => ({
    get: () => Promise.resolve({ metadata: {}, data } as never),
  });

  it('is read with the usual headers where none are named', async () => {
    const read = await readRequestHeaderConfig(
      storeWith({ 'requestheader-client-ca-file': 'PEM', 'requestheader-allowed-names': '["proxy"]' }),
    );
    expect(read).toEqual({ ...config, allowedNames: ['proxy'], userHeaders: ['X-Remote-User'] });
  });

  it.each([
    [{}, /no requestheader-client-ca-file.*--requestheader-client-ca-file/],
    [
      { 'requestheader-client-ca-file': 'PEM', 'requestheader-allowed-names': 'proxy' },
      /allowed-names: expected a JSON/,
    ],
    [
      { 'requestheader-client-ca-file': 'PEM', 'requestheader-group-headers': '[1]' },
      /group-headers: expected a JSON/,
    ],
  ])('is not taken from %j', async (data, message) => {
    await expect(readRequestHeaderConfig(storeWith(data as Record<string, string>))).rejects.toThrow(message);
  });
});
