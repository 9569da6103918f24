/**
 * What the store may no longer know. When files of a store cannot be read, objects may be missing from it though nobody
 * deleted them, and what others hold for objects that it does not know must not be taken for rubbish. The doubt is on
 * disk before anything is set aside or replaced, and stays until `clear`. It knows files, not objects.
 *
 * Torn: the newest write alone is cut short, as a power loss leaves it; nobody was told that it had succeeded, unless
 * the file was cut by something else. Lost: writes that were acknowledged are gone.
 */
import path from 'node:path';
import type { FileSystem } from './file-system.ts';

export type Severity = 'Torn' | 'Lost';

export interface Doubt {
  readonly severity: Severity;
  /** When the newest damage was found: objects made later are whole. */
  readonly since: string;
  /** One line for each thing that could not be read. */
  readonly messages: readonly string[];
}

export const doubtFile = 'doubt.json';
/** The first ones say what happened; a store that is damaged at every start need not fill the disk. */
const mostMessages = 64;

export class DoubtRecord {
  readonly #fs: FileSystem;
  readonly #directory: string;
  #doubt: Doubt | undefined;

  constructor(fs: FileSystem, directory: string) {
    this.#fs = fs;
    this.#directory = directory;
  }

  get doubt(): Doubt | undefined {
    return this.#doubt;
  }

  /** What an earlier life of the store wrote down. A record that cannot be read is doubt enough. */
  read(nowMs: number): void {
    let bytes: Uint8Array;
    try {
      bytes = this.#fs.read(this.#path(doubtFile));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      bytes = new Uint8Array();
    }
    this.#doubt = parse(bytes) ?? {
      severity: 'Lost',
      since: new Date(nowMs).toISOString(),
      messages: [`${doubtFile} cannot be read; what it said is lost`],
    };
  }

  async add(severity: Severity, messages: readonly string[], nowMs: number): Promise<void> {
    const before = this.#doubt;
    const doubt: Doubt = {
      severity: severity === 'Lost' ? 'Lost' : (before?.severity ?? severity),
      since: severity === 'Lost' || before === undefined ? new Date(nowMs).toISOString() : before.since,
      messages: [...new Set([...(before?.messages ?? []), ...messages])].slice(0, mostMessages),
    };
    const draft = this.#path(`${doubtFile}.tmp`);
    this.#removeIfThere(draft);
    const file = this.#fs.create(draft);
    try {
      file.write(Buffer.from(`${JSON.stringify(doubt, null, 2)}\n`), 0);
      await file.sync();
    } finally {
      file.close();
    }
    this.#fs.rename(draft, this.#path(doubtFile));
    await this.#fs.syncDirectory(this.#directory);
    this.#doubt = doubt;
  }

  async clear(): Promise<void> {
    if (this.#doubt === undefined) return;
    this.#removeIfThere(this.#path(doubtFile));
    await this.#fs.syncDirectory(this.#directory);
    this.#doubt = undefined;
  }

  #removeIfThere(file: string): void {
    try {
      this.#fs.remove(file);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }

  #path(name: string): string {
    return path.join(this.#directory, name);
  }
}

function parse(bytes: Uint8Array): Doubt | undefined {
  try {
    const { severity, since, messages } = JSON.parse(Buffer.from(bytes).toString('utf8')) as Partial<Doubt>;
    const good =
      (severity === 'Torn' || severity === 'Lost') &&
      typeof since === 'string' &&
      !Number.isNaN(Date.parse(since)) &&
      Array.isArray(messages);
    return good ? { severity, since, messages: messages.map(String) } : undefined;
  } catch {
    return undefined;
  }
}
