/**
 * One `muster run` in the foreground, from the control plane's side: announces sandboxes as they are placed, relays output and
 * input of nodes that are not of this machine, carries out the signals of the terminal, and tells the end. The front keeps all
 * offsets, so a session may break and another one take over.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { expandPlacement } from '../../controllers/placement/placement-status.ts';
import type { LogChunk } from '../../controllers/hub/streams.ts';
import type { Reason } from '../../crds/conditions.ts';
import type { Condition } from '../../crds/objects.ts';
import type { LogPosition } from '../../wire/agent-types.ts';
import { waitsForReaders } from '../../controllers/subresources/shown.ts';
import { RankSet } from '../../crds/rank-set.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { native, type Packet, type PacketSocket } from '../../native/addon/index.ts';
import { runEndOf } from '../../controllers/subresources/exit-code.ts';
import {
  decodeShown,
  encodeData,
  encodeDone,
  encodeSandbox,
  encodeSuspended,
  encodeText,
  encodeWindow,
  frontTypes,
} from './front-request.ts';
import type { GroupBook } from '../../controllers/subresources/group-book.ts';

export interface RelayedStdin {
  /** Settles once it is known from where on it is taken. */
  readonly begins: Promise<unknown>;
  readonly window: number;
  readonly safe: number;
  readonly windowMoved: Promise<void>;
  write(offset: number, data: Uint8Array, end: boolean): void;
  close(): void;
}

export interface RunPorts {
  /** The front's socket of the node's agent when it runs on this machine. */
  localSocketOf(node: string): string | undefined;
  /** Whether the node's agent has been heard of since the control plane started: before that nobody knows where it runs. */
  isKnown(node: string): boolean;
  nodeChange(node: string, signal: AbortSignal): Promise<void>;
  /** True once agents are told of the group's sandboxes, which is soon after they are placed; false when the signal aborts. */
  untilKnown(uid: string, signal: AbortSignal): Promise<boolean>;
  logs(
    uid: string,
    options: { ranks: string; follow: boolean },
    signal: AbortSignal,
  ): AsyncIterable<LogChunk>;
  stdin(uid: string, signal: AbortSignal): RelayedStdin;
  /** Output that was relayed has been written out. */
  shown(uid: string, positions: readonly LogPosition[]): void;
  signal(uid: string, signal: number): Promise<unknown>;
  suspend(group: ProcessGroup, suspended: boolean): Promise<void>;
  end(group: ProcessGroup, now: boolean): Promise<void>;
  windowSize(uid: string, rows: number, columns: number): Promise<unknown>;
  /** The client is there (true), or has gone (false): the lease runs out some time after. */
  lease(uid: string, present: boolean): void;
  failed(error: unknown, message: string): void;
}

const signals = {
  hangup: 1,
  interrupt: 2,
  quit: 3,
  terminate: 15,
  continue: 18,
  stopTyped: 20,
  windowChanged: 28,
} as const;

/** After the end of a job, agents that give no sign are waited for that long: they may have been started again, or be cut off. */
const agentsWithinMs = 10_000;

export class RunSession {
  readonly #socket: PacketSocket;
  readonly #ports: RunPorts;
  readonly #uid: string;
  readonly #listening: Disposable;
  readonly #ended = new AbortController();
  /** The job has ended. */
  readonly #settled = new AbortController();
  readonly #announced = new Set<string>();
  readonly #relayed = new Set<string>();
  /** Ordinals of sandboxes whose output is relayed: that is followed wherever they go. */
  readonly #relayedOrdinals = new Set<number>();
  readonly #relaying = new Set<string>();
  /** Announced once their agents are heard of. */
  readonly #unknown = new Map<string, Promise<void>>();
  readonly #outbox: Buffer[] = [];
  #group: ProcessGroup;
  #interrupts = 0;
  #stopAsked = false;
  /** Ordinals of sandboxes that were announced on this machine. */
  readonly #local = new Set<number>();
  #done = false;
  #stdin: Promise<RelayedStdin> | undefined;

  constructor(socket: PacketSocket, group: ProcessGroup, groups: GroupBook, ports: RunPorts) {
    this.#socket = socket;
    this.#ports = ports;
    this.#group = group;
    this.#uid = group.metadata.uid ?? '';
    this.#listening = groups.listen(this.#uid, (now) => this.#changed(now));
    socket.onDrain = () => this.#drain();
    ports.lease(this.#uid, true);
    this.#changed(groups.get(this.#uid) ?? group);
  }

  disconnected(): void {
    if (this.#ended.signal.aborted) return;
    this.#ended.abort();
    this.#listening[Symbol.dispose]();
    clearTimeout(this.#waitTimer);
    void this.#stdin?.then(
      (stdin) => stdin.close(),
      () => undefined,
    );
    this.#ports.lease(this.#uid, false);
  }

  receive(packet: Packet): void {
    for (const fd of packet.fds) native().close(fd);
    const { bytes } = packet;
    if (bytes.length < 8) return;
    const type = bytes.readUInt32LE(0);
    if (type === frontTypes.signal) this.#act(this.#signalled(bytes));
    else if (type === frontTypes.stdin && bytes.length >= 12) this.#act(this.#input(bytes));
    else if (type === frontTypes.shown && waitsForReaders(this.#group)) this.#act(this.#shown(bytes));
  }

  /** What a client asks for may fail without harm: it is told to the log. */
  #act(doing: Promise<unknown>): void {
    doing.catch((error: unknown) => this.#ports.failed(error, 'a request of a foreground client failed'));
  }

  async #signalled(bytes: Buffer): Promise<void> {
    const number = bytes.readInt32LE(4);
    switch (number) {
      case signals.interrupt:
      case signals.terminate:
      case signals.hangup:
      case signals.quit:
        this.#interrupts++;
        return this.#ports.end(this.#group, this.#interrupts > 1);
      case signals.stopTyped:
        this.#stopAsked = true;
        return this.#ports.suspend(this.#group, true);
      case signals.continue:
        this.#stopAsked = false;
        return this.#ports.suspend(this.#group, false);
      case signals.windowChanged:
        if (bytes.length >= 12)
          await this.#ports.windowSize(this.#uid, bytes.readUInt16LE(8), bytes.readUInt16LE(10));
        return;
      default:
        if (number > 0 && number < 65) await this.#ports.signal(this.#uid, number);
    }
  }

  async #input(bytes: Buffer): Promise<void> {
    const stdin = await this.#relayedStdin();
    const data = bytes.subarray(12);
    stdin.write(Number(bytes.readBigUInt64LE(4)), data, data.length === 0);
  }

  /** A control plane that has just started hears of it before it knows of the ranks. */
  async #shown(bytes: Buffer): Promise<void> {
    if (await this.#untilKnown()) this.#ports.shown(this.#uid, decodeShown(bytes));
  }

  #relayedStdin(): Promise<RelayedStdin> {
    this.#stdin ??= this.#openStdin();
    return this.#stdin;
  }

  async #openStdin(): Promise<RelayedStdin> {
    await this.#untilKnown();
    const stdin = this.#ports.stdin(this.#uid, this.#ended.signal);
    void this.#tellWindows(stdin);
    return stdin;
  }

  #untilKnown(): Promise<boolean> {
    return this.#ports.untilKnown(this.#uid, AbortSignal.any([this.#ended.signal, this.#settled.signal]));
  }

  async #tellWindows(stdin: RelayedStdin): Promise<void> {
    let told = -1;
    let toldSafe = -1;
    await stdin.begins;
    while (!this.#ended.signal.aborted) {
      const moved = stdin.windowMoved;
      const { window, safe } = stdin;
      if (window > told || safe > toldSafe) {
        [told, toldSafe] = [Math.max(told, window), safe];
        this.#send(encodeWindow(told, safe));
      }
      await moved;
    }
  }

  #changed(group: ProcessGroup | undefined): void {
    if (this.#done) return;
    if (!group) {
      this.#finish(1, 'muster: the job was deleted');
      return;
    }
    this.#group = group;
    this.#announce(group);
    const conditions = group.status?.conditions ?? [];
    const suspended = conditions.some((item) => item.type === 'Suspended' && item.status === 'True');
    if (suspended && this.#stopAsked) {
      this.#stopAsked = false;
      this.#send(encodeSuspended());
    }
    this.#tellWaiting(conditions);
    const end = runEndOf(group);
    if (!end) return;
    this.#done = true;
    this.#settled.abort();
    if (this.#refusal !== '') return this.#finishWhenRelayed(2, this.#refusal);
    const interrupted = this.#interrupts > 0 && end.code !== 0;
    this.#finishWhenRelayed(interrupted ? 130 : end.code, interrupted ? '' : end.text);
  }

  /** Why nothing runs yet: a node that does not exist ends the job at once, as mpiexec's users expect; the rest may come. */
  #tellWaiting(conditions: readonly Condition[]): void {
    const placed = conditions.find((item) => item.type === 'Placed');
    if (placed?.status !== 'False' || !(placed.reason in waitingReasons) || this.#told === placed.message)
      return;
    this.#told = placed.message;
    if (placed.reason === 'NoSuchNode') {
      this.#refusal = `muster: ${placed.message}`;
      this.#act(this.#ports.end(this.#group, true));
      return;
    }
    this.#waitTimer ??= setTimeout(() => {
      if (this.#announced.size === 0 && !this.#done) {
        for (const text of encodeText(2, `muster: waiting: ${this.#told}\n`)) this.#send(text);
      }
    }, tellWaitingAfterMs);
  }

  #announce(group: ProcessGroup): void {
    const elsewhere: string[] = [];
    const placed = expandPlacement(group.status?.placement);
    // A front writes into one spool; what several sandboxes are to read goes through here.
    const shared = placed.filter(({ ranks }) => takesInput(group, ranks)).length > 1;
    for (const { ordinal, incarnation, node, ranks } of placed) {
      const key = `${ordinal}-${incarnation}`;
      if (this.#announced.has(key)) continue;
      if (!this.#ports.isKnown(node)) {
        if (!this.#unknown.has(node)) this.#unknown.set(node, this.#announceOnceKnown(node));
        continue;
      }
      this.#announced.add(key);
      if (this.#relayedOrdinals.has(ordinal)) continue;
      const stdin = takesInput(group, ranks);
      const path = this.#ports.localSocketOf(node);
      if (path !== undefined) {
        this.#local.add(ordinal);
        this.#send(encodeSandbox(ordinal, incarnation, stdin && !shared, path));
      } else {
        elsewhere.push(ranks);
        this.#relayedOrdinals.add(ordinal);
        // It was here before it moved.
        if (this.#local.delete(ordinal)) this.#send(encodeSandbox(ordinal, incarnation, false, ''));
      }
      if (stdin && (shared || path === undefined)) this.#act(this.#relayedStdin());
    }
    if (elsewhere.length > 0) void this.#relay(elsewhere.join(','));
  }

  /**
   * A control plane that has just started does not know yet which agents run on this machine. Output that was taken for that
   * of a node elsewhere would be relayed, and shown a second time to a front that has it from the agent itself.
   */
  async #announceOnceKnown(node: string): Promise<void> {
    const { signal } = this.#ended;
    while (!this.#ports.isKnown(node) && !signal.aborted) await this.#ports.nodeChange(node, signal);
    this.#unknown.delete(node);
    if (!signal.aborted) this.#announce(this.#group);
  }

  async #relay(ranks: string): Promise<void> {
    if (this.#relayed.has(ranks)) return;
    this.#relayed.add(ranks);
    this.#relaying.add(ranks);
    try {
      await this.#untilKnown();
      for await (const chunk of this.#ports.logs(this.#uid, { ranks, follow: true }, this.#ended.signal)) {
        for (let at = 0; at < chunk.data.length; at += pieceBytes) {
          const piece = chunk.data.subarray(at, at + pieceBytes);
          this.#send(encodeData(chunk.rank, chunk.stream, chunk.offset + at, piece));
          if (this.#outbox.length > 0) await this.#drained();
        }
        this.#relayMoved();
      }
    } catch (error) {
      if (!this.#ended.signal.aborted)
        this.#ports.failed(error, 'relaying output to a foreground client failed');
    }
    this.#relaying.delete(ranks);
    this.#relayMoved();
  }

  #relayMoved(): void {
    this.#relayMove.resolve();
    this.#relayMove = Promise.withResolvers<void>();
  }

  #told = '';
  #refusal = '';
  #waitTimer: NodeJS.Timeout | undefined;
  #relayMove = Promise.withResolvers<void>();
  #outboxEmpty = Promise.withResolvers<void>();

  #finishWhenRelayed(code: number, text: string): void {
    void (async () => {
      const { signal } = this.#ended;
      const patience = (): Promise<false> =>
        pause(agentsWithinMs, false as const, { signal, ref: false }).catch(() => false);
      await Promise.race([Promise.all(this.#unknown.values()), patience()]);
      while (this.#relaying.size > 0 && !signal.aborted) {
        const moved = await Promise.race([this.#relayMove.promise.then(() => true), patience()]);
        // A client that reads slowly is no agent that is silent.
        if (!moved && this.#outbox.length === 0) break;
      }
      // What never was announced is missing: the front says so.
      this.#finish(
        code,
        [text, ...[...this.#relaying].map(incomplete)].filter((line) => line !== '').join('\n'),
      );
    })();
  }

  #finish(code: number, text: string): void {
    this.#done = true;
    const needed = this.#local.size + this.#unknown.size;
    this.#send(encodeDone(code, needed, text === '' ? '' : `${text}\n`));
  }

  #send(packet: Buffer): void {
    if (this.#ended.signal.aborted) return;
    if (this.#outbox.length > 0 || !sendTo(this.#socket, packet)) this.#outbox.push(packet);
  }

  #drain(): void {
    while (this.#outbox.length > 0) {
      if (!sendTo(this.#socket, this.#outbox[0]!)) return;
      this.#outbox.shift();
    }
    this.#outboxEmpty.resolve();
    this.#outboxEmpty = Promise.withResolvers<void>();
  }

  async #drained(): Promise<void> {
    const gone = new Promise<void>((resolve) => {
      if (this.#ended.signal.aborted) resolve();
      else this.#ended.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    await Promise.race([this.#outboxEmpty.promise, gone]);
  }
}

const incomplete = (ranks: string): string =>
  `muster: the output of ranks ${ranks} may be incomplete: nothing was heard of their nodes for ${agentsWithinMs / 1000} s; "muster logs" shows the rest once their agents are back`;

const tellWaitingAfterMs = 2_000;
const waitingReasons: Partial<Record<Reason, true>> = {
  NoSuchNode: true,
  Insufficient: true,
  NodeNotReady: true,
  NodeCordoned: true,
  NoNodeMatches: true,
};

/** False: its queue is full. A front that has gone is heard of by onClose; what it would have been told is done with. */
function sendTo(socket: PacketSocket, packet: Buffer): boolean {
  try {
    return socket.send(packet);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EPIPE' && code !== 'ECONNRESET' && code !== 'ENOTCONN') throw error;
    return true;
  }
}

/** A packet of a SEQPACKET socket has to fit its buffer whole. */
const pieceBytes = 96 * 1024;

function takesInput(group: ProcessGroup, ranks: string): boolean {
  const kind = group.spec.stdio?.stdin ?? 'Rank0';
  return kind === 'All' || (kind === 'Rank0' && RankSet.parse(ranks).has(0));
}
