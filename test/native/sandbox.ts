/**
 * One real sandbox for the tests: built by build/native/launch, spoken to over rank-init's control socket and state table,
 * killed and collected when it goes out of scope. It knows the protocol's bytes, not the agent's code.
 */
import { spawnSync } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { native, type PacketSocket } from '../../native/addon/index.ts';
import { MAGIC, startFile, type Entry } from './start-file.ts';

export const build = new URL('../../build/native/', import.meta.url).pathname;

export const message = {
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
export const close = { stdin: 1, stdout: 2, stderr: 4, pmi: 8, input: 16 } as const;
export const slotState = { empty: 0, running: 1, exited: 2, notStarted: 3 } as const;

export type Launched = { pid: number; pidns: number; startTime: number; skipped?: string[] };
export type LaunchFailure = { error: string; stage: string; errno: string; path: string };

/** Runs launch to its end; `before` is a command that runs it (setpriv and the like), `input` descriptors from 3 on. */
export function launch(
  args: readonly string[],
  options: { before?: readonly string[]; fds?: readonly number[] } = {},
): { status: number | null; answer: Launched | LaunchFailure } {
  const [program, ...rest] = [
    ...(options.before ?? []),
    `${build}launch`,
    '--init',
    `${build}rank-init`,
    ...args,
  ];
  const done = spawnSync(program!, rest, { stdio: ['ignore', 'pipe', 'inherit', ...(options.fds ?? [])] });
  return { status: done.status, answer: JSON.parse(done.stdout.toString()) as Launched | LaunchFailure };
}

/** Asks again and again, giving way in between, until the answer is there. */
export async function eventually<T>(
  ask: () => T | undefined | false,
  what: string,
  withinMs = 60_000,
): Promise<T> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const answer = ask();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Everything up to the end of a pipe or terminal; takes the descriptor. */
export async function readToEnd(fd: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  try {
    for await (const part of createReadStream('', { fd })) parts.push(part as Buffer);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EIO') throw error; // the end of a terminal
  }
  return Buffer.concat(parts);
}

export interface Slot {
  rank: number;
  startId: number;
  state: number;
  pid: number;
  waitStatus: number;
  stage: number;
  error: number;
  fdStdin: number;
  fdStdout: number;
  fdStderr: number;
  fdPmi: number;
  fdInput: number;
  pmiOrders: bigint;
  pmiConsumed: bigint;
}

export interface Reply {
  result: number;
  words: number[];
}

/** One agent's view of a sandbox; several may look at the same one, one after the other. */
export class Sandbox implements AsyncDisposable {
  readonly pid: number;
  readonly pidfd: number;
  #control: PacketSocket;
  #table: DataView;
  #session = BigInt(Math.floor(Math.random() * 2 ** 48));
  #nextId = 1n;
  #waiting = new Map<bigint, (reply: Reply) => void>();

  /** Adopts the sandbox whose pid 1 this is. */
  constructor(pid: number, slots: number) {
    this.pid = pid;
    this.pidfd = native().pidfdOpen(pid);
    const state = native().pidfdGetfd(this.pidfd, 12);
    this.#table = new DataView(native().mapReadOnly(state, 152 + slots * 176));
    native().close(state);
    this.#control = native().packetSocket(native().pidfdGetfd(this.pidfd, 11));
    this.#control.onPacket = ({ bytes }) => {
      if (bytes.readUInt32LE(0) !== MAGIC || bytes.readBigUInt64LE(8) !== this.#session) return;
      const words = Array.from({ length: bytes.readUInt32LE(28) / 4 }, (_, i) =>
        bytes.readUInt32LE(32 + i * 4),
      );
      const id = bytes.readBigUInt64LE(16);
      this.#waiting.get(id)?.({ result: bytes.readInt32LE(24), words });
      this.#waiting.delete(id);
    };
  }

  static launch(args: readonly string[] = [], slots = 64, before: readonly string[] = []): Sandbox {
    native().setChildSubreaper();
    const { answer } = launch(['--slots', String(slots), '--hostname', 'test', ...args], { before });
    if ('error' in answer) throw new Error(answer.error);
    return new Sandbox(answer.pid, slots);
  }

  send(type: number, body: Uint8Array, fds: readonly number[] = []): bigint {
    const id = this.#nextId++;
    const head = Buffer.alloc(32);
    head.writeUInt32LE(MAGIC, 0);
    head.writeUInt32LE(type, 4);
    head.writeBigUInt64LE(this.#session, 8);
    head.writeBigUInt64LE(id, 16);
    head.writeUInt32LE(body.length, 28);
    if (!this.#control.send(Buffer.concat([head, body]), fds)) throw new Error('control queue is full');
    return id;
  }

  request(
    type: number,
    words: readonly number[] | Uint8Array = [],
    fds: readonly number[] = [],
  ): Promise<Reply> {
    const body = words instanceof Uint8Array ? words : Buffer.from(Uint32Array.from(words).buffer);
    const id = this.send(type, body, fds);
    return new Promise((resolve) => this.#waiting.set(id, resolve));
  }

  async startBytes(bytes: Uint8Array): Promise<Reply> {
    const fd = native().memfd('start', bytes, true);
    try {
      return await this.request(message.start, [], [fd]);
    } finally {
      native().close(fd);
    }
  }

  start(entries: readonly Entry[], sharedEnv: readonly string[] = [], firstRank = 0): Promise<Reply> {
    return this.startBytes(startFile(entries, sharedEnv, firstRank));
  }

  async signal(signalId: bigint, signal: number, slots: readonly number[] = []): Promise<Reply> {
    const body = Buffer.alloc(16 + slots.length * 4);
    body.writeBigUInt64LE(signalId, 0);
    body.writeInt32LE(signal, 8);
    body.writeUInt32LE(slots.length, 12);
    slots.forEach((slot, i) => body.writeUInt32LE(slot, 16 + i * 4));
    return this.request(message.signal, body);
  }

  get slotsUsed(): number {
    return this.#table.getUint32(12, true);
  }
  get changes(): bigint {
    return this.#table.getBigUint64(16, true);
  }
  get journalLength(): bigint {
    return this.#table.getBigUint64(24, true);
  }
  /** 0 unleased, 1 running, 2 stopped, 3 ended. */
  get leaseState(): number {
    return this.#table.getUint32(88, true);
  }
  get running(): number {
    return this.#table.getUint32(48, true);
  }
  get descendants(): number {
    return this.#table.getUint32(52, true);
  }

  slot(index: number): Slot {
    const at = 152 + index * 176;
    const u32 = (offset: number): number => this.#table.getUint32(at + offset, true);
    const i32 = (offset: number): number => this.#table.getInt32(at + offset, true);
    return {
      rank: u32(0),
      startId: u32(4),
      state: u32(8),
      pid: i32(12),
      waitStatus: i32(16),
      stage: u32(20),
      error: i32(24),
      fdStdin: i32(32),
      fdStdout: i32(36),
      fdStderr: i32(40),
      fdPmi: i32(44),
      fdInput: i32(48),
      pmiOrders: this.#table.getBigUint64(at + 56, true),
      pmiConsumed: this.#table.getBigUint64(at + 64, true),
    };
  }

  ended(index: number): Promise<Slot> {
    return eventually(() => {
      const slot = index < this.slotsUsed ? this.slot(index) : undefined;
      return slot !== undefined && slot.state >= slotState.exited ? slot : undefined;
    }, `end of slot ${index}`);
  }

  /** A duplicate of one of rank-init's descriptors. */
  take(fd: number): number {
    return native().pidfdGetfd(this.pidfd, fd);
  }

  /** Starts one process, and gives what it wrote and how it ended. */
  async run(entry: Entry, sharedEnv: readonly string[] = []): Promise<Slot & { output: string }> {
    const rank = this.slotsUsed;
    const { result, words } = await this.start([entry], sharedEnv, rank);
    if (result !== 0) throw new Error(`start: ${result}`);
    const { fdStdout } = this.slot(words[0]!);
    const output = fdStdout < 0 ? '' : (await readToEnd(this.take(fdStdout))).toString();
    return { ...(await this.ended(words[0]!)), output };
  }

  sh(script: string, entry: Partial<Entry> = {}): Promise<Slot & { output: string }> {
    return this.run({ argv: ['sh', '-c', script], ...entry });
  }

  /** Leaves the control socket to another agent: there is one at a time. */
  abandonControl(): void {
    this.#control.close();
  }

  /** Lets go without ending the sandbox, as an agent that dies. */
  abandon(): void {
    this.#control.close();
    native().close(this.pidfd);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    native().pidfdSignal(this.pidfd, 9);
    await eventually(() => native().reap(this.pidfd) !== null || undefined, 'end of pid 1');
    this.abandon();
  }
}
