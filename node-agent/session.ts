// The agent's session with the hub: dials (mutual TLS, several addresses in turn), says hello, sends facts and heartbeats,
// takes orders. A lost session changes nothing on the node; the next one begins with everything. It knows what the
// messages are, not what a sandbox is.
import { credentials, type ClientDuplexStream } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import type {
  AgentHello,
  AgentMessage,
  Answer,
  Desired,
  HubMessage,
  Load,
  MonitorOrder,
  OpenStream,
  Query,
  SandboxId,
  Sent,
  Shown,
  Verb,
  VerbReply,
} from '../wire/agent-types.ts';
import {
  channelOptions,
  protocolVersionMax,
  protocolVersionMin,
  type HubClient,
  type Wire,
} from '../wire/load.ts';
import { messageOf } from './agent-error.ts';
import { backoff } from './backoff.ts';
import { boottimeNs } from './boottime.ts';
import { steadyMs } from './monitor/node-sampler.ts';
import type { TlsMaterial } from './tls.ts';

const defaultHeartbeatSeconds = 5;
const longestRetryMs = 5000;
const goodbyeWithinMs = 500;

export interface SessionOptions {
  readonly wire: Wire;
  readonly tls: TlsMaterial;
  readonly addresses: readonly string[];
  /** Name in the hub's certificate; empty: the host of its address. */
  readonly serverName: string;
  readonly hello: () => Sent<AgentHello>;
  readonly load: () => Sent<Load>;
  readonly log: Logger;
  readonly events: SessionEvents;
}

export interface SessionEvents {
  /** Accepted: facts are to be sent. */
  opened: (clusterId: string, hubBuild: string) => void;
  closed: () => void;
  desired: (desired: Desired) => void;
  verb: (verb: Verb) => Promise<Sent<VerbReply>>;
  openStream: (order: OpenStream, client: HubClient) => void;
  shown: (shown: Shown) => void;
  monitor: (order: MonitorOrder) => void;
  query: (query: Query) => Promise<Sent<Answer>>;
  /** A heartbeat that was sent at this time of the clock that nobody sets was answered when the hub's clock showed that. */
  acknowledged: (sentMs: number, hubMs: number) => void;
  /** A heartbeat sent at this time (boottimeNs) was acknowledged, and these sandboxes have a lease from then on. */
  granted: (ids: readonly SandboxId[], sentNs: bigint) => void;
}

export class HubSession {
  readonly #options: SessionOptions;
  #client: HubClient | null = null;
  #call: ClientDuplexStream<Sent<AgentMessage>, HubMessage> | null = null;
  #leader = '';
  #next = 0;
  #attempt = 0;
  #retry: NodeJS.Timeout | null = null;
  #heartbeat: NodeJS.Timeout | null = null;
  #sequence = 0;
  #acknowledged = 0;
  /** When the heartbeats that are not acknowledged yet were sent. */
  readonly #sentNs = new Map<number, bigint>();
  #lastSent = { sequence: 0, atMs: 0 };
  #stopped = false;
  #lastTrouble = '';

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  start(): void {
    this.#dial();
  }

  send(message: Sent<AgentMessage>): void {
    this.#call?.write(message);
  }

  /**
   * A heartbeat out of turn, for a lease that is wanted soon. One that is on its way will do: its acknowledgement comes after what
   * was told before.
   */
  beat(): void {
    if (this.#heartbeat && this.#sequence === this.#acknowledged) this.#sendBeat();
  }

  /** Begins anew, with another hello: what the node can do has changed. */
  renew(): void {
    if (!this.#call) return;
    this.#attempt = 0;
    this.#again();
  }

  /** Says goodbye, and waits a moment for the hub to have heard it. */
  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#retry) clearTimeout(this.#retry);
    const call = this.#call;
    if (call && this.#heartbeat) {
      const heard = new Promise<void>((resolve) => {
        for (const event of ['end', 'error', 'close']) call.once(event, () => resolve());
        setTimeout(resolve, goodbyeWithinMs).unref();
      });
      call.write({ goodbye: { message: 'stopped' } });
      call.end();
      await heard;
    }
    this.#drop();
  }

  #address(): string {
    if (this.#leader !== '') {
      const leader = this.#leader;
      this.#leader = '';
      return leader;
    }
    const { addresses } = this.#options;
    return addresses[this.#next++ % addresses.length] ?? '';
  }

  #dial(): void {
    const { wire, tls, serverName, log } = this.#options;
    const address = this.#address();
    const client = new wire.Hub(address, credentials.createSsl(tls.ca, tls.key, tls.cert), {
      ...channelOptions,
      ...(serverName === ''
        ? {}
        : { 'grpc.ssl_target_name_override': serverName, 'grpc.default_authority': serverName }),
    });
    const call = client.session();
    this.#client = client;
    this.#call = call;
    const lost = (error?: unknown) => {
      if (this.#call !== call) return;
      const trouble = error === undefined ? 'the hub ended the session' : messageOf(error);
      if (trouble !== this.#lastTrouble) log.warn({ address, error: trouble }, 'hub lost');
      this.#lastTrouble = trouble;
      this.#again();
    };
    call.on('data', (message: HubMessage) => {
      if (this.#call === call) this.#receive(message, client, address);
    });
    call.on('error', lost);
    call.on('end', lost);
    call.write({
      hello: {
        ...this.#options.hello(),
        versionMin: protocolVersionMin,
        versionMax: protocolVersionMax,
        clockNs: Date.now() * 1e6,
      },
    });
  }

  #receive(message: HubMessage, client: HubClient, address: string): void {
    const { events, log } = this.#options;
    if (message.welcome) {
      this.#attempt = 0;
      this.#lastTrouble = '';
      log.info({ cluster: message.welcome.clusterId }, 'hub reached');
      events.opened(message.welcome.clusterId, message.welcome.build);
      this.#beat(
        message.welcome.heartbeatSeconds > 0 ? message.welcome.heartbeatSeconds : defaultHeartbeatSeconds,
      );
    } else if (message.desired) events.desired(message.desired);
    else if (message.verb) this.#verb(message.verb);
    else if (message.heartbeatAck) {
      const { sequence, leases, clockNs } = message.heartbeatAck;
      if (sequence === this.#lastSent.sequence) events.acknowledged(this.#lastSent.atMs, clockNs / 1e6);
      this.#acknowledge(sequence, leases);
    } else if (message.monitor) events.monitor(message.monitor);
    else if (message.query) this.#query(message.query);
    else if (message.openStream) events.openStream(message.openStream, client);
    else if (message.shown) events.shown(message.shown);
    else if (message.refused) {
      const { code, message: why } = message.refused;
      const leader = message.refused.leader === address ? '' : message.refused.leader; // here, it does not
      this.#leader = leader;
      if (leader === '') this.#attempt = Math.max(this.#attempt, 6); // nothing to hurry for
      if (why !== this.#lastTrouble) log.error({ code, why, leader }, 'hub refuses this agent');
      this.#lastTrouble = why;
      this.#again();
    }
  }

  #verb(verb: Verb): void {
    this.#options.events
      .verb(verb)
      .catch((error: unknown) => ({ ok: false, reached: 0, message: messageOf(error) }))
      .then((reply) => {
        this.send({ verbReply: { ...reply, verbId: verb.verbId } });
      })
      .catch((error: unknown) => {
        this.#options.log.error({ err: error }, 'reply to a verb could not be sent');
      });
  }

  #query(query: Query): void {
    this.#options.events
      .query(query)
      .then((answer) => {
        this.send({ answer });
      })
      .catch((error: unknown) => {
        this.#options.log.error({ err: error }, 'answer to a query could not be sent');
      });
  }

  #beat(everySeconds: number): void {
    if (this.#heartbeat) clearInterval(this.#heartbeat);
    const send = () => {
      // Three unanswered in a row: the connection is dead whatever TCP believes.
      if (this.#sequence - this.#acknowledged >= 3) {
        this.#options.log.warn(
          { unanswered: this.#sequence - this.#acknowledged },
          'hub does not answer heartbeats',
        );
        this.#again();
        return;
      }
      this.#sendBeat();
    };
    this.#sequence = 0;
    this.#acknowledged = 0;
    this.#sentNs.clear();
    this.#heartbeat = setInterval(send, everySeconds * 1000);
    send();
  }

  #sendBeat(): void {
    const sequence = ++this.#sequence;
    this.#sentNs.set(sequence, boottimeNs());
    this.#lastSent = { sequence, atMs: steadyMs() };
    this.send({ heartbeat: { sequence, load: this.#options.load(), clockNs: Date.now() * 1e6 } });
  }

  #acknowledge(sequence: number, leases: readonly SandboxId[]): void {
    this.#acknowledged = sequence;
    const sentNs = this.#sentNs.get(sequence);
    for (const earlier of this.#sentNs.keys()) if (earlier <= sequence) this.#sentNs.delete(earlier);
    if (sentNs !== undefined && leases.length > 0) this.#options.events.granted(leases, sentNs);
  }

  #again(): void {
    this.#drop();
    if (this.#stopped) return;
    const wait = this.#leader !== '' ? 0 : backoff(this.#attempt++, 50, longestRetryMs);
    this.#retry = setTimeout(() => {
      this.#retry = null;
      this.#dial();
    }, wait);
  }

  #drop(): void {
    const [call, client] = [this.#call, this.#client];
    this.#call = null;
    this.#client = null;
    if (this.#heartbeat) clearInterval(this.#heartbeat);
    this.#heartbeat = null;
    if (!call) return;
    this.#options.events.closed();
    call.cancel();
    client?.close();
  }
}
