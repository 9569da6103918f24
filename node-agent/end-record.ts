// What is kept of a sandbox that has ended, for as long as the hub may ask; and why one ended that nobody here had ended.
import type { AdoptedSandbox } from './adopted-sandbox.ts';
import { ioOfEnded } from './monitor/sandbox-ranks.ts';
import type { SandboxLimits } from './sandbox-limits.ts';
import type { SandboxLogs } from './output.ts';
import type { PmiPort } from './pmi-port.ts';
import { summaryOf } from './rank-end.ts';
import type { RankProcesses } from './rank-processes.ts';
import type { EndedRecord } from './sandbox-directory.ts';

export interface Ending {
  readonly state: EndedRecord['state'];
  readonly reason: string;
  readonly message: string;
}

export interface EndedSandbox {
  /** Null when its rank-init is gone already. */
  readonly adopted: AdoptedSandbox | null;
  readonly processes: RankProcesses | null;
  readonly pmi: PmiPort | null;
  readonly limits: SandboxLimits;
  readonly logs: SandboxLogs;
  readonly startedNs: number;
}

export function endedRecordOf(
  { adopted, processes, pmi, limits, logs, startedNs }: EndedSandbox,
  ending: Ending,
  nowMs: number,
): EndedRecord {
  return {
    ...ending,
    ...summaryOf(processes?.ends.values() ?? []),
    startedNs,
    ranksStartedNs: processes?.startedNs ?? 0,
    endedNs: nowMs * 1e6,
    cpuUs: limits.usage.cpuUs,
    userUs: limits.usage.userUs,
    systemUs: limits.usage.systemUs,
    io: adopted ? ioOfEnded(adopted.table, limits.io) : limits.io,
    memoryPeakBytes: limits.usage.memoryPeakBytes,
    oomKills: limits.oomKills,
    forksRefused: limits.forksRefused,
    logBytes: logs.bytes,
    pmiInitialized: pmi?.initialized ?? false,
    pmiFinalized: pmi?.finalized ?? false,
    pmiBadLines: pmi?.badLines ?? 0,
  };
}

/** Its rank-init is not there any more. */
export function lossOf({
  key,
  node,
  wasRebooted,
  wasLeased,
  lostBecause,
  oomKills,
}: {
  key: string;
  node: string;
  wasRebooted: boolean;
  wasLeased: boolean;
  /** Another node that was needed is lost. */
  lostBecause: string | null;
  oomKills: number;
}): Ending {
  if (wasRebooted)
    return failed('NodeLost', `MUSTER_NODE_REBOOTED: node ${node} was started anew while the sandbox ran`);
  if (wasLeased)
    return failed(
      'LeaseExpired',
      `MUSTER_LEASE_EXPIRED: node ${node} heard of no controller for the whole lease of sandbox ${key}, so its ranks were killed; the group may have been started elsewhere`,
    );
  if (lostBecause !== null) return failed('NodeLost', `MUSTER_PAGES_LOST: ${lostBecause}`);
  return failed(
    'SandboxFailed',
    `MUSTER_SANDBOX_LOST: rank-init of sandbox ${key} on ${node} was killed from outside${oomKills > 0 ? ', by the memory limit' : ''}`,
  );
}

const failed = (reason: string, message: string): Ending => ({ state: 'Failed', reason, message });
