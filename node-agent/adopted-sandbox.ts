// One running rank-init and this agent's hold on it: duplicates of its descriptors, the mapped state table, the control
// socket with requests and replies, and word of every change and of its end. It may be dropped and made again at any time,
// by this agent or the next: rank-init keeps all that matters. It decides nothing and knows no groups.
import { randomBytes } from 'node:crypto';
import {
  MUSTER_ABI,
  StateTable,
  decodeReply,
  encodeHello,
  encodeMessage,
  fds,
  slotLayout,
  tableBytes,
  tableLayout,
  type MessageType,
  type Reply,
} from '../native/addon/abi.ts';
import type { FdWatch, Native, PacketSocket } from '../native/addon/index.ts';
import { AgentError, errnoOf } from './agent-error.ts';
import { bootId, isSameProcess } from './process-table.ts';
import type { Identity } from './sandbox-directory.ts';
import { errnoText } from './start-failure.ts';

export interface AdoptionEvents {
  /** The table may have changed. */
  changed: () => void;
  /** rank-init, and with it every process of the sandbox, is gone. */
  gone: () => void;
}

interface Pending {
  resolve: (reply: Reply) => void;
  reject: (error: unknown) => void;
}

export class AdoptedSandbox implements Disposable {
  readonly table: StateTable;
  readonly identity: Identity;
  /** The barrier: all that earlier agents had sent has been carried out. */
  readonly ready: Promise<void>;
  isReady = false;
  isGone = false;
  readonly #native: Native;
  readonly #pidfd: number;
  readonly #socket: PacketSocket;
  readonly #view: DataView;
  readonly #watches: FdWatch[] = [];
  readonly #eventFd: number;
  readonly #session = randomBytes(8).readBigUInt64LE();
  readonly #pending = new Map<bigint, Pending>();
  readonly #queue: { bytes: Buffer; fds: readonly number[] }[] = [];
  readonly #events: AdoptionEvents;
  #lastId = 0n;
  #disposed = false;

  /** Throws AgentError SandboxFailed when the process is gone or is another one. */
  static adopt(native: Native, identity: Identity, events: AdoptionEvents): AdoptedSandbox {
    const lost = (why: string, cause?: unknown) =>
      new AgentError(
        'failed',
        'SandboxFailed',
        'MUSTER_SANDBOX_LOST',
        `rank-init with pid ${String(identity.pid)} ${why}`,
        { cause },
      );
    if (identity.bootId !== bootId()) throw lost('ran before the node was started anew');
    let pidfd: number;
    try {
      pidfd = native.pidfdOpen(identity.pid);
    } catch (cause) {
      if (errnoOf(cause) === 'ESRCH') throw lost('has ended', cause);
      throw cause;
    }
    try {
      if (!isSameProcess(identity)) throw lost('has ended');
      return new AdoptedSandbox(native, identity, pidfd, events);
    } catch (cause) {
      native.close(pidfd);
      if (errnoOf(cause) === 'ESRCH') throw lost('has ended', cause);
      throw cause;
    }
  }

  private constructor(native: Native, identity: Identity, pidfd: number, events: AdoptionEvents) {
    this.#native = native;
    this.#pidfd = pidfd;
    this.#events = events;
    this.identity = identity;
    const stateFd = native.pidfdGetfd(pidfd, fds.state);
    let memory: ArrayBuffer;
    try {
      const header = new StateTableHeader(native.mapReadOnly(stateFd, tableLayout.size));
      if (header.abi > MUSTER_ABI) {
        throw new AgentError(
          'failed',
          'SandboxFailed',
          'MUSTER_ABI',
          `rank-init speaks version ${String(header.abi)}, this agent up to ${String(MUSTER_ABI)}: update the agent`,
        );
      }
      memory = native.mapReadOnly(stateFd, tableBytes(header.slotsMax));
    } finally {
      native.close(stateFd);
    }
    this.table = new StateTable(memory);
    this.#view = new DataView(memory);
    this.#eventFd = native.pidfdGetfd(pidfd, fds.event);
    this.#socket = native.packetSocket(native.pidfdGetfd(pidfd, fds.controlAgent));
    this.#socket.onPacket = ({ bytes, fds: extra }) => {
      for (const fd of extra) native.close(fd);
      this.#receive(bytes);
    };
    this.#socket.onDrain = () => {
      this.#flush();
    };
    this.#socket.onClose = () => {
      this.#fail();
    };
    this.#watches.push(
      native.watch(this.#eventFd, () => {
        try {
          native.eventfdRead(this.#eventFd);
        } catch (error) {
          if (errnoOf(error) !== 'EAGAIN') throw error;
        }
        events.changed();
      }),
      native.watch(pidfd, () => {
        this.#ended();
      }),
    );
    this.ready = this.request('hello', encodeHello(MUSTER_ABI)).then((reply) => {
      if (reply.result < 0) {
        throw new AgentError(
          'failed',
          'SandboxFailed',
          'MUSTER_ABI',
          `rank-init refuses version ${String(MUSTER_ABI)}: ${errnoText(reply.result)}`,
        );
      }
      this.isReady = true;
    });
    this.ready.catch(() => undefined); // whoever awaits it hears of it
  }

  /** Orders of this slot that are carried out; read without making an object, since it is asked with every PMI request. */
  pmiOrdersOf(slot: number): number {
    const at = tableLayout.size + slot * slotLayout.size + slotLayout.pmi_orders;
    return this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 2 ** 32;
  }

  /** A duplicate of a descriptor of rank-init's; the caller's to close. */
  duplicate(fd: number): number {
    return this.#native.pidfdGetfd(this.#pidfd, fd);
  }

  journal(): Buffer {
    const fd = this.duplicate(fds.journal);
    try {
      return this.#native.readAll(fd, Number(this.table.journalLength));
    } finally {
      this.#native.close(fd);
    }
  }

  request(type: MessageType, body?: Uint8Array, descriptors: readonly number[] = []): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (this.isGone || this.#disposed) {
        reject(goneError(this.identity.pid));
        return;
      }
      const id = ++this.#lastId;
      this.#pending.set(id, { resolve, reject });
      this.#send(encodeMessage(type, this.#session, id, body), descriptors);
    });
  }

  /** Settles once rank-init has carried out all that was sent before. */
  async barrier(): Promise<void> {
    await this.request('hello', encodeHello(MUSTER_ABI));
  }

  /** For messages without a reply. */
  post(type: MessageType, body: Uint8Array): void {
    if (!this.isGone && !this.#disposed)
      this.#send(encodeMessage(type, this.#session, ++this.#lastId, body), []);
  }

  /** SIGKILL to pid 1: the kernel kills every process of the sandbox with it, frozen or not. */
  killInit(): void {
    try {
      this.#native.pidfdSignal(this.#pidfd, 9);
    } catch (error) {
      if (errnoOf(error) !== 'ESRCH') throw error;
    }
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const watch of this.#watches) watch.stop();
    this.#socket.close();
    this.#native.close(this.#eventFd);
    this.#native.close(this.#pidfd);
    this.#fail();
  }

  #send(bytes: Buffer, descriptors: readonly number[]): void {
    this.#queue.push({ bytes, fds: descriptors.map((fd) => this.#native.dup(fd)) });
    if (this.#queue.length === 1) this.#flush();
  }

  #flush(): void {
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      try {
        if (!this.#socket.send(next.bytes, next.fds)) return;
      } catch (error) {
        if (!['EPIPE', 'ECONNRESET', 'EBADF', 'ENOTCONN'].includes(errnoOf(error) ?? '')) throw error;
      }
      for (const fd of next.fds) this.#native.close(fd);
      this.#queue.shift();
    }
  }

  #receive(bytes: Buffer): void {
    const reply = decodeReply(bytes);
    if (reply?.session !== this.#session) return; // an answer to the predecessor
    const pending = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    pending?.resolve(reply);
  }

  #ended(): void {
    if (this.isGone) return;
    this.isGone = true;
    for (const watch of this.#watches) watch.stop();
    this.#native.reap(this.#pidfd);
    this.#fail();
    this.#events.gone();
  }

  #fail(): void {
    for (const { fds: descriptors } of this.#queue.splice(0))
      for (const fd of descriptors) this.#native.close(fd);
    const error = goneError(this.identity.pid);
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }
}

class StateTableHeader {
  readonly abi: number;
  readonly slotsMax: number;

  constructor(memory: ArrayBuffer) {
    const view = new DataView(memory);
    this.abi = view.getUint32(tableLayout.abi, true);
    this.slotsMax = view.getUint32(tableLayout.slots_max, true);
  }
}

function goneError(pid: number): AgentError {
  return new AgentError(
    'transient',
    'SandboxFailed',
    'MUSTER_SANDBOX_GONE',
    `rank-init with pid ${String(pid)} has ended`,
  );
}
