/**
 * The start file: what rank-init starts, as bytes for a sealed memfd (struct start_file in native/rank-init/protocol.h). The
 * environment that all share stands once. It only lays out what it is given: who a rank runs as, and with what, is decided
 * by the agent.
 */
export const startFileLayout = {
  size: 32,
  magic: 0,
  abi: 4,
  count: 8,
  shared_env_count: 12,
  shared_env_offset: 16,
  entries_offset: 20,
  length: 24,
} as const;

export const startEntryLayout = {
  size: 64,
  length: 0,
  rank: 4,
  start_id: 8,
  flags: 12,
  uid: 16,
  gid: 20,
  umask: 24,
  stdin_kind: 28,
  stdout_kind: 32,
  stderr_kind: 36,
  groups: 40,
  rlimits: 44,
  cpu_bytes: 48,
  argc: 52,
  envc: 56,
  rows: 60,
  columns: 62,
} as const;

export const stdioKinds = { null: 0, pipe: 1, pty: 2, file: 3 } as const;
export type StdioKind = keyof typeof stdioKinds;
export const startFlags = { pmi: 1, noSharedEnv: 2 } as const;
export const startRlimitBytes = 24;
/** RLIM_INFINITY, for a soft or hard limit. */
export const unlimited = 0xffffffffffffffffn;

export interface StartEntry {
  /** null: a co-process or exec. */
  rank: number | null;
  /** The same (rank, startId) starts once. */
  startId: number;
  argv: readonly string[];
  /** `NAME=value`, after the shared ones. */
  env?: readonly string[];
  /** false: only `env`. */
  sharedEnv?: boolean;
  workingDirectory: string;
  searchPath: string;
  /** null: keep rank-init's. */
  uid: number | null;
  gid: number | null;
  groups?: readonly number[];
  umask: number;
  stdin: StdioKind;
  stdout: StdioKind;
  stderr: StdioKind;
  stdoutFile?: string;
  stderrFile?: string;
  rlimits?: readonly { resource: number; soft: bigint; hard: bigint }[];
  /** As sched_setaffinity(2); empty: all. */
  cpuMask?: Uint8Array;
  /** Make a PMI socketpair; the rank's end is its descriptor 3. */
  pmi: boolean;
  rows?: number;
  columns?: number;
}

const magic = 0x5254534d;
const abi = 1;
const keep = 0xffffffff;
const padded = (length: number): number => (length + 7) & ~7;

/** Strings with their NULs. Throws on a string that contains one: rank-init would see two. */
function strings(values: readonly string[], what: string): Buffer {
  for (const value of values) {
    if (value.includes('\0')) {
      throw new Error(`MUSTER_START_NUL: ${what} contains a NUL byte: ${JSON.stringify(value.slice(0, 80))}`);
    }
  }
  return values.length === 0 ? Buffer.alloc(0) : Buffer.from(values.join('\0') + '\0', 'utf8');
}

function encodeEntry(entry: StartEntry): Buffer {
  const who = entry.rank === null ? `start ${entry.startId}` : `rank ${entry.rank}`;
  const { env = [], groups = [], rlimits = [], cpuMask = new Uint8Array() } = entry;
  const { stdoutFile = '', stderrFile = '' } = entry;
  if (entry.argv.length === 0) throw new Error(`MUSTER_START_EMPTY: ${who} has no program to start`);
  const text = Buffer.concat([
    strings([entry.workingDirectory, entry.searchPath, stdoutFile, stderrFile], `a path of ${who}`),
    strings(entry.argv, `an argument of ${who}`),
    strings(env, `the environment of ${who}`),
  ]);
  const arrays = rlimits.length * startRlimitBytes + groups.length * 4 + cpuMask.length;
  const bytes = Buffer.alloc(padded(startEntryLayout.size + arrays + text.length));
  const at = startEntryLayout;
  bytes.writeUInt32LE(bytes.length, at.length);
  bytes.writeUInt32LE(entry.rank ?? keep, at.rank);
  bytes.writeUInt32LE(entry.startId, at.start_id);
  bytes.writeUInt32LE(
    (entry.pmi ? startFlags.pmi : 0) | (entry.sharedEnv === false ? startFlags.noSharedEnv : 0),
    at.flags,
  );
  bytes.writeUInt32LE(entry.uid ?? keep, at.uid);
  bytes.writeUInt32LE(entry.gid ?? keep, at.gid);
  bytes.writeUInt32LE(entry.umask, at.umask);
  bytes.writeUInt32LE(stdioKinds[entry.stdin], at.stdin_kind);
  bytes.writeUInt32LE(stdioKinds[entry.stdout], at.stdout_kind);
  bytes.writeUInt32LE(stdioKinds[entry.stderr], at.stderr_kind);
  bytes.writeUInt32LE(groups.length, at.groups);
  bytes.writeUInt32LE(rlimits.length, at.rlimits);
  bytes.writeUInt32LE(cpuMask.length, at.cpu_bytes);
  bytes.writeUInt32LE(entry.argv.length, at.argc);
  bytes.writeUInt32LE(env.length, at.envc);
  bytes.writeUInt16LE(entry.rows ?? 0, at.rows);
  bytes.writeUInt16LE(entry.columns ?? 0, at.columns);
  let offset: number = at.size;
  for (const limit of rlimits) {
    bytes.writeUInt32LE(limit.resource, offset);
    bytes.writeBigUInt64LE(limit.soft, offset + 8);
    bytes.writeBigUInt64LE(limit.hard, offset + 16);
    offset += startRlimitBytes;
  }
  for (const group of groups) offset = bytes.writeUInt32LE(group, offset);
  bytes.set(cpuMask, offset);
  bytes.set(text, offset + cpuMask.length);
  return bytes;
}

/** The whole file. `sharedEnv`: `NAME=value` strings given to every entry that does not decline them. */
export function encodeStartFile(sharedEnv: readonly string[], entries: readonly StartEntry[]): Buffer {
  const shared = strings(sharedEnv, 'the shared environment');
  const entriesOffset = padded(startFileLayout.size + shared.length);
  const encoded = entries.map(encodeEntry);
  const length = encoded.reduce((sum, entry) => sum + entry.length, entriesOffset);
  const header = Buffer.alloc(entriesOffset);
  header.writeUInt32LE(magic, startFileLayout.magic);
  header.writeUInt32LE(abi, startFileLayout.abi);
  header.writeUInt32LE(entries.length, startFileLayout.count);
  header.writeUInt32LE(sharedEnv.length, startFileLayout.shared_env_count);
  header.writeUInt32LE(startFileLayout.size, startFileLayout.shared_env_offset);
  header.writeUInt32LE(entriesOffset, startFileLayout.entries_offset);
  header.writeBigUInt64LE(BigInt(length), startFileLayout.length);
  header.set(shared, startFileLayout.size);
  return Buffer.concat([header, ...encoded], length);
}
