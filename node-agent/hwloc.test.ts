import { describe, expect, test } from 'vitest';
import { addTopology, isReadable, topologyPath } from './hwloc.ts';

describe('the topology of hwloc', () => {
  test.each([
    ['<topology version="2.0">', true],
    ['<topology version="2.12">', true],
    ['<topology version="3.0">', false],
    ['<topology>', false],
    ['', false],
  ])('%j is shown to ranks: %s', (xml, shown) => {
    expect(isReadable(`<?xml version="1.0"?>\n${xml}\n`)).toBe(shown);
  });

  test('stands in for the machine', () => {
    const env = new Map([['A', 'b']]);
    addTopology(env);
    expect(Object.fromEntries(env)).toEqual({
      A: 'b',
      HWLOC_XMLFILE: topologyPath,
      HWLOC_THISSYSTEM: '1',
    });
  });

  test.each(['HWLOC_XMLFILE', 'HWLOC_SYNTHETIC', 'HWLOC_FSROOT', 'HWLOC_COMPONENTS'])(
    "a user's %s is all that is said, also an empty one",
    (name) => {
      const env = new Map([[name, '']]);
      addTopology(env);
      expect([...env]).toEqual([[name, '']]);
    },
  );
});
