/**
 * rank-init's state table as the agent reads it, and the numbers of native/rank-init/protocol.h. The table is shared memory
 * that rank-init writes while it is read: a reader looks again whenever `changes` has moved on, and takes a slot's other
 * fields only after its state (rank-init writes the state last). A test compares every offset with the C compiler's.
 */
export * from './control-messages.ts';
export * from './start-file.ts';

export const MUSTER_ABI = 1;
export const MUSTER_MAGIC = 0x5254534d;

/** Descriptors at fixed numbers in rank-init. */
export const fds = {
  control: 10,
  controlAgent: 11,
  state: 12,
  event: 13,
  journal: 14,
  failureRead: 15,
  failureWrite: 16,
  firstFree: 20,
} as const;

export const slotStates = ['empty', 'running', 'exited', 'not-started'] as const;
export type SlotState = (typeof slotStates)[number];

export const startStages = [
  'none',
  'fork',
  'stdio',
  'rlimit',
  'affinity',
  'credentials',
  'chdir',
  'exec',
  'bad-request',
] as const;
/** As rank-init's table of the lease has them (guard.gen.h). */
export const leaseStates = ['unleased', 'running', 'stopped', 'ended'] as const;
export type LeaseState = (typeof leaseStates)[number];

/** What rank-init holds of its lease; times of CLOCK_BOOTTIME. */
export interface HeldLease {
  state: LeaseState;
  epoch: bigint;
  expiresNs: bigint;
  endsNs: bigint;
}

export type StartStage = (typeof startStages)[number];

/** Byte offsets of struct state_table and struct slot. */
export const tableLayout = {
  size: 152,
  magic: 0,
  abi: 4,
  slots_max: 8,
  slots_used: 12,
  changes: 16,
  journal_length: 24,
  last_signal: 32,
  started_ns: 40,
  running: 48,
  descendants: 52,
  build: 56,
  lease_state: 88,
  lease_epoch: 96,
  lease_expires_ns: 104,
  lease_ends_ns: 112,
  reserved: 120,
  slots: 152,
} as const;

export const slotLayout = {
  size: 176,
  rank: 0,
  start_id: 4,
  state: 8,
  pid: 12,
  wait_status: 16,
  stage: 20,
  error: 24,
  flags: 28,
  fd_stdin: 32,
  fd_stdout: 36,
  fd_stderr: 40,
  fd_pmi: 44,
  fd_input: 48,
  reserved0: 52,
  pmi_orders: 56,
  pmi_consumed: 64,
  started_ns: 72,
  ended_ns: 80,
  user_us: 88,
  system_us: 96,
  max_rss_kib: 104,
  major_faults: 112,
  voluntary_switches: 120,
  involuntary_switches: 128,
  read_blocks: 136,
  written_blocks: 144,
} as const;

export interface Slot {
  index: number;
  /** null: a co-process or exec, not a rank. */
  rank: number | null;
  startId: number;
  state: SlotState;
  pid: number;
  /** As waitpid(2), once exited. */
  waitStatus: number;
  /** Where the start failed, once not-started; `error` is the errno. */
  stage: StartStage;
  error: number;
  flags: number;
  /** Descriptor numbers in rank-init; null when there is none. */
  stdin: number | null;
  stdout: number | null;
  stderr: number | null;
  pmi: number | null;
  input: number | null;
  pmiOrders: bigint;
  pmiConsumed: bigint;
  startedNs: bigint;
  endedNs: bigint;
  userUs: bigint;
  systemUs: bigint;
  maxRssKib: bigint;
  majorFaults: bigint;
  voluntarySwitches: bigint;
  involuntarySwitches: bigint;
  /** Of 512 bytes, from and to disks. */
  readBlocks: bigint;
  writtenBlocks: bigint;
}

const noRank = 0xffffffff;
const descriptor = (value: number): number | null => (value < 0 ? null : value);

/** Bytes of a state table with this many slots: how much of FD_STATE to map. */
export const tableBytes = (slotsMax: number): number => tableLayout.size + slotsMax * slotLayout.size;

/** A view of a mapped (or copied) state table. Throws when the bytes are no state table. */
export class StateTable {
  readonly slotsMax: number;
  readonly abi: number;
  readonly #view: DataView;

  constructor(memory: ArrayBuffer) {
    if (memory.byteLength < tableLayout.size) {
      throw new Error(
        `MUSTER_STATE_TABLE_SHORT: ${memory.byteLength} bytes, expected at least ${tableLayout.size}`,
      );
    }
    this.#view = new DataView(memory);
    const magic = this.#view.getUint32(tableLayout.magic, true);
    if (magic !== MUSTER_MAGIC) {
      throw new Error(
        `MUSTER_STATE_TABLE_MAGIC: found ${magic.toString(16)}, expected ${MUSTER_MAGIC.toString(16)}: this is no rank-init`,
      );
    }
    this.abi = this.#view.getUint32(tableLayout.abi, true);
    this.slotsMax = this.#view.getUint32(tableLayout.slots_max, true);
    if (tableBytes(this.slotsMax) > memory.byteLength) {
      throw new Error(
        `MUSTER_STATE_TABLE_SHORT: ${memory.byteLength} bytes, expected ${tableBytes(this.slotsMax)} for ${this.slotsMax} slots`,
      );
    }
  }

  get slotsUsed(): number {
    return Math.min(this.#view.getUint32(tableLayout.slots_used, true), this.slotsMax);
  }
  get changes(): bigint {
    return this.#view.getBigUint64(tableLayout.changes, true);
  }
  get journalLength(): bigint {
    return this.#view.getBigUint64(tableLayout.journal_length, true);
  }
  get lastSignal(): bigint {
    return this.#view.getBigUint64(tableLayout.last_signal, true);
  }
  get startedNs(): bigint {
    return this.#view.getBigUint64(tableLayout.started_ns, true);
  }
  get running(): number {
    return this.#view.getUint32(tableLayout.running, true);
  }
  /** Whether any process but rank-init lives in the sandbox. */
  get hasDescendants(): boolean {
    return this.#view.getUint32(tableLayout.descendants, true) !== 0;
  }
  get lease(): HeldLease {
    const u64 = (offset: number): bigint => this.#view.getBigUint64(offset, true);
    return {
      state: leaseStates[this.#view.getUint32(tableLayout.lease_state, true)] ?? 'ended',
      epoch: u64(tableLayout.lease_epoch),
      expiresNs: u64(tableLayout.lease_expires_ns),
      endsNs: u64(tableLayout.lease_ends_ns),
    };
  }
  get build(): string {
    const bytes = Buffer.from(this.#view.buffer, tableLayout.build, 32);
    const end = bytes.indexOf(0);
    return bytes.toString('latin1', 0, end < 0 ? 32 : end);
  }

  stateOf(index: number): SlotState {
    return slotStates[this.#view.getUint32(this.#at(index) + slotLayout.state, true)] ?? 'empty';
  }

  slot(index: number): Slot {
    const at = this.#at(index);
    const view = this.#view;
    const u32 = (offset: number): number => view.getUint32(at + offset, true);
    const i32 = (offset: number): number => view.getInt32(at + offset, true);
    const u64 = (offset: number): bigint => view.getBigUint64(at + offset, true);
    const state = this.stateOf(index);
    const rank = u32(slotLayout.rank);
    return {
      index,
      rank: rank === noRank ? null : rank,
      startId: u32(slotLayout.start_id),
      state,
      pid: i32(slotLayout.pid),
      waitStatus: i32(slotLayout.wait_status),
      stage: startStages[u32(slotLayout.stage)] ?? 'none',
      error: i32(slotLayout.error),
      flags: u32(slotLayout.flags),
      stdin: descriptor(i32(slotLayout.fd_stdin)),
      stdout: descriptor(i32(slotLayout.fd_stdout)),
      stderr: descriptor(i32(slotLayout.fd_stderr)),
      pmi: descriptor(i32(slotLayout.fd_pmi)),
      input: descriptor(i32(slotLayout.fd_input)),
      pmiOrders: u64(slotLayout.pmi_orders),
      pmiConsumed: u64(slotLayout.pmi_consumed),
      startedNs: u64(slotLayout.started_ns),
      endedNs: u64(slotLayout.ended_ns),
      userUs: u64(slotLayout.user_us),
      systemUs: u64(slotLayout.system_us),
      maxRssKib: u64(slotLayout.max_rss_kib),
      majorFaults: u64(slotLayout.major_faults),
      voluntarySwitches: u64(slotLayout.voluntary_switches),
      involuntarySwitches: u64(slotLayout.involuntary_switches),
      readBlocks: u64(slotLayout.read_blocks),
      writtenBlocks: u64(slotLayout.written_blocks),
    };
  }

  *slots(): Generator<Slot> {
    for (let index = 0; index < this.slotsUsed; index++) yield this.slot(index);
  }

  #at(index: number): number {
    if (!(index >= 0 && index < this.slotsMax))
      throw new RangeError(`slot ${index} of a table of ${this.slotsMax}`);
    return tableLayout.size + index * slotLayout.size;
  }
}

/** What a wait status says: exactly one of the two is not null. */
export function endingOf(waitStatus: number): {
  code: number | null;
  signal: number | null;
  coreDumped: boolean;
} {
  const signal = waitStatus & 0x7f;
  return signal === 0
    ? { code: (waitStatus >> 8) & 0xff, signal: null, coreDumped: false }
    : { code: null, signal, coreDumped: (waitStatus & 0x80) !== 0 };
}
