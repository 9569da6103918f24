// A small hub for tests of the agent: the real protocol over real mutual TLS, with nothing behind it but what a test says.
// It keeps the newest fact of each sandbox, sends what is desired, and reads logs through the stream service.
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { issue, makeAuthority, type KeyAndCertificate } from '../../controllers/pki/certificate.ts';
import type {
  AgentHello,
  AgentMessage,
  Chunk,
  HubMessage,
  SandboxFact,
  SandboxId,
  SandboxSpec,
  Sent,
  VerbReply,
} from '../../wire/agent-types.ts';
import {
  channelOptions,
  loadWire,
  type HubHandlers,
  type SessionCall,
  type StreamCall,
} from '../../wire/load.ts';

export function keyOf(id: Sent<SandboxId> | null | undefined): string {
  return `${id?.groupUid ?? ''}-${String(id?.ordinal ?? 0)}-${String(id?.incarnation ?? 0)}`;
}

interface Connected {
  readonly call: SessionCall;
  readonly hello: AgentHello;
  readonly desired: Map<string, Sent<SandboxSpec>>;
}

export class TestHub implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'muster-agent-test-'));
  readonly facts = new Map<string, SandboxFact>();
  readonly nodes = new Map<string, Connected>();
  readonly desired = new Map<string, Map<string, Sent<SandboxSpec>>>();
  readonly events: { reason: string; message: string }[] = [];
  /** Every fact in the order of arrival, for what must never be seen. */
  readonly history: SandboxFact[] = [];
  sessions = 0;
  /** Whether heartbeats are acknowledged with leases for the sandboxes that need one. */
  grants = true;
  port = 0;
  #server = new Server(channelOptions as object);
  #revision = 0;
  #lastVerb = 0;
  #lastStream = 0;
  readonly #verbs = new Map<number, (reply: VerbReply) => void>();
  readonly #streams = new Map<number, (call: StreamCall, first: Chunk) => void>();
  readonly #nodeOf = new Map<string, string>();
  readonly #waiting = new Set<() => void>();
  readonly #authority: KeyAndCertificate;

  static async start(): Promise<TestHub> {
    const hub = new TestHub(await makeAuthority('test'));
    await hub.#listen();
    return hub;
  }

  private constructor(authority: KeyAndCertificate) {
    chmodSync(this.directory, 0o711); // other users' fronts come to the agent's socket
    this.#authority = authority;
  }

  async #listen(): Promise<void> {
    const pair = await issue(this.#authority, { kind: 'server', names: ['127.0.0.1', 'localhost'] });
    const secure = ServerCredentials.createSsl(
      Buffer.from(this.#authority.cert),
      [{ cert_chain: Buffer.from(pair.cert), private_key: Buffer.from(pair.key) }],
      true,
    );
    const handlers: HubHandlers = {
      session: (call) => this.#session(call),
      stream: (call) => this.#stream(call),
    };
    this.#server.addService(loadWire().hubService, handlers);
    this.port = await new Promise((resolve, reject) => {
      this.#server.bindAsync(`127.0.0.1:${String(this.port)}`, secure, (error, port) =>
        error ? reject(error) : resolve(port),
      );
    });
  }

  /** Ends all sessions and refuses new ones until `up`. */
  down(): void {
    this.#server.forceShutdown();
    this.nodes.clear();
  }

  async up(): Promise<void> {
    this.#server = new Server(channelOptions as object);
    await this.#listen();
  }

  async certificateOf(node: string): Promise<{ ca: string; cert: string; key: string }> {
    const pair = await issue(this.#authority, { kind: 'node', node });
    const path = (name: string) => join(this.directory, `${node}.${name}`);
    writeFileSync(path('ca'), this.#authority.cert);
    writeFileSync(path('crt'), pair.cert);
    writeFileSync(path('key'), pair.key, { mode: 0o600 });
    return { ca: path('ca'), cert: path('crt'), key: path('key') };
  }

  /** What the node shall hold from now on. */
  desire(node: string, spec: Sent<SandboxSpec>): void {
    const all = this.desired.get(node) ?? new Map<string, Sent<SandboxSpec>>();
    this.desired.set(node, all);
    all.set(keyOf(spec.id), spec);
    this.nodes
      .get(node)
      ?.call.write({ desired: { full: false, sandboxes: [spec], revision: ++this.#revision } });
  }

  remove(node: string, id: Sent<SandboxId>): void {
    this.desired.get(node)?.delete(keyOf(id));
    this.nodes.get(node)?.call.write({ desired: { full: false, removed: [id], revision: ++this.#revision } });
  }

  verb(node: string, verb: NonNullable<Sent<HubMessage>['verb']>): Promise<VerbReply> {
    const verbId = ++this.#lastVerb;
    return new Promise((resolve) => {
      this.#verbs.set(verbId, resolve);
      this.nodes.get(node)?.call.write({ verb: { ...verb, verbId } });
    });
  }

  /** Opens a stream and hands over the call once the agent dialled back. */
  openStream(
    node: string,
    order: NonNullable<Sent<HubMessage>['openStream']>,
  ): Promise<{ call: StreamCall; first: Chunk; streamId: number }> {
    const streamId = ++this.#lastStream;
    return new Promise((resolve) => {
      this.#streams.set(streamId, (call, first) => resolve({ call, first, streamId }));
      this.nodes.get(node)?.call.write({ openStream: { ...order, streamId } });
    });
  }

  /** All output of a sandbox, by `rank/stream`; follows until it is complete. */
  async logs(node: string, id: Sent<SandboxId>, follow = true): Promise<Map<string, Buffer>> {
    const { call, first } = await this.openStream(node, { id, kind: 'Logs', follow, tailLines: -1 });
    const parts = new Map<string, Buffer[]>();
    let done = false;
    const take = (chunk: Chunk) => {
      if (chunk.error !== '') throw new Error(chunk.error);
      if (chunk.allEnded) done = true;
      if (chunk.data.length === 0) return;
      const key = `${String(chunk.rank)}/${String(chunk.stream)}`;
      const list = parts.get(key) ?? [];
      parts.set(key, list);
      const have = list.reduce((sum, part) => sum + part.length, 0);
      if (chunk.offset !== have)
        throw new Error(`${key}: offset ${String(chunk.offset)} after ${String(have)} bytes`);
      list.push(chunk.data);
    };
    take(first);
    for await (const chunk of call) {
      take(chunk as Chunk);
      if (done) break;
    }
    return new Map([...parts].map(([key, list]) => [key, Buffer.concat(list)]));
  }

  /** Settles once `isTrue`; asked again with every message. */
  async until(isTrue: () => boolean, what: string, withinMs = 60_000): Promise<void> {
    const deadline = AbortSignal.timeout(withinMs);
    while (!isTrue()) {
      await new Promise<void>((resolve, reject) => {
        const wake = () => {
          this.#waiting.delete(wake);
          deadline.removeEventListener('abort', late);
          resolve();
        };
        const late = () => {
          this.#waiting.delete(wake);
          reject(
            new Error(
              `waited ${String(withinMs)} ms for ${what}; facts: ${JSON.stringify([...this.facts.values()])}`,
            ),
          );
        };
        if (deadline.aborted) late();
        this.#waiting.add(wake);
        deadline.addEventListener('abort', late);
      });
    }
  }

  fact(id: Sent<SandboxId>): SandboxFact | undefined {
    return this.facts.get(keyOf(id));
  }

  async ended(id: Sent<SandboxId>, withinMs = 60_000): Promise<SandboxFact> {
    await this.until(
      () => ['Ended', 'Failed'].includes(this.fact(id)?.state ?? ''),
      `the end of ${keyOf(id)}`,
      withinMs,
    );
    return this.fact(id) as SandboxFact;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
    rmSync(this.directory, { recursive: true, force: true });
    await Promise.resolve();
  }

  #session(call: SessionCall): void {
    let node = '';
    call.on('error', () => undefined);
    const gone = () => {
      if (this.nodes.get(node)?.call === call) this.nodes.delete(node);
    };
    call.on('cancelled', gone);
    call.on('end', () => {
      gone();
      call.end();
    });
    call.on('data', (message: AgentMessage) => {
      if (message.hello) {
        node = message.hello.node;
        this.sessions++;
        this.nodes.set(node, { call, hello: message.hello, desired: new Map() });
        call.write({ welcome: { version: 1, clusterId: 'test', heartbeatSeconds: 1 } });
      }
      if (message.heartbeat) {
        const wanted = [...(this.desired.get(node)?.values() ?? [])];
        const leases = wanted.flatMap(({ id, lease }) => (this.grants && id && lease ? [id] : []));
        call.write({ heartbeatAck: { sequence: message.heartbeat.sequence, leases } });
      }
      if (message.verbReply) this.#verbs.get(message.verbReply.verbId)?.(message.verbReply);
      if (message.event) this.events.push(message.event);
      if (message.facts) {
        if (message.facts.full) {
          for (const [key, at] of this.#nodeOf) if (at === node) this.facts.delete(key);
        }
        for (const fact of message.facts.sandboxes) {
          this.facts.set(keyOf(fact.id), fact);
          this.#nodeOf.set(keyOf(fact.id), node);
          this.history.push(fact);
        }
        for (const id of message.facts.forgotten) this.facts.delete(keyOf(id));
        if (message.facts.full) {
          call.write({
            desired: {
              full: true,
              sandboxes: [...(this.desired.get(node)?.values() ?? [])],
              revision: ++this.#revision,
            },
          });
        }
      }
      for (const wake of [...this.#waiting]) wake();
    });
  }

  #stream(call: StreamCall): void {
    call.on('error', () => undefined);
    call.once('data', (first: Chunk) => {
      call.pause();
      const opened = this.#streams.get(first.streamId);
      this.#streams.delete(first.streamId);
      opened?.(call, first);
    });
  }
}
