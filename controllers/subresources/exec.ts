/**
 * A program that a user runs beside a rank, over a WebSocket in Kubernetes' own protocol, so that its clients can. It lives as long
 * as the connection does: what is cut is ended, and asked for anew.
 */
import type { WebSocket } from 'ws';
import { StoreError } from '../../store/object-store.ts';
import type { RouteContext } from '../../store/server/routes.ts';
import type { Chunk } from '../../wire/agent-types.ts';
import {
  channel,
  channelProtocol,
  decodeChannelMessage,
  encodeChannelMessage,
} from '../../wire/channel-frames.ts';
import type { ExecCall, ExecOptions } from '../hub/streams.ts';
import { codeOfWaitStatus } from './exit-code.ts';
import { groupOf, ranksOf, requireUnfinished, throughHub } from './group-request.ts';
import { exitStatusOf } from './exit-status.ts';
import type { VerbPorts } from './verbs.ts';

const mostWords = 4096;
const cannotStart = 126;
const pieceBytes = 32 * 1024;

export async function serveExec(context: RouteContext, ports: VerbPorts): Promise<void> {
  const group = await groupOf(context, ports.store, 'exec');
  const { query } = context;
  const ranks = ranksOf(query.get('rank') ?? '0', group);
  if (ranks.size !== 1) throw new StoreError('BadRequest', 'rank: expected one rank');
  const options = optionsOf(query);
  requireUnfinished(group, 'nothing runs there any more');
  const over = new AbortController();
  const signal = AbortSignal.any([context.signal, over.signal]);
  const call = await throughHub(group, () =>
    ports.hub.openExec(group.metadata.uid ?? '', ranks.first ?? 0, options, signal),
  );
  let socket: WebSocket;
  try {
    socket = await context.webSocket([channelProtocol]);
  } catch (error) {
    call.call.end();
    throw error;
  }
  socket.once('close', () => over.abort());
  await relay(socket, call);
}

function optionsOf(query: URLSearchParams): ExecOptions {
  const command = query.getAll('command');
  if (command.length === 0 || command[0] === '' || command.length > mostWords)
    throw new StoreError('BadRequest', `command: expected 1 to ${mostWords} words, the first one a program`);
  const size = (name: string): number => {
    const text = query.get(name) ?? '0';
    if (!/^\d{1,5}$/.test(text))
      throw new StoreError('BadRequest', `${name}: expected a number below 100000`);
    return Math.min(Number(text), 65_535);
  };
  return {
    command,
    tty: query.get('tty') === 'true',
    stdin: query.get('stdin') === 'true',
    rows: size('rows'),
    columns: size('columns'),
  };
}

async function relay(socket: WebSocket, { call, streamId, first, node }: ExecCall): Promise<void> {
  // While the agent has no room the client is not read.
  const forward = (chunk: object): void => {
    if (call.write({ streamId, ...chunk })) return;
    socket.pause();
    call.once('drain', () => socket.resume());
  };
  socket.on('message', (data: Buffer) => {
    const message = decodeChannelMessage(data);
    if (message?.kind === 'bytes' && message.channel === channel.stdin) forward({ data: message.bytes });
    else if (message?.kind === 'close' && message.channel === channel.stdin) forward({ end: true });
    else if (message?.kind === 'resize') forward({ rows: message.rows, columns: message.columns });
  });
  socket.once('close', () => call.end());
  let last: Chunk | undefined;
  const take = async (chunk: Chunk): Promise<void> => {
    if (chunk.allEnded) last = chunk;
    for (let at = 0; at < chunk.data.length; at += pieceBytes) {
      const bytes = chunk.data.subarray(at, at + pieceBytes);
      const to = chunk.stream === 2 ? channel.stderr : channel.stdout;
      await sent(socket, encodeChannelMessage({ kind: 'bytes', channel: to, bytes }));
    }
  };
  try {
    await take(first);
    for await (const chunk of call) await take(chunk as Chunk);
  } catch {
    // Told below: it has no end.
  }
  call.end();
  const end = !last
    ? {
        code: cannotStart,
        text: `node ${node}: the connection to its agent broke, and the program has been ended`,
      }
    : last.error !== ''
      ? { code: cannotStart, text: last.error }
      : { code: codeOfWaitStatus(last.waitStatus), text: '' };
  await sent(socket, encodeChannelMessage({ kind: 'status', text: JSON.stringify(exitStatusOf(end)) }));
  socket.close(1000);
}

function sent(socket: WebSocket, message: Buffer): Promise<void> {
  return new Promise((resolve) => {
    if (socket.readyState !== socket.OPEN) return resolve();
    const done = (): void => {
      socket.off('close', done);
      resolve();
    };
    socket.once('close', done);
    socket.send(message, done);
  });
}
