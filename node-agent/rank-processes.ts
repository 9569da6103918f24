// The processes of one running sandbox as rank-init's table shows them: each new slot is connected (output to the spool,
// PMI to the engine, input from its spool), each ended one is turned into a rank's end. It reads the table and decides
// nothing about the sandbox as a whole. After a restart it starts from nothing and comes to the same.
import { readFileSync } from 'node:fs';
import { encodeClose, encodeHold, slotStates, type CloseWhich, type Slot } from '../native/addon/abi.ts';
import type { RankEnd, SandboxSpec } from '../wire/agent-types.ts';
import type { AdoptedSandbox } from './adopted-sandbox.ts';
import type { Backend } from './backend.ts';
import { endLeftExec } from './execution.ts';
import type { InputSpool } from './input.ts';
import type { StreamNumber } from './log-stream.ts';
import type { SandboxLogs } from './output.ts';
import type { PmiPort } from './pmi-port.ts';
import { isSuccess, rankEndOf } from './rank-end.ts';
import { firstExecStart, type ProcessStart } from './ranks.ts';

export interface ProcessEvents {
  /** A stream ended, an input was read to its end. */
  changed: () => void;
  rankEnded: (end: RankEnd) => void;
}

/** Number of the start that every rank of the spec gets. */
export const firstStart = 1;

export class RankProcesses {
  readonly ends = new Map<number, RankEnd>();
  running = 0;
  startedNs = 0;
  /** Some rank. */
  hasFailed = false;
  readonly #sandbox: AdoptedSandbox;
  readonly #backend: Backend;
  readonly #spec: SandboxSpec;
  readonly #starts: ReadonlyMap<number, ProcessStart>;
  readonly #logs: SandboxLogs;
  readonly #input: InputSpool | null;
  readonly #pmi: PmiPort | null;
  readonly #events: ProcessEvents;
  readonly #endingSinceNs: () => number | null;
  /** Slots that there were when this agent came. */
  readonly #slotsFound: number;
  /** Index in slotStates by slot. */
  readonly #states: number[] = [];
  readonly #slots = new Map<number, number>();
  readonly #execs = new Map<number, (ended: Slot | null) => void>();
  #lastExecStart = 0;
  #isPaused = false;

  constructor(options: {
    sandbox: AdoptedSandbox;
    backend: Backend;
    spec: SandboxSpec;
    starts: ReadonlyMap<number, ProcessStart>;
    logs: SandboxLogs;
    input: InputSpool | null;
    pmi: PmiPort | null;
    endingSinceNs: () => number | null;
    events: ProcessEvents;
  }) {
    this.#sandbox = options.sandbox;
    this.#backend = options.backend;
    this.#spec = options.spec;
    this.#starts = options.starts;
    this.#logs = options.logs;
    this.#input = options.input;
    this.#pmi = options.pmi;
    this.#endingSinceNs = options.endingSinceNs;
    this.#events = options.events;
    this.#slotsFound = options.sandbox.table.slotsUsed;
  }

  slotOf(rank: number): number | undefined {
    return this.#slots.get(rank);
  }

  get runningSlots(): { rank: number; slot: number }[] {
    return [...this.#slots]
      .map(([rank, slot]) => ({ rank, slot }))
      .filter(({ rank }) => !this.ends.has(rank));
  }

  /** Reads the table. Cheap when nothing has changed: one number a slot. */
  look(): void {
    const { table } = this.#sandbox;
    const used = table.slotsUsed;
    for (let index = 0; index < used; index++) {
      const state = slotStates.indexOf(table.stateOf(index));
      const known = this.#states[index];
      if (state === known || state === 0) continue;
      const slot = table.slot(index);
      if (known === undefined) this.#connect(slot);
      this.#states[index] = slotStates.indexOf(slot.state);
      if (slot.startId >= firstExecStart) this.#execChanged(slot);
      if (slot.rank === null || slot.startId !== firstStart) continue;
      if (slot.state === 'running') this.running++;
      else this.#ended(slot, slot.rank, known !== undefined);
    }
    this.#pmi?.look();
    if (this.#sandbox.isGone) for (const slot of [...this.#execs.keys()]) this.#execEnded(slot, null);
  }

  /** Reads no output and delivers no input until `resume`, and holds none of their pipes. */
  pause(): void {
    this.#isPaused = true;
    this.#backend.output.pause(this.#logs);
    if (this.#input) this.#backend.input.pause(this.#input);
  }

  /** Nothing, where this agent has not paused them: one before it may have. */
  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    for (const [rank, index] of this.#slots) {
      const slot = this.#sandbox.table.slot(index);
      if (slot.stdout !== null) this.#resume(rank, 1, slot.stdout);
      if (slot.stderr !== null) this.#resume(rank, 2, slot.stderr);
      if (slot.stdin !== null && this.#input) this.#feedOrTell(slot, slot.stdin, this.#input);
    }
  }

  /** A number that no start in this sandbox has had, whoever asked for it. */
  nextExecStart(): number {
    this.#lastExecStart = Math.max(this.#lastExecStart + 1, firstExecStart + this.#sandbox.table.slotsUsed);
    return this.#lastExecStart;
  }

  /** Calls back when the program of this slot has ended; with null when all of the sandbox has. */
  watchExec(slot: number, ended: (slot: Slot | null) => void): void {
    this.#execs.set(slot, ended);
    const now = this.#sandbox.table.slot(slot);
    this.#states[slot] = slotStates.indexOf(now.state);
    if (now.state !== 'running') this.#execEnded(slot, now);
  }

  #execChanged(slot: Slot): void {
    if (this.#execs.has(slot.index)) {
      if (slot.state !== 'running') this.#execEnded(slot.index, slot);
    } else if (slot.index < this.#slotsFound) endLeftExec(this.#sandbox, slot);
  }

  #execEnded(slot: number, ended: Slot | null): void {
    const tell = this.#execs.get(slot);
    this.#execs.delete(slot);
    tell?.(ended);
  }

  #ended(slot: Slot, rank: number, wasRunning: boolean): void {
    if (wasRunning) this.running--;
    const end = rankEndOf(slot, rank, {
      node: this.#backend.config.node,
      startOf: (each) => this.#starts.get(each),
      endingSinceNs: this.#endingSinceNs(),
      isPmiOpen: (each) => this.#pmi?.isOpen(each) ?? false,
    });
    this.ends.set(rank, end);
    this.hasFailed ||= !isSuccess(end);
    this.#pmi?.rankGone(rank, isSuccess(end));
    this.#events.rankEnded(end);
  }

  #connect(slot: Slot): void {
    const { rank } = slot;
    if (rank === null || slot.startId !== firstStart) return;
    this.#slots.set(rank, slot.index);
    this.startedNs = Math.max(this.startedNs, Number(slot.startedNs));
    if (slot.stdout !== null) this.#spool(rank, 1, slot.stdout);
    if (slot.stderr !== null) this.#spool(rank, 2, slot.stderr);
    if (slot.pmi !== null && this.#pmi) this.#pmi.add(rank, slot.index, this.#sandbox.duplicate(slot.pmi));
    if (slot.stdin !== null && this.#input) this.#feedOrTell(slot, slot.stdin, this.#input);
  }

  #feedOrTell(slot: Slot, stdin: number, input: InputSpool): void {
    this.#feed(slot, stdin, input).catch((error: unknown) => {
      if (!this.#sandbox.isGone)
        this.#backend.log.warn({ rank: slot.rank, err: error }, 'standard input cannot be connected');
    });
  }

  #resume(rank: number, stream: StreamNumber, fd: number): void {
    const own = this.#sandbox.duplicate(fd);
    if (!this.#backend.output.resume(this.#logs, rank, stream, own)) this.#backend.native.close(own);
  }

  #spool(rank: number, stream: StreamNumber, fd: number): void {
    this.#backend.output.add({
      logs: this.#logs,
      rank,
      stream,
      fd: this.#sandbox.duplicate(fd),
      quotaBytes:
        this.#spec.logQuotaBytes > 0
          ? this.#spec.logQuotaBytes
          : this.#backend.config.nodeConfig.logQuotaBytes,
      whenFull: this.#spec.whenFull,
      onEnd: this.#events.changed,
    });
  }

  /** rank-init holds the description that is read from, before the first byte is: so its position is never lost. */
  async #feed(slot: Slot, stdin: number, input: InputSpool): Promise<void> {
    const { native } = this.#backend;
    let spoolFd: number;
    if (slot.input !== null) spoolFd = this.#sandbox.duplicate(slot.input);
    else {
      spoolFd = input.openDescription();
      const reply = await this.#sandbox.request('hold', encodeHold(slot.index), [spoolFd]);
      if (reply.result < 0) {
        native.close(spoolFd);
        return; // it has ended meanwhile
      }
    }
    const position = Number(
      /^pos:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${String(spoolFd)}`, 'utf8'))?.[1] ?? 0,
    );
    this.#backend.input.attach(input, spoolFd, this.#sandbox.duplicate(stdin), position, () => {
      this.#close(slot.index, this.#spec.tty ? ['input'] : ['stdin', 'input']);
    });
  }

  #close(slot: number, which: readonly CloseWhich[]): void {
    this.#sandbox.request('close', encodeClose(slot, which)).then(this.#events.changed, () => undefined);
  }
}
