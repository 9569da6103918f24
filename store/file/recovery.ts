/**
 * Reads what an earlier life of a store left: the newest snapshot that can be read and the journals after it. It changes
 * nothing. What is not ours, torn or unreadable becomes a finding, which says how it is to be set aside once the
 * doubt that follows from it is on disk.
 */
import path from 'node:path';
import { doubtFile, type Severity } from './doubt.ts';
import type { FileSystem } from './file-system.ts';
import { decodeFrames, type Damage } from './frame.ts';
import { quarantine, type Quarantine } from './quarantine.ts';

/** `[resource, key, object]` puts; `[resource, key, version]` removes. */
export type Operation = readonly [resource: string, key: string, objectOrVersion: object | number];

export interface Header {
  readonly muster: 'journal' | 'snapshot';
  readonly format: 1;
  readonly store: string;
  readonly generation: number;
  readonly version: number;
  /** Snapshots: the number of object frames. */
  readonly count?: number;
}

export interface Finding {
  readonly file: string;
  /** What follows the name of the file in a sentence. */
  readonly why: string;
  /** Nothing of the store can be missing because of it when there is none. */
  readonly severity: Severity | undefined;
  /** Gives where it was put: undefined when there is nothing to put anywhere, null when that failed. */
  readonly setAside: ((quarantine: Quarantine) => string | undefined | null) | 'remove';
}

export interface Readable {
  /** Empty when no file told it. */
  readonly store: string;
  readonly version: number;
  /** The state that the journals begin with, and its version. */
  readonly snapshot: readonly Operation[];
  readonly snapshotVersion: number;
  readonly journal: readonly Operation[];
  readonly journalBytes: number;
  /** The newest journal, and where the room begins that it had set aside. */
  readonly room: { readonly file: string; readonly from: number } | undefined;
  readonly firstGeneration: number;
  readonly nextGeneration: number;
  readonly findings: readonly Finding[];
  /** Files of older generations and half-made ones, which nothing needs. */
  readonly leftovers: readonly string[];
}

const filePattern = /^(journal|snapshot)-(\d{1,12})$/;
const draftPattern = /^((journal|snapshot)-\d+|doubt\.json)\.tmp$/;
const ownFiles = /^(owner-(\d+|room)|\.owner-.*\.tmp|manifests\.json|manifests\.json\.tmp)$/;

export function readStore(fs: FileSystem, directory: string): Readable {
  const reader = new Reader(fs, directory);
  return reader.read();
}

export function versionOf([, , value]: Operation): number {
  if (typeof value === 'number') return value;
  const version = (value as { metadata?: { resourceVersion?: unknown } }).metadata?.resourceVersion;
  return Number(version ?? 0) || 0;
}

class Reader {
  readonly #fs: FileSystem;
  readonly #directory: string;
  readonly #findings: Finding[] = [];
  readonly #leftovers: string[] = [];
  #store = '';

  constructor(fs: FileSystem, directory: string) {
    this.#fs = fs;
    this.#directory = directory;
  }

  read(): Readable {
    const { snapshots, journals } = this.#names();
    // Version 0 means "any" in the API, so an empty store is at 1.
    let version = 1;
    let journalBytes = 0;
    let room: Readable['room'];
    let snapshot: readonly Operation[] = [];
    let snapshotVersion = 0;
    const batches: (readonly Operation[])[] = [];
    let base: number | undefined;
    for (const generation of snapshots) {
      if (base !== undefined) {
        this.#leftovers.push(`snapshot-${generation}`);
        continue;
      }
      const read = this.#readSnapshot(generation);
      if (read === undefined) continue;
      base = generation;
      this.#store = read.store;
      version = read.version;
      snapshotVersion = read.version;
      snapshot = read.operations;
    }
    const firstGeneration = base ?? journals[0] ?? 0;
    let expected = firstGeneration;
    for (const generation of journals) {
      if (generation < firstGeneration) {
        this.#leftovers.push(`journal-${generation}`);
        continue;
      }
      if (generation > expected) this.#miss(`journal-${expected}`, 'is missing; what it held is lost');
      expected = generation + 1;
      const read = this.#readJournal(generation, generation === journals.at(-1));
      if (read === undefined) continue;
      batches.push(read.operations);
      version = Math.max(version, read.version);
      journalBytes += read.bytes;
      room = { file: `journal-${generation}`, from: read.bytes };
    }
    return {
      store: this.#store,
      version,
      snapshot,
      snapshotVersion,
      journal: batches.flat(),
      journalBytes,
      room,
      firstGeneration,
      nextGeneration: expected,
      findings: this.#findings,
      leftovers: this.#leftovers,
    };
  }

  #names(): { snapshots: number[]; journals: number[] } {
    const snapshots: number[] = [];
    const journals: number[] = [];
    for (const { name, directory } of this.#fs.list(this.#directory)) {
      const match = filePattern.exec(name);
      if (name === doubtFile || name === quarantine || ownFiles.test(name)) continue;
      if (match && !directory) (match[1] === 'journal' ? journals : snapshots).push(Number(match[2]));
      else if (draftPattern.test(name)) this.#leftovers.push(name);
      else if (match || !directory) this.#setAsideFile(name, 'is not a file of this store', undefined);
    }
    snapshots.sort((a, b) => b - a);
    journals.sort((a, b) => a - b);
    return { snapshots, journals };
  }

  #readSnapshot(
    generation: number,
  ): { store: string; version: number; operations: readonly Operation[] } | undefined {
    const name = `snapshot-${generation}`;
    const bytes = this.#bytesOf(name);
    if (bytes === undefined) return undefined;
    const { frames, damage } = decodeFrames(bytes);
    const header = headerOf(frames[0]?.value, 'snapshot', generation);
    const operations = frames.flatMap(({ value }) => (isOperation(value) ? [value] : []));
    // A snapshot whose first line alone is unreadable still gives up its objects.
    if (header === undefined && operations.length === 0) {
      this.#setAsideFile(name, 'does not begin as a snapshot of this store does', 'Lost');
      return undefined;
    }
    for (const range of damage) this.#setAsideRange(name, bytes, range, 'holds unreadable objects', 'Lost');
    if (damage.length === 0 && operations.length !== header?.count)
      this.#miss(name, `holds ${operations.length} objects, its first line says ${header?.count}`);
    let version = header?.version ?? 0;
    for (const operation of operations) version = Math.max(version, versionOf(operation));
    return { store: header?.store ?? '', version, operations };
  }

  #readJournal(
    generation: number,
    last: boolean,
  ): { version: number; operations: readonly Operation[]; bytes: number } | undefined {
    const name = `journal-${generation}`;
    const bytes = this.#bytesOf(name);
    if (bytes === undefined) return undefined;
    const { frames, damage, end } = decodeFrames(bytes);
    const header = headerOf(frames[0]?.value, 'journal', generation);
    if (header === undefined) {
      // A power loss while the file was being made leaves it empty or torn, and nothing else in it.
      if (last && frames.length === 0 && isTornHeader(bytes))
        this.#findings.push({
          file: name,
          why: 'holds nothing but a torn first write',
          severity: 'Torn',
          setAside: 'remove',
        });
      else this.#setAsideFile(name, 'does not begin as a journal of this store does', 'Lost');
      return undefined;
    }
    if (this.#store === '') this.#store = header.store;
    if (header.store !== this.#store) {
      this.#setAsideFile(name, `belongs to another store (${header.store})`, 'Lost');
      return undefined;
    }
    for (const range of damage) {
      if (last && range.to === end)
        this.#setAsideRange(
          name,
          bytes,
          range,
          'ends in a torn write, which nobody was told had succeeded',
          'Torn',
        );
      else this.#setAsideRange(name, bytes, range, 'holds an unreadable batch of writes', 'Lost');
    }
    const operations = frames
      .slice(1)
      .flatMap(({ value }) => (Array.isArray(value) ? value.filter((item) => isOperation(item)) : []));
    let { version } = header;
    for (const operation of operations) version = Math.max(version, versionOf(operation));
    return { version, operations, bytes: end };
  }

  #bytesOf(name: string): Uint8Array | undefined {
    try {
      return this.#fs.read(path.join(this.#directory, name));
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === undefined) throw error;
      this.#setAsideFile(name, `cannot be read (${code})`, 'Lost');
      return undefined;
    }
  }

  #miss(file: string, why: string): void {
    this.#findings.push({ file, why, severity: 'Lost', setAside: () => undefined });
  }

  #setAsideFile(file: string, why: string, severity: Severity | undefined): void {
    this.#findings.push({ file, why, severity, setAside: (to) => to.file(file) });
  }

  #setAsideRange(file: string, bytes: Uint8Array, range: Damage, why: string, severity: Severity): void {
    const { from, to: end } = range;
    this.#findings.push({
      file,
      why: `${why} (bytes ${from} to ${end})`,
      severity,
      setAside: (to) => to.copy(`${file}.at-${from}`, bytes.subarray(from, end)),
    });
  }
}

/** The first line of a file is written whole; what a power loss leaves of it is some of it, and blanks. */
function isTornHeader(bytes: Uint8Array): boolean {
  const longest = 512;
  return (
    bytes.length <= longest && /^[0-9a-f\0]{0,8}$/.test(Buffer.from(bytes.subarray(0, 8)).toString('latin1'))
  );
}

function headerOf(value: unknown, muster: Header['muster'], generation: number): Header | undefined {
  const header = value as Partial<Header> | undefined;
  const good =
    header?.muster === muster &&
    header.format === 1 &&
    header.generation === generation &&
    typeof header.store === 'string' &&
    typeof header.version === 'number';
  return good ? (header as Header) : undefined;
}

function isOperation(value: unknown): value is Operation {
  if (!Array.isArray(value) || value.length !== 3) return false;
  const [resource, key, change] = value as unknown[];
  const putOrRemove = typeof change === 'number' || (typeof change === 'object' && change !== null);
  return typeof resource === 'string' && typeof key === 'string' && putOrRemove;
}
