/**
 * What an agent and the control plane cost when nothing happens: resident memory after some jobs have run, and the share of
 * one processor over `MUSTER_BENCH_SECONDS` (10) of rest.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { Cluster } from './kit/cluster.ts';
import { run } from './kit/command.ts';
import { print, rounded } from './kit/report.ts';

const seconds = Number(process.env['MUSTER_BENCH_SECONDS'] ?? 10);
const jobs = 20;

/** Of all its threads. */
function processorNs(pid: number): number {
  const [user = 0, system = 0] = statFields(pid).slice(11, 13).map(Number);
  return ((user + system) * 1e9) / ticksPerSecond;
}

const ticksPerSecond = 100;

/** Fields of /proc/PID/stat from the third on. */
function statFields(pid: number): string[] {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}

function residentMebibytes(pid: number): number {
  const kibibytes = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kibibytes) / 1024;
}

await using cluster = await Cluster.up(1);
for (let job = 0; job < jobs; job += 1) await run(cluster.run(4, 'true'));
await pause(3000); // what jobs leave to be done
const daemons = ['node1', 'controller'] as const;
const before = daemons.map((daemon) => processorNs(cluster.pidOf(daemon)));
await pause(seconds * 1000);
daemons.forEach((daemon, index) => {
  const pid = cluster.pidOf(daemon);
  const part = daemon === 'node1' ? 'agent' : daemon;
  const percent = (processorNs(pid) - before[index]!) / (seconds * 1e7);
  print({ bench: 'idle-cpu', part, seconds, value: rounded(percent), unit: '% of a core' });
  print({ bench: 'memory', part, jobs, value: rounded(residentMebibytes(pid)), unit: 'MiB' });
});
