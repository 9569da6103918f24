/**
 * The one thing that agents dial: a gRPC server with mutual TLS that keeps one session a node, sends what is desired
 * down and folds what is told up. A node is who its certificate says. It decides nothing about groups: it tells who is
 * to look (`groupChanged`, `nodeChanged`), and may be killed at any time, since agents tell everything anew.
 */
import { Server, ServerCredentials, type ServerOptions } from '@grpc/grpc-js';
import type { TLSSocket } from 'node:tls';
import type { Logger } from 'pino';
import type {
  AgentEvent,
  AgentHello,
  AgentMessage,
  Answer,
  LogPosition,
  MonitorOrder,
  Query,
  RestoreOrder,
  SandboxId,
  Sent,
  Verb,
} from '../../wire/agent-types.ts';
import {
  channelOptions,
  loadWire,
  protocolVersionMax,
  type HubHandlers,
  type SessionCall,
  type StreamCall,
} from '../../wire/load.ts';
import { manifestDigestOf, placedImages, type PlacedImage } from '../checkpoint/copies.ts';
import type { Clock, Timer } from '../runtime/clock.ts';
import { DesiredBook, type Entry } from './desired-book.ts';
import { FactTable } from './fact-table.ts';
import { groupHostsOf } from './group-hosts.ts';
import { LeaseBook } from './lease-book.ts';
import { groupNetworkOf, type MembersOfNetwork } from './group-network.ts';
import { NodeTable } from './node-table.ts';
import { type Asked, Queries } from './queries.ts';
import { refusalOf, type Refusal } from './refusal.ts';
import { sandboxKey } from './sandbox-key.ts';
import { Session, type SessionView } from './session.ts';
import { ShownBook } from './shown-book.ts';
import type { StdinStream } from './stdin-stream.ts';
import { type ExecCall, type ExecOptions, type LogChunk, type LogOptions, Streams } from './streams.ts';
import { Verbs, type VerbOrder, type VerbOutcome } from './verbs.ts';

export interface HubTls {
  /** PEM texts. */
  readonly ca: string | Buffer;
  readonly cert: string | Buffer;
  readonly key: string | Buffer;
}

export interface HubOptions {
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  readonly tls: HubTls;
  readonly clusterId: string;
  /** Version of this program, told to agents. */
  readonly build?: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly leaseMs?: number;
  readonly heartbeatSeconds?: number;
  /** Whether this controller leads at this very moment; absent: always. */
  readonly leads?: () => boolean;
  /** Path of agent.proto where it is not beside wire/load.ts, as in a bundle. */
  readonly protoPath?: string;
  readonly groupChanged: (uid: string) => void;
  readonly nodeChanged: (node: string) => void;
  /** There are new figures of the node; nothing else has changed. */
  readonly nodeMeasured?: (node: string) => void;
  /** There is news of images of the Checkpoint with this uid. */
  readonly imagesChanged?: (checkpointUid: string) => void;
  readonly agentEvent?: (node: string, event: AgentEvent) => void;
}

export const defaultLeaseMs = 60_000;
const helloWithinMs = 10_000;
/** An agent gives a connection up after three that are not answered. */
const heartbeatsMissed = 4;

export class Hub implements AsyncDisposable {
  readonly desired: DesiredBook;
  readonly facts = new FactTable();
  readonly nodes: NodeTable;
  readonly leases: LeaseBook;
  /** Facts that were dropped because they spoke of another node's sandboxes. */
  droppedFacts = 0;
  readonly #options: HubOptions;
  readonly #server: Server;
  readonly #sessions = new Map<string, Session>();
  readonly #nodeWaiters = new Map<string, Set<() => void>>();
  readonly #verbs: Verbs;
  readonly #queries: Queries;
  /** How nodes are to be watched, where it is not as all are. */
  readonly #monitorOrders = new Map<string, Sent<MonitorOrder>>();
  readonly #streams: Streams;
  readonly #shown: ShownBook;
  readonly #sessionView: Omit<SessionView, 'isHeld' | 'held'>;
  /** By the sandboxes of a group; true until some node is found at another address. */
  #hosts = new WeakMap<readonly Entry[], string>();
  #networks = new WeakMap<readonly Entry[], MembersOfNetwork>();
  /** Of checkpoints that are restored, until there is news. */
  readonly #images = new Map<string, readonly PlacedImage[]>();
  #port = 0;
  #watching: Timer | undefined;
  /** Sessions that had missed their heartbeats when they were last looked at. */
  #silent: ReadonlySet<Session> = new Set();

  private constructor(options: HubOptions) {
    const { clock } = options;
    this.#options = options;
    this.nodes = new NodeTable(clock, options.leaseMs ?? defaultLeaseMs, (node) => this.#nodeChanged(node));
    this.desired = new DesiredBook(Math.floor(clock.now()) * 1000, (node, keys) =>
      this.#sessions.get(node)?.changed(keys),
    );
    this.leases = new LeaseBook(clock, this.desired, options.leads ?? (() => true));
    this.#sessionView = {
      desired: this.desired,
      peerAddressOf: (node) => this.nodes.get(node)?.hello?.peerAddress ?? '',
      networkOf: (uid) => this.#networkOf(this.desired.sandboxesOf(uid)),
      imageOf: (restore) => this.#imageOf(restore),
      hostsOf: (uid) => this.#hostsOf(this.desired.sandboxesOf(uid)),
    };
    this.#verbs = new Verbs({ clock, send: (node, verb) => this.#send(node, { body: 'verb', verb }) });
    this.#queries = new Queries({ clock, send: (node, query) => this.#send(node, { body: 'query', query }) });
    this.#streams = new Streams({
      clock,
      send: (node, openStream) => this.#send(node, { body: 'openStream', openStream }),
      isConnected: (node) => this.#sessions.has(node),
      hasFeature: (node, feature) => this.nodes.get(node)?.hello?.features.includes(feature) ?? false,
      nodeChange: (node, signal) => this.nodeChange(node, signal),
      sandboxesOf: (uid) => this.desired.sandboxesOf(uid),
    });
    this.#shown = new ShownBook({
      sandboxesOf: (uid) => this.desired.sandboxesOf(uid),
      send: (node, shown) => this.#sessions.get(node)?.send({ body: 'shown', shown }),
    });
    this.#server = new Server(channelOptions as unknown as ServerOptions);
  }

  static async start(options: HubOptions): Promise<Hub> {
    const hub = new Hub(options);
    await hub.#listen();
    hub.#watch();
    return hub;
  }

  /** The port that it listens on. */
  get port(): number {
    return this.#port;
  }

  get connectedNodes(): number {
    return this.#sessions.size;
  }

  signal(uid: string, signal: number, ranks?: string): Promise<VerbOutcome> {
    return this.order(uid, { kind: 'Signal', signal, ranks });
  }

  order(uid: string, order: VerbOrder): Promise<VerbOutcome> {
    return this.#verbs.order(uid, this.desired.sandboxesOf(uid), order);
  }

  /** Asks a node's agent what it measures; undefined when it does not answer. */
  ask(node: string, asked: Asked): Promise<Answer | undefined> {
    return this.#queries.ask(node, asked);
  }

  /** How a node is to be watched from now on; undefined: as all are. */
  watchNode(node: string, order: Sent<MonitorOrder> | undefined): void {
    const before = this.#monitorOrders.get(node);
    if (JSON.stringify(order) === JSON.stringify(before)) return;
    if (order) this.#monitorOrders.set(node, order);
    else this.#monitorOrders.delete(node);
    this.#sessions.get(node)?.send({ body: 'monitor', monitor: order ?? {} });
  }

  openLogs(uid: string, options: LogOptions, signal: AbortSignal): AsyncIterable<LogChunk> {
    return this.#streams.logs(uid, options, signal);
  }

  openExec(uid: string, rank: number, options: ExecOptions, signal: AbortSignal): Promise<ExecCall> {
    return this.#streams.openExec(uid, rank, options, signal);
  }

  /** The reader whom the group's output is kept for has all before these offsets. */
  shown(uid: string, positions: readonly LogPosition[]): void {
    this.#shown.told(uid, positions);
  }

  openStdin(uid: string, signal: AbortSignal): StdinStream {
    return this.#streams.openStdin(uid, signal);
  }

  /** Settles at the next change of the node's connection or facts, or when the signal aborts. */
  async nodeChange(node: string, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    if (!this.#nodeWaiters.has(node)) this.#nodeWaiters.set(node, new Set());
    this.#nodeWaiters.get(node)!.add(resolve);
    signal.addEventListener('abort', () => resolve(), { once: true });
    await promise;
  }

  /**
   * All that the store holds stands in the desired book: what agents hold beyond it may go, unless the store may have
   * lost groups (`keepsUnknown`).
   */
  markComplete(keepsUnknown = false): void {
    if (this.desired.complete && this.desired.keepsUnknown === keepsUnknown) return;
    this.desired.markComplete(keepsUnknown);
    for (const session of this.#sessions.values()) session.complete();
  }

  /** Has agents end and forget sandboxes that the book does not know. False where no agent is connected. */
  letGo(node: string, ids: readonly SandboxId[]): boolean {
    const session = this.#sessions.get(node);
    session?.changed(ids.map(sandboxKey));
    return session !== undefined;
  }

  async close(): Promise<void> {
    this.nodes.close();
    this.#watching?.[Symbol.dispose]();
    for (const session of this.#sessions.values()) session.close();
    this.#sessions.clear();
    this.#server.forceShutdown();
    await Promise.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #listen(): Promise<void> {
    const { listen, tls, protoPath } = this.#options;
    const handlers: HubHandlers = {
      session: (call) => this.#session(call),
      stream: (call) => this.#stream(call),
    };
    this.#server.addService(loadWire(protoPath).hubService, handlers);
    const pair = { private_key: Buffer.from(tls.key), cert_chain: Buffer.from(tls.cert) };
    const credentials = ServerCredentials.createSsl(Buffer.from(tls.ca), [pair], true);
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    this.#server.bindAsync(listen, credentials, (error, port) => (error ? reject(error) : resolve(port)));
    this.#port = await promise;
  }

  get #heartbeatMs(): number {
    return (this.#options.heartbeatSeconds ?? 5) * 1000;
  }

  /**
   * Ends sessions whose agents are not heard of: nothing is to be placed there. Only those that were silent at the look before too, so
   * that a hub that was paused reads first what has come meanwhile.
   */
  #watch(): void {
    const silent = [...this.#sessions.values()].filter(
      ({ node }) => this.nodes.silentMs(node) > heartbeatsMissed * this.#heartbeatMs,
    );
    for (const session of silent) if (this.#silent.has(session)) this.#ended(session);
    this.#silent = new Set(silent);
    this.#watching = this.#options.clock.after(this.#heartbeatMs, () => this.#watch());
  }

  #session(call: SessionCall): void {
    const certified = certifiedNodeOf(call);
    let session: Session | undefined;
    let over = false;
    const helloTimer = this.#options.clock.after(helloWithinMs, () => call.end());
    call.on('data', (message: AgentMessage) => {
      // Messages of an agent that was killed may be delivered after the end of its call: a session made of its hello would
      // never end, and keep the agent that follows out.
      if (over || call.cancelled) return;
      if (session) return this.#receive(session, message);
      helloTimer[Symbol.dispose]();
      if (message.hello) session = this.#welcome(call, certified, message.hello);
      else call.end();
    });
    const ended = (): void => {
      over = true;
      helloTimer[Symbol.dispose]();
      if (session) this.#ended(session);
    };
    call.on('end', ended);
    call.on('error', ended);
    call.on('cancelled', ended);
    call.on('close', ended);
  }

  #welcome(call: SessionCall, certified: string | undefined, hello: AgentHello): Session | undefined {
    const { build = '', clock, clusterId, logger, heartbeatSeconds = 5 } = this.#options;
    const refused = this.#refusalOf(certified, hello);
    if (refused) {
      logger.warn({ node: hello.node, certified, ...refused }, 'agent refused');
      call.write({ body: 'refused', refused: { ...refused, leader: '' } });
      call.end();
      return undefined;
    }
    const before = this.#sessions.get(hello.node);
    if (before) this.#ended(before);
    const view: SessionView = {
      ...this.#sessionView,
      isHeld: (_key, entry) => this.facts.get(entry.node, entry.spec.id) !== undefined,
      held: () => [...this.facts.heldOn(hello.node)].map(({ id }) => id),
    };
    const session = new Session(hello, call, view);
    this.#sessions.set(hello.node, session);
    const moved = this.nodes.get(hello.node)?.hello?.peerAddress !== hello.peerAddress;
    const version = Math.min(hello.versionMax, protocolVersionMax);
    session.send({
      body: 'welcome',
      welcome: { version, clusterId, heartbeatSeconds, clockNs: clock.now() * 1e6, build },
    });
    session.send({ body: 'monitor', monitor: this.#monitorOrders.get(hello.node) ?? {} });
    logger.info(
      { node: hello.node, instance: hello.instance, build: hello.build, version },
      'agent connected',
    );
    this.nodes.connected(hello, version);
    if (moved) this.#peerMoved(hello.node);
    return session;
  }

  #refusalOf(certified: string | undefined, hello: AgentHello): Refusal | undefined {
    const before = this.#sessions.has(hello.node) ? this.nodes.get(hello.node)?.hello : undefined;
    const incumbent = before && { hello: before, silentMs: this.nodes.silentMs(hello.node) };
    return refusalOf(hello, certified, incumbent, 3 * this.#heartbeatMs);
  }

  #receive(session: Session, message: AgentMessage): void {
    const { node } = session;
    if (this.#sessions.get(node) !== session) return;
    if (message.heartbeat) {
      this.nodes.heard(node, message.heartbeat.load);
      const { sequence } = message.heartbeat;
      session.send({
        body: 'heartbeatAck',
        heartbeatAck: { sequence, leases: this.leases.grant(node), clockNs: this.#options.clock.now() * 1e6 },
      });
    } else if (message.facts) {
      const { facts } = message;
      const bootId = this.nodes.get(node)?.hello?.bootId ?? '';
      const folded = this.facts.fold(
        node,
        bootId,
        facts,
        (id) => this.desired.owns(node, id),
        (id) => this.desired.ofNode(node).get(sandboxKey(id))?.want === 'Keep',
      );
      if (folded.dropped > 0) {
        this.droppedFacts += folded.dropped;
        this.#options.logger.warn(
          { node, dropped: folded.dropped },
          "facts about another node's sandboxes dropped",
        );
      }
      this.nodes.toldFacts(node, facts.full, facts.desiredRevision);
      if (facts.full) {
        session.begin();
        this.#shown.connected(this.desired.ofNode(node).values());
      }
      for (const uid of folded.groups) this.#options.groupChanged(uid);
      for (const uid of folded.checkpoints) this.#imagesChanged(uid);
    } else if (message.verbReply) this.#verbs.replied(node, message.verbReply);
    else if (message.goodbye) {
      this.nodes.left(node);
      this.#ended(session);
    } else if (message.report) {
      this.nodes.reported(node, message.report);
      this.#options.nodeMeasured?.(node);
    } else if (message.answer) this.#queries.answered(node, message.answer);
    else if (message.event) this.#options.agentEvent?.(node, message.event);
  }

  #ended(session: Session): void {
    session.close();
    if (this.#sessions.get(session.node) !== session) return;
    this.#sessions.delete(session.node);
    this.#options.logger.info({ node: session.node }, 'agent disconnected');
    this.#verbs.disconnected(session.node);
    this.#queries.disconnected(session.node);
    this.nodes.disconnected(session.node);
  }

  #stream(call: StreamCall): void {
    const node = certifiedNodeOf(call);
    if (node === undefined) call.end();
    else this.#streams.accept(node, call);
  }

  #send(
    node: string,
    message:
      | { body: 'verb'; verb: Sent<Verb> }
      | { body: 'query'; query: Sent<Query> }
      | { body: 'openStream'; openStream: object },
  ): boolean {
    const session = this.#sessions.get(node);
    session?.send(message);
    return session !== undefined;
  }

  #hostsOf(entries: readonly Entry[]): string | undefined {
    let hosts = this.#hosts.get(entries);
    if (hosts !== undefined) return hosts;
    hosts = groupHostsOf(entries, (node) => this.nodes.get(node)?.hello?.peerAddress);
    if (hosts !== undefined) this.#hosts.set(entries, hosts);
    return hosts;
  }

  #networkOf(entries: readonly Entry[]): MembersOfNetwork | undefined {
    let network = this.#networks.get(entries);
    if (network !== undefined) return network;
    network = groupNetworkOf(entries, (node) => this.nodes.get(node)?.hello);
    if (network !== undefined) this.#networks.set(entries, network);
    return network;
  }

  /**
   * Children in job trees learn the new address of their parent, networks that of a node in them, nodes that fetch ranks that of the
   * one that has them; groups that waited for the node's may start.
   */
  #peerMoved(node: string): void {
    this.#hosts = new WeakMap();
    this.#networks = new WeakMap();
    const keys = new Set(this.desired.dependentsOf(node));
    for (const { spec, mayStart } of this.desired.ofNode(node).values()) {
      if (!mayStart && !spec.network) continue;
      const { groupUid } = spec.id;
      for (const other of [...this.desired.sandboxesOf(groupUid), ...this.desired.comersOf(groupUid)])
        keys.add(sandboxKey(other.spec.id));
    }
    if (keys.size === 0) return;
    for (const session of this.#sessions.values()) {
      const own = this.desired.ofNode(session.node);
      session.changed([...keys].filter((key) => own.has(key)));
    }
  }

  #imageOf({ image, digest }: Sent<RestoreOrder>): PlacedImage | undefined {
    const uid = image?.checkpointUid ?? '';
    let placed = this.#images.get(uid);
    if (!placed) {
      const held = this.facts.imagesOf(uid);
      placed = placedImages(held.map((each) => ({ ...each, standing: this.nodes.standing(each.node) })));
      this.#images.set(uid, placed);
    }
    if (manifestDigestOf(placed) !== digest) return undefined;
    return placed.find(({ ordinal, connected }) => connected > 0 && ordinal === (image?.ordinal ?? 0));
  }

  /** Sandboxes that are to be brought back may have waited for it. */
  #imagesChanged(uid: string): void {
    this.#images.delete(uid);
    for (const session of this.#sessions.values()) {
      const waiting = [...this.desired.ofNode(session.node)].filter(
        ([, { mayStart, spec }]) => mayStart && spec.restore?.image?.checkpointUid === uid,
      );
      if (waiting.length > 0) session.changed(waiting.map(([key]) => key));
    }
    this.#options.imagesChanged?.(uid);
  }

  #nodeChanged(node: string): void {
    this.#images.clear();
    for (const wake of this.#nodeWaiters.get(node) ?? []) wake();
    this.#nodeWaiters.delete(node);
    this.#options.nodeChanged(node);
  }
}

/** The node that a peer's certificate was made for: its common name, where it also carries that node's DNS name. */
function certifiedNodeOf(call: SessionCall | StreamCall): string | undefined {
  const certificate = call.getAuthContext().sslPeerCertificate as
    ReturnType<TLSSocket['getPeerCertificate']> | undefined;
  const name = certificate?.subject?.CN;
  if (typeof name !== 'string') return undefined;
  const names = (certificate?.subjectaltname ?? '').split(/,\s*/);
  return names.includes(`DNS:${name}.node.muster`) ? name : undefined;
}
