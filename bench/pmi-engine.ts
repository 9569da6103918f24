// Requests a second of the PMI-1 engine alone, without sockets: what one agent's thread can serve at most.
import { PmiServer } from '../wire/pmi1/server.ts';

const kvsname = 'kvs_5f1a3c9e-0000-4000-8000-000000000000_1';
const ranks = Array.from({ length: 64 }, (_, rank) => rank);
const value = 'a1'.repeat(214);

function serve(engine: PmiServer, rank: number, bytes: Buffer): void {
  for (const action of engine.receive(rank, bytes)) {
    if (action.kind === 'answer') engine.carriedOut(action.rank);
    else if (action.kind === 'fence') {
      for (const answer of engine.fenceDone(action.fence, [action.puts])) {
        if (answer.kind === 'answer') engine.carriedOut(answer.rank);
      }
    } else if (action.kind !== 'wait') throw new Error(`unexpected ${action.kind}`);
  }
}

function measure(what: string, requestsOf: (round: number) => readonly Buffer[], rounds: number): void {
  const engine = new PmiServer({
    kvsname,
    size: ranks.length,
    ranks,
    appnumOf: () => 0,
    mapping: '(vector,(0,1,64))',
    universeSize: null,
    onRankDeath: 'Abort',
    spawnEnabled: false,
    limits: { putBytesPerRank: 1 << 30 },
  });
  let spentNs = 0n;
  let requests = 0;
  for (let round = 0; round < rounds; round++) {
    const lines = requestsOf(round);
    const from = process.hrtime.bigint();
    for (let i = 0; i < lines.length; i++) serve(engine, i % ranks.length, lines[i] as Buffer);
    if (round >= rounds / 5) {
      spentNs += process.hrtime.bigint() - from;
      requests += lines.length;
    }
  }
  const perSecond = Math.round(requests / (Number(spentNs) / 1e9));
  console.log(
    JSON.stringify({
      bench: 'pmi-engine',
      request: what,
      ranks: ranks.length,
      value: perSecond,
      unit: 'requests/s',
    }),
  );
}

const line = (text: string): Buffer => Buffer.from(`${text}\n`);
const times = (count: number, make: (i: number) => string): Buffer[] =>
  Array.from({ length: count }, (_, i) => line(make(i)));

measure('get', () => times(6400, () => `cmd=get kvsname=${kvsname} key=PMI_process_mapping`), 100);
measure(
  'put',
  (round) =>
    times(6400, (i) => `cmd=put kvsname=${kvsname} key=card-${String(round)}-${String(i)} value=${value}`),
  20,
);
measure('barrier_in', () => times(6400, () => 'cmd=barrier_in'), 100);
measure('get_maxes', () => times(6400, () => 'cmd=get_maxes'), 100);
