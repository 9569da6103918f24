/**
 * `muster exec` and `muster shell`: a program beside a rank of a running job, as its user and with its environment. It ends with this
 * command; its exit code is the command's.
 */
import type { WebSocket } from 'ws';
import { endOfStatus } from '../../controllers/subresources/exit-status.ts';
import { groupVerbPath } from '../../controllers/subresources/paths.ts';
import {
  channel,
  channelProtocol,
  decodeChannelMessage,
  encodeChannelMessage,
} from '../../wire/channel-frames.ts';
import { connect } from '../client.ts';
import type { Config } from '../config.ts';
import { CommandError } from '../errors.ts';
import { hasTerminal, rawKeys, terminalSize } from '../terminal.ts';

export interface ExecCommandOptions {
  rank: string;
  stdin?: boolean;
  tty?: boolean;
}

const sentAtMostBytes = 256 * 1024;

export async function shell(config: Config, args: string[], options: { rank: string }): Promise<number> {
  const command = args.length > 1 ? args.slice(1) : ['/bin/sh'];
  return exec(config, [args[0] ?? '', ...command], { ...options, stdin: true, tty: hasTerminal() });
}

export async function exec(config: Config, args: string[], options: ExecCommandOptions): Promise<number> {
  const [name = '', ...command] = args;
  if (command.length === 0)
    throw new CommandError('no program is given: muster exec GROUP -- PROGRAM ...', 2);
  const tty = options.tty === true;
  const ownTerminal = tty && hasTerminal();
  const query = new URLSearchParams(command.map((word): [string, string] => ['command', word]));
  query.set('rank', options.rank);
  query.set('tty', String(tty));
  query.set('stdin', String(options.stdin === true));
  if (ownTerminal) {
    const { rows, columns } = terminalSize.now();
    query.set('rows', String(rows));
    query.set('columns', String(columns));
  }
  const socket = await connect(config.server).webSocket({
    path: groupVerbPath({ namespace: config.namespace, name }, 'exec'),
    query,
    protocols: [channelProtocol],
  });
  using keys = options.stdin === true && ownTerminal ? rawKeys(() => socket.terminate()) : undefined;
  using _resizing = ownTerminal
    ? terminalSize.onChange(() =>
        socket.send(encodeChannelMessage({ kind: 'resize', ...terminalSize.now() })),
      )
    : undefined;
  if (options.stdin === true) sendInput(socket, keys?.input ?? process.stdin);
  const end = await converse(socket);
  keys?.[Symbol.dispose]();
  process.stdin.destroy();
  if (end.text !== '') process.stderr.write(`muster: ${end.text}\n`);
  return end.code;
}

function sendInput(socket: WebSocket, input: NodeJS.ReadableStream): void {
  input.on('data', (bytes: Buffer) => {
    if (socket.readyState !== socket.OPEN) return;
    socket.send(encodeChannelMessage({ kind: 'bytes', channel: channel.stdin, bytes }), () => input.resume());
    if (socket.bufferedAmount > sentAtMostBytes) input.pause();
  });
  input.once('end', () => {
    if (socket.readyState === socket.OPEN)
      socket.send(encodeChannelMessage({ kind: 'close', channel: channel.stdin }));
  });
}

function converse(socket: WebSocket): Promise<{ code: number; text: string }> {
  const { promise, resolve } = Promise.withResolvers<{ code: number; text: string }>();
  let end = { code: 1, text: 'the connection was lost, and the program has been ended' };
  const write = (to: NodeJS.WriteStream, bytes: Buffer): void => {
    if (to.write(bytes)) return;
    socket.pause();
    to.once('drain', () => socket.resume());
  };
  socket.on('message', (data: Buffer) => {
    const message = decodeChannelMessage(data);
    if (message?.kind === 'status') end = endOfStatus(message.text);
    else if (message?.kind === 'bytes')
      write(message.channel === channel.stderr ? process.stderr : process.stdout, message.bytes);
  });
  socket.once('close', () => resolve(end));
  socket.resume();
  return promise;
}
