/**
 * A directory of manifests kept in step with a store: GitOps without Kubernetes. Whatever happens in the directory,
 * the whole of it is read again and compared (`manifest-plan.ts`), so no event matters by itself. What it made is
 * remembered in a file; a broken file keeps its last good state and is reported with its line.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { watch, type FSWatcher } from 'chokidar';
import { parseManifests, type ParsedManifests } from '../../crds/manifest.ts';
import { annotations } from '../../crds/names.ts';
import type { AnyObject, KubernetesObject, ObjectStore } from '../object-store.ts';
import { apiVersionOf, resourceNameOf, type ResourceType } from '../resource.ts';
import { isStoreError, StoreError } from '../store-error.ts';
import type { Log } from './journal.ts';
import {
  idOf,
  manifestPlanOf,
  type Live,
  type ManifestAction,
  type ManifestProblem,
  type Remembered,
  type Wanted,
} from './manifest-plan.ts';

export interface ManifestsOptions {
  readonly directory: string;
  readonly store: ObjectStore;
  readonly types: readonly ResourceType[];
  /** Where it remembers what it made; `manifests.json` in the store's directory. */
  readonly memoryFile: string;
  readonly log?: Log;
  /** A file counts only when it has not changed for so long. */
  readonly settleMs?: number;
  /** Reads the directory this often even without an event. */
  readonly rescanMs?: number;
}

export interface ManifestsStatus {
  readonly files: number;
  readonly managed: number;
  readonly problems: readonly ManifestProblem[];
  /** Why nothing is deleted although files are gone. */
  readonly blocked: string | undefined;
  /** How often the directory was read since the start. */
  readonly passes: number;
}

/** Says which file an object was made from. */
export const manifestAnnotation = annotations.manifestFile.name;
const maxFileBytes = 4 * 1024 * 1024;

interface Reading {
  readonly wanted: Wanted[];
  readonly files: Set<string>;
  readonly unreadable: Set<string>;
  readonly problems: ManifestProblem[];
  directoryMissing: boolean;
  /** Some file is still being written. */
  unsettled: boolean;
}

export class Manifests implements AsyncDisposable {
  readonly #options: ManifestsOptions;
  readonly #settleMs: number;
  readonly #remembered: Map<string, Remembered>;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #dirty = false;
  /** The directory was missing, so the watch on it saw its end. */
  #watchLost = false;
  #closed = false;
  #status: ManifestsStatus;

  constructor(options: ManifestsOptions) {
    this.#options = options;
    this.#settleMs = options.settleMs ?? 200;
    this.#remembered = readMemory(options.memoryFile, options.log);
    this.#status = { files: 0, managed: this.#remembered.size, problems: [], blocked: undefined, passes: 0 };
  }

  status(): ManifestsStatus {
    return this.#status;
  }

  /** Reads the directory once and then whenever something in it changes. */
  async start(): Promise<void> {
    await this.#watch();
    await this.sync();
  }

  async #watch(): Promise<void> {
    await this.#watcher?.close();
    const watcher = watch(this.#options.directory, { ignoreInitial: true, depth: 8 });
    this.#watcher = watcher;
    // What changes before the watch stands would be missed, so the first reading comes after.
    await new Promise<void>((resolve) => watcher.once('ready', resolve));
    watcher.on('all', () => this.#soon(this.#settleMs));
    watcher.on('error', (error) => this.#options.log?.warn({ err: error }, 'manifests cannot be watched'));
  }

  /** Brings the store in step with the directory as it is now. */
  async sync(): Promise<void> {
    this.#dirty = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    await this.#running;
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#running;
    await this.#watcher?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #soon(afterMs: number): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.sync().catch((error: unknown) => {
        this.#options.log?.error({ err: error }, 'manifests could not be read');
        this.#soon(this.#options.rescanMs ?? 10_000);
      });
    }, afterMs).unref();
  }

  async #run(): Promise<void> {
    while (this.#dirty && !this.#closed) {
      this.#dirty = false;
      await this.#pass();
    }
  }

  async #pass(): Promise<void> {
    const reading = this.#read();
    const live = await this.#live(reading.wanted);
    const plan = manifestPlanOf({ ...reading, remembered: this.#remembered, live });
    const problems = [...reading.problems, ...plan.problems];
    for (const action of plan.actions) {
      const problem = await this.#perform(action);
      if (problem !== undefined) problems.push(problem);
    }
    this.#report({
      files: reading.files.size,
      managed: this.#remembered.size,
      problems,
      blocked: plan.blocked,
      passes: this.#status.passes + 1,
    });
    if (this.#watchLost && !reading.directoryMissing && !this.#closed) {
      await this.#watch();
      this.#dirty = true;
    }
    this.#watchLost = reading.directoryMissing;
    const { rescanMs = 10_000 } = this.#options;
    this.#soon(
      reading.unsettled ? this.#settleMs : reading.directoryMissing ? Math.min(500, rescanMs) : rescanMs,
    );
  }

  #report(status: ManifestsStatus): void {
    const { log, directory } = this.#options;
    const known = new Set(this.#status.problems.map((problem) => JSON.stringify(problem)));
    for (const problem of status.problems) {
      if (!known.has(JSON.stringify(problem))) log?.warn({ directory, ...problem }, 'manifest not applied');
    }
    if (status.blocked !== undefined && status.blocked !== this.#status.blocked) {
      log?.warn({ directory, why: status.blocked }, 'manifests delete nothing');
    }
    this.#status = status;
  }

  #read(): Reading {
    const reading: Reading = {
      wanted: [],
      files: new Set(),
      unreadable: new Set(),
      problems: [],
      directoryMissing: false,
      unsettled: false,
    };
    const { directory } = this.#options;
    let names: string[];
    try {
      names = fs.readdirSync(directory, { recursive: true }) as string[];
    } catch (error) {
      reading.directoryMissing = true;
      reading.problems.push({
        file: directory,
        line: 0,
        message: `cannot be read: ${(error as Error).message}`,
      });
      return reading;
    }
    for (const file of names.sort()) {
      const hidden = file.split(path.sep).some((part) => part.startsWith('.'));
      if (hidden || !/\.(ya?ml|json)$/.test(file)) continue;
      this.#readFile(file, reading);
    }
    return reading;
  }

  #readFile(file: string, reading: Reading): void {
    const fail = (message: string, line = 0): void => {
      reading.unreadable.add(file);
      reading.problems.push({ file, line, message });
    };
    let text: string;
    try {
      const full = path.join(this.#options.directory, file);
      const stat = fs.statSync(full);
      if (stat.isDirectory()) return;
      reading.files.add(file);
      if (!stat.isFile()) return fail('is not a regular file');
      if (stat.size > maxFileBytes) return fail(`is ${stat.size} bytes; at most ${maxFileBytes} are read`);
      const ageMs = Date.now() - stat.mtimeMs;
      if (ageMs >= 0 && ageMs < this.#settleMs) {
        reading.unreadable.add(file);
        reading.unsettled = true;
        return;
      }
      text = fs.readFileSync(full, 'utf8');
    } catch (error) {
      // A file that vanished between listing and reading is simply gone.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return void reading.files.delete(file);
      reading.files.add(file);
      return fail(`cannot be read: ${(error as Error).message}`);
    }
    const { objects, errors } = parseManifests(text, file);
    for (const { line, message } of errors) fail(message, line);
    const found: Wanted[] = [];
    for (const parsed of objects) {
      const wanted = this.#wantedOf(parsed, file);
      if (typeof wanted === 'string') fail(wanted, parsed.line);
      else found.push(wanted);
    }
    // All of a file or nothing: half of a broken file is not what its author meant.
    if (!reading.unreadable.has(file)) reading.wanted.push(...found);
  }

  #wantedOf(parsed: ParsedManifests['objects'][number], file: string): Wanted | string {
    const { line } = parsed;
    const object: KubernetesObject = parsed.object;
    const { apiVersion, kind } = object;
    const type = this.#options.types.find((one) => one.kind === kind && apiVersionOf(one) === apiVersion);
    if (type === undefined) {
      const known = this.#options.types.map((one) => `${apiVersionOf(one)} ${one.kind}`).join(', ');
      return `${apiVersion ?? 'no apiVersion'} ${kind ?? 'no kind'} is not a known kind; expected one of ${known}`;
    }
    const metadata = object.metadata ?? {};
    if (typeof metadata.name !== 'string' || metadata.name === '')
      return `a ${type.kind} without metadata.name`;
    const hash = createHash('sha256').update(JSON.stringify(object)).digest('hex');
    return {
      id: idOf(type, metadata),
      type,
      object,
      hash,
      file,
      line,
      lineOf: (field) => parsed.lineOf(field),
    };
  }

  /** What is there now of all that is wanted or remembered. */
  async #live(wanted: readonly Wanted[]): Promise<Map<string, Live>> {
    const ids = new Set([...wanted.map(({ id }) => id), ...this.#remembered.keys()]);
    const live = new Map<string, Live>();
    for (const id of ids) {
      const found = await this.#find(id);
      if (found === undefined) continue;
      const { uid = '', annotations: notes, deletionTimestamp } = found.metadata;
      live.set(id, {
        uid,
        madeFrom: notes?.[manifestAnnotation],
        deleting: deletionTimestamp !== undefined,
      });
    }
    return live;
  }

  async #find(id: string): Promise<AnyObject | undefined> {
    const place = this.#placeOf(id);
    if (place === undefined) return undefined;
    try {
      return await this.#options.store.get(place.type, place.key);
    } catch (error) {
      if (isStoreError(error, 'NotFound')) return undefined;
      throw error;
    }
  }

  #placeOf(id: string): { type: ResourceType; key: { namespace?: string; name: string } } | undefined {
    const [resource = '', place = ''] = id.split(' ');
    const [namespace = '', name = ''] = place.split('/');
    const type = this.#options.types.find((one) => resourceNameOf(one) === resource);
    return type && { type, key: namespace === '' ? { name } : { namespace, name } };
  }

  async #perform(action: ManifestAction): Promise<ManifestProblem | undefined> {
    const { store } = this.#options;
    switch (action.kind) {
      case 'remember':
        this.#remember(action.id, action.entry);
        return undefined;
      case 'forget':
        this.#remember(action.id, undefined);
        return undefined;
      case 'delete': {
        const place = this.#placeOf(action.id);
        const file = this.#remembered.get(action.id)?.file ?? '';
        try {
          if (place) await store.delete(place.type, place.key, { preconditions: { uid: action.uid } });
        } catch (error) {
          if (!isStoreError(error)) throw error;
          if (error.reason !== 'NotFound' && error.reason !== 'Conflict') {
            return { file, line: 0, message: `${action.id} could not be deleted: ${error.message}` };
          }
        }
        this.#remember(action.id, undefined);
        return undefined;
      }
      case 'create':
      case 'update': {
        const { id, type, file, line, lineOf, hash } = action.wanted;
        try {
          const made = await this.#write(action.kind, action.wanted);
          this.#remember(id, { uid: made.metadata.uid ?? '', hash, file });
          this.#options.log?.info({ kind: type.kind, object: id, file, line }, `manifest ${action.kind}d`);
          return undefined;
        } catch (error) {
          if (!(error instanceof StoreError)) throw error;
          const field = error.details.causes?.[0]?.field;
          return { file, line: field === undefined ? line : lineOf(field), message: error.message };
        }
      }
    }
  }

  async #write(kind: 'create' | 'update', { type, object, file }: Wanted): Promise<KubernetesObject> {
    const metadata = object.metadata;
    const notes = { ...metadata.annotations, [manifestAnnotation]: file };
    const manifest = { ...object, metadata: { ...metadata, annotations: notes } };
    if (kind === 'create') return this.#options.store.create(type, manifest);
    for (let attempt = 0; ; attempt += 1) {
      const old = await this.#options.store.get(type, {
        name: metadata.name!,
        namespace: type.namespaced ? metadata.namespace : undefined,
      });
      // Finalizers and owners belong to others; the text has the rest.
      const { finalizers, ownerReferences, uid, resourceVersion } = old.metadata;
      const kept = {
        ...(finalizers === undefined ? {} : { finalizers }),
        ...(ownerReferences === undefined ? {} : { ownerReferences }),
        ...(uid === undefined ? {} : { uid }),
        ...(resourceVersion === undefined ? {} : { resourceVersion }),
      };
      try {
        return await this.#options.store.update(type, {
          ...manifest,
          metadata: { ...manifest.metadata, ...kept },
        });
      } catch (error) {
        if (!isStoreError(error, 'Conflict') || attempt >= 5) throw error;
      }
    }
  }

  #remember(id: string, entry: Remembered | undefined): void {
    if (entry === undefined) this.#remembered.delete(id);
    else this.#remembered.set(id, entry);
    writeMemory(this.#options.memoryFile, this.#remembered);
  }
}

function readMemory(file: string, log: Log | undefined): Map<string, Remembered> {
  let text: string;
  try {
    text = fs.readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Map();
    throw error;
  }
  try {
    return new Map(Object.entries(JSON.parse(text) as Record<string, Remembered>));
  } catch (error) {
    // Without its memory it takes what it made before by the annotation, and deletes nothing.
    const aside = `${file}.unreadable-${Date.now()}`;
    fs.renameSync(file, aside);
    log?.error({ err: error, file, setAside: aside }, 'manifests forgot what they made');
    return new Map();
  }
}

function writeMemory(file: string, remembered: ReadonlyMap<string, Remembered>): void {
  const draft = `${file}.tmp`;
  const fd = fs.openSync(draft, 'w', 0o600);
  try {
    fs.writeSync(fd, `${JSON.stringify(Object.fromEntries(remembered), null, 1)}\n`);
    fs.fdatasyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
  fs.renameSync(draft, file);
}
