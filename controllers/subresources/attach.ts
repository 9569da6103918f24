/**
 * One client attached to a group over a WebSocket: all output from where it stands, its input, the size of its terminal, and at the
 * end how the group ended. It may be cut at any moment and another connection take over, since the client keeps all offsets. A
 * group ends with nobody but the client that started it in the foreground.
 */
import { randomUUID } from 'node:crypto';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import type { RouteContext } from '../../store/server/routes.ts';
import { attachProtocol } from '../../wire/attach-frames.ts';
import { channelProtocol } from '../../wire/channel-frames.ts';
import { HubError } from '../hub/hub-error.ts';
import type { StdinStream } from '../hub/stdin-stream.ts';
import type { LogOptions } from '../hub/streams.ts';
import { type AttachPeer, peerOf } from './attach-peer.ts';
import { clientHeader } from './client-header.ts';
import { type RunEnd, runEndOf } from './exit-code.ts';
import { exitStatusOf } from './exit-status.ts';
import { groupOf } from './group-request.ts';
import { isOwnClient } from './input-desk.ts';
import { frameOf, readingOf, untilPlaced } from './log.ts';
import type { VerbPorts } from './verbs.ts';

/** Once the group has ended, output of a node that does not answer is waited for that long. */
const silentAtMostMs = 10_000;

export async function serveAttach(context: RouteContext, ports: VerbPorts): Promise<void> {
  const group = await groupOf(context, ports.store, 'attach');
  const reading = readingOf(context.query, group);
  const given = context.request.headers[clientHeader];
  const token = typeof given === 'string' && given !== '' ? given : randomUUID();
  const socket = await context.webSocket([attachProtocol, channelProtocol]);
  const over = new AbortController();
  socket.once('close', () => over.abort());
  if (socket.readyState !== socket.OPEN) over.abort();
  const session = new AttachSession(
    peerOf(socket),
    group,
    ports,
    AbortSignal.any([context.signal, over.signal]),
  );
  if (context.query.get('stdin') === 'true') {
    session.takeInput(token, { pause: () => socket.pause(), resume: () => socket.resume() });
  }
  if (!isOwnClient(group, token)) return session.run(reading);
  ports.lease(group.metadata.uid ?? '', true);
  try {
    await session.run(reading);
  } finally {
    ports.lease(group.metadata.uid ?? '', false);
  }
}

interface Flow {
  pause(): void;
  resume(): void;
}

class AttachSession {
  readonly #peer: AttachPeer;
  readonly #ports: VerbPorts;
  readonly #uid: string;
  readonly #signal: AbortSignal;
  readonly #ended = Promise.withResolvers<RunEnd>();
  #group: ProcessGroup;
  #told = '';
  #heardMs = 0;

  constructor(peer: AttachPeer, group: ProcessGroup, ports: VerbPorts, signal: AbortSignal) {
    this.#peer = peer;
    this.#group = group;
    this.#ports = ports;
    this.#uid = group.metadata.uid ?? '';
    this.#signal = signal;
    peer.events = {
      input: () => undefined,
      inputEnd: () => undefined,
      resize: (rows, columns) => this.#resize(rows, columns),
    };
  }

  async run(reading: Omit<LogOptions, 'follow'>): Promise<void> {
    using _listening = this.#ports.groups.listen(this.#uid, (now) => this.#changed(now));
    this.#changed(this.#ports.groups.get(this.#uid) ?? this.#group);
    const gone = Promise.withResolvers<undefined>();
    this.#signal.addEventListener('abort', () => gone.resolve(undefined), { once: true });
    if (this.#signal.aborted) return;
    const stop = new AbortController();
    const read = this.#read(reading, AbortSignal.any([this.#signal, stop.signal]));
    const end = await Promise.race([this.#ended.promise, gone.promise]);
    if (end) await Promise.race([read, this.#silence(stop.signal), gone.promise]);
    stop.abort();
    await read;
    if (end && !this.#signal.aborted) this.#peer.finish(exitStatusOf(end));
  }

  /** From now on what the client sends is the group's standard input; what comes before there is one has to wait. */
  takeInput(token: string, flow: Flow): void {
    const desk = this.#ports.inputs.take(this.#group, token, () =>
      this.#peer.refuse('this client has come back on another connection'),
    );
    if (typeof desk === 'string') return this.#peer.notice({ kind: 'NoInput', message: desk });
    this.#signal.addEventListener('abort', () => desk[Symbol.dispose](), { once: true });
    const early: (() => void)[] = [];
    this.#peer.events = {
      resize: (rows, columns) => this.#resize(rows, columns),
      input: (offset, bytes) => {
        early.push(() => this.#peer.events?.input(offset, bytes));
        flow.pause();
      },
      inputEnd: (length) => void early.push(() => this.#peer.events?.inputEnd(length)),
    };
    void this.#feed(flow, early);
  }

  async #feed(flow: Flow, early: readonly (() => void)[]): Promise<void> {
    if (!(await untilPlaced(this.#group, this.#ports, this.#signal))) return;
    let stdin: StdinStream;
    try {
      stdin = this.#ports.hub.openStdin(this.#uid, this.#signal);
    } catch (error) {
      if (!(error instanceof HubError)) throw error;
      const message = `no rank of processgroup ${this.#group.metadata.name} takes input (spec.stdio.stdin)`;
      return this.#peer.notice({ kind: 'NoInput', message });
    }
    this.#signal.addEventListener('abort', () => stdin.close(), { once: true });
    const begins = await stdin.begins;
    if (begins === undefined) {
      if (!this.#signal.aborted)
        this.#peer.notice({ kind: 'NoInput', message: 'the ranks have different amounts of input already' });
      return;
    }
    let next = begins;
    let upTo = 0;
    const write = (offset: number, bytes: Buffer, end: boolean): void => {
      if (offset > next) return this.#peer.refuse(`input at ${offset}: expected at most ${next}`);
      if (offset + bytes.length > upTo + slackBytes) return this.#peer.refuse(`input beyond ${upTo}`);
      stdin.write(offset, bytes, end);
      next = Math.max(next, offset + bytes.length);
    };
    this.#peer.events = {
      resize: (rows, columns) => this.#resize(rows, columns),
      input: (offset, bytes) => {
        if (bytes.length > 0) write(offset ?? next, bytes, false);
        if (offset === undefined && next > upTo) flow.pause();
      },
      inputEnd: (length) => write(length ?? next, Buffer.alloc(0), true),
    };
    upTo = stdin.window;
    for (const again of early) again();
    while (!this.#signal.aborted) {
      const moved = stdin.windowMoved;
      upTo = Math.max(upTo, stdin.window);
      this.#peer.window(Math.min(stdin.safe, next), upTo);
      if (next <= upTo) flow.resume();
      await moved;
    }
  }

  #resize(rows: number, columns: number): void {
    this.#ports.hub.order(this.#uid, { kind: 'Window', rows, columns }).catch((error: unknown) => {
      if (!(error instanceof HubError)) this.#ports.failed(error, 'a terminal of an attached client');
    });
  }

  async #read(reading: Omit<LogOptions, 'follow'>, signal: AbortSignal): Promise<void> {
    if (!(await untilPlaced(this.#group, this.#ports, signal))) return;
    for await (const chunk of this.#ports.hub.openLogs(this.#uid, { ...reading, follow: true }, signal)) {
      this.#heardMs = Date.now();
      await this.#peer.output(frameOf(chunk));
    }
  }

  /** Settles when the group has ended and nothing more has come for a while. */
  async #silence(signal: AbortSignal): Promise<void> {
    this.#heardMs = Date.now();
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setInterval(() => {
      if (Date.now() - this.#heardMs < silentAtMostMs) return;
      this.#peer.notice({
        kind: 'Problem',
        message: 'output may be missing: a node has not answered since the job ended',
      });
      resolve();
    }, 500);
    signal.addEventListener('abort', () => clearInterval(timer), { once: true });
    await promise;
    clearInterval(timer);
  }

  #changed(group: ProcessGroup | undefined): void {
    if (!group) {
      this.#ended.resolve({ code: 1, text: 'muster: the job was deleted' });
      return;
    }
    this.#group = group;
    const end = runEndOf(group);
    if (end) this.#ended.resolve(end);
    else this.#tellState(group);
  }

  #tellState(group: ProcessGroup): void {
    const conditions = group.status?.conditions ?? [];
    const is = (type: string, status: string) =>
      conditions.find((item) => item.type === type && item.status === status);
    const waiting = is('Placed', 'False');
    const suspended = is('Suspended', 'True');
    const running = is('Running', 'True');
    const state = suspended
      ? ({ kind: 'Suspended', message: suspended.message } as const)
      : waiting
        ? ({ kind: 'Waiting', message: waiting.message, reason: waiting.reason } as const)
        : running
          ? ({ kind: 'Running', message: '' } as const)
          : undefined;
    if (!state || JSON.stringify(state) === this.#told) return;
    this.#told = JSON.stringify(state);
    this.#peer.notice(state);
  }
}

/** A client whose window has just been told may have sent as much as a message more. */
const slackBytes = 1024 * 1024;
