// A program that somebody runs beside the ranks of a sandbox, as the user and with the environment of one of them: a shell, a
// debugger. It lives as long as whoever asked stays connected, and never longer than the sandbox; it is no rank, and how it ends
// says nothing about the job. What an agent that was killed left of it, the next one ends.
import { Socket } from 'node:net';
import { ReadStream } from 'node:tty';
import { encodeClose, encodeSignal, type Slot, startStages } from '../native/addon/abi.ts';
import type { AdoptedSandbox } from './adopted-sandbox.ts';
import { AgentError, errnoOf } from './agent-error.ts';
import type { Backend } from './backend.ts';
import { startFileOf } from './preparation.ts';
import type { RankProcesses } from './rank-processes.ts';
import type { ProcessStart } from './ranks.ts';
import { errnoText, startFailureMessage } from './start-failure.ts';

export interface ExecOrder {
  readonly command: readonly string[];
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly rows: number;
  readonly columns: number;
}

export interface ExecutionEvents {
  /** False: nothing more is to come until `resume`. */
  output(stream: 1 | 2, bytes: Buffer): boolean;
  ended(end: { waitStatus: number; message: string }): void;
}

/** A child that lives on in the background may hold the output open for ever. */
const outputEndsWithinMs = 300;
const hangup = 1;
const kill = 9;
const killedAfterMs = 2_000;
const endOfTransmission = 4;

export interface ExecutionPorts {
  readonly adopted: AdoptedSandbox;
  readonly processes: RankProcesses;
  readonly backend: Backend;
  /** How the rank was started, beside which it is to run. */
  readonly rank: ProcessStart;
  readonly sharedEnv: readonly string[];
}

export class Execution {
  readonly #ports: ExecutionPorts;
  readonly #slot: number;
  readonly #order: ExecOrder;
  readonly #events: ExecutionEvents;
  readonly #readers: Socket[] = [];
  #input: Socket | undefined;
  #left = 0;
  #end: { waitStatus: number; message: string } | undefined;
  #over = false;

  /** Throws AgentError when it cannot even be tried. */
  static async start(ports: ExecutionPorts, order: ExecOrder, events: ExecutionEvents): Promise<Execution> {
    const { adopted, backend, rank, sharedEnv } = ports;
    const process = startOf(rank, order, ports.processes.nextExecStart());
    const file = startFileOf({ sharedEnv, processes: [process] }, backend.agentUid);
    const fd = backend.native.memfd('exec', file, true);
    try {
      const reply = await adopted.request('start', undefined, [fd]);
      if (reply.result < 0) throw refusedStart(reply.result, backend.config.node);
      return new Execution(ports, reply.body.readUInt32LE(0), process, order, events);
    } finally {
      backend.native.close(fd);
    }
  }

  private constructor(
    ports: ExecutionPorts,
    slot: number,
    process: ProcessStart,
    order: ExecOrder,
    events: ExecutionEvents,
  ) {
    this.#ports = ports;
    this.#slot = slot;
    this.#order = order;
    this.#events = events;
    this.#connect(ports.adopted.table.slot(slot));
    ports.processes.watchExec(slot, (ended) => this.#ended(ended, process));
  }

  write(bytes: Buffer, roomAgain: () => void): boolean {
    const input = this.#input;
    if (!input || input.destroyed) return true;
    if (input.write(bytes)) return true;
    input.once('drain', roomAgain);
    return false;
  }

  endInput(): void {
    if (this.#order.tty) this.#input?.write(Buffer.of(endOfTransmission));
    else {
      this.#input?.destroy();
      this.#close(['stdin']);
    }
  }

  resize(rows: number, columns: number): void {
    const { adopted, backend } = this.#ports;
    const terminal = this.#over || adopted.isGone ? null : adopted.table.slot(this.#slot).stdin;
    if (!this.#order.tty || terminal === null) return;
    const fd = adopted.duplicate(terminal);
    try {
      backend.native.setWindowSize(fd, rows, columns);
    } finally {
      backend.native.close(fd);
    }
  }

  resume(): void {
    for (const reader of this.#readers) reader.resume();
  }

  /** Whoever asked has gone. */
  abandon(): void {
    if (this.#end) return this.#release();
    this.#signal(hangup);
    setTimeout(() => {
      if (!this.#end) this.#signal(kill);
    }, killedAfterMs).unref();
    this.#release();
  }

  #connect(slot: Slot): void {
    const { adopted } = this.#ports;
    if (this.#order.tty && slot.stdin !== null) {
      const terminal = new ReadStream(adopted.duplicate(slot.stdin));
      this.#read(terminal, 1);
      this.#input = terminal;
      return;
    }
    if (slot.stdout !== null) this.#read(pipe(adopted.duplicate(slot.stdout), 'readable'), 1);
    if (slot.stderr !== null) this.#read(pipe(adopted.duplicate(slot.stderr), 'readable'), 2);
    if (slot.stdin !== null) {
      this.#input = pipe(adopted.duplicate(slot.stdin), 'writable');
      this.#input.on('error', () => this.#input?.destroy());
    }
  }

  #read(reader: Socket, stream: 1 | 2): void {
    this.#left++;
    this.#readers.push(reader);
    reader.on('data', (bytes: Buffer) => {
      if (!this.#over && !this.#events.output(stream, bytes)) for (const each of this.#readers) each.pause();
    });
    // A terminal whose last user has gone reads EIO.
    reader.on('error', (error) => {
      if (errnoOf(error) !== 'EIO')
        this.#ports.backend.log.warn({ err: error }, 'output of an execution is lost');
    });
    reader.once('close', () => {
      this.#left--;
      this.#finish();
    });
  }

  #ended(slot: Slot | null, process: ProcessStart): void {
    const { node } = this.#ports.backend.config;
    if (slot === null) this.#end = { waitStatus: kill, message: `the sandbox on ${node} has ended` };
    else if (slot.state === 'not-started') {
      const stage = startStages.indexOf(slot.stage);
      this.#end = { waitStatus: 0, message: startFailureMessage(stage, slot.error, process, node) };
    } else this.#end = { waitStatus: slot.waitStatus, message: '' };
    // rank-init holds the other ends of nothing but ours: when it lets go, the streams end once they are read.
    this.#close(['stdin', 'stdout', 'stderr']);
    setTimeout(() => {
      for (const reader of this.#readers) if (!reader.isPaused()) reader.destroy();
    }, outputEndsWithinMs);
    this.#finish();
  }

  #finish(): void {
    if (this.#end === undefined || this.#left > 0 || this.#over) return;
    this.#events.ended(this.#end);
    this.#release();
  }

  #release(): void {
    if (this.#over) return;
    this.#over = true;
    this.#input?.destroy();
    for (const reader of this.#readers) reader.destroy();
    this.#close(['stdin', 'stdout', 'stderr']);
  }

  #close(which: Parameters<typeof encodeClose>[1]): void {
    const { adopted } = this.#ports;
    if (!adopted.isGone) adopted.request('close', encodeClose(this.#slot, which)).catch(() => undefined);
  }

  #signal(number: number): void {
    signalExec(this.#ports.adopted, this.#slot, number);
  }
}

/** Not numbered, as signals to ranks are: it may be sent as often as need be. */
export function signalExec(adopted: AdoptedSandbox, slot: number, number: number): void {
  if (!adopted.isGone) adopted.request('signal', encodeSignal(0n, number, [slot])).catch(() => undefined);
}

/** What another agent left running when it was killed. */
export function endLeftExec(adopted: AdoptedSandbox, slot: Slot): void {
  if (slot.state === 'running') signalExec(adopted, slot.index, kill);
  if (!adopted.isGone)
    adopted.request('close', encodeClose(slot.index, ['stdin', 'stdout', 'stderr'])).catch(() => undefined);
}

function startOf(rank: ProcessStart, order: ExecOrder, startId: number): ProcessStart {
  return {
    ...rank,
    rank: null,
    startId,
    pmi: false,
    stdin: order.tty ? 'pty' : order.stdin ? 'pipe' : 'null',
    stdout: order.tty ? 'pty' : 'pipe',
    stderr: order.tty ? 'pty' : 'pipe',
    stdoutFile: '',
    stderrFile: '',
    cpuMask: new Uint8Array(),
    rows: order.tty ? order.rows || 24 : 0,
    columns: order.tty ? order.columns || 80 : 0,
    argv: order.command,
    env: [...rank.env.filter((each) => !/^(PMI_|TERM=)/.test(each)), ...(order.tty ? ['TERM=xterm'] : [])],
  };
}

function pipe(fd: number, way: 'readable' | 'writable'): Socket {
  return new Socket({ fd, readable: way === 'readable', writable: way === 'writable' });
}

function refusedStart(result: number, node: string): AgentError {
  const full = Math.abs(result) === 28;
  const why = full
    ? 'the sandbox has started as many programs as it can in its life'
    : `rank-init refused it: ${errnoText(result)}`;
  return new AgentError('transient', 'StartFailed', 'MUSTER_EXEC_REFUSED', `node ${node}: ${why}`);
}
