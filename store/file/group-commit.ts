/**
 * Puts writes that arrive together into one batch, one wait for the disk. Writes are handed over in the order they
 * were decided; each batch is applied (its `apply` runs, in order) only once it is durable. When a batch fails, it
 * and every write decided after it are refused: they were decided on a state that never came to be.
 */
import { StoreError } from '../store-error.ts';
import type { Journal, Log } from './journal.ts';
import type { Operation } from './recovery.ts';

export interface Write {
  /** The JSON of its operation. */
  readonly text: string;
  /** Of its object: writes of one object depend on one another. */
  readonly key: string;
  /** Refused first when the disk is full, so that what is there can still be ended and deleted. */
  readonly dispensable: boolean;
  /** Makes the write visible. */
  apply(): void;
  /** Undoes what the decision reserved. */
  refuse(): void;
}

interface Waiting {
  readonly write: Write;
  resolve(): void;
  reject(error: unknown): void;
}

export interface CommitEffects {
  /** The committed state, as the operations that would make it. */
  snapshot(): readonly Operation[];
  version(): number;
  /** After each batch is applied. */
  applied(): void;
}

export interface GroupCommitOptions {
  readonly directory: string;
  /** A journal longer than this, and than the last snapshot, is replaced by a new snapshot. */
  readonly compactBytes: number;
  readonly log: Log | undefined;
}

const maxBatch = 1024;

export class GroupCommit {
  readonly #journal: Journal;
  readonly #effects: CommitEffects;
  readonly #options: GroupCommitOptions;
  #queue: Waiting[] = [];
  #running: Promise<void> | undefined;
  #compacting: Promise<void> | undefined;
  #compactAt: number;
  #closed = false;

  constructor(journal: Journal, effects: CommitEffects, options: GroupCommitOptions) {
    this.#journal = journal;
    this.#effects = effects;
    this.#options = options;
    this.#compactAt = options.compactBytes;
  }

  submit(write: Write): Promise<void> {
    if (this.#closed) {
      return Promise.reject(closedError(this.#options.directory));
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#queue.push({ write, resolve, reject });
    this.#start();
    return promise;
  }

  /** Replaces the journal by a snapshot, after what is queued now; resolves when it is done or has failed. */
  async compact(): Promise<void> {
    this.#compactAt = 0;
    this.#start();
    await this.#running;
    await this.#compacting;
  }

  /** Commits what is queued, takes no more. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
    await this.#compacting;
    this.#journal.close();
  }

  #start(): void {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      if (this.#queue.length > 0) this.#start();
    });
  }

  async #run(): Promise<void> {
    // Let every write of this turn of the event loop join the first batch, and those that follow from them at once.
    await new Promise((resolve) => void setImmediate(resolve));
    do {
      if (this.#journal.spoiled && !(await this.#recovered())) {
        this.#refuse(this.#queue.splice(0), this.#lastFailure);
        return;
      }
      const batch = this.#nextBatch();
      if (batch.length > 0) {
        try {
          await this.#journal.append(batch.map(({ write }) => write.text));
        } catch (error) {
          this.#lastFailure = error;
          if (this.#journal.spoiled) await this.#recovered();
          this.#refuse([...batch, ...this.#queue.splice(0)], error);
          continue;
        }
        for (const { write } of batch) write.apply();
        this.#effects.applied();
        for (const { resolve } of batch) resolve();
      }
      await this.#compactIfDue();
    } while (this.#queue.length > 0);
  }

  #lastFailure: unknown;

  #nextBatch(): Waiting[] {
    const batch = this.#queue.splice(0, maxBatch);
    if (!batch.some(({ write }) => write.dispensable)) return batch;
    const bytes = batch.reduce((sum, { write }) => sum + 4 * write.text.length, 0);
    if (this.#journal.hasRoom(bytes)) return batch;
    const refused = new Set<string>();
    const isRefused = ({ write: { key, dispensable } }: Waiting): boolean => {
      if (dispensable) refused.add(key);
      return refused.has(key);
    };
    const { out = [], kept = [] } = Object.groupBy([...batch, ...this.#queue.splice(0)], (waiting) =>
      isRefused(waiting) ? 'out' : 'kept',
    );
    this.#refuse(out, this.#journal.roomFailure);
    this.#queue.unshift(...kept);
    return this.#queue.splice(0, maxBatch);
  }

  #refuse(waiting: readonly Waiting[], cause: unknown): void {
    const error = writeErrorOf(cause, this.#options.directory, this.#journal.spoiled);
    this.#options.log?.error({ err: cause, writes: waiting.length }, 'store refused writes');
    for (const { write } of waiting) write.refuse();
    for (const { reject } of waiting) reject(error);
  }

  async #recovered(): Promise<boolean> {
    await this.#compacting;
    try {
      await this.#journal.recover(this.#effects.snapshot(), this.#effects.version());
      return true;
    } catch (error) {
      this.#lastFailure = error;
      return false;
    }
  }

  async #compactIfDue(): Promise<void> {
    if (this.#compacting !== undefined || this.#journal.spoiled || this.#journal.length < this.#compactAt)
      return;
    const { compactBytes, log } = this.#options;
    try {
      const finish = await this.#journal.beginGeneration(this.#effects.version());
      const state = this.#effects.snapshot();
      this.#compactAt = compactBytes;
      this.#compacting = finish(state)
        .then(
          (bytes) => {
            this.#compactAt = Math.max(compactBytes, bytes);
            log?.info({ objects: state.length, bytes }, 'store wrote a snapshot');
          },
          (error: unknown) =>
            log?.warn({ err: error }, 'store could not write a snapshot; the journal stays'),
        )
        .finally(() => {
          this.#compacting = undefined;
        });
    } catch (error) {
      this.#compactAt = this.#journal.length + compactBytes;
      log?.warn({ err: error }, 'store could not begin a new journal; the old one stays in use');
    }
  }
}

export function closedError(directory: string): StoreError {
  return new StoreError('Unavailable', `The store in ${directory} is closed`);
}

function writeErrorOf(cause: unknown, directory: string, outcomeUnknown: boolean): StoreError {
  const code = (cause as NodeJS.ErrnoException | undefined)?.code ?? 'unknown error';
  const full = code === 'ENOSPC' || code === 'EDQUOT';
  const what = full
    ? `The disk of the store in ${directory} is full`
    : `The store in ${directory} cannot be written (${code})`;
  if (outcomeUnknown) {
    return new StoreError(
      'Unavailable',
      `${what}; whether this write is kept shows when the store can be written again; free or mend the disk`,
      {},
      { cause },
    );
  }
  const advice = full ? 'free some space and try again' : 'see the log';
  return new StoreError(
    full ? 'InsufficientStorage' : 'InternalError',
    `${what}: nothing was written; ${advice}`,
    {},
    { cause },
  );
}
