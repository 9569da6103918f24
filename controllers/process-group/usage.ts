/**
 * What a group has used, from what its agents say. Pure. Totals never fall: a node that has not been heard of since this controller
 * started, or an agent that has not measured yet, leaves them where they were; and what earlier runs used stays counted, as does what
 * a sandbox used before it was moved, as far as that was on record.
 */
import type { ProcessGroupStatus, ProcessGroupUsage } from '../../crds/types.gen.ts';
import type { Seen } from './seen.ts';
import { activeMsOf } from './wall-time.ts';

const totals = ['cpuSeconds', 'userSeconds', 'systemSeconds', 'readBytes', 'writtenBytes'] as const;
type Totals = Record<(typeof totals)[number], number>;

export function usageOf(seen: Seen): ProcessGroupUsage {
  const { group, sandboxes, nowMs } = seen;
  const { usage: before = {} } = group.status ?? {};
  const facts = sandboxes.flatMap(({ known }) => (known ? [known.fact] : []));
  const sum = (of: (fact: (typeof facts)[number]) => number): number =>
    facts.reduce((total, fact) => total + of(fact), 0);
  const run: Totals = {
    cpuSeconds: sum(({ cpuUs }) => cpuUs) / 1e6,
    userSeconds: sum(({ userUs }) => userUs) / 1e6,
    systemSeconds: sum(({ systemUs }) => systemUs) / 1e6,
    readBytes: sum(({ readBytes }) => readBytes),
    writtenBytes: sum(({ writtenBytes }) => writtenBytes),
  };
  const { earlier } = before;
  const moved = movedOf(seen, run);
  const all = eachTotal((name) =>
    Math.max(before[name] ?? 0, (earlier?.[name] ?? 0) + (moved?.[name] ?? 0) + run[name]),
  );
  const isWhole = facts.length === sandboxes.length;
  const efficiencyPercent = efficiencyOf(group.status, group.spec.size ?? 0, all.cpuSeconds, nowMs);
  const most = (now: number, was = 0): number => Math.max(now, was);
  return {
    ...all,
    ...(efficiencyPercent === undefined ? {} : { efficiencyPercent }),
    memoryBytes: isWhole ? sum(({ memoryBytes }) => memoryBytes) : (before.memoryBytes ?? 0),
    peakMemoryBytes: most(
      sum(({ memoryPeakBytes }) => memoryPeakBytes),
      before.peakMemoryBytes,
    ),
    maxMemoryBytes: most(
      facts.reduce((largest, { memoryPeakBytes }) => Math.max(largest, memoryPeakBytes), 0),
      before.maxMemoryBytes,
    ),
    stdoutBytes: most(
      sum(({ logBytes }) => logBytes),
      isWhole ? 0 : before.stdoutBytes,
    ),
    ...(earlier ? { earlier } : {}),
    ...(moved ? { moved } : {}),
  };
}

/** Sandboxes of another incarnation than before begin at nothing: what is on record beyond those that stayed was theirs. */
function movedOf({ group, sandboxes }: Seen, run: Totals): ProcessGroupUsage['moved'] {
  const incarnations = sandboxes.reduce((sum, { incarnation }) => sum + incarnation, 0);
  const { usage } = group.status ?? {};
  if (usage?.moved === undefined || usage.moved.incarnations === incarnations)
    return { ...usage?.moved, incarnations };
  const { earlier } = usage;
  return {
    ...eachTotal((name) => Math.max(0, (usage[name] ?? 0) - (earlier?.[name] ?? 0) - run[name])),
    incarnations,
  };
}

/** Of a group whose run is over while it goes on: what it used counts as earlier from now on. */
export function earlierUsage(seen: Seen): ProcessGroupUsage | undefined {
  const usage = seen.sandboxes.length > 0 ? usageOf(seen) : seen.group.status?.usage;
  if (!usage) return undefined;
  const { efficiencyPercent: _efficiency, moved: _moved, ...kept } = usage;
  return { ...kept, memoryBytes: 0, earlier: eachTotal((name) => usage[name] ?? 0) };
}

/** Of this run; of one that was brought back, whose time goes on too, of all. */
function efficiencyOf(
  status: ProcessGroupStatus | undefined,
  ranks: number,
  cpuSeconds: number,
  nowMs: number,
): number | undefined {
  const until = status?.finishTime === undefined ? nowMs : Date.parse(status.finishTime);
  const seconds = activeMsOf(status, until) / 1000;
  if (ranks === 0 || seconds < 1) return undefined;
  const counted = status?.restore ? cpuSeconds : cpuSeconds - (status?.usage?.earlier?.cpuSeconds ?? 0);
  return Math.round((counted / (ranks * seconds)) * 1000) / 10;
}

const eachTotal = (of: (name: (typeof totals)[number]) => number): Totals =>
  Object.fromEntries(totals.map((name) => [name, rounded(of(name))])) as unknown as Totals;

const rounded = (value: number): number => Math.round(value * 1000) / 1000;
