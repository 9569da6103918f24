/**
 * Reads what the front sends: the request memfd (native/front/protocol.h, struct front_request) and its packets. The bytes come from
 * any user of this machine, so every length is checked. Pure.
 */
import type { LogPosition } from '../../wire/agent-types.ts';
import type { Caller } from '../run-group.ts';

export const frontTypes = {
  run: 1,
  signal: 2,
  stdin: 3,
  attach: 4,
  shown: 5,
  text: 16,
  job: 17,
  sandbox: 18,
  data: 19,
  suspended: 20,
  done: 21,
  window: 22,
} as const;

export interface FrontRequest {
  /** What follows `run`. */
  readonly argv: readonly string[];
  readonly caller: Caller;
}

const magic = 0x46545352;
const version = 1;
const headerBytes = 32;
const rlimitBytes = 24;
const shownRecordBytes = 16;
/** More than the kernel lets an execve carry. */
export const requestLimitBytes = 16 * 1024 * 1024;
const unlimited = 0xffffffffffffffffn;

const rlimitNames = [
  'Cpu',
  'FileSize',
  'Data',
  'Stack',
  'Core',
  'ResidentSet',
  'Processes',
  'OpenFiles',
  'MemoryLock',
  'AddressSpace',
  'Locks',
  'PendingSignals',
  'MessageQueue',
  'Nice',
  'RealTimePriority',
  'RealTime',
] as const;

/** Throws an Error that says what is wrong with the request. */
export function decodeFrontRequest(bytes: Buffer): FrontRequest {
  if (bytes.length < headerBytes || bytes.readUInt32LE(0) !== magic)
    throw new Error('not a request of muster run');
  if (bytes.readUInt32LE(4) !== version) {
    throw new Error(
      `this muster run speaks version ${bytes.readUInt32LE(4)}, the control plane ${version}; use one build of both`,
    );
  }
  const argc = bytes.readUInt32LE(8);
  const envc = bytes.readUInt32LE(12);
  const umask = bytes.readUInt32LE(16);
  const terminal = bytes.readUInt32LE(20);
  const rows = bytes.readUInt16LE(24);
  const columns = bytes.readUInt16LE(26);
  const rlimitCount = bytes.readUInt32LE(28);
  const stringsAt = headerBytes + rlimitCount * rlimitBytes;
  if (rlimitCount > 16 || stringsAt > bytes.length || argc > 1_000_000 || envc > 1_000_000)
    throw new Error('a broken request');
  const rlimits = Array.from({ length: rlimitCount }, (_, index) => {
    const at = headerBytes + index * rlimitBytes;
    return {
      name: rlimitNames[bytes.readUInt32LE(at)] ?? '',
      soft: limitOf(bytes.readBigUInt64LE(at + 8)),
      hard: limitOf(bytes.readBigUInt64LE(at + 16)),
    };
  }).filter(({ name }) => name !== '');
  const strings = bytes.subarray(stringsAt).toString('utf8').split('\0');
  if (strings.length < argc + envc + 1) throw new Error('a broken request: strings are missing');
  const environment: Record<string, string> = {};
  for (const entry of strings.slice(argc, argc + envc)) {
    const at = entry.indexOf('=');
    if (at > 0) environment[entry.slice(0, at)] = entry.slice(at + 1);
  }
  return {
    argv: strings.slice(1, argc),
    caller: {
      workingDir: strings[argc + envc] ?? '/',
      umask: umask & 0o777,
      rlimits,
      environment,
      terminal: (terminal & 1) === 0 ? undefined : { rows, columns },
    },
  };
}

/** `key again(0|1)`: the front's own secret, by which it finds its job after a lost connection, and whether it asks again. */
export function decodeSubmission(bytes: Buffer): { key: string; again: boolean } {
  const [, key, again] = /^([0-9a-f]{32}) ([01])$/.exec(bytes.toString('latin1', 4)) ?? [];
  if (key === undefined)
    throw new Error('a broken request to run: expected a key and whether it is asked again');
  return { key, again: again === '1' };
}

/** Which job a front goes on with, after a lost connection: `uid token`, its length before it. */
export function decodeAttach(bytes: Buffer): { uid: string; token: string } {
  const textAt = 12;
  const length = bytes.length < textAt ? 0 : Number(bytes.readBigUInt64LE(4));
  if (length === 0 || bytes.length < textAt + length) throw new Error('a broken request to attach');
  const [uid = '', token = ''] = bytes.toString('utf8', textAt, textAt + length).split(' ');
  return { uid, token };
}

function limitOf(value: bigint): number | 'Unlimited' {
  return value === unlimited || value > BigInt(Number.MAX_SAFE_INTEGER) ? 'Unlimited' : Number(value);
}

const packet = (type: number, body: Buffer): Buffer => {
  const head = Buffer.alloc(4);
  head.writeUInt32LE(type);
  return Buffer.concat([head, body]);
};

export const encodeText = (descriptor: 1 | 2, text: string): Buffer[] => {
  const bytes = Buffer.from(text);
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += 60_000) {
    const head = Buffer.alloc(4);
    head.writeUInt32LE(descriptor);
    pieces.push(packet(frontTypes.text, Buffer.concat([head, bytes.subarray(at, at + 60_000)])));
  }
  return pieces;
};

export function encodeJob(
  uid: string,
  name: string,
  token: string,
  flags: { readonly labels: boolean; readonly tells: boolean },
): Buffer {
  const number = (flags.labels ? 1 : 0) | (flags.tells ? 2 : 0);
  return packet(frontTypes.job, Buffer.from(`${uid} ${name} ${token} ${number}`));
}

/** Relayed output that the front has written out. */
export function decodeShown(bytes: Buffer): LogPosition[] {
  const positions: LogPosition[] = [];
  for (let at = 4; at + shownRecordBytes <= bytes.length; at += shownRecordBytes) {
    const offset = Number(bytes.readBigUInt64LE(at + 8));
    positions.push({ rank: bytes.readUInt32LE(at), stream: bytes.readUInt32LE(at + 4), offset });
  }
  return positions;
}

export function encodeSandbox(
  ordinal: number,
  incarnation: number,
  stdin: boolean,
  socketPath: string,
): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt32LE(ordinal, 0);
  head.writeUInt32LE(incarnation, 4);
  head.writeUInt32LE(stdin ? 1 : 0, 8);
  return packet(frontTypes.sandbox, Buffer.concat([head, Buffer.from(socketPath)]));
}

export function encodeData(rank: number, stream: number, offset: number, bytes: Uint8Array): Buffer {
  const head = Buffer.alloc(16);
  head.writeUInt32LE(rank, 0);
  head.writeUInt32LE(stream, 4);
  head.writeBigUInt64LE(BigInt(offset), 8);
  return packet(frontTypes.data, Buffer.concat([head, bytes]));
}

export const encodeSuspended = (): Buffer => packet(frontTypes.suspended, Buffer.alloc(0));

export function encodeDone(code: number, sandboxes: number, text: string): Buffer {
  const head = Buffer.alloc(8);
  head.writeInt32LE(code, 0);
  head.writeUInt32LE(sandboxes, 4);
  return packet(frontTypes.done, Buffer.concat([head, Buffer.from(text).subarray(0, 60_000)]));
}

export function encodeWindow(offset: number, safe: number): Buffer {
  const body = Buffer.alloc(16);
  body.writeBigUInt64LE(BigInt(offset));
  body.writeBigUInt64LE(BigInt(safe), 8);
  return packet(frontTypes.window, body);
}
