import { describe, expect, it } from 'vitest';
import { LogPlace } from './log-place.ts';

const frame = (rank: number, offset: number, text: string) => ({
  rank,
  stream: 1,
  offset,
  end: false,
  error: false,
  bytes: Buffer.from(text),
});
const begun = {
  rank: 0xffffffff,
  stream: 0,
  offset: 0,
  end: false,
  error: false,
  begun: true,
  bytes: Buffer.alloc(0),
};

describe('the place of a reader', () => {
  it('asks for the tail until every beginning is known, so that a reader cut early shows no old line', () => {
    const place = new LogPlace({ tail: '2' });
    expect(place.query().get('tail')).toBe('2');
    place.took(frame(0, 100, ''));
    expect(place.query().get('tail')).toBe('2');
    expect(place.query().get('from')).toBe('0.1@100');
    place.took(begun);
    place.took(frame(0, 100, 'abc'));
    expect(place.query().get('tail')).toBeNull();
    expect(place.query().get('from')).toBe('0.1@103');
  });

  it('names ranks and streams in every query', () => {
    const query = new LogPlace({ ranks: '0-3', streams: [2] }).query();
    expect([query.get('ranks'), query.get('streams')]).toEqual(['0-3', '2']);
  });

  it('does not move for what a node could not read', () => {
    const place = new LogPlace({});
    place.took({ ...frame(0, 0, 'node n1: away'), error: true });
    expect(place.query().get('from')).toBeNull();
  });
});
