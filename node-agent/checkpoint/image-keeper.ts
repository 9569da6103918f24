// The images of this node as the hub is told of them and orders them: what is there, whole or in the making, and what is to
// go. Facts are readings of the disk, remembered until the image changes. An image that nobody orders anything about stays.
import type { ImageFact, ImageId, ImageOrder, Sent } from '../../wire/agent-types.ts';
import type { Image, ImageStore } from './image.ts';
import { isValidImageId } from './image.ts';

const keyOf = ({ checkpointUid, ordinal }: ImageId): string => `${checkpointUid}-${String(ordinal)}`;

export class ImageKeeper {
  readonly #store: ImageStore;
  readonly #facts = new Map<string, Sent<ImageFact>>();
  readonly #changed = new Set<string>();
  /** Told when there is something to tell. */
  readonly listeners = new Set<() => void>();

  constructor(store: ImageStore) {
    this.#store = store;
    for (const image of store.list()) this.#facts.set(keyOf(image.id), factOf(image));
  }

  /** All of the node; nothing is left to tell. */
  all(): Sent<ImageFact>[] {
    this.#changed.clear();
    return [...this.#facts.values()];
  }

  /** Those that have changed since they were told. */
  fresh(): Sent<ImageFact>[] {
    const facts = [...this.#changed].flatMap((key) => this.#facts.get(key) ?? []);
    this.#changed.clear();
    for (const [key, { state }] of this.#facts) if (state === 'Gone') this.#facts.delete(key);
    return facts;
  }

  /** The image was written, or removed. */
  touched(image: Image): void {
    this.#tell(image.id, factOf(image));
  }

  desire(orders: readonly ImageOrder[]): void {
    for (const { id, want } of orders) {
      if (!isValidImageId(id) || want !== 'Gone') continue;
      const image = this.#store.of(id);
      image.remove();
      this.touched(image);
    }
  }

  #tell(id: ImageId, fact: Sent<ImageFact>): void {
    const key = keyOf(id);
    this.#facts.set(key, fact);
    this.#changed.add(key);
    for (const listener of this.listeners) listener();
  }
}

function factOf(image: Image): Sent<ImageFact> {
  const { id } = image;
  if (!image.exists) return { id, state: 'Gone' };
  const digest = image.digest();
  if (digest === '') return { id, state: 'Writing', bytes: image.bytes() };
  const bytes = image.bytes();
  try {
    const { spec, takenNs } = image.manifest();
    return { id, state: 'Kept', digest, bytes, groupUid: spec.id?.groupUid ?? '', writtenNs: takenNs };
  } catch (error) {
    return { id, state: 'Damaged', digest, bytes, message: error instanceof Error ? error.message : '' };
  }
}
