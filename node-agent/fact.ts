// What the hub is told of a sandbox: a reading of the sandbox object at one moment, no more. Every fact is whole, so facts
// may be lost, repeated and folded together.
import { RankSet } from '../crds/rank-set.ts';
import type { SandboxFact, Sent } from '../wire/agent-types.ts';
import { cpuListOf } from './processors.ts';
import { summaryOf } from './rank-end.ts';
import type { Sandbox } from './sandbox.ts';

export function stateOf(sandbox: Sandbox): string {
  switch (sandbox.stage) {
    case 'New':
      return sandbox.isLaunching ? 'Creating' : 'Pending';
    case 'Live': {
      const started = sandbox.ranksRunning > 0 || (sandbox.processes?.ends.size ?? 0) > 0;
      if (!started) return 'Creating';
      return sandbox.isEnding || sandbox.ranksRunning === 0 ? 'Ending' : 'Running';
    }
    case 'Lost':
      return 'Ending';
    case 'Ended':
      return sandbox.ended?.state ?? 'Ended';
  }
}

export function factOf(sandbox: Sandbox): Sent<SandboxFact> {
  const { ended, processes, pmi, limits, logs } = sandbox;
  const summary = ended ?? summaryOf(processes?.ends.values() ?? []);
  return {
    id: sandbox.id,
    state: stateOf(sandbox),
    reason: ended?.reason ?? '',
    message: ended?.message ?? logs.trouble,
    ranksTotal: RankSet.parse(sandbox.spec.ranks).size,
    ranksRunning: sandbox.ranksRunning,
    succeeded: summary.succeeded,
    failures: [...summary.failures],
    failuresTotal: summary.failuresTotal,
    abort: sandbox.abort ?? undefined,
    checkpoint: sandbox.checkpoint,
    move: sandbox.move,
    brokenFence: sandbox.broken ?? undefined,
    frozen: sandbox.isFrozen && !ended,
    startedNs: sandbox.startedNs,
    ranksStartedNs: ended?.ranksStartedNs ?? processes?.startedNs ?? 0,
    endedNs: ended?.endedNs ?? 0,
    cpuUs: ended?.cpuUs ?? limits.usage.cpuUs,
    userUs: (ended ? ended.userUs : limits.usage.userUs) ?? 0,
    systemUs: (ended ? ended.systemUs : limits.usage.systemUs) ?? 0,
    ...(ended?.io ?? limits.io),
    memoryBytes: ended ? 0 : limits.usage.memoryBytes,
    memoryPeakBytes: ended?.memoryPeakBytes ?? limits.usage.memoryPeakBytes,
    oomKills: ended?.oomKills ?? limits.oomKills,
    logBytes: ended?.logBytes ?? logs.bytes,
    logsComplete: logs.complete,
    pmiInitialized: ended?.pmiInitialized ?? pmi?.initialized ?? false,
    pmiFinalized: ended?.pmiFinalized ?? pmi?.finalized ?? false,
    pmiBadLines: ended?.pmiBadLines ?? pmi?.badLines ?? 0,
    limitExceeded: limits.exceeded,
    bootId: sandbox.identity?.bootId ?? '',
    initPid: sandbox.identity?.pid ?? 0,
    forksRefused: ended?.forksRefused ?? limits.forksRefused,
    bindings: sandbox.binding?.map(cpuListOf) ?? [],
  };
}
