// The room that images may take of this node: what the administrator gives them at most, and what is free on their disk.
import { statfsSync } from 'node:fs';
import { AgentError } from '../agent-error.ts';
import type { ImageStore } from './image.ts';

export class ImageRoom {
  readonly #store: ImageStore;
  readonly #budgetBytes: number;

  /** `budgetBytes` 0: as much as there is. */
  constructor(store: ImageStore, budgetBytes: number) {
    this.#store = store;
    this.#budgetBytes = budgetBytes;
  }

  /** Bytes that images may have beside those that are there. */
  get leftBytes(): number {
    const { bavail, bsize } = statfsSync(this.#store.root);
    const free = bavail * bsize;
    return this.#budgetBytes === 0
      ? free
      : Math.min(free, Math.max(0, this.#budgetBytes - this.#store.bytes()));
  }

  /** For what does not stay. */
  checkDisk(neededBytes: number): void {
    const { bavail, bsize } = statfsSync(this.#store.root);
    if (neededBytes > bavail * bsize) throw noRoom(neededBytes, bavail * bsize, '');
  }

  /** Throws AgentError StorageFull unless there is room. */
  check(neededBytes: number): void {
    const left = this.leftBytes;
    if (neededBytes <= left) return;
    const limit = this.#budgetBytes === 0 ? '' : ` (imageBudget of the node is ${String(this.#budgetBytes)})`;
    throw noRoom(neededBytes, left, limit);
  }
}

function noRoom(neededBytes: number, leftBytes: number, limit: string): AgentError {
  return new AgentError(
    'failed',
    'StorageFull',
    'MUSTER_NO_ROOM',
    `an image of ${String(neededBytes)} bytes does not fit into the ${String(leftBytes)} bytes that images have left here${limit}`,
  );
}
