/**
 * The messages of rank-init's control socket as bytes: requests encoded, replies decoded (native/rank-init/protocol.h). It
 * sends nothing and remembers nothing; who numbers sessions, ids and orders is the agent.
 */
export const messageTypes = {
  hello: 1,
  start: 2,
  answer: 3,
  signal: 4,
  close: 5,
  hold: 6,
  kill: 7,
  exit: 8,
  stop: 9,
  continue: 10,
  renew: 11,
} as const;
export type MessageType = keyof typeof messageTypes;

export const closeWhich = { stdin: 1, stdout: 2, stderr: 4, pmi: 8, input: 16 } as const;
export type CloseWhich = keyof typeof closeWhich;

export const messageLayout = {
  size: 32,
  magic: 0,
  type: 4,
  session: 8,
  id: 16,
  result: 24,
  length: 28,
} as const;
export const answerLayout = {
  size: 24,
  slot: 0,
  consume: 4,
  order: 8,
  reply_length: 16,
  note_length: 20,
} as const;
export const renewalLayout = { size: 24, epoch: 0, expires_ns: 8, ends_ns: 16 } as const;
export const signalLayout = { size: 16, signal_id: 0, signal: 8, count: 12 } as const;

const magic = 0x5254534d;
const replyBit = 0x80000000;
const typeNames = new Map<number, MessageType>(
  (Object.keys(messageTypes) as MessageType[]).map((name) => [messageTypes[name], name]),
);

export interface Reply {
  type: MessageType;
  session: bigint;
  id: bigint;
  /** 0, or a negative errno. */
  result: number;
  body: Buffer;
}

/** One message; `session` is the agent's random number, `id` comes back in the reply. */
export function encodeMessage(
  type: MessageType,
  session: bigint,
  id: bigint,
  body: Uint8Array = new Uint8Array(),
): Buffer {
  const bytes = Buffer.alloc(messageLayout.size + body.length);
  bytes.writeUInt32LE(magic, messageLayout.magic);
  bytes.writeUInt32LE(messageTypes[type], messageLayout.type);
  bytes.writeBigUInt64LE(session, messageLayout.session);
  bytes.writeBigUInt64LE(id, messageLayout.id);
  bytes.writeUInt32LE(body.length, messageLayout.length);
  bytes.set(body, messageLayout.size);
  return bytes;
}

/** The reply in a packet, or null when it is none. */
export function decodeReply(bytes: Buffer): Reply | null {
  if (bytes.length < messageLayout.size || bytes.readUInt32LE(messageLayout.magic) !== magic) return null;
  const kind = bytes.readUInt32LE(messageLayout.type);
  const type = typeNames.get((kind & ~replyBit) >>> 0);
  const length = bytes.readUInt32LE(messageLayout.length);
  if (kind < replyBit || type === undefined || bytes.length !== messageLayout.size + length) return null;
  return {
    type,
    session: bytes.readBigUInt64LE(messageLayout.session),
    id: bytes.readBigUInt64LE(messageLayout.id),
    result: bytes.readInt32LE(messageLayout.result),
    body: bytes.subarray(messageLayout.size),
  };
}

/** Unsigned 32-bit numbers one after another: the bodies of HELLO (abi), CLOSE (slot, which) and HOLD (slot). */
export function encodeNumbers(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => bytes.writeUInt32LE(value, index * 4));
  return bytes;
}

export const encodeHello = (abi: number): Buffer => encodeNumbers(abi);
export const encodeHold = (slot: number): Buffer => encodeNumbers(slot);
export const encodeClose = (slot: number, which: readonly CloseWhich[]): Buffer =>
  encodeNumbers(
    slot,
    which.reduce((bits, name) => bits | closeWhich[name], 0),
  );

/** Body of SIGNAL. No slots: every running one. */
export function encodeSignal(signalId: bigint, signal: number, slots: readonly number[] = []): Buffer {
  const bytes = Buffer.alloc(signalLayout.size + slots.length * 4);
  bytes.writeBigUInt64LE(signalId, signalLayout.signal_id);
  bytes.writeInt32LE(signal, signalLayout.signal);
  bytes.writeUInt32LE(slots.length, signalLayout.count);
  slots.forEach((slot, index) => bytes.writeUInt32LE(slot, signalLayout.size + index * 4));
  return bytes;
}

/** Body of RENEW: a lease in CLOCK_BOOTTIME; `epoch` is the sandbox's incarnation. */
export function encodeRenewal(epoch: number, expiresNs: bigint, endsNs: bigint): Buffer {
  const bytes = Buffer.alloc(renewalLayout.size);
  bytes.writeBigUInt64LE(BigInt(epoch), renewalLayout.epoch);
  bytes.writeBigUInt64LE(expiresNs, renewalLayout.expires_ns);
  bytes.writeBigUInt64LE(endsNs, renewalLayout.ends_ns);
  return bytes;
}

/** Consume so many request bytes of the slot, journal the note, write the reply: once, as the slot's order number `order`. */
export interface Answer {
  slot: number;
  consume: number;
  order: bigint;
  reply: Uint8Array;
  note: Uint8Array;
}

const paddedLength = (answer: Answer): number =>
  (answerLayout.size + answer.reply.length + answer.note.length + 7) & ~7;

/** Bodies of ANSWER: as many entries in each as fit `mostBytes`, in order. An entry larger than that stands alone. */
export function encodeAnswers(answers: readonly Answer[], mostBytes = 65536): Buffer[] {
  const bodies: Buffer[] = [];
  let start = 0;
  while (start < answers.length) {
    let end = start;
    let length = 0;
    for (; end < answers.length; end++) {
      const next = paddedLength(answers[end]!);
      if (end > start && length + next > mostBytes) break;
      length += next;
    }
    const body = Buffer.alloc(length);
    let at = 0;
    for (const answer of answers.slice(start, end)) {
      body.writeUInt32LE(answer.slot, at + answerLayout.slot);
      body.writeUInt32LE(answer.consume, at + answerLayout.consume);
      body.writeBigUInt64LE(answer.order, at + answerLayout.order);
      body.writeUInt32LE(answer.reply.length, at + answerLayout.reply_length);
      body.writeUInt32LE(answer.note.length, at + answerLayout.note_length);
      body.set(answer.reply, at + answerLayout.size);
      body.set(answer.note, at + answerLayout.size + answer.reply.length);
      at += paddedLength(answer);
    }
    bodies.push(body);
    start = end;
  }
  return bodies;
}
