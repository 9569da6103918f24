/**
 * What an agent and the control plane cost when nothing happens: resident memory after some jobs have run, and the share of
 * one processor over `MUSTER_BENCH_SECONDS` (10) of rest.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { Cluster } from './kit/cluster.ts';
import { run } from './kit/command.ts';
import { print, rounded } from './kit/report.ts';

const seconds = Number(process.env['MUSTER_BENCH_SECONDS'] ?? 10);
const jobs = 20;

/** On a processor, of all its threads, by the scheduler's own count. */
function processorNs(pid: number): number {
  return readdirSync(`/proc/${pid}/task`)
    .map((task) => readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8'))
    .reduce((sum, text) => sum + Number(text.split(' ')[0]), 0);
}

/** `VmRSS`, or `RssAnon`: without the pages of the node program, which all its processes share. */
function mebibytes(pid: number, field: 'VmRSS' | 'RssAnon'): number {
  const found = new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return rounded(Number(found?.[1]) / 1024);
}

await using cluster = await Cluster.up(1);
for (let job = 0; job < jobs; job += 1) await run(cluster.run(4, 'true'));
await pause(20_000); // what jobs leave to be done, also to the garbage collectors
const daemons = ['node1', 'controller'] as const;
const before = daemons.map((daemon) => processorNs(cluster.pidOf(daemon)));
await pause(seconds * 1000);
daemons.forEach((daemon, index) => {
  const pid = cluster.pidOf(daemon);
  const part = daemon === 'node1' ? 'agent' : daemon;
  const percent = (processorNs(pid) - before[index]!) / (seconds * 1e7);
  print({ bench: 'idle-cpu', part, seconds, value: rounded(percent), unit: '% of a core' });
  print({
    bench: 'memory',
    part,
    jobs,
    value: mebibytes(pid, 'VmRSS'),
    own: mebibytes(pid, 'RssAnon'),
    unit: 'MiB',
  });
});
