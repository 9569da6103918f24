import { describe, expect, it } from 'vitest';
import { DetachKeys } from './detach-keys.ts';

const typed = (...keys: string[]): { pass: string; detach: boolean } => {
  const detach = new DetachKeys();
  let pass = '';
  for (const key of keys) {
    const answer = detach.type(Buffer.from(key));
    pass += answer.pass.toString();
    if (answer.detach) return { pass, detach: true };
  }
  return { pass, detach: false };
};

describe('the keys that detach', () => {
  it.each([
    [['abc'], 'abc', false],
    [['ab\x10\x11cd'], 'ab', true],
    [['\x10', '\x11'], '', true],
    [['\x10', 'x'], '\x10x', false],
    [['\x10\x10\x11'], '\x10', true],
    [['\x11\x10'], '\x11', false],
    [['\x10', '\x10', 'q'], '\x10\x10q', false],
  ])('%j', (keys, pass, detach) => {
    expect(typed(...keys)).toEqual({ pass, detach });
  });
});
