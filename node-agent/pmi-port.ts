// Between the ranks' PMI sockets and the PMI engine of one sandbox: bytes peeked are kept until rank-init has consumed them,
// the engine's orders go to rank-init numbered (it carries each out once), its fences and questions go to the job's tree.
// Several orders of one turn of the loop ride in one message. The agent may die anywhere: the next one reads the journal,
// peeks the same bytes and gives the same orders the same numbers.
import type { Native, PmiPoller } from '../native/addon/index.ts';
import { encodeAnswers, type Answer } from '../native/addon/abi.ts';
import type { NameReply } from '../wire/agent-types.ts';
import type { FenceOutcome } from '../wire/fence.ts';
import { decodeDelta, encodeDelta } from '../wire/kvs.ts';
import type { PmiAction, PmiQuestion } from '../wire/pmi1/action.ts';
import { noteOf, notesOf } from '../wire/pmi1/journal.ts';
import { PmiServer } from '../wire/pmi1/server.ts';
import type { PmiShape } from '../wire/pmi1/shape.ts';
import type { AdoptedSandbox } from './adopted-sandbox.ts';
import type { TreeMember } from './job-tree.ts';

const messageBytes = 150_000;
const empty = Buffer.alloc(0);
/** The byte of a note that says its kind. */
const kindAt = 4;
const initCode = noteOf('init', 0)[kindAt];
const finalizeCode = noteOf('finalize', 0)[kindAt];
const closedMark = 0xffffffff;

interface RankLine {
  readonly rank: number;
  readonly slot: number;
  readonly key: number;
  unread: Buffer;
  /** Number of the last order given, and what it consumes; 0 consumed when none is under way. */
  order: number;
  underWay: number | null;
  /** More was peeked since the engine was last shown the bytes. */
  fresh: boolean;
  closed: boolean;
}

export interface PmiEvents {
  abort: (rank: number, exitCode: number, message: string) => void;
  /** A rank waits in a fence that can never end; `dead`: by whose end, or null. */
  broken: (fence: number, dead: number | null, message: string) => void;
  bad: (rank: number, reason: string) => void;
}

export class PmiPort {
  readonly #engine: PmiServer;
  readonly #lines = new Map<number, RankLine>();
  readonly #sandbox: AdoptedSandbox | null;
  readonly #tree: TreeMember;
  readonly #sockets: PmiSockets;
  readonly #ordinal: number;
  readonly #events: PmiEvents;
  readonly #initialized = new Set<number>();
  readonly #finalized = new Set<number>();
  #orders: Answer[] = [];
  #scheduled = false;
  badLines = 0;

  /** `sandbox` is null when it has ended: then only its past fences are still told to the tree. */
  constructor(options: {
    shape: PmiShape;
    journal: Buffer;
    sandbox: AdoptedSandbox | null;
    tree: TreeMember;
    sockets: PmiSockets;
    ordinal: number;
    events: PmiEvents;
  }) {
    this.#engine = new PmiServer(options.shape, options.journal);
    this.#sandbox = options.sandbox;
    this.#tree = options.tree;
    this.#sockets = options.sockets;
    this.#ordinal = options.ordinal;
    this.#events = options.events;
    for (const note of notesOf(options.journal).notes) {
      if (note.kind === 'init') this.#initialized.add(note.rank);
      if (note.kind === 'finalize') this.#finalized.add(note.rank);
    }
  }

  get initialized(): boolean {
    return this.#initialized.size > 0;
  }

  get finalized(): boolean {
    return this.#initialized.size > 0 && this.#finalized.size >= this.#initialized.size;
  }

  /** Had begun and never finalized. */
  isOpen(rank: number): boolean {
    return this.#initialized.has(rank) && !this.#finalized.has(rank);
  }

  /** Tells the tree of past fences; to be called once, first. */
  start(): void {
    this.#perform(this.#engine.start());
  }

  /** Takes `fd`, the agent's end of the rank's socket. */
  add(rank: number, slot: number, fd: number): void {
    const key = this.#sockets.add(fd, (bytes) => {
      this.#peeked(line, bytes);
    });
    const order = this.#sandbox?.pmiOrdersOf(slot) ?? 0;
    const line: RankLine = {
      rank,
      slot,
      key,
      unread: empty,
      order,
      underWay: null,
      fresh: false,
      closed: false,
    };
    this.#lines.set(rank, line);
  }

  /** The table has changed: orders may have been carried out. */
  look(): void {
    for (const line of this.#lines.values()) if (line.underWay !== null) this.#settle(line);
  }

  /** The rank's process has ended. What it had sent before is peeked first. */
  rankGone(rank: number, succeeded = false): void {
    const line = this.#lines.get(rank);
    const tell = () => {
      this.#perform(this.#engine.rankGone(rank, this.#finalized.has(rank), succeeded));
    };
    if (!line || line.closed) {
      tell();
      return;
    }
    // What is in the socket already is delivered within the next turns of the loop; a stray that still holds the other
    // end must not keep the fences of others waiting.
    setTimeout(() => {
      this.#sockets.remove(line.key);
      tell();
    }, 20);
  }

  fence(outcome: FenceOutcome): void {
    if (outcome.kind === 'done')
      this.#perform(this.#engine.fenceDone(outcome.fence, [decodeDelta(outcome.delta)]));
    else this.#perform(this.#engine.fenceFailed(outcome.fence, outcome.message));
  }

  name(reply: NameReply): void {
    this.#perform(
      this.#engine.answered(
        reply.token,
        reply.rc === 0 ? { ok: true, value: reply.port } : { ok: false, message: reply.message },
      ),
    );
  }

  close(): void {
    for (const line of this.#lines.values()) this.#sockets.remove(line.key);
    this.#lines.clear();
  }

  #peeked(line: RankLine, bytes: Buffer | null): void {
    if (bytes === null) {
      line.closed = true;
      return;
    }
    this.#tree.need();
    line.unread = line.unread.length === 0 ? Buffer.from(bytes) : Buffer.concat([line.unread, bytes]);
    line.fresh = true;
    if (line.underWay !== null) this.#settle(line);
    else this.#show(line);
  }

  #show(line: RankLine): void {
    line.fresh = false;
    if (line.unread.length > 0) this.#perform(this.#engine.receive(line.rank, line.unread));
  }

  /** An order that was carried out frees the rank's next request. */
  #settle(line: RankLine): void {
    if (line.underWay === null || this.#sandbox === null || this.#sandbox.pmiOrdersOf(line.slot) < line.order)
      return;
    line.unread = line.unread.subarray(line.underWay);
    line.underWay = null;
    this.#engine.carriedOut(line.rank);
    this.#show(line);
  }

  #perform(actions: readonly PmiAction[]): void {
    for (const action of actions) {
      switch (action.kind) {
        case 'bad':
          this.badLines++;
          this.#events.bad(action.rank, action.reason);
          this.#order(action.rank, action.consume, action.reply, action.note);
          break;
        case 'answer':
          this.#order(action.rank, action.consume, action.reply, action.note);
          break;
        case 'abort':
          this.#events.abort(action.rank, action.exitCode, action.message);
          break;
        case 'broken':
          this.#events.broken(action.fence, action.dead, action.message);
          break;
        case 'ask':
          this.#ask(action.token, action.question);
          break;
        case 'fence':
          this.#tree.contribute(action.fence, encodeDelta(action.puts));
          break;
        case 'fenceFailed':
          this.#tree.fail(action.fence, action.message);
          break;
        case 'absent':
          this.#tree.absent(action.fence);
          break;
        case 'wait':
          break;
      }
    }
  }

  #order(rank: number, consume: number, reply: string, note: Buffer | null): void {
    const line = this.#lines.get(rank);
    if (!line) return;
    if (note !== null) {
      if (note[kindAt] === initCode) this.#initialized.add(rank);
      else if (note[kindAt] === finalizeCode) this.#finalized.add(rank);
    }
    line.underWay = consume;
    line.order++;
    this.#orders.push({
      slot: line.slot,
      consume,
      order: BigInt(line.order),
      reply: Buffer.from(reply, 'latin1'),
      note: note ?? empty,
    });
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      for (const body of encodeAnswers(this.#orders.splice(0), messageBytes))
        this.#sandbox?.post('answer', body);
    });
  }

  #ask(token: number, question: PmiQuestion): void {
    if (question.kind === 'spawn') {
      this.#perform(
        this.#engine.answered(token, { ok: false, message: 'spawn_is_not_supported_by_this_build' }),
      );
      return;
    }
    const kind =
      question.kind === 'publish' ? 'Publish' : question.kind === 'lookup' ? 'Lookup' : 'Unpublish';
    const port = question.kind === 'publish' ? question.port : '';
    this.#tree.ask({ token, ordinal: this.#ordinal, kind, service: question.service, port });
  }
}

/** The one poller of the agent: keys and who hears of which. */
export class PmiSockets {
  readonly #poller: PmiPoller;
  readonly #listeners = new Map<number, (bytes: Buffer | null) => void>();
  #lastKey = 0;

  constructor(native: Native) {
    this.#poller = native.pmiPoller();
    this.#poller.onData = (records) => {
      this.#deliver(records);
    };
  }

  /** The listener gets bytes in order, then null when the other end is closed. */
  add(fd: number, listener: (bytes: Buffer | null) => void): number {
    const key = ++this.#lastKey;
    this.#listeners.set(key, listener);
    this.#poller.add(key, fd);
    return key;
  }

  remove(key: number): void {
    if (this.#listeners.delete(key)) this.#poller.remove(key);
  }

  close(): void {
    this.#poller.close();
  }

  #deliver(records: Buffer): void {
    for (let at = 0; at + 8 <= records.length;) {
      const key = records.readUInt32LE(at);
      const length = records.readUInt32LE(at + 4);
      at += 8;
      const listener = this.#listeners.get(key);
      if (length === closedMark) {
        listener?.(null);
        continue;
      }
      listener?.(records.subarray(at, at + length));
      at += (length + 3) & ~3;
    }
  }
}
