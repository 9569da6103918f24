import { describe, expect, it } from 'vitest';
import { EventReader, eventText, foldFeed, type FeedItem, type FeedMessage } from '../../wire/page-feed.ts';
import { FeedPlaces, messagesOf, revisionOf } from './feed.ts';
import { Ledger } from './ledger.ts';

const item = (name: string): FeedItem => ({
  ...({ kind: 'node', phase: 'Ready', problem: '', cpus: 1, load1: 0 } as const),
  ...({ memoryBytes: 0, memoryAvailableBytes: 0, pressure: [0, 0, 0] } as const),
  name,
});

describe('the feed', () => {
  it('is cut where it grows large, and read whole from any pieces', () => {
    const large = 'n'.repeat(60_000);
    const set = Array.from(
      { length: 20 },
      (_, i) => [`node/${i}`, JSON.stringify(item(`${large}${i}`))] as const,
    );
    const texts = messagesOf({ set, gone: ['node/old'], all: true, revision: 9 }, 5);
    expect(texts.length).toBeGreaterThan(2);
    const wire = texts
      .map((text, index) => eventText(index === texts.length - 1 ? '1.9' : '', text))
      .join('');
    const reader = new EventReader();
    const known = new Map<string, FeedItem>([['node/before', item('before')]]);
    const ids: string[] = [];
    for (let from = 0; from < wire.length; from += 7919) {
      for (const { id, data } of reader.push(wire.slice(from, from + 7919))) {
        const message = JSON.parse(data) as FeedMessage;
        expect(message.more === true).toBe(id === '');
        foldFeed(known, message);
        ids.push(id);
      }
    }
    expect(ids.at(-1)).toBe('1.9');
    expect(known.size).toBe(20);
    expect(known.get('node/3')).toEqual(item(`${large}3`));
  });
  it('takes away what is gone', () => {
    const known = new Map<string, FeedItem>([['node/a', item('a')], ['node/b', item('b')]]); // prettier-ignore
    const [text = ''] = messagesOf({ set: [], gone: ['node/a', 'node/c'], all: false, revision: 2 }, 5);
    foldFeed(known, JSON.parse(text) as FeedMessage);
    expect([...known.keys()]).toEqual(['node/b']);
  });
  it('keeps no more at the end of a day than after an hour, at neither end', () => {
    const ledger = new Ledger(256);
    const reader = new EventReader();
    const known = new Map<string, FeedItem>();
    const roundsOfHour = 240;
    let revision = 0;
    const sizes: [number, number][] = [];
    for (let round = 1; round <= 24 * roundsOfHour; round++) {
      for (let node = 0; node < 4; node++)
        ledger.set(`node/${node}`, { text: JSON.stringify(item(`n${round}`)), scope: 'nodemonitors' });
      // A job comes every fifteen seconds, and goes a quarter of an hour later.
      ledger.set(`group/job${round}`, { text: JSON.stringify(item(`job${round}`)), scope: 'groups' });
      ledger.remove(`group/job${round - 60}`);
      // Served for half an hour at a time; now and then the reader is away for ten minutes.
      if (round % 480 < 40) continue;
      const news = ledger.since(revision, () => true);
      for (const text of messagesOf(news, round))
        for (const { data } of reader.push(eventText(`1.${news.revision}`, text)))
          foldFeed(known, JSON.parse(data) as FeedMessage);
      revision = news.revision;
      if (round % roundsOfHour === roundsOfHour - 1) sizes.push([known.size, ledger.size]);
    }
    expect(sizes).toHaveLength(24);
    expect(new Set(sizes.flat())).toEqual(new Set([64]));
  });
  it('skips beats, and refuses an event that never ends', () => {
    const reader = new EventReader();
    expect(reader.push(': beat\n\nid: 1.2\ndata: {}\n\n: be')).toEqual([{ id: '1.2', data: '{}' }]);
    expect(() => {
      for (let i = 0; i < 8; i++) reader.push('x'.repeat(1024 * 1024));
    }).toThrow(/MUSTER_FEED_EVENT/);
  });
  it('goes on only where the same ledger has been', () => {
    expect([revisionOf('7.41', 7), revisionOf('6.41', 7), revisionOf(null, 7)]).toEqual([41, 0, 0]);
    expect(['', '7.', '7.-1', 'x'.repeat(99), '7.1e3'].map((text) => revisionOf(text, 7))).toEqual([
      ...[0, 0, 0, 0, 0],
    ]);
  });
  it('has so many places for one user, and gives them back', () => {
    const places = new FeedPlaces();
    const taken = Array.from({ length: 16 }, () => places.take('ann'));
    expect(() => places.take('ann')).toThrow(/open 16 times, 16 times by user "ann"/);
    places.take('bob')[Symbol.dispose]();
    taken[0]?.[Symbol.dispose]();
    expect(() => places.take('ann')).not.toThrow();
  });
});
