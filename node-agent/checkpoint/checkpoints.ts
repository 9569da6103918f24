// What the sandboxes of one agent share for checkpoints: the engine, what it was found able to do, the images of this node.
import type { RestoreOrder } from '../../wire/agent-types.ts';
import { AgentError } from '../agent-error.ts';
import type { AgentConfig } from '../config.ts';
import type { TlsMaterial } from '../tls.ts';
import type { Wire } from '../../wire/load.ts';
import { fetchImage } from './image-transfer.ts';
import type { Native } from '../../native/addon/index.ts';
import { CriuEngine } from './criu-engine.ts';
import type { CheckpointEngine, Probe } from './engine.ts';
import { ImageKeeper } from './image-keeper.ts';
import { ImageStore, isValidImageId, type Image } from './image.ts';

const probeWithinMs = 10_000;

export class Checkpoints {
  readonly engine: CheckpointEngine;
  readonly images: ImageStore;
  readonly keeper: ImageKeeper;
  #probed: Promise<Probe> | null = null;

  constructor(native: Native, wire: Wire, tls: TlsMaterial, config: AgentConfig) {
    const { criu, nativeDir, keepNamespaces, stateDir } = config;
    this.engine = new CriuEngine(
      criu === undefined || criu === ''
        ? null
        : { native, nativeDir, program: criu, keepNamespaces: keepNamespaces ?? false },
    );
    this.images = new ImageStore(`${stateDir}/images`);
    this.keeper = new ImageKeeper(this.images, (image, from, signal) =>
      fetchImage(image, { ...from, wire, tls }, signal),
    );
  }

  /** Found out once; a failure is tried again. */
  async probe(): Promise<Probe> {
    this.#probed ??= this.engine.probe(AbortSignal.timeout(probeWithinMs));
    const probe = await this.#probed;
    if (probe.version === null) this.#probed = null;
    return probe;
  }

  /** The image that a restore asks for, brought here if need be. */
  async imageFor({ image: id, digest, sources }: RestoreOrder, signal: AbortSignal): Promise<Image> {
    signal.throwIfAborted();
    if (!isValidImageId(id))
      throw new AgentError('refused', 'ImageDamaged', 'MUSTER_IMAGE_MISSING', 'the order names no image');
    return this.keeper.have(id, digest, sources);
  }
}
