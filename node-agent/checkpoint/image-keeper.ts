// The images of this node as the hub is told of them and orders them: what is there, whole or in the making, and what is to
// go. Facts are readings of the disk, remembered until the image changes. An image that nobody orders anything about stays.
import type { ImageFact, ImageId, ImageOrder, ImageSource, Sent } from '../../wire/agent-types.ts';
import type { Image, ImageStore } from './image.ts';
import { isValidImageId } from './image.ts';

const progressBytes = 16 << 20;

/** Brings an image here from another node. */
export type FetchImage = (
  image: Image,
  from: {
    readonly digest: string;
    readonly sources: readonly ImageSource[];
    readonly onProgress: (bytes: number) => void;
  },
  signal: AbortSignal,
) => Promise<void>;

const keyOf = ({ checkpointUid, ordinal }: ImageId): string => `${checkpointUid}-${String(ordinal)}`;

export class ImageKeeper {
  readonly #store: ImageStore;
  readonly #facts = new Map<string, Sent<ImageFact>>();
  readonly #changed = new Set<string>();
  /** What they were when that was found. */
  readonly #damaged = new Map<string, { readonly image: Image; readonly before: string }>();
  readonly #fetches = new Map<string, { readonly done: Promise<void>; readonly stop: AbortController }>();
  readonly #fetch: FetchImage;
  /** Told when there is something to tell. */
  readonly listeners = new Set<() => void>();

  constructor(store: ImageStore, fetch: FetchImage) {
    this.#store = store;
    this.#fetch = fetch;
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

  /** It was found not to be what was saved: it is kept until another copy is here. */
  damaged(image: Image, message: string): void {
    this.#damaged.set(keyOf(image.id), { image, before: image.signature() });
    this.#tell(image.id, { id: image.id, state: 'Damaged', bytes: image.bytes(), message });
  }

  /** What other nodes have put into storages, or taken out of them. */
  lookAround(): void {
    const there = new Map(this.#store.list().map((image) => [keyOf(image.id), image]));
    for (const [key, image] of there) if (!this.#facts.has(key) && image.isWhole) this.touched(image);
    for (const [key, { id, state }] of this.#facts)
      if (state === 'Kept' && !there.has(key) && isValidImageId(id as ImageId))
        this.touched(this.#store.of(id as ImageId));
  }

  /** Damaged ones that somebody has changed since: an administrator may have put back what was there. */
  async lookAgain(signal: AbortSignal): Promise<void> {
    for (const [key, { image, before }] of this.#damaged) {
      if (!this.isDamaged(image.id)) {
        this.#damaged.delete(key);
        continue;
      }
      const now = image.signature();
      if (now === before) continue;
      this.#damaged.set(key, { image, before: now });
      await image.check('', signal).then(
        () => {
          this.touched(image);
        },
        () => undefined,
      );
    }
  }

  isDamaged(id: ImageId): boolean {
    return this.#facts.get(keyOf(id))?.state === 'Damaged';
  }

  desire(orders: readonly ImageOrder[]): void {
    for (const order of orders) {
      const { id, want } = order;
      if (!isValidImageId(id)) continue;
      if (want === 'Gone') this.#remove(id);
      else if (want === 'Have') this.have(id, order.digest, order.sources).catch(() => undefined); // told as a fact
    }
  }

  /** Settles once the whole image is here; fetches it at most once at a time. Throws AgentError when it cannot be had. */
  async have(id: ImageId, digest: string, sources: readonly ImageSource[]): Promise<Image> {
    const image = this.#store.of(id);
    if (image.isWhole && !this.isDamaged(id)) {
      if (!this.#facts.has(keyOf(id))) this.touched(image);
      return image;
    }
    const running = this.#fetches.get(keyOf(id));
    if (running) {
      await running.done;
      return image;
    }
    const stop = new AbortController();
    const done = this.#fetchNow(image, digest, sources, stop.signal).finally(() => {
      this.#fetches.delete(keyOf(id));
    });
    this.#fetches.set(keyOf(id), { done, stop });
    await done;
    return image;
  }

  async #fetchNow(
    image: Image,
    digest: string,
    sources: readonly ImageSource[],
    signal: AbortSignal,
  ): Promise<void> {
    const { id } = image;
    const before = this.#facts.get(keyOf(id));
    let told = 0;
    const onProgress = (bytes: number) => {
      if (bytes - told < progressBytes) return;
      told = bytes;
      this.#tell(id, { id, state: 'Fetching', bytes });
    };
    this.#tell(id, { id, state: 'Fetching' });
    try {
      await this.#fetch(image, { digest, sources, onProgress }, signal);
      this.touched(image);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (before?.state === 'Damaged') this.#tell(id, before);
      else this.#tell(id, signal.aborted ? { id, state: 'Gone' } : { id, state: 'Failed', message });
      throw error;
    }
  }

  /** What an earlier agent has begun and nobody goes on with. */
  sweep(inWork: readonly ImageId[]): void {
    const kept = new Set(inWork.map(keyOf));
    for (const image of this.#store.list())
      if (!image.isWhole && !kept.has(keyOf(image.id)) && !this.#fetches.has(keyOf(image.id)))
        this.#remove(image.id);
  }

  #remove(id: ImageId): void {
    this.#fetches.get(keyOf(id))?.stop.abort();
    const image = this.#store.of(id);
    image.remove();
    this.touched(image);
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
