import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeFromClient,
  decodeFromServer,
  encodeFromClient,
  encodeFromServer,
  type FromClient,
  type FromServer,
} from './attach-frames.ts';
import { decodeChannelMessage, encodeChannelMessage, type ChannelMessage } from './channel-frames.ts';

const bytes = Buffer.from('one\ntwo\0');

const fromClient: FromClient[] = [
  { kind: 'input', offset: 0, bytes },
  { kind: 'input', offset: 2 ** 40 + 1, bytes: Buffer.alloc(0) },
  { kind: 'inputEnd', length: 8 },
  { kind: 'resize', rows: 24, columns: 80 },
];
const fromServer: FromServer[] = [
  { kind: 'output', frame: { rank: 3, stream: 2, offset: 2 ** 33, end: true, error: false, bytes } },
  {
    kind: 'output',
    frame: { rank: 0, stream: 1, offset: 0, end: false, error: false, bytes: Buffer.alloc(0) },
  },
  { kind: 'status', text: '{"status":"Success"}' },
  { kind: 'window', safe: 5, upTo: 2 ** 35 },
  { kind: 'notice', notice: { kind: 'Begun', message: '' } },
];
const channels: ChannelMessage[] = [
  { kind: 'bytes', channel: 0, bytes },
  { kind: 'bytes', channel: 2, bytes: Buffer.alloc(0) },
  { kind: 'status', text: '{}' },
  { kind: 'resize', rows: 1, columns: 65_535 },
  { kind: 'close', channel: 0 },
];

describe('messages of attach', () => {
  it.each(fromClient)('brings $kind of a client across', (message) => {
    expect(decodeFromClient(encodeFromClient(message))).toEqual(message);
  });
  it.each(fromServer)('brings $kind of a server across', (message) => {
    expect(decodeFromServer(encodeFromServer(message))).toEqual(message);
  });
  it.each(channels)('brings $kind of v5.channel.k8s.io across', (message) => {
    expect(decodeChannelMessage(encodeChannelMessage(message))).toEqual(message);
  });

  it.each([
    ['nothing', []],
    ['an unknown channel', [77, 1]],
    ['input without a whole offset', [0, 1, 2, 3]],
    ['an offset beyond what is exact', [0, 255, 255, 255, 255, 255, 255, 255, 255]],
    ['a size that is none', [4, ...Buffer.from('{"Width":0,"Height":-1}')]],
    ['a size of words', [4, ...Buffer.from('{"Width":"80","Height":"24"}')]],
    ['a size that is not JSON', [4, 1]],
  ])('passes %s over', (_what, message) => {
    expect(decodeFromClient(Buffer.from(message))).toBeUndefined();
  });

  it('never throws on what comes from the network', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(0, 1, 2, 3, 4, 5, 6, 255),
        fc.uint8Array({ maxLength: 64 }),
        (first, noise) => {
          const message = Buffer.from([first, ...noise]);
          decodeFromClient(message);
          decodeFromServer(message);
          decodeChannelMessage(message);
        },
      ),
    );
  });
});
