import { describe, expect, it } from 'vitest';
import { logDestination } from './log-destination.ts';

/** A disk with so much room, that takes at most `piece` bytes a call. */
function disk(room: number, piece = Infinity) {
  const state = { room, text: '' };
  const write = (bytes: Uint8Array): number => {
    const count = Math.min(bytes.length, piece, state.room);
    if (count === 0) throw new Error('ENOSPC');
    state.room -= count;
    state.text += Buffer.from(bytes.subarray(0, count)).toString('utf8');
    return count;
  };
  return { state, write };
}

describe('the log of a daemon', () => {
  it('is written line by line, in as many pieces as it takes', () => {
    const { state, write } = disk(1000, 3);
    const log = logDestination(write);
    log.write('one line\n');
    log.write('another\n');
    expect(state.text).toBe('one line\nanother\n');
  });

  it('loses lines on a full disk without waiting, and says how many when there is room', () => {
    const { state, write } = disk(9);
    const log = logDestination(write);
    for (const line of ['fits yes\n', 'no\n', 'nor this\n', 'nor that\n']) log.write(line);
    expect(state.text).toBe('fits yes\n');
    state.room = 1000;
    log.write('here\n');
    expect(state.text).toBe('fits yes\n{"level":40,"lost":3,"msg":"log lines could not be written"}\nhere\n');
  });

  it('a line that was torn ends before the next begins', () => {
    const { state, write } = disk(4);
    const log = logDestination(write);
    log.write('torn line\n');
    state.room = 1000;
    log.write('whole\n');
    expect(state.text.split('\n')).toEqual(['torn', expect.stringContaining('"lost":1'), 'whole', '']);
  });
});
