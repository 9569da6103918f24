// What the sandboxes of one agent share for checkpoints: the engine, what it was found able to do, the images of this node.
import type { RestoreOrder } from '../../wire/agent-types.ts';
import { AgentError } from '../agent-error.ts';
import type { AgentConfig } from '../config.ts';
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

  constructor(native: Native, { criu, nativeDir, keepNamespaces, stateDir }: AgentConfig) {
    this.engine = new CriuEngine(
      criu === undefined || criu === ''
        ? null
        : { native, nativeDir, program: criu, keepNamespaces: keepNamespaces ?? false },
    );
    this.images = new ImageStore(`${stateDir}/images`);
    this.keeper = new ImageKeeper(this.images);
  }

  /** Found out once; a failure is tried again. */
  async probe(): Promise<Probe> {
    this.#probed ??= this.engine.probe(AbortSignal.timeout(probeWithinMs));
    const probe = await this.#probed;
    if (probe.version === null) this.#probed = null;
    return probe;
  }

  /** The image that a restore asks for, which this node must have by now. */
  async imageFor({ image: id, sources }: RestoreOrder, signal: AbortSignal): Promise<Image> {
    signal.throwIfAborted();
    const image = isValidImageId(id) ? this.images.of(id) : null;
    if (image?.isWhole === true) return image;
    await Promise.resolve();
    throw new AgentError(
      'failed',
      'ImageDamaged',
      'MUSTER_IMAGE_MISSING',
      `image ${id?.checkpointUid ?? ''} of sandbox ${String(id?.ordinal ?? '')} is not on this node${sources.length === 0 ? '' : `; ${sources.map(({ node }) => node).join(', ')} should have it`}`,
    );
  }
}
