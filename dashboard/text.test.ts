import { describe, expect, it } from 'vitest';
import { ageText, bytesText, coresText, countText, durationText } from './text.ts';

describe('numbers of the page', () => {
  it('are bytes in binary units', () => {
    expect([0, 1, 1023, 1024, 10 * 1024, 1.5 * 2 ** 30, 2 ** 60].map(bytesText)).toEqual([
      ...['0 B', '1 B', '1023 B', '1.0 KiB', '10 KiB', '1.5 GiB', '1048576 TiB'],
    ]);
  });
  it('are durations in one or two units', () => {
    expect([0, 840, 3210, 59_700, 250_000, 7_500_000, 7_200_000, 273_600_000].map(durationText)).toEqual([
      ...['0 s', '840 ms', '3.2 s', '1 min', '4 min 10 s', '2 h 5 min', '2 h', '3 d 4 h'],
    ]);
  });
  it('are ages in one unit, never more than has passed', () => {
    expect([0, 999, 1999, 59_999, 119_000, 7_300_000].map(ageText)).toEqual([
      ...['0 s', '0 s', '1 s', '59 s', '1 min', '2 h'],
    ]);
  });
  it('are cores and counts', () => {
    expect([coresText(0.04), coresText(12.6), countText(1, 'rank'), countText(65536, 'rank')]).toEqual([
      ...['0.0', '13', '1 rank', '65,536 ranks'],
    ]);
  });
});
