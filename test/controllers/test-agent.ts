/**
 * An agent for tests of the control plane: it speaks the real protocol over mutual TLS, but its sandboxes are only
 * records, which outlive its sessions as real ones would. Tests say when ranks end.
 */
import { credentials } from '@grpc/grpc-js';
import type { KeyAndCertificate } from '../../controllers/pki/certificate.ts';
import type {
  AgentMessage,
  Chunk,
  Desired,
  HubMessage,
  OpenStream,
  RankEnd,
  SandboxFact,
  SandboxSpec,
  Sent,
  Verb,
} from '../../wire/agent-types.ts';
import { channelOptions, loadWire, type HubClient } from '../../wire/load.ts';
import { RankSet } from '../../crds/rank-set.ts';

interface Held {
  spec: SandboxSpec;
  fact: Sent<SandboxFact>;
  starts: number;
}

const wire = loadWire();

export class TestAgent {
  readonly node: string;
  readonly held = new Map<string, Held>();
  readonly verbs: Verb[] = [];
  /** How often each sandbox was started, over all sessions. */
  readonly starts = new Map<string, number>();
  refused: string | undefined;
  bootId = 'boot-1';
  fullDesired = 0;
  log: Buffer = Buffer.from('hello\nworld\n');
  readonly #tls: KeyAndCertificate;
  readonly #ca: string;
  #client: HubClient | undefined;
  #call: ReturnType<HubClient['session']> | undefined;
  #revision = 0;

  constructor(node: string, ca: string, tls: KeyAndCertificate) {
    this.node = node;
    this.#ca = ca;
    this.#tls = tls;
  }

  connect(
    port: number,
    hello: { node?: string; instance?: string; versionMin?: number; versionMax?: number } = {},
  ): void {
    const { key, cert } = this.#tls;
    const secure = credentials.createSsl(Buffer.from(this.#ca), Buffer.from(key), Buffer.from(cert));
    const client = new wire.Hub(`127.0.0.1:${port}`, secure, channelOptions);
    const call = client.session();
    this.#client = client;
    this.#call = call;
    call.on('error', () => undefined);
    call.on('data', (message: HubMessage) => this.#receive(message));
    const capacity = {
      cpus: 2,
      memoryBytes: 2 ** 33,
      sockets: 1,
      cores: 2,
      architecture: 'x64',
      kernel: '6',
      os: 'linux',
      topologyXmlDigest: '',
    };
    this.#send({
      body: 'hello',
      hello: {
        versionMin: 1, versionMax: 1, node: this.node, instance: 'i1', bootId: this.bootId, build: 'test', capacity,
        peerAddress: `${this.node}:7000`, localSocket: '', labels: {}, features: [], missing: [], clockNs: Date.now() * 1e6, ...hello,
      },
    }); // prettier-ignore
    this.#send({
      body: 'facts',
      facts: {
        full: true,
        sandboxes: [...this.held.values()].map(({ fact }) => fact),
        forgotten: [],
        desiredRevision: 0,
      },
    });
  }

  disconnect(): void {
    this.#call?.cancel();
    this.#client?.close();
    this.#call = undefined;
  }

  /** As an agent that is stopped. */
  goodbye(): void {
    this.#send({ body: 'goodbye', goodbye: { message: 'stopped' } });
    this.#call?.end();
    this.#call = undefined;
  }

  heartbeat(): void {
    this.#send({ body: 'heartbeat', heartbeat: { sequence: 1, clockNs: 0 } });
  }

  /** What a node tells that is busy, different each time. */
  measured(): void {
    const load1 = Math.random() * 8;
    const memoryAvailableBytes = Math.floor(Math.random() * 2 ** 33);
    this.#send({
      body: 'heartbeat',
      heartbeat: { sequence: 1, clockNs: 0, load: { load1, memoryAvailableBytes } },
    });
    const disks = [{ path: '/', totalBytes: 2 ** 40, availableBytes: 2 ** 39 }];
    const networks = [{ name: 'eth0', receivedBytesPerSecond: Math.random() * 1e9 }];
    const figures = { busy: Math.random(), load1, memoryTotalBytes: 2 ** 34, memoryAvailableBytes: 2 ** 33 };
    this.#send({ body: 'report', report: { figures, disks, networks } });
  }

  /** Ranks of the group's sandbox here end as waitpid says; the others with 0. */
  finish(uid: string, statuses: Record<number, Partial<RankEnd>> = {}): void {
    for (const held of this.held.values()) {
      if (held.spec.id?.groupUid !== uid) continue;
      const ranks = [...RankSet.parse(held.spec.ranks)];
      const failures = Object.entries(statuses)
        .filter(([rank]) => ranks.includes(Number(rank)))
        .map(([rank, end]) => ({
          rank: Number(rank),
          waitStatus: 0,
          stage: 0,
          error: 0,
          message: '',
          endedNs: 1,
          byUs: false,
          withoutFinalize: false,
          ...end,
        }));
      const good = ranks.filter((rank) => !(rank in statuses));
      this.#update(held, {
        state: 'Ended',
        ranksRunning: 0,
        succeeded: RankSet.from(good).toString(),
        failures,
        failuresTotal: failures.length,
        endedNs: 2,
        logsComplete: true,
      });
    }
  }

  /** One rank fails while the others go on. */
  failRank(uid: string, rank: number, waitStatus: number): void {
    for (const held of this.held.values()) {
      if (held.spec.id?.groupUid !== uid || !RankSet.parse(held.spec.ranks).has(rank)) continue;
      const end = {
        rank,
        waitStatus,
        stage: 0,
        error: 0,
        message: '',
        endedNs: 1,
        byUs: false,
        withoutFinalize: false,
      };
      this.#update(held, {
        failures: [end],
        failuresTotal: 1,
        ranksRunning: (held.fact.ranksRunning ?? 1) - 1,
      });
    }
  }

  #receive(message: HubMessage): void {
    if (message.refused) this.refused = message.refused.code;
    else if (message.desired) this.#desired(message.desired);
    else if (message.verb) {
      this.verbs.push(message.verb);
      const reached = RankSet.parse(message.verb.ranks).size;
      this.#send({
        body: 'verbReply',
        verbReply: { verbId: message.verb.verbId, ok: true, reached, message: '' },
      });
    } else if (message.openStream) this.#stream(message.openStream);
  }

  #desired(desired: Desired): void {
    this.#revision = desired.revision;
    if (desired.full) {
      this.fullDesired += 1;
      const wanted = new Set(desired.sandboxes.map(keyOf));
      for (const key of [...this.held.keys()]) if (!wanted.has(key)) this.#forget(key);
    }
    for (const id of desired.removed) this.#forget(keyOf({ id }));
    for (const spec of desired.sandboxes) this.#want(spec);
  }

  #want(spec: SandboxSpec): void {
    const key = keyOf(spec);
    const before = this.held.get(key);
    const size = RankSet.parse(spec.ranks).size;
    if (!before && spec.want === 'Prepare') {
      const held: Held = { spec, fact: { id: spec.id!, ranksTotal: size, bootId: this.bootId }, starts: 0 };
      this.held.set(key, held);
      this.#update(held, { state: 'Creating' });
      return;
    }
    if (!before && spec.want !== 'Run' && spec.want !== 'Freeze') {
      const held: Held = { spec, fact: { id: spec.id!, ranksTotal: size, bootId: this.bootId }, starts: 0 };
      this.held.set(key, held);
      this.#update(held, { state: 'Ended', reason: 'NotStarted' });
      return;
    }
    if (!before || (before.starts === 0 && spec.want === 'Run')) {
      this.starts.set(key, (this.starts.get(key) ?? 0) + 1);
      const held: Held = {
        spec,
        fact: { id: spec.id!, state: 'Creating', ranksTotal: size, bootId: this.bootId },
        starts: 1,
      };
      this.held.set(key, held);
      this.#update(held, {
        state: 'Running',
        ranksRunning: size,
        ranksStartedNs: 1,
        frozen: spec.want === 'Freeze',
      });
      return;
    }
    before.spec = spec;
    if (before.fact.state === 'Ended') return;
    if (spec.want === 'Freeze' || spec.want === 'Run') {
      const frozen = spec.want === 'Freeze';
      if ((before.fact.frozen ?? false) !== frozen) this.#update(before, { frozen });
    } else {
      const had = before.fact.failures ?? [];
      const ended = RankSet.parse(spec.ranks).minus(RankSet.from(had.map((end) => end.rank ?? 0)));
      const ends = [...ended].map((rank) => ({ rank, waitStatus: 15, byUs: true }));
      const failures = [...had, ...ends];
      this.#update(before, {
        state: 'Ended',
        ranksRunning: 0,
        failures,
        failuresTotal: failures.length,
        frozen: false,
      });
    }
  }

  #forget(key: string): void {
    const held = this.held.get(key);
    if (!this.held.delete(key)) return;
    this.#send({
      body: 'facts',
      facts: { full: false, sandboxes: [], forgotten: [held!.spec.id!], desiredRevision: this.#revision },
    });
  }

  #update(held: Held, change: Sent<SandboxFact>): void {
    held.fact = { ...held.fact, ...change };
    this.#send({
      body: 'facts',
      facts: { full: false, sandboxes: [held.fact], forgotten: [], desiredRevision: this.#revision },
    });
  }

  /** Serves the log in pieces of four bytes, from where the reader stands. */
  #stream(order: OpenStream): void {
    const call = this.#client!.stream();
    call.on('error', () => undefined);
    call.on('data', (_chunk: Chunk) => undefined);
    const begin = order.from[0]?.offset ?? 0;
    call.write({ streamId: order.streamId });
    for (let offset = begin; offset < this.log.length; offset += 4) {
      call.write({
        streamId: order.streamId,
        rank: 0,
        stream: 1,
        offset,
        data: this.log.subarray(offset, offset + 4),
      });
    }
    call.write({
      streamId: order.streamId,
      rank: 0,
      stream: 1,
      offset: this.log.length,
      end: true,
      allEnded: true,
    });
    call.end();
  }

  #send(message: Sent<AgentMessage>): void {
    this.#call?.write(message);
  }
}

function keyOf({ id }: Pick<SandboxSpec, 'id'>): string {
  return `${id?.groupUid}/${id?.ordinal}/${id?.incarnation}`;
}
