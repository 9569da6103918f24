// The image of one sandbox on disk: a flat directory that only root may read (who can write an image decides what root
// restores), with the engine's files, the sandbox's logs and unread input, and `manifest.json`, which says what was saved and
// names every file with its digest. The manifest is written last: a directory without one is no image. Its own digest is what
// the Checkpoint's status keeps.
import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { ImageId, SandboxSpec } from '../../wire/agent-types.ts';
import { AgentError, errnoOf } from '../agent-error.ts';
import type { StreamNumber } from '../log-stream.ts';
import { digestFile } from './digests.ts';
import type { OuterMount } from './engine.ts';
import {
  openText,
  packFile,
  sealText,
  unpackFile,
  type ImageKey,
  type PackedAs,
  type Packing,
} from './packing.ts';

export const manifestVersion = 1;
export const manifestName = 'manifest.json';
/** What was seen of the sandbox while it was held; becomes the manifest once the files' digests are known. */
export const cutName = 'cut.json';
/** Where an image is received until it is whole. */
const partSuffix = '.part';
/** Where one is unpacked for a restore. */
const openSuffix = '.open';
const packedPrefix = 'packed.';
/** Smaller files are as small as they are. */
const worthPackingBytes = 4096;

export interface SavedStream {
  readonly rank: number;
  readonly stream: StreamNumber;
  /** First offsets of the segments kept. */
  readonly segments: readonly number[];
  readonly length: number;
}

/** Standard input that was given and not read. */
export interface SavedInput {
  readonly from: number;
  readonly length: number;
  readonly ended: boolean;
  /** Slots of rank-init's table that read it, each at its position. */
  readonly readers: readonly { readonly slot: number; readonly position: number }[];
}

/** A mount of the host's. One that no process used may be missing where the sandbox is restored. */
export interface SavedMount extends OuterMount {
  readonly used: boolean;
}

/** A file outside of the image that a process had open for writing. */
export interface SavedFile {
  /** As the sandbox sees it. */
  readonly path: string;
  readonly bytes: number;
  readonly inode: number;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  /** The file of the image that is a copy of it, where one was asked for. */
  readonly copy?: string;
}

/** All that a restore must know, beside the engine's own files. */
export interface Cut {
  readonly version: number;
  readonly checkpointUid: string;
  /** NAMESPACE/NAME, for people. */
  readonly checkpoint: string;
  readonly node: string;
  readonly takenNs: number;
  readonly engine: string;
  readonly kernel: string;
  readonly architecture: string;
  readonly cpuFeatures: readonly string[];
  readonly spec: SandboxSpec;
  readonly root: string;
  readonly mounts: readonly SavedMount[];
  /** Keys of the engine's outer files. */
  readonly outerFiles: readonly string[];
  readonly streams: readonly SavedStream[];
  readonly input: SavedInput | null;
  readonly openFiles: readonly SavedFile[];
  readonly ranksStartedNs: number;
  readonly cpuUs: number;
  /** Absent in images of agents before 0.2. */
  readonly userUs?: number;
  readonly systemUs?: number;
}

export interface ImageFile {
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
  /** What it is once it is unpacked. */
  readonly plain?: {
    readonly name: string;
    readonly bytes: number;
    readonly sha256: string;
    readonly as: PackedAs;
  };
}

export interface Manifest extends Cut {
  readonly files: readonly ImageFile[];
  /** Where files are encrypted, most of this is too: it names programs and their environment. */
  readonly sealed?: { readonly key: string; readonly text: string };
}

const uidShape = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const fileShape = /^[A-Za-z0-9._-]{1,255}$/;
const keyShape = /^(.+)-(\d+)$/;

export function isValidImageId(id: ImageId | null): id is ImageId {
  return id !== null && uidShape.test(id.checkpointUid) && Number.isInteger(id.ordinal);
}

/** A file's name in an image, and nothing that leads out of it. */
export const isFileName = (name: string): boolean => fileShape.test(name) && !name.startsWith('.');

export const digestOf = (manifest: Uint8Array): string =>
  `sha256:${createHash('sha256').update(manifest).digest('hex')}`;

const damaged = (path: string, why: string, cause?: unknown): AgentError =>
  new AgentError('failed', 'ImageDamaged', 'MUSTER_IMAGE_DAMAGED', `image ${path}: ${why}`, { cause });

function manifestOf(cut: Cut, files: readonly ImageFile[], key: ImageKey | null): object {
  if (key === null) return { ...cut, files };
  const { version, checkpointUid, checkpoint, node, takenNs, engine, spec } = cut;
  const told = { version, checkpointUid, checkpoint, node, takenNs, engine, spec: { id: spec.id } };
  return { ...told, sealed: { key: key.id, text: sealText(JSON.stringify(cut), key) }, files };
}

/** An image that can be restored from, until it is disposed of. */
export interface Unpacked extends Disposable {
  readonly image: Image;
  readonly manifest: Manifest;
  /** Rejects when the ranks' memory turns out to be damaged: nothing may run before. */
  readonly whole: Promise<void>;
}

/** An image of which all is known to be whole but what ranks had in memory: that is known once `rest` has settled. */
export interface Checked {
  readonly manifest: Manifest;
  readonly rest: Promise<void>;
}

/** What nobody reads but for the ranks' memory: it does nothing before they run. */
const memoryShape = /^pages-\d+\.img$/;

/** One image's directory, whole or in the making. */
export class Image {
  readonly path: string;
  readonly id: ImageId;

  constructor(path: string, id: ImageId) {
    this.path = path;
    this.id = id;
  }

  create(): void {
    rmSync(this.path, { recursive: true, force: true });
    mkdirSync(this.path, { recursive: true, mode: 0o700 });
  }

  pathOf(name: string): string {
    return `${this.path}/${name}`;
  }

  get exists(): boolean {
    return existsSync(this.path);
  }

  get isWhole(): boolean {
    return this.readManifestBytes() !== null;
  }

  readManifestBytes(): Buffer | null {
    return read(this.pathOf(manifestName));
  }

  /** Of its manifest; empty when it is not whole. */
  digest(): string {
    const bytes = this.readManifestBytes();
    return bytes === null ? '' : digestOf(bytes);
  }

  /** Throws when there is none or it is of another kind. */
  manifest(): Manifest {
    const bytes = this.readManifestBytes();
    if (bytes === null) throw damaged(this.path, 'its manifest is missing');
    let manifest: Manifest;
    try {
      manifest = JSON.parse(bytes.toString('utf8')) as Manifest;
    } catch (error) {
      throw damaged(this.path, 'its manifest is no JSON', error);
    }
    if (manifest.version !== manifestVersion)
      throw damaged(
        this.path,
        `its manifest has version ${String(manifest.version)}, this agent reads ${String(manifestVersion)}`,
      );
    return manifest;
  }

  writeCut(cut: Cut): void {
    writeFileSync(this.pathOf(cutName), JSON.stringify(cut), { mode: 0o600 });
  }

  readCut(): Cut | null {
    const bytes = read(this.pathOf(cutName));
    return bytes === null ? null : (JSON.parse(bytes.toString('utf8')) as Cut);
  }

  /** Another one when somebody may have changed it. Cheap. */
  signature(): string {
    return list(this.path)
      .map((name) => lstatSync(this.pathOf(name)))
      .map(({ ino, size, ctimeMs }) => `${String(ino)} ${String(size)} ${String(ctimeMs)}`)
      .join();
  }

  names(): string[] {
    return list(this.path);
  }

  bytes(): number {
    let sum = 0;
    for (const name of list(this.path)) sum += lstatSync(this.pathOf(name)).size;
    return sum;
  }

  /** Brings every file to the disk, takes its digest, writes the manifest. Gives the manifest's digest. */
  async seal(cut: Cut, packing: Packing, signal: AbortSignal): Promise<string> {
    const names = list(this.path).sort();
    for (const name of names) if (name.startsWith(packedPrefix)) rmSync(this.pathOf(name)); // of an attempt before
    const files: ImageFile[] = [];
    for (const name of names) {
      if (name === cutName || name.startsWith('.') || name.startsWith(packedPrefix)) continue;
      files.push(await this.#packed(name, packing, signal));
    }
    const bytes = Buffer.from(`${JSON.stringify(manifestOf(cut, files, packing.key), null, 1)}\n`);
    this.writeManifest(bytes);
    rmSync(this.pathOf(cutName), { force: true });
    this.prune();
    return digestOf(bytes);
  }

  /** One file as it is to stay. */
  async #packed(name: string, packing: Packing, signal: AbortSignal): Promise<ImageFile> {
    const { compression, key } = packing;
    const plain = await digestFile(this.pathOf(name), signal, true);
    if (key === null && (compression === 'None' || plain.bytes < worthPackingBytes))
      return { name, ...plain };
    const as: PackedAs = { zstd: compression === 'Zstd', key: key?.id ?? '' };
    const to = `${packedPrefix}${name}`;
    await packFile(this.pathOf(name), this.pathOf(to), packing, signal);
    const stored = await digestFile(this.pathOf(to), signal, true);
    if (key !== null || stored.bytes < plain.bytes)
      return { name: to, ...stored, plain: { name, ...plain, as } };
    rmSync(this.pathOf(to));
    return { name, ...plain };
  }

  /** Removes what the manifest does not name: what was packed, above all. */
  prune(): void {
    const named = new Set(this.manifest().files.map(({ name }) => name));
    for (const name of list(this.path))
      if (name !== manifestName && !named.has(name)) rmSync(this.pathOf(name), { force: true });
  }

  /** The image as it was before it was packed, in `into`; itself, when it was not. Throws when it cannot be had. */
  async unpack(
    { manifest, rest }: Checked,
    { into: image, key }: { into: Image; key: ImageKey | null },
    signal: AbortSignal,
  ): Promise<Unpacked> {
    const { files, sealed } = manifest;
    const whole: Manifest =
      sealed === undefined
        ? manifest
        : { ...(JSON.parse(openText(sealed.text, sealed.key, key)) as Cut), files };
    if (files.every(({ plain }) => plain === undefined))
      return { image: this, manifest: whole, whole: rest, [Symbol.dispose]: () => undefined };
    await rest;
    image.create();
    try {
      for (const { name, plain } of files) {
        if (plain) await unpackFile(this.pathOf(name), image.pathOf(plain.name), plain.as, key, signal);
        else await copyFile(this.pathOf(name), image.pathOf(name), constants.COPYFILE_FICLONE);
      }
    } catch (error) {
      image.remove();
      if (error instanceof AgentError || signal.aborted) throw error;
      throw damaged(this.path, 'it cannot be unpacked', error);
    }
    const { sealed: _sealed, ...open } = whole;
    return {
      image,
      manifest: { ...open, files: files.map((file) => file.plain ?? file) },
      whole: Promise.resolve(),
      [Symbol.dispose]: () => {
        image.remove();
      },
    };
  }

  /** The last step of its making. */
  writeManifest(bytes: Uint8Array): void {
    const aside = this.pathOf(`.${manifestName}`);
    const fd = openSync(aside, 'w', 0o600);
    try {
      writeFileSync(fd, bytes);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(aside, this.pathOf(manifestName));
    syncDirectory(this.path);
  }

  /** Throws AgentError ImageDamaged unless all is there, by this digest, and nothing else; gives the manifest. */
  async check(digest: string, signal: AbortSignal): Promise<Manifest> {
    const { manifest, rest } = await this.beginCheck(digest, signal);
    await rest;
    return manifest;
  }

  /** The same, but that the ranks' memory is still being looked at. */
  async beginCheck(digest: string, signal: AbortSignal): Promise<Checked> {
    this.#checkOwner();
    const bytes = this.readManifestBytes();
    if (bytes === null) throw damaged(this.path, 'its manifest is missing');
    const found = digestOf(bytes);
    if (digest !== '' && found !== digest)
      throw damaged(this.path, `its manifest has digest ${found}, the Checkpoint says ${digest}`);
    const manifest = this.manifest();
    if (manifest.checkpointUid !== this.id.checkpointUid || manifest.spec.id?.ordinal !== this.id.ordinal)
      throw damaged(this.path, `its manifest names checkpoint ${manifest.checkpointUid}, another one`);
    for (const { name, plain } of manifest.files)
      if (!isFileName(name) || (plain && !isFileName(plain.name)))
        throw damaged(this.path, `its manifest names a file ${JSON.stringify(name)}`);
    const isMemory = ({ name }: ImageFile): boolean => memoryShape.test(name);
    const known = new AbortController();
    const rest = this.#checkFiles(manifest.files.filter(isMemory), AbortSignal.any([signal, known.signal]));
    rest.catch(() => undefined); // told to whoever waits for it
    try {
      await this.#checkFiles(
        manifest.files.filter((file) => !isMemory(file)),
        signal,
      );
    } catch (error) {
      known.abort(error);
      throw error;
    }
    return { manifest, rest };
  }

  async #checkFiles(files: readonly ImageFile[], signal: AbortSignal): Promise<void> {
    await Promise.all(files.map((file) => this.#checkFile(file, signal)));
  }

  async #checkFile({ name, bytes, sha256 }: ImageFile, signal: AbortSignal): Promise<void> {
    const now = await digestFile(this.pathOf(name), signal).catch((error: unknown) => {
      signal.throwIfAborted();
      throw damaged(this.path, `file ${name} cannot be read: ${errnoOf(error) ?? String(error)}`, error);
    });
    if (now.bytes === bytes && now.sha256 === sha256) return;
    throw damaged(
      this.path,
      `file ${name} is not what was written (${String(now.bytes)} bytes, ${String(bytes)} expected)`,
    );
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }

  /** A place beside it, to be filled and then put in its place. */
  get part(): Image {
    return new Image(`${this.path}${partSuffix}`, this.id);
  }

  /** What was filled beside it becomes the image. */
  replaceByPart(): void {
    this.remove();
    renameSync(this.part.path, this.path);
    syncDirectory(dirname(this.path));
  }

  /** An image that somebody else could have written is not restored. */
  #checkOwner(): void {
    const stat = lstatSync(this.path, { throwIfNoEntry: false });
    if (!stat) throw damaged(this.path, 'it is not there');
    if (!stat.isDirectory() || stat.uid !== (process.geteuid?.() ?? 0) || (stat.mode & 0o077) !== 0)
      throw damaged(this.path, 'it is no directory of which the agent is the only user');
  }
}

/** All images of this node. */
export class ImageStore {
  readonly root: string;
  readonly #storages: Readonly<Record<string, string>>;

  /** `storages`: directories that other nodes share, by name. */
  constructor(root: string, storages: Readonly<Record<string, string>> = {}) {
    this.root = root;
    this.#storages = storages;
    mkdirSync(root, { recursive: true, mode: 0o700 });
    for (const name of list(root))
      if (name.endsWith(partSuffix) || name.endsWith(openSuffix))
        rmSync(`${root}/${name}`, { recursive: true, force: true });
  }

  /** Where it is: on this node, or in a storage; where it would be, while it is nowhere. */
  of(id: ImageId): Image {
    const own = imageIn(this.root, id);
    if (own.exists) return own;
    const stored = Object.values(this.#storages).map((directory) => imageIn(directory, id));
    return stored.find((image) => image.exists) ?? own;
  }

  /** Undefined when this node does not have that storage. */
  inStorage(id: ImageId, name: string): Image | undefined {
    const directory = Object.hasOwn(this.#storages, name) ? this.#storages[name] : undefined;
    return directory === undefined ? undefined : imageIn(directory, id);
  }

  /** Where it is unpacked: never in a storage. */
  openOf(id: ImageId): Image {
    return new Image(`${imageIn(this.root, id).path}${openSuffix}`, id);
  }

  /** Of all that is on this node. */
  bytes(): number {
    return imagesIn(this.root).reduce((sum, image) => sum + image.bytes(), 0);
  }

  list(): Image[] {
    const all = [this.root, ...Object.values(this.#storages)].flatMap(imagesIn);
    return [...new Map(all.map((image) => [basename(image.path), image])).values()];
  }
}

function imageIn(directory: string, id: ImageId): Image {
  if (!isValidImageId(id)) throw new Error(`MUSTER_BUG: no image can have the name ${JSON.stringify(id)}`);
  return new Image(`${directory}/${id.checkpointUid}-${String(id.ordinal)}`, id);
}

function imagesIn(directory: string): Image[] {
  return list(directory).flatMap((name) => {
    const [, checkpointUid = '', ordinal = ''] = keyShape.exec(name) ?? [];
    const id = { checkpointUid, ordinal: Number(ordinal) };
    return isValidImageId(id) ? [imageIn(directory, id)] : [];
  });
}

function syncDirectory(path: string): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

function read(path: string): Buffer | null {
  try {
    return readFileSync(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
}
