/**
 * Many nodes in one process: each with the agent's own monitor, session and way of sending facts, against a real hub. Only sandboxes
 * are made up: records of what the hub desires, whose ranks keep a processor busy half of the time. Started by bench/monitor.ts with
 * PORT, the DIRECTORY that holds the authority and is each node's disk, the number of its FIRST node, and HOW MANY.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { pino } from 'pino';
import { issue, type KeyAndCertificate } from '../../controllers/pki/certificate.ts';
import { RankSet } from '../../crds/rank-set.ts';
import type { ImageKeeper } from '../../node-agent/checkpoint/image-keeper.ts';
import { defaultNodeConfig } from '../../node-agent/config.ts';
import { capacityOf } from '../../node-agent/monitor/capacity.ts';
import { Monitor } from '../../node-agent/monitor/monitor.ts';
import { OutboundFacts } from '../../node-agent/outbound-facts.ts';
import { keyOf } from '../../node-agent/sandbox-id.ts';
import type { Sandboxes } from '../../node-agent/sandboxes.ts';
import { HubSession } from '../../node-agent/session.ts';
import { readTopology } from '../../node-agent/topology.ts';
import type { Desired, SandboxFact, SandboxId, SandboxSpec, Sent } from '../../wire/agent-types.ts';
import { loadWire } from '../../wire/load.ts';

const [port = '', directory = '', first = '0', howMany = '0'] = process.argv.slice(2);
/** As node-agent/sandboxes.ts measures what sandboxes use. */
const measureEveryMs = 5000;
const log = pino({ level: 'silent' });
const wire = loadWire();
const topology = readTopology();

interface Held {
  readonly spec: SandboxSpec;
  readonly id: SandboxId;
  readonly sinceMs: number;
}

class RecordedSandboxes {
  revision = 0;
  readonly all: readonly never[] = [];
  readonly held = new Map<string, Held>();

  get running(): number {
    return this.held.size;
  }
  get ranksRunning(): number {
    return [...this.held.values()].reduce((sum, { spec }) => sum + RankSet.parse(spec.ranks).size, 0);
  }

  desire({ revision, full, removed, sandboxes }: Desired): void {
    this.revision = revision;
    if (full) this.held.clear();
    for (const id of removed) this.held.delete(keyOf(id));
    for (const spec of sandboxes)
      if (spec.id && !this.held.has(keyOf(spec.id)))
        this.held.set(keyOf(spec.id), { spec, id: spec.id, sinceMs: performance.now() });
  }

  facts(): Sent<SandboxFact>[] {
    return [...this.held.values()].map(factOf);
  }
  factOf(id: SandboxId): Sent<SandboxFact> | null {
    const held = this.held.get(keyOf(id));
    return held ? factOf(held) : null;
  }
}

function factOf({ spec, id, sinceMs }: Held): Sent<SandboxFact> {
  const ranks = RankSet.parse(spec.ranks).size;
  const cpuUs = Math.round((performance.now() - sinceMs) * 500 * ranks);
  return {
    ...{ id, state: 'Running', ranksTotal: ranks, ranksRunning: ranks, ranksStartedNs: 1, startedNs: 1 },
    ...{
      bootId: 'boot',
      cpuUs,
      userUs: cpuUs,
      memoryBytes: ranks * 2 ** 28 + Math.round(Math.random() * 2 ** 24),
    },
  };
}

async function startNode(node: string, authority: KeyAndCertificate): Promise<void> {
  const { key, cert } = await issue(authority, { kind: 'node', node });
  const sandboxes = new RecordedSandboxes();
  const keeper = { listeners: new Set(), all: () => [], fresh: () => [] } as unknown as ImageKeeper;
  const outbound = new OutboundFacts(sandboxes as unknown as Sandboxes, keeper, (facts) =>
    session.send({ facts }),
  );
  const monitor = new Monitor({
    ...{
      sandboxes: sandboxes as unknown as Sandboxes,
      stateDir: directory,
      paths: [directory],
      node,
      log,
      build: '0',
    },
    nodeConfig: defaultNodeConfig,
    engineTrouble: () => Promise.resolve(undefined),
    report: (report) => session.send({ report }),
  });
  const session = new HubSession({
    ...{ wire, addresses: [`127.0.0.1:${port}`], serverName: 'localhost', log, load: () => monitor.load() },
    tls: { ca: Buffer.from(authority.cert), key: Buffer.from(key), cert: Buffer.from(cert) },
    hello: () => ({
      ...{ node, instance: node, bootId: 'boot', build: '0', capacity: capacityOf(topology) },
      ...{ peerAddress: `${node}:7000`, localSocket: '', labels: {}, features: [], missing: [] },
    }),
    events: {
      opened: () => outbound.open(),
      closed: () => {
        monitor.closed();
        outbound.close();
      },
      desired: (desired) => {
        sandboxes.desire(desired);
        for (const { id } of sandboxes.held.values()) outbound.changed(id);
        outbound.touched();
      },
      monitor: (order) => monitor.order(order),
      acknowledged: (sentMs, hubMs) => monitor.clock.answered(sentMs, hubMs),
      query: (query) => monitor.answer(query),
      verb: () => Promise.resolve({ ok: false, reached: 0, message: 'not here' }),
      openStream: () => undefined,
      shown: () => undefined,
      granted: () => undefined,
    },
  });
  setInterval(() => {
    for (const { id } of sandboxes.held.values()) outbound.changed(id);
  }, measureEveryMs);
  monitor.start();
  session.start();
}

// Whoever started it is gone.
process.stdin.on('end', () => process.exit()).resume();
const authority = JSON.parse(readFileSync(`${directory}/authority.json`, 'utf8')) as KeyAndCertificate;
for (let at = 0; at < Number(howMany); at += 1) {
  await startNode(`node${Number(first) + at}`, authority);
  await pause(40);
}
