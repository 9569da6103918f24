/**
 * One agent's session: after its hello and its full facts it is told what its node shall hold, all of it once and
 * changes from then on, folded together while the connection is slow. It sends and receives; what facts mean and
 * what is desired is decided elsewhere.
 */
import type {
  AgentHello,
  AgentMessage,
  HubMessage,
  ImageSource,
  MoveOrder,
  RestoreOrder,
  SandboxId,
  Sent,
} from '../../wire/agent-types.ts';
import type { SessionCall } from '../../wire/load.ts';
import type { PlacedImage } from '../checkpoint/copies.ts';
import type { MembersOfNetwork } from './group-network.ts';
import type { DesiredBook, DesiredSpec, Entry, ImageWish } from './desired-book.ts';
import { sandboxKey } from './sandbox-key.ts';

export interface SessionView {
  readonly desired: DesiredBook;
  /** Address of a node's service Peer, or '' while it is not known. */
  readonly peerAddressOf: (node: string) => string;
  /** What stands of a group in the /etc/hosts of its sandboxes, or undefined while some node of it is not known. */
  readonly hostsOf: (uid: string) => string | undefined;
  /** Where the sandboxes of a group are, or undefined while some node of it is not known. */
  readonly networkOf: (uid: string) => MembersOfNetwork | undefined;
  /** Where the image is that a restore asks for, by the digest of all of its checkpoint. */
  readonly imageOf: (restore: Sent<RestoreOrder>) => PlacedImage | undefined;
  /** Whether the agent holds this sandbox, by its own word. */
  readonly isHeld: (key: string, entry: Entry) => boolean;
  /** All that the agent says it holds. */
  readonly held: () => Iterable<SandboxId>;
}

/** Messages are kept below this where they can be cut. */
const softLimitBytes = 1024 * 1024;

export class Session {
  readonly node: string;
  readonly instance: string;
  readonly #call: SessionCall;
  readonly #view: SessionView;
  readonly #pending = new Map<string, SandboxId | undefined>();
  /** What the agent was told in this session: it may be at work on it before it says so. */
  readonly #toldKeys = new Set<string>();
  readonly #toldImages = new Map<string, ImageWish>();
  #told = false;
  #toldComplete = false;
  #congested = false;
  #scheduled = false;
  #closed = false;

  constructor(hello: AgentHello, call: SessionCall, view: SessionView) {
    this.node = hello.node;
    this.instance = hello.instance;
    this.#call = call;
    this.#view = view;
    call.on('drain', () => {
      this.#congested = false;
      this.#schedule();
    });
  }

  get closed(): boolean {
    return this.#closed;
  }

  send(message: Sent<AgentMessage> | Sent<HubMessage>): void {
    if (this.#closed) return;
    if (!this.#call.write(message as Sent<HubMessage>)) this.#congested = true;
  }

  /** The agent's full facts are here: from now on it can be told what is wanted. */
  begin(): void {
    if (this.#told) return;
    this.#told = true;
    for (const key of this.#view.desired.ofNode(this.node).keys()) this.#pending.set(key, undefined);
    this.#schedule();
  }

  /** These sandboxes of the node have changed, or are gone from the book. */
  changed(keys: Iterable<string>): void {
    if (!this.#told) return;
    for (const key of keys) this.#pending.set(key, undefined);
    this.#schedule();
  }

  /** The book is complete now, or is trusted now: what it does not hold is to go. */
  complete(): void {
    this.#toldComplete = false;
    this.#schedule();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#call.end();
  }

  #schedule(): void {
    if (this.#scheduled || this.#closed) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (!this.#told || this.#congested || this.#closed) return;
    const { desired } = this.#view;
    if (desired.complete && !this.#toldComplete) this.#sendAll();
    else if (this.#pending.size > 0) this.#sendPending(desired);
    this.#sendImages();
  }

  #sendPending(desired: DesiredBook): void {
    const entries = desired.ofNode(this.node);
    let sandboxes: DesiredSpec[] = [];
    const removed: SandboxId[] = [];
    let bytes = 0;
    for (const key of this.#pending.keys()) {
      this.#pending.delete(key);
      const entry = entries.get(key);
      if (!entry) {
        removed.push(idOf(key));
        this.#toldKeys.delete(key);
      } else if (this.#isTold(key, entry)) {
        this.#toldKeys.add(key);
        const spec = this.#specOf(entry);
        bytes += roughSize(spec);
        sandboxes.push(spec);
        if (bytes > softLimitBytes) {
          this.#sendDesired(false, sandboxes, []);
          sandboxes = [];
          bytes = 0;
        }
      }
    }
    if (sandboxes.length > 0 || removed.length > 0) this.#sendDesired(false, sandboxes, removed);
  }

  #sendAll(): void {
    this.#toldComplete = true;
    this.#pending.clear();
    const entries = [...this.#view.desired.ofNode(this.node)];
    const told = entries.filter(([key, entry]) => this.#isTold(key, entry));
    for (const [key] of told) this.#toldKeys.add(key);
    const specs = told.map(([, entry]) => this.#specOf(entry));
    if (!this.#view.desired.keepsUnknown) return this.#sendDesired(true, specs, []);
    this.#sendDesired(false, specs, this.#knownToGo());
  }

  /** What the agent holds and need not, of groups that the book knows. */
  #knownToGo(): SandboxId[] {
    const { desired, held } = this.#view;
    const entries = desired.ofNode(this.node);
    return [...held()].filter((id) => desired.knows(id.groupUid) && !entries.has(sandboxKey(id)));
  }

  /**
   * An incarnation that was alive once and that the agent does not have is never started again. One that never was is told also
   * when it is to end: the agent answers that it never started, where silence would leave its group waiting for ever.
   */
  #isTold(key: string, entry: Entry): boolean {
    if (this.#toldKeys.has(key) || this.#view.isHeld(key, entry)) return true;
    if (!entry.mayStart) return false;
    const starts = entry.want === 'Prepare' || entry.want === 'Run' || entry.want === 'Freeze';
    if (starts && entry.spec.restore && !this.#restoreOf(entry.spec.restore)) return false;
    return !starts || this.#view.hostsOf(entry.spec.id.groupUid) !== undefined;
  }

  #specOf(entry: Entry): DesiredSpec {
    const { spec, want, graceSeconds } = entry;
    const hosts = entry.mayStart ? this.#view.hostsOf(spec.id.groupUid) : undefined;
    const { tree, network } = spec;
    const told = {
      ...spec, want, graceSeconds, hosts: hosts ?? '',
      network: network && { ...network, ...this.#view.networkOf(spec.id.groupUid) },
      checkpoint: this.#view.desired.orderFor(spec.id),
      restore: entry.mayStart ? this.#restoreOf(spec.restore) : undefined,
      move: this.#moveOf(spec.id),
    }; // prettier-ignore
    if (!tree?.parentNode) return told;
    return { ...told, tree: { ...tree, parentAddress: this.#view.peerAddressOf(tree.parentNode) } };
  }

  /** With the image's own digest in place of that of all, and who has it; undefined while nobody has. */
  #restoreOf(restore: Sent<RestoreOrder> | null | undefined): Sent<RestoreOrder> | undefined {
    if (!restore?.image) return undefined;
    const image = this.#view.imageOf(restore);
    return (
      image && {
        ...restore,
        digest: image.digest,
        sources: this.#sourcesOf(image.nodes.map((node) => ({ node }))),
      }
    );
  }

  #moveOf(id: SandboxId): Sent<MoveOrder> | undefined {
    const order = this.#view.desired.moveFor(id);
    if (!order?.peerNode) return order;
    return { ...order, peerAddress: this.#view.peerAddressOf(order.peerNode) };
  }

  /** With the addresses of now. */
  #sourcesOf(sources: readonly Sent<ImageSource>[] | undefined): Sent<ImageSource>[] {
    return (sources ?? []).map(({ node = '' }) => ({ node, address: this.#view.peerAddressOf(node) }));
  }

  #sendImages(): void {
    const wishes = this.#view.desired.imagesWantedOn(this.node);
    const news = [...wishes].filter(([key, wish]) => this.#toldImages.get(key) !== wish);
    if (news.length === 0) return;
    for (const [key, wish] of news) this.#toldImages.set(key, wish);
    const images = news.map(([, { id, want, digest, from }]) => ({
      id, want, digest, sources: this.#sourcesOf(from.map((node) => ({ node }))),
    })); // prettier-ignore
    this.send({ body: 'desired', desired: { images, revision: this.#view.desired.revision } });
  }

  #sendDesired(full: boolean, sandboxes: DesiredSpec[], removed: SandboxId[]): void {
    this.send({
      body: 'desired',
      desired: { full, sandboxes, removed, revision: this.#view.desired.revision },
    });
  }
}

function idOf(key: string): SandboxId {
  const [groupUid = '', ordinal = '0', incarnation = '0'] = key.split('/');
  return { groupUid, ordinal: Number(ordinal), incarnation: Number(incarnation) };
}

function roughSize(spec: DesiredSpec): number {
  let size = 512 + (spec.hosts ?? '').length;
  for (const program of spec.programs ?? []) {
    for (const word of program.argv ?? []) size += word.length;
    for (const { value } of program.env ?? []) size += value?.length ?? 0;
  }
  for (const { value } of spec.env ?? []) size += value?.length ?? 0;
  return size;
}
