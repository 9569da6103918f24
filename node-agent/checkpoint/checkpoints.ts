// What the sandboxes of one agent share for checkpoints: the engine, what it was found able to do, the images of this node.
import type { RestoreOrder } from '../../wire/agent-types.ts';
import { AgentError, messageOf } from '../agent-error.ts';
import type { AgentConfig } from '../config.ts';
import type { TlsMaterial } from '../tls.ts';
import type { Wire } from '../../wire/load.ts';
import { fetchImage } from './image-transfer.ts';
import type { Native } from '../../native/addon/index.ts';
import { ApplicationEngine } from './application-engine.ts';
import { CriuEngine } from './criu-engine.ts';
import { CriuPrograms } from './criu-programs.ts';
import type { CheckpointEngine, Probe } from './engine.ts';
import { ImageKeeper } from './image-keeper.ts';
import {
  ImageStore,
  isValidImageId,
  type Checked,
  type Image,
  type Manifest,
  type Unpacked,
} from './image.ts';
import { readImageKey, type Packing } from './packing.ts';
import { ImageRoom } from './room.ts';
import { storageTrouble } from './storages.ts';

const probeWithinMs = 10_000;
const lookEveryMs = 10_000;

export class Checkpoints {
  /** Of processes as they are: what moves is moved by it. */
  readonly engine: CriuEngine;
  readonly #application = new ApplicationEngine();
  readonly images: ImageStore;
  readonly keeper: ImageKeeper;
  readonly room: ImageRoom;
  /** How images are kept here. */
  readonly packing: Packing;
  readonly #node: string;
  readonly #storages: Readonly<Record<string, string>>;
  #probed: Promise<Probe> | null = null;
  #identity = '';
  #told: string | undefined;
  /** Told when the node can do other things than before. */
  readonly listeners = new Set<(probe: Probe) => void>();

  constructor(native: Native, wire: Wire, tls: TlsMaterial, config: AgentConfig) {
    const { criu, nativeDir, keepNamespaces, stateDir, nodeConfig } = config;
    this.#node = config.node;
    this.engine = new CriuEngine({
      native,
      nativeDir,
      programs: new CriuPrograms(criu ?? [], `${stateDir}/criu`),
      keepNamespaces: keepNamespaces ?? false,
    });
    this.#storages = nodeConfig.storages;
    this.images = new ImageStore(`${stateDir}/images`, this.#storages);
    const { imageCompression, imageKeyFile } = nodeConfig;
    const key = imageKeyFile === '' ? null : readImageKey(imageKeyFile);
    this.packing = { compression: imageCompression, key };
    this.room = new ImageRoom(this.images, nodeConfig.imageBudgetBytes);
    const checkRoom = (bytes: number) => {
      this.room.check(bytes);
    };
    this.keeper = new ImageKeeper(this.images, (image, from, signal) => {
      const sources = from.sources.filter(({ node }) => node !== config.node);
      return fetchImage(image, { ...from, sources, wire, tls, checkRoom }, signal);
    });
  }

  /** Found out once for each program; a failure is tried again. */
  async probe(): Promise<Probe> {
    const { identity } = this.engine;
    if (identity !== this.#identity) this.#probed = null;
    this.#identity = identity;
    this.#probed ??= this.engine.probe(AbortSignal.timeout(probeWithinMs));
    const probe = await this.#probed;
    if (probe.version === null) this.#probed = null;
    const text = probe.version ?? probe.why;
    if (this.#told !== undefined && this.#told !== text)
      for (const listener of this.listeners) listener(probe);
    this.#told = text;
    return probe;
  }

  /** The one that an order names, for a sandbox that was made with or without a place for ranks to save themselves. */
  engineFor(ordered: string, savesItself: boolean): CheckpointEngine {
    return ordered === 'Application' || (ordered !== 'Criu' && savesItself) ? this.#application : this.engine;
  }

  /** The one that took an image: by its version, as `engineVersion` has told it. */
  engineOf({ engine }: Pick<Manifest, 'engine'>): CheckpointEngine {
    return engine.startsWith(this.#application.name) ? this.#application : this.engine;
  }

  /** An engine's version. Throws AgentError EngineMissing where it does not work. */
  async engineVersion(engine: CheckpointEngine = this.engine): Promise<string> {
    const { version, why } =
      engine === this.engine ? await this.probe() : await engine.probe(AbortSignal.timeout(probeWithinMs));
    if (version !== null) return version;
    throw new AgentError('refused', 'EngineMissing', 'MUSTER_CRIU_MISSING', `node ${this.#node}: ${why}`);
  }

  /** Why images cannot be kept in a storage from here, for people; null: they can. */
  storageTrouble(name: string): string | null {
    const directory = Object.hasOwn(this.#storages, name) ? this.#storages[name] : undefined;
    if (directory === undefined) {
      const names = Object.keys(this.#storages);
      return `node ${this.#node} has no storage ${name}; it has ${names.length === 0 ? 'none' : names.join(', ')}`;
    }
    const why = storageTrouble(directory, this.#node);
    return why === null ? null : `storage ${name} cannot be used from node ${this.#node}: ${why}`;
  }

  /** What of storages goes into what the node can do. */
  storageFeatures(): { features: string[]; missing: string[] } {
    const found = Object.keys(this.#storages).map((name) => ({ name, why: this.storageTrouble(name) }));
    return {
      features: found.filter(({ why }) => why === null).map(({ name }) => `storage-${name}`),
      missing: found.flatMap(({ name, why }) => (why === null ? [] : [`storage-${name}: ${why}`])),
    };
  }

  /** Looks again now and then, until the signal aborts. */
  watch(signal: AbortSignal): void {
    const timer = setInterval(() => {
      void this.probe();
      void this.keeper.lookAgain(signal);
      if (Object.keys(this.#storages).length > 0) this.keeper.lookAround();
    }, lookEveryMs);
    timer.unref();
    signal.addEventListener('abort', () => {
      clearInterval(timer);
    });
  }

  /** The image that a restore asks for, brought here if need be, checked and unpacked. */
  async imageFor(order: RestoreOrder, signal: AbortSignal): Promise<Unpacked> {
    const { image, ...checked } = await this.#wholeImage(order, signal);
    const { manifest } = checked;
    const plainBytes = manifest.files.reduce((sum, { plain }) => sum + (plain?.bytes ?? 0), 0);
    if (plainBytes > 0) this.room.checkDisk(plainBytes);
    const into = this.images.openOf(image.id);
    return image.unpack(checked, { into, key: this.packing.key }, signal);
  }

  /** A damaged one is replaced by another node's; one that was found to be so is looked at as a whole first. */
  async #wholeImage(
    { image: id, digest, sources }: RestoreOrder,
    signal: AbortSignal,
  ): Promise<Checked & { image: Image }> {
    signal.throwIfAborted();
    if (!isValidImageId(id))
      throw new AgentError('refused', 'ImageDamaged', 'MUSTER_IMAGE_MISSING', 'the order names no image');
    const image = this.images.of(id);
    if (!image.isWhole) await this.keeper.have(id, digest, sources);
    try {
      const checked = await image.beginCheck(digest, signal);
      if (this.keeper.isDamaged(id)) {
        await checked.rest;
        this.keeper.touched(image);
      }
      const rest = checked.rest.catch((error: unknown) => {
        if (isDamage(error)) this.keeper.damaged(image, error.message);
        throw error;
      });
      rest.catch(() => undefined); // told to whoever waits for it
      return { ...checked, image, rest };
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.keeper.damaged(image, error.message);
      if (!sources.some(({ node }) => node !== this.#node)) throw error;
      await this.keeper.have(id, digest, sources).catch((second: unknown) => {
        const message = `${error.message.slice(error.code.length + 2)}; ${messageOf(second)}`;
        throw new AgentError('failed', 'ImageDamaged', 'MUSTER_IMAGE_DAMAGED', message, { cause: error });
      });
      return { image, manifest: await image.check(digest, signal), rest: Promise.resolve() };
    }
  }
}

export const isDamage = (error: unknown): error is AgentError =>
  error instanceof AgentError && error.reason === 'ImageDamaged';
