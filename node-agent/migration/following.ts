// The memory of a sandbox that came without its pages, which are where it left (PostCopy) or came before it (PreCopy): the pager that
// brings them, and the connection by which they come, from the restore on until all are there, also under an agent that was started
// anew in between. Of the protocol it knows that it is done.
import type { MoveOrder, SandboxId } from '../../wire/agent-types.ts';
import type { Backend } from '../backend.ts';
import type { CgroupRequest, SandboxCgroup } from '../cgroups.ts';
import type { Image } from '../checkpoint/image.ts';
import { hasCopies } from './copier.ts';
import { PageFeed, type PageOrigin } from './page-feed.ts';
import { Pager, writeTable } from './pager.ts';

/** The sandbox as its memory needs it. */
export interface FollowedSandbox {
  readonly key: string;
  readonly id: SandboxId;
  readonly cgroup: SandboxCgroup | null;
}

export interface FollowingEvents {
  left: (bytes: number) => void;
  done: () => void;
}

const tellEveryMs = 500;

export class Following {
  readonly #sandbox: FollowedSandbox;
  readonly #backend: Backend;
  readonly #events: FollowingEvents;
  #pager: Pager | null = null;
  #feed: PageFeed | null = null;
  #toldAtMs = 0;
  isDone = false;

  constructor(sandbox: FollowedSandbox, backend: Backend, events: FollowingEvents) {
    this.#sandbox = sandbox;
    this.#backend = backend;
    this.#events = events;
  }

  /** Before the restore, which asks for pages already. */
  async begin(image: Image, order: MoveOrder, cgroups: readonly CgroupRequest[]): Promise<void> {
    this.#events.left(writeTable(image));
    const unified = cgroups.find(({ mount }) => this.#sandbox.cgroup?.unified?.startsWith(`${mount}/`));
    if (!unified) throw new Error('MUSTER_BUG: a sandbox that moves has a cgroup of version 2');
    this.#pager = await Pager.start(this.#backend, image, `${unified.mount}/${unified.path}/cgroup.kill`);
    this.#feed = this.#feedOf(image, order);
    await this.#feed.start();
  }

  /** Once all is restored, and stands still. */
  enter(cgroups: readonly CgroupRequest[]): void {
    this.#pager?.enter(cgroups);
    this.#pager = null;
  }

  /** Goes on where an earlier agent stopped; `order` says where the pages are now, if they are not in the image. */
  look(image: Image | null, order: MoveOrder | null): void {
    if (image === null || this.isDone) return;
    const isHere = hasCopies(image);
    if (!isHere && (order?.peerAddress ?? '') === '') return;
    if (this.#feed) {
      if (order && !isHere) this.#feed.origin = this.#originOf(order);
      return;
    }
    if (!isHere && order?.step !== 'Follow') return;
    this.#feed = this.#feedOf(image, order);
    this.#feed.begin();
  }

  /** It runs. */
  go(): void {
    this.#feed?.go();
  }

  stop(): void {
    this.#feed?.stop();
    this.#feed = null;
    this.#pager?.[Symbol.dispose]();
    this.#pager = null;
  }

  #originOf({ peerNode: node, peerAddress: address, incarnation, migrationUid }: MoveOrder): PageOrigin {
    return { node, address, id: { ...this.#sandbox.id, incarnation }, migrationUid };
  }

  #feedOf(image: Image, order: MoveOrder | null): PageFeed {
    const origin = order === null || hasCopies(image) ? null : this.#originOf(order);
    return new PageFeed(this.#backend, image, origin, {
      left: (bytes) => {
        const nowMs = this.#backend.nowMs();
        if (nowMs < this.#toldAtMs + tellEveryMs && bytes > 0) return;
        this.#toldAtMs = nowMs;
        this.#events.left(bytes);
      },
      done: () => {
        this.isDone = true;
        this.#events.done();
      },
      lost: () => {
        this.#backend.log.error({ sandbox: this.#sandbox.key }, 'pager is gone before all pages were there');
        this.#sandbox.cgroup?.kill();
      },
    });
  }
}
