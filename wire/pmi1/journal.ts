// Notes: what pid 1 appends to the sandbox's journal together with consuming a request and writing its reply.
//
// They hold per-rank state only: what a rank was told, its puts, the fences it was released from. From the journal of
// a sandbox a new engine knows all that the old one knew and its ranks cannot say again. What fences resulted in is
// not here: the job's tree sends that again.
// A note: length (u32le, of all that follows), kind (u8), rank (u32le), fence (u32le), payload.

export type PmiNote =
  | { kind: 'init'; rank: number }
  | { kind: 'put'; rank: number; fence: number; key: string; value: string } // fence: the one that will publish it
  | { kind: 'released'; rank: number; fence: number }
  | { kind: 'failed'; rank: number; fence: number } // released with an error
  | { kind: 'finalize'; rank: number }
  | { kind: 'skip'; rank: number } // from here to the end of the line all is thrown away
  | { kind: 'skipped'; rank: number }
  | { kind: 'answered'; rank: number } // a question; ends the rank's spawn message too
  | { kind: 'spawn'; rank: number; text: string } // lines of a spawn message
  | { kind: 'spawnRefused'; rank: number; reason: string };

const codes = {
  init: 1,
  put: 2,
  released: 3,
  failed: 4,
  finalize: 5,
  skip: 6,
  skipped: 7,
  answered: 8,
  spawn: 9,
  spawnRefused: 10,
} as const satisfies Record<PmiNote['kind'], number>;
const kinds = new Map(Object.entries(codes).map(([kind, code]) => [code as number, kind as PmiNote['kind']]));

const lengthBytes = 4;
const headBytes = 9;

/** A note without payload. */
export function noteOf(
  kind: 'init' | 'released' | 'failed' | 'finalize' | 'skip' | 'skipped' | 'answered',
  rank: number,
  fence = 0,
): Buffer {
  return begin(codes[kind], rank, fence, 0);
}

export function putNote(rank: number, fence: number, key: string, value: string): Buffer {
  const note = begin(codes.put, rank, fence, 2 + key.length + value.length);
  const at = lengthBytes + headBytes;
  note[at] = key.length & 0xff;
  note[at + 1] = key.length >>> 8;
  note.write(key, at + 2, 'latin1');
  note.write(value, at + 2 + key.length, 'latin1');
  return note;
}

export function spawnNote(kind: 'spawn' | 'spawnRefused', rank: number, text: string): Buffer {
  const note = begin(codes[kind], rank, 0, text.length);
  note.write(text, lengthBytes + headBytes, 'latin1');
  return note;
}

/** The whole notes of a journal. A last one cut short was never acted upon: it is left out and counted in `tornBytes`. */
export function notesOf(journal: Buffer): { notes: PmiNote[]; tornBytes: number } {
  const notes: PmiNote[] = [];
  let at = 0;
  while (journal.length - at >= lengthBytes) {
    const length = journal.readUInt32LE(at);
    if (length > journal.length - at - lengthBytes) break;
    notes.push(decode(journal.subarray(at + lengthBytes, at + lengthBytes + length), at));
    at += lengthBytes + length;
  }
  return { notes, tornBytes: journal.length - at };
}

function begin(code: number, rank: number, fence: number, payloadBytes: number): Buffer {
  const note = Buffer.allocUnsafe(lengthBytes + headBytes + payloadBytes);
  writeWord(note, 0, headBytes + payloadBytes);
  note[4] = code;
  writeWord(note, 5, rank);
  writeWord(note, 9, fence);
  return note;
}

function writeWord(out: Buffer, at: number, word: number): void {
  out[at] = word & 0xff;
  out[at + 1] = (word >>> 8) & 0xff;
  out[at + 2] = (word >>> 16) & 0xff;
  out[at + 3] = word >>> 24;
}

function decode(note: Buffer, offset: number): PmiNote {
  const kind = kinds.get(note[0] ?? 0);
  const keyLength = kind === 'put' && note.length >= headBytes + 2 ? note.readUInt16LE(headBytes) : 0;
  if (kind === undefined || note.length < headBytes + (kind === 'put' ? 2 + keyLength : 0)) {
    throw new Error(
      `MUSTER_PMI_JOURNAL_CORRUPT: the PMI journal holds no known note at byte ${String(offset)}; ` +
        'it was written by another version or damaged, and the sandbox can only be ended or restored',
    );
  }
  const rank = note.readUInt32LE(1);
  const fence = note.readUInt32LE(5);
  switch (kind) {
    case 'put': {
      const keyAt = headBytes + 2;
      const key = note.toString('latin1', keyAt, keyAt + keyLength);
      return { kind, rank, fence, key, value: note.toString('latin1', keyAt + keyLength) };
    }
    case 'released':
    case 'failed':
      return { kind, rank, fence };
    case 'spawn':
      return { kind, rank, text: note.toString('latin1', headBytes) };
    case 'spawnRefused':
      return { kind, rank, reason: note.toString('latin1', headBytes) };
    case 'init':
    case 'finalize':
    case 'skip':
    case 'skipped':
    case 'answered':
      return { kind, rank };
  }
}
