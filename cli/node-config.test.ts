import { load } from 'js-yaml';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { defaultNodeConfig } from '../node-agent/config.ts';
import { nodeConfigOf } from './node-config.ts';

test('the example says what is the default', () => {
  const example = readFileSync(new URL('../examples/node.yaml', import.meta.url), 'utf8');
  expect({ ...defaultNodeConfig, ...nodeConfigOf(load(example), 'node.yaml') }).toEqual(defaultNodeConfig);
  expect(nodeConfigOf(undefined, 'node.yaml')).toEqual({});
});

test('every key is read', () => {
  const text = `
    binds: [/run/munge, { source: /data, target: /scratch, readOnly: true }]
    allowedUids: 1000-2000
    roots: [/srv/debian]
    devices: { fuse: [/dev/fuse] }
    processesPerSandbox: 50
    cgroupParent: muster.slice/muster-sandboxes.service
    healthChecks: /srv/checks
    ownerFile: /run/owner
    logQuota: 1Mi`;
  expect(nodeConfigOf(load(text), 'node.yaml')).toEqual({
    binds: [{ source: '/run/munge' }, { source: '/data', target: '/scratch', readOnly: true }],
    allowedUids: '1000-2000',
    allowedRoots: ['/srv/debian'],
    devices: { fuse: ['/dev/fuse'] },
    processesPerSandbox: 50,
    healthChecks: '/srv/checks',
    ownerFile: '/run/owner',
    cgroupParent: 'muster.slice/muster-sandboxes.service',
    logQuotaBytes: 1 << 20,
  });
});

test.each([
  ['device: []', 'node.yaml: device: there is no such key; did you mean devices?'],
  ['colour: red', 'node.yaml: colour: there is no such key; known are binds, '],
  ['- a', 'node.yaml: expected keys with values'],
  ['devices: [/dev/fuse]', 'node.yaml: devices: expected keys with values'],
  ['devices: { a: [/etc/passwd] }', 'node.yaml: devices.a: expected paths below /dev, not "/etc/passwd"'],
  ['devices: { a: [/dev/../etc] }', 'node.yaml: devices.a[0]: expected an absolute path without ".."'],
  ['roots: /srv', 'node.yaml: roots: expected a list, not "/srv"'],
  ['binds: [{ from: /a }]', 'node.yaml: binds[0].from: there is no such key'],
  ['binds: [null]', 'node.yaml: binds[0].source: expected an absolute path'],
  ['processesPerSandbox: 0', 'node.yaml: processesPerSandbox: expected a number from 1'],
  ['cgroupParent: ../other', 'node.yaml: cgroupParent: expected a path below the root of all cgroups'],
  ['logQuota: 5', 'node.yaml: logQuota: expected a quantity of at least 4Ki'],
])('%s is refused by file and key', (text, message) => {
  expect(() => nodeConfigOf(load(text), 'node.yaml')).toThrow(message);
});
