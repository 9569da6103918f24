/**
 * The ObjectStore in a directory of its own. All objects are in memory; a write is decided at once against the state
 * that includes the writes still on their way to the disk, and answered, listed and watched only when it is
 * durable. The rules of a write are `transition.ts`, the disk is `journal.ts` and `group-commit.ts`; this file ties
 * them together and keeps the version counter.
 */
import { randomUUID, randomInt } from 'node:crypto';
import type { ApiStore, Decision } from '../api-store.ts';
import { appliedBy, appliedObject } from '../authored-write.ts';
import type { GarbageStep } from '../garbage.ts';
import { GarbageCollector } from '../garbage-collector.ts';
import { selectionOf } from '../label-selector.ts';
import type {
  AnyObject,
  DeleteOptions,
  DeleteResult,
  KubernetesObject,
  ListOptions,
  ObjectKey,
  ObjectList,
  Patch,
  PatchOptions,
  WatchEvent,
  WatchOptions,
} from '../object-store.ts';
import { tableKeyOf, type ObjectTable } from '../object-table.ts';
import { Pages } from '../pages.ts';
import { applyPatch } from '../patch.ts';
import type { ResourceType } from '../resource.ts';
import { StoreError } from '../store-error.ts';
import {
  createdObject,
  deletedObject,
  errorOf,
  alreadyExists,
  keyOf,
  notFound,
  orNotFound,
  statusUpdatedObject,
  updatedObject,
  withResourceVersion,
  type Admit,
  type Birth,
  type Change,
  type StoredObject,
} from '../transition.ts';
import { bookmarkOf, streamOf, tooOld } from '../watch-stream.ts';
import { DoubtRecord, type Doubt } from './doubt.ts';
import { nodeFileSystem, type FileSystem } from './file-system.ts';
import { closedError, GroupCommit } from './group-commit.ts';
import { HeldObjects } from './held-objects.ts';
import { Journal, usualRoomBytes, type Log, type Problem, type Recovered } from './journal.ts';
import { takeOwnership } from './ownership.ts';
import type { Operation } from './recovery.ts';

export interface FileStoreOptions {
  readonly directory: string;
  /** There was a store here: an empty directory is a loss. */
  readonly existed?: boolean | undefined;
  readonly types: readonly ResourceType[];
  readonly admit?: Admit | undefined;
  readonly log?: Log | undefined;
  readonly fileSystem?: FileSystem | undefined;
  /** Takes the directory for this process alone, or throws naming who has it. */
  readonly own?: ((directory: string) => Disposable) | undefined;
  readonly now?: (() => number) | undefined;
  readonly newUid?: (() => string) | undefined;
  /** How many changes of each kind a watch may resume over. */
  readonly windowEvents?: number | undefined;
  readonly bookmarkEveryMs?: number | undefined;
  readonly maxObjectBytes?: number | undefined;
  readonly compactBytes?: number | undefined;
  /** Of the disk, kept for writes that must not fail when it is full. */
  readonly roomBytes?: number | undefined;
}

/** `isNew`: there is no object of this name yet. */
export type Foretold = (type: ResourceType, object: StoredObject, isNew: boolean) => void;

interface Pending {
  /** Undefined: removed. */
  readonly object: StoredObject | undefined;
  readonly durable: Promise<void>;
}

const suffixLetters = 'bcdfghjklmnpqrstvwxz2456789';
const maxJournalFiles = 8;

export class FileStore implements ApiStore, AsyncDisposable {
  readonly types: readonly ResourceType[];
  /** What was found damaged or foreign when the store was opened, and where it was set aside. */
  readonly problems: readonly Problem[];
  readonly #doubt: DoubtRecord;
  readonly #options: FileStoreOptions;
  readonly #ownership: Disposable;
  readonly #commit: GroupCommit;
  readonly #garbage: GarbageCollector;
  readonly #held: HeldObjects;
  readonly #pages = new Pages<StoredObject>();
  readonly #pending = new Map<string, Pending>();
  readonly #foretold = new Set<Foretold>();
  #decided = 0;
  #committed = 0;
  #closed = false;

  static async open(options: FileStoreOptions): Promise<FileStore> {
    const ownership = (options.own ?? takeOwnership)(options.directory);
    try {
      const fileSystem = options.fileSystem ?? nodeFileSystem;
      const doubt = new DoubtRecord(fileSystem, options.directory);
      const journal = new Journal(fileSystem, options.directory, doubt, options.roomBytes ?? usualRoomBytes);
      const nowMs = (options.now ?? Date.now)();
      const recovered = await journal.open(randomUUID(), nowMs, options.existed ?? false);
      const store = new FileStore(options, ownership, journal, doubt, recovered);
      store.#held.load(recovered);
      store.#decided = store.#committed = recovered.version;
      const unknown = store.#held.unknown.size;
      if (unknown > 0)
        options.log?.warn({ objects: unknown }, 'store keeps objects of kinds it does not know');
      for (const problem of recovered.problems)
        options.log?.error({ ...problem }, 'store set something aside');
      const repaired = recovered.problems.length > 0 && recovered.replaceable;
      const long = recovered.journalFiles > maxJournalFiles || recovered.journalBytes > store.#compactBytes;
      if (repaired || long) await store.#commit.compact();
      return store;
    } catch (error) {
      ownership[Symbol.dispose]();
      throw error;
    }
  }

  private constructor(
    options: FileStoreOptions,
    ownership: Disposable,
    journal: Journal,
    doubt: DoubtRecord,
    { problems }: Recovered,
  ) {
    this.#options = options;
    this.#ownership = ownership;
    this.types = options.types;
    this.problems = problems;
    this.#doubt = doubt;
    this.#held = new HeldObjects(options.types, options.windowEvents ?? 4096, (uid) =>
      this.#garbage.look(uid),
    );
    this.#commit = new GroupCommit(
      journal,
      {
        snapshot: () => this.#held.snapshot(),
        version: () => this.#committed,
        applied: () => this.#held.wake(),
      },
      { directory: options.directory, compactBytes: this.#compactBytes, log: options.log },
    );
    this.#garbage = new GarbageCollector({
      find: (uid) => this.#held.owners.find(uid)?.object,
      dependentsOf: (uid) => this.#held.owners.dependentsOf(uid).map(({ object }) => object),
      ownerState: (object, owner) => this.#held.ownerState(object, owner),
      perform: (step) => this.#performGarbageStep(step),
      failed: (error, step) =>
        options.log?.warn(
          { err: error, kind: step.object.kind, name: step.object.metadata.name },
          'garbage waits',
        ),
    });
  }

  get #compactBytes(): number {
    return this.#options.compactBytes ?? 16 * 1024 * 1024;
  }

  /** Set when objects may be missing that nobody deleted, now or in an earlier life, until `trust`. */
  get doubt(): Doubt | undefined {
    return this.#doubt.doubt;
  }

  /** What the store holds is all that there is, by the word of somebody who may say so. */
  trust(): Promise<void> {
    return this.#doubt.clear();
  }

  /** The number of objects. */
  get size(): number {
    return this.#held.size;
  }

  /**
   * Calls back with every write as soon as it is decided: it is on its way to the disk, and may still be refused. For what can be
   * prepared meanwhile, and undone; what the listener itself writes at once shares the wait. Nobody outside may be shown it.
   */
  foretell(listener: Foretold): Disposable {
    this.#foretold.add(listener);
    return { [Symbol.dispose]: () => void this.#foretold.delete(listener) };
  }

  /** Resolves when every write that is on its way now is durable, or refused. */
  async settled(): Promise<void> {
    if (this.#pending.size === 0) return;
    await Promise.allSettled([...this.#pending.values()].map(({ durable }) => durable));
  }

  async get<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    key: ObjectKey,
    signal?: AbortSignal,
  ): Promise<T> {
    signal?.throwIfAborted();
    this.#refuseIfClosed();
    const found = this.#held.table(type).get(tableKeyFor(type, key));
    if (found === undefined) throw notFound(type, key);
    return Promise.resolve(found as unknown as T);
  }

  async list<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    options: ListOptions = {},
    signal?: AbortSignal,
  ): Promise<ObjectList<T>> {
    signal?.throwIfAborted();
    this.#refuseIfClosed();
    const table = this.#held.table(type);
    if (options.continue !== undefined && options.continue !== '') {
      return Promise.resolve(this.#pages.next(options.continue, options.limit) as unknown as ObjectList<T>);
    }
    const selection = selectionOf(options, table.type);
    const all = table.sorted(type.namespaced ? options.namespace : undefined);
    const items = selection === undefined ? all : all.filter(selection);
    const page = this.#pages.first(items, String(this.#committed), options.limit);
    return Promise.resolve(page as unknown as ObjectList<T>);
  }

  watch<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    options: WatchOptions = {},
    signal?: AbortSignal,
  ): AsyncIterable<WatchEvent<T>> {
    return this.#watch(type, options, signal) as AsyncIterable<WatchEvent<never>>;
  }

  async *#watch(
    type: ResourceType,
    options: WatchOptions,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<WatchEvent<AnyObject>, void, undefined> {
    this.#refuseIfClosed();
    const table = this.#held.table(type);
    const window = this.#held.window(table.resource);
    const selection = selectionOf(options, table.type);
    const { resourceVersion = '0' } = options;
    let position: number | undefined;
    if (resourceVersion === '0' || resourceVersion === '') {
      position = window.end;
      const version = this.#committed;
      for (const object of table.sorted(type.namespaced ? options.namespace : undefined)) {
        if (signal?.aborted) return;
        if (selection === undefined || selection(object)) yield { type: 'ADDED', object };
      }
      if (options.bookmarks) yield bookmarkOf(type, version, true);
    } else {
      const version = Number(resourceVersion);
      if (!/^\d{1,16}$/.test(resourceVersion)) {
        throw errorOf('BadRequest', type, undefined, `resourceVersion ${resourceVersion} is not a number`);
      }
      position = version > this.#committed ? undefined : window.positionAfter(version);
      if (position === undefined) throw tooOld(type, resourceVersion);
    }
    const source = {
      type,
      window,
      version: () => this.#committed,
      closed: () => (this.#closed ? closedError(this.#options.directory) : undefined),
    };
    const bookmarkEveryMs = options.bookmarks ? (this.#options.bookmarkEveryMs ?? 60_000) : undefined;
    yield* streamOf(source, { position, selection, bookmarkEveryMs }, signal);
  }

  async create<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    object: T,
    signal?: AbortSignal,
  ): Promise<T> {
    signal?.throwIfAborted();
    const generated = (object.metadata?.name ?? '') === '' && (object.metadata?.generateName ?? '') !== '';
    for (let attempt = 0; ; attempt += 1) {
      const born = createdObject(type, object, this.birth(), this.#options.admit);
      try {
        const result = await this.#write(type, keyOf(type, born), (head) => {
          if (head !== undefined) throw alreadyExists(type, head);
          return { kind: 'put', object: born };
        });
        return result.object as unknown as T;
      } catch (error) {
        if (!generated || attempt >= 8 || !(error instanceof StoreError) || error.reason !== 'AlreadyExists')
          throw error;
      }
    }
  }

  async change(
    type: ResourceType,
    key: ObjectKey,
    decide: Decision,
    { dryRun = false }: { readonly dryRun?: boolean | undefined } = {},
  ): Promise<Change> {
    const rules = { admit: this.#options.admit, nowMs: this.#now() };
    return this.#write(type, key, (head) => decide(head, rules), dryRun);
  }

  birth(): Birth {
    return { uid: this.#newUid(), nowMs: this.#now(), suffix: randomSuffix() };
  }

  async update<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    object: T,
    signal?: AbortSignal,
  ): Promise<T> {
    signal?.throwIfAborted();
    const key = keyOf(type, object);
    const result = await this.#write(type, key, (head) =>
      updatedObject(type, orNotFound(type, key, head), object, this.#options.admit),
    );
    return result.object as unknown as T;
  }

  async updateStatus<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    object: T,
    signal?: AbortSignal,
  ): Promise<T> {
    signal?.throwIfAborted();
    const key = keyOf(type, object);
    const result = await this.#write(type, key, (head) =>
      statusUpdatedObject(type, orNotFound(type, key, head), object, this.#options.admit),
    );
    return result.object as unknown as T;
  }

  async patch<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    key: ObjectKey,
    patch: Patch,
    options: PatchOptions = {},
    signal?: AbortSignal,
  ): Promise<T> {
    signal?.throwIfAborted();
    const result = await this.#write(type, key, (head) => {
      if (patch.type === 'apply') return this.#applied(type, head, patch, options);
      const old = orNotFound(type, key, head);
      const patched = applyPatch(old, patch) as KubernetesObject;
      const { name, namespace, uid } = patched.metadata ?? {};
      if (name !== old.metadata.name || namespace !== old.metadata.namespace || uid !== old.metadata.uid) {
        throw errorOf('Invalid', type, old.metadata.name, 'a patch may not change name, namespace or uid');
      }
      const change = options.subresource === 'status' ? statusUpdatedObject : updatedObject;
      return change(type, old, patched, this.#options.admit);
    });
    return result.object as unknown as T;
  }

  async delete<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    key: ObjectKey,
    options: DeleteOptions = {},
    signal?: AbortSignal,
  ): Promise<DeleteResult<T>> {
    signal?.throwIfAborted();
    const result = await this.#write(
      type,
      key,
      (head) => {
        const old = orNotFound(type, key, head);
        return deletedObject(
          type,
          old,
          options,
          this.#now(),
          this.#held.owners.hasDependents(old.metadata.uid),
        );
      },
      options.dryRun,
    );
    if (result.kind === 'remove') return { gone: true, uid: result.object.metadata.uid };
    return { gone: false, object: result.object as unknown as T };
  }

  #applied(
    type: ResourceType,
    head: StoredObject | undefined,
    patch: Extract<Patch, { type: 'apply' }>,
    { subresource }: PatchOptions,
  ): Change {
    const author = { manager: patch.fieldManager, subresource, nowMs: this.#now() };
    const rest = { force: patch.force ?? false, birth: this.birth(), admit: this.#options.admit };
    const wanted = appliedObject(type, patch.patch);
    return appliedBy(author, this.#held.table(type).type, head, wanted, rest);
  }

  /** Resolves when the garbage collector has nothing left to do. */
  collected(): Promise<void> {
    return this.#garbage.idle();
  }

  /** Replaces the journal by a snapshot now. */
  compact(): Promise<void> {
    return this.#commit.compact();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#garbage.stop();
    await this.#commit.close();
    this.#held.wakeAll();
    this.#ownership[Symbol.dispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Decides a write on the newest state, hands it to the disk, and returns what it came to. */
  async #write(
    type: ResourceType,
    key: ObjectKey,
    decide: (head: StoredObject | undefined) => Change,
    dryRun = false,
  ): Promise<Change> {
    const table = this.#held.table(type);
    const tableKey = tableKeyFor(type, key);
    const pendingKey = `${table.resource} ${tableKey}`;
    for (let attempt = 0; ; attempt += 1) {
      this.#refuseIfClosed();
      const pending = this.#pending.get(pendingKey);
      const head = pending === undefined ? table.get(tableKey) : pending.object;
      let change: Change;
      try {
        change = decide(head);
      } catch (error) {
        // What was refused because of a write that is not durable yet is judged again when it is, or is not.
        if (pending === undefined || attempt > 0) throw error;
        await pending.durable.catch(() => undefined);
        continue;
      }
      if (dryRun) return change;
      if (change.kind === 'none') {
        await pending?.durable;
        return change;
      }
      return this.#commitChange(table, tableKey, pendingKey, change, head === undefined);
    }
  }

  async #commitChange(
    table: ObjectTable,
    key: string,
    pendingKey: string,
    change: Change,
    isNew: boolean,
  ): Promise<Change> {
    const version = this.#decided + 1;
    const object = withResourceVersion(change.object, version);
    const operation: Operation = [table.resource, key, change.kind === 'remove' ? version : object];
    const text = JSON.stringify(operation);
    this.#refuseIfTooLarge(table.type, object, text.length);
    this.#decided = version;
    const forget = (): void => {
      if (this.#pending.get(pendingKey) === entry) this.#pending.delete(pendingKey);
    };
    const durable = this.#commit.submit({
      text,
      key: pendingKey,
      dispensable: isNew,
      apply: () => {
        forget();
        this.#committed = version;
        this.#held.apply(table, key, change.kind === 'remove', object, version);
      },
      refuse: forget,
    });
    const entry: Pending = { object: change.kind === 'remove' ? undefined : object, durable };
    if (!this.#closed) this.#pending.set(pendingKey, entry);
    if (change.kind === 'put') for (const tell of this.#foretold) tell(table.type, object, isNew);
    await durable;
    return { kind: change.kind, object };
  }

  async #performGarbageStep(step: GarbageStep): Promise<void> {
    const { uid, resourceVersion, name, namespace } = step.object.metadata;
    const found = this.#held.owners.find(uid);
    if (found === undefined) return;
    const { type } = found.table;
    const key = { name, namespace };
    switch (step.kind) {
      case 'delete':
        await this.delete(type, key, {
          propagation: step.propagation,
          preconditions: { uid, resourceVersion },
        });
        return;
      case 'drop-owners':
      case 'drop-finalizer': {
        const { metadata } = step.object;
        const changed =
          step.kind === 'drop-owners'
            ? {
                ownerReferences: (metadata.ownerReferences ?? []).filter(
                  (owner) => !step.uids.includes(owner.uid),
                ),
              }
            : { finalizers: (metadata.finalizers ?? []).filter((finalizer) => finalizer !== step.finalizer) };
        const object = { ...step.object, metadata: { ...metadata, ...changed } };
        await this.#write(type, key, (head) => updatedObject(type, orNotFound(type, key, head), object));
      }
    }
  }

  #refuseIfTooLarge(type: ResourceType, object: StoredObject, length: number): void {
    const most = this.#options.maxObjectBytes ?? 1.5 * 1024 * 1024;
    if (length > most) {
      throw errorOf(
        'TooLarge',
        type,
        object.metadata.name,
        `it is ${length} characters, more than the ${most} allowed`,
      );
    }
  }

  #refuseIfClosed(): void {
    if (this.#closed) throw closedError(this.#options.directory);
  }

  #now(): number {
    return (this.#options.now ?? Date.now)();
  }

  #newUid(): string {
    return (this.#options.newUid ?? randomUUID)();
  }
}

function tableKeyFor(type: ResourceType, key: ObjectKey): string {
  return tableKeyOf(type.namespaced ? (key.namespace ?? 'default') : undefined, key.name);
}

function randomSuffix(): string {
  return Array.from({ length: 5 }, () => suffixLetters[randomInt(suffixLetters.length)]).join('');
}
