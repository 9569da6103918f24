/**
 * Encodes START files for the tests of rank-init, straight from native/rank-init/protocol.h: on purpose not the agent's own
 * encoder, so that the two check one another.
 */
export const MAGIC = 0x5254534d;
export const NO_RANK = 0xffffffff;
export const stdioKind = { null: 0, pipe: 1, pty: 2, file: 3 } as const;
export type StdioKind = keyof typeof stdioKind;

export interface Entry {
  argv: readonly string[];
  env?: readonly string[];
  rank?: number;
  startId?: number;
  pmi?: boolean;
  sharedEnv?: boolean;
  uid?: number;
  gid?: number;
  groups?: readonly number[];
  umask?: number;
  stdin?: StdioKind;
  stdout?: StdioKind;
  stderr?: StdioKind;
  rlimits?: readonly (readonly [resource: number, soft: bigint, hard: bigint])[];
  cpuMask?: Uint8Array;
  rows?: number;
  columns?: number;
  cwd?: string;
  path?: string;
  stdoutFile?: string;
  stderrFile?: string;
}

const padded = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.alloc((8 - (bytes.length % 8)) % 8)]);
const strings = (texts: readonly string[]): Buffer => Buffer.from(texts.map((text) => `${text}\0`).join(''));

function encodeEntry(entry: Entry, rank: number): Buffer {
  const rlimits = entry.rlimits ?? [];
  const groups = entry.groups ?? [];
  const cpuMask = entry.cpuMask ?? new Uint8Array();
  const limitBytes = Buffer.alloc(rlimits.length * 24);
  rlimits.forEach(([resource, soft, hard], i) => {
    limitBytes.writeUInt32LE(resource, i * 24);
    limitBytes.writeBigUInt64LE(soft, i * 24 + 8);
    limitBytes.writeBigUInt64LE(hard, i * 24 + 16);
  });
  const groupBytes = Buffer.alloc(groups.length * 4);
  groups.forEach((gid, i) => groupBytes.writeUInt32LE(gid, i * 4));
  const texts = strings([
    entry.cwd ?? '/',
    entry.path ?? '',
    entry.stdoutFile ?? '',
    entry.stderrFile ?? '',
    ...entry.argv,
    ...(entry.env ?? ['PATH=/usr/bin:/bin']),
  ]);
  const whole = padded(Buffer.concat([Buffer.alloc(64), limitBytes, groupBytes, cpuMask, texts]));
  const words = [
    whole.length,
    entry.rank ?? rank,
    entry.startId ?? 0,
    (entry.pmi ? 1 : 0) | (entry.sharedEnv === false ? 2 : 0),
    entry.uid ?? NO_RANK,
    entry.gid ?? NO_RANK,
    entry.umask ?? 0o22,
    stdioKind[entry.stdin ?? 'null'],
    stdioKind[entry.stdout ?? 'pipe'],
    stdioKind[entry.stderr ?? 'null'],
    groups.length,
    rlimits.length,
    cpuMask.length,
    entry.argv.length,
    (entry.env ?? ['PATH=/usr/bin:/bin']).length,
  ];
  words.forEach((word, i) => whole.writeUInt32LE(word, i * 4));
  whole.writeUInt16LE(entry.rows ?? 24, 60);
  whole.writeUInt16LE(entry.columns ?? 80, 62);
  return whole;
}

/** Entries without a rank of their own are numbered from `firstRank`. */
export function startFile(
  entries: readonly Entry[],
  sharedEnv: readonly string[] = [],
  firstRank = 0,
): Buffer {
  const shared = padded(strings(sharedEnv));
  const header = Buffer.alloc(32);
  const body = entries.map((entry, i) => encodeEntry(entry, firstRank + i));
  const length = 32 + shared.length + body.reduce((sum, entry) => sum + entry.length, 0);
  [MAGIC, 1, entries.length, sharedEnv.length, 32, 32 + shared.length].forEach((word, i) =>
    header.writeUInt32LE(word, i * 4),
  );
  header.writeBigUInt64LE(BigInt(length), 24);
  return Buffer.concat([header, shared, ...body]);
}
