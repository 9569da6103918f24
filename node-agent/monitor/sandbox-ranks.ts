// The ranks of one sandbox as its measuring sees them: slots of rank-init's table, and the processes in its cgroup. Without a
// cgroup (an agent that is not root) the processes are found by who started whom.
import { type Slot, type StateTable } from '../../native/addon/abi.ts';
import { firstStart } from '../rank-processes.ts';
import type { Sandbox } from '../sandbox.ts';
import { readOnce } from './kernel-file.ts';
import type { RankSlot, RankSource } from './rank-sampler.ts';

export interface RankIo {
  readonly readBytes: number;
  readonly writtenBytes: number;
}

export function rankSourceOf(sandbox: Sandbox): RankSource {
  return {
    id: sandbox.id,
    get initPid() {
      return sandbox.adopted === null ? null : (sandbox.identity?.pid ?? null);
    },
    pids: () => {
      const { cgroup, identity } = sandbox;
      const found = cgroup?.pids() ?? [];
      return found.length > 0 || !identity ? found : descendantsOf(identity.pid);
    },
    slots: () => (sandbox.adopted ? rankSlotsOf(sandbox.adopted.table) : []),
  };
}

export function rankSlotsOf(table: StateTable): RankSlot[] {
  return [...table.slots()].flatMap((slot) =>
    slot.rank === null || slot.startId !== firstStart || slot.state === 'empty'
      ? []
      : [rankSlotOf(slot, slot.rank)],
  );
}

/** What ranks that have ended brought from and to disks, and no less than was known before. */
export function ioOfEnded(table: StateTable, known: RankIo): RankIo {
  const ended = rankSlotsOf(table).filter(({ running }) => !running);
  const sum = (of: keyof RankIo) => ended.reduce((total, slot) => total + slot[of], 0);
  return {
    readBytes: Math.max(known.readBytes, sum('readBytes')),
    writtenBytes: Math.max(known.writtenBytes, sum('writtenBytes')),
  };
}

function rankSlotOf(slot: Slot, rank: number): RankSlot {
  return {
    rank,
    running: slot.state === 'running',
    pid: slot.pid,
    userUs: Number(slot.userUs),
    systemUs: Number(slot.systemUs),
    memoryPeakBytes: Number(slot.maxRssKib) * 1024,
    majorFaults: Number(slot.majorFaults),
    voluntarySwitches: Number(slot.voluntarySwitches),
    involuntarySwitches: Number(slot.involuntarySwitches),
    readBytes: Number(slot.readBlocks) * 512,
    writtenBytes: Number(slot.writtenBlocks) * 512,
  };
}

function descendantsOf(pid: number): number[] {
  const children = (readOnce(`/proc/${String(pid)}/task/${String(pid)}/children`) ?? '')
    .trim()
    .split(' ')
    .filter((word) => word !== '')
    .map(Number);
  return children.flatMap((child) => [child, ...descendantsOf(child)]);
}
