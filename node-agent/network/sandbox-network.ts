// One sandbox's part in its group's network: made while the sandbox is launched, waited for before its ranks start, made again
// for one that an earlier agent launched, taken away at the end. For a sandbox on the node's own network all of it is nothing.
import type { Native } from '../../native/addon/index.ts';
import type { SandboxId, SandboxSpec } from '../../wire/agent-types.ts';
import { groupNetworkOf } from './group-network.ts';
import type { JobNetwork } from './job-network.ts';

export class SandboxNetwork {
  readonly #native: Native;
  readonly #network: JobNetwork | null;
  readonly #key: string;
  readonly #id: SandboxId;
  readonly #hurried = Promise.withResolvers<void>();
  /** Its link may be there, made by this agent or an earlier one. */
  mayBeThere: boolean;
  #joined: Promise<void> | null = null;
  /** Held until its link is removed, or the kernel would remove that at a time of its own. */
  #netns: number | null = null;
  /** The group as its network here was made for it, as JSON; empty: that is not known. */
  #told = '';
  /** Until the next launch nothing is made any more, or a network would stay that nobody is on. */
  #isEnding = false;

  constructor(
    { native, network }: { readonly native: Native; readonly network: JobNetwork | null },
    key: string,
    id: SandboxId,
    mayBeThere: boolean,
  ) {
    this.#native = native;
    this.#network = network;
    this.#key = key;
    this.#id = id;
    this.mayBeThere = mayBeThere;
  }

  /**
   * Descriptor of a network namespace to launch or restore the sandbox in, which is there until `end`; null: the node's own. What
   * `joined` waits for has begun.
   */
  begin(spec: SandboxSpec, isReachable = true): number | null {
    const [group, network] = [groupNetworkOf(spec), this.#network];
    if (!group || !network) return null;
    this.mayBeThere = true;
    this.#isEnding = false;
    this.#told = JSON.stringify(group);
    this.#letGo();
    const netns = network.newNamespace(group.subnet6 !== '');
    this.#netns = netns;
    this.#joined = network.attach({ key: this.#key, ordinal: this.#id.ordinal, netns, isReachable }, group);
    this.#joined.catch(() => undefined); // `joined` tells
    return netns;
  }

  /** Resolves when what `begin` began is done. */
  async begun(): Promise<void> {
    await this.#joined;
  }

  /** Resolves when the ranks may start; `openProcess` gives a pidfd of a process of the sandbox. */
  async joined(spec: SandboxSpec, openProcess: () => number): Promise<void> {
    const [group, network] = [groupNetworkOf(spec), this.#network];
    if (!group || !network) return;
    this.#joined ??= this.#rejoin(network, group, openProcess());
    try {
      await this.#joined;
    } catch (error) {
      this.#joined = null;
      this.#told = '';
      throw error;
    }
  }

  async #rejoin(
    network: JobNetwork,
    group: NonNullable<ReturnType<typeof groupNetworkOf>>,
    pidfd: number,
  ): Promise<void> {
    let netns: number | null = null;
    try {
      netns = this.#native.netnsOf(pidfd);
      await network.attach({ key: this.#key, ordinal: this.#id.ordinal, netns, isReachable: true }, group);
    } finally {
      if (netns !== null) this.#native.close(netns);
      this.#native.close(pidfd);
    }
  }

  /** The group has changed: who is in it, or where. */
  async update(spec: SandboxSpec): Promise<void> {
    const group = groupNetworkOf(spec);
    if (!group || !this.mayBeThere || this.#isEnding) return;
    const told = JSON.stringify(group);
    if (told === this.#told) return;
    this.#told = '';
    await this.#network?.update(group);
    this.#told = told;
  }

  /** Cuts the sandbox off from all others, or joins it again. */
  async setPlugged(spec: SandboxSpec, plugged: boolean): Promise<void> {
    const group = groupNetworkOf(spec);
    if (group) await this.#network?.setPlugged(this.#key, this.#id.ordinal, group, plugged);
  }

  /** Somebody waits for it to be gone. */
  hurry(): void {
    this.#hurried.resolve();
  }

  /** Not before the attempt to join has ended, which uses it. */
  #letGo(): void {
    const netns = this.#netns;
    if (netns === null) return;
    this.#netns = null;
    const close = (): void => this.#native.close(netns);
    void (this.#joined ?? Promise.resolve()).then(close, close);
  }

  /** Takes the link away: where nobody waits for that, when the node has time for it. */
  async end(isWaitedFor = true): Promise<void> {
    if (!this.mayBeThere) return;
    this.#isEnding = true;
    await this.#joined?.catch(() => undefined);
    if (!isWaitedFor) await Promise.race([this.#hurried.promise, this.#network?.untilLull()]);
    await this.#network?.detach(this.#key, this.#id.groupUid);
    this.#letGo();
    this.#joined = null;
    this.#told = '';
    this.mayBeThere = false;
  }
}
