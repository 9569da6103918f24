// The job networks of this node (design: addresses move with ranks). Each sandbox gets a network namespace with one link,
// whose address, hardware address and neighbours follow from the group's subnet; sandboxes of a group on this node share a
// bridge, and a VXLAN device joins it to those of other nodes (RFC 7348) with forwarding entries that are set, never learnt.
// Everything asked for twice is done once; what a dead agent left is found by name and taken away.
import type { Native } from '../../native/addon/index.ts';
import { addressOf, gatewayOf, macOf, overlaps, parseSubnet, type Subnet } from '../../wire/job-addresses.ts';
import { AgentError } from '../agent-error.ts';
import { closedText, Firewall, tunnelText, uplinksText, type Tunnel } from './firewall.ts';
import { LinkError, Links } from './links.ts';
import { networkNames, type NetworkNames } from './names.ts';
import { forwardsAll, isJobLink, setForwarding, uplinks } from './underlay.ts';

/** Where sandboxes of a group are: on the node with this address of the underlay, these ordinals. */
export interface NetworkMember {
  readonly node: string;
  readonly ordinals: readonly number[];
}

export interface GroupNetwork {
  readonly groupUid: string;
  /** For people: namespace/name. */
  readonly title: string;
  readonly vni: number;
  /** UDP port of the cluster's tunnels. */
  readonly port: number;
  /** ADDRESS/LENGTH */
  readonly subnet: string;
  readonly mtu: number;
  /** Ranks reach the outside through the node. */
  readonly egress: boolean;
  /** All sandboxes of the group. */
  readonly members: readonly NetworkMember[];
}

export interface Attachment {
  /** Descriptor of the sandbox's network namespace; the caller closes it once somebody is in it. */
  readonly netns: number;
  readonly address: string;
}

/** Timers for freezes that last: peers go on trying for hours, and every second (facts: TCP during long freezes). */
const sysctls: readonly (readonly [string, string])[] = [
  ['/proc/sys/net/ipv4/tcp_rto_max_ms', '1000'],
  ['/proc/sys/net/ipv4/tcp_retries2', '255'],
  ['/proc/sys/net/ipv4/tcp_syn_retries', '127'],
  ['/proc/sys/net/ipv4/ping_group_range', '0 2147483647'],
  ['/proc/sys/net/ipv6/conf/all/disable_ipv6', '1'],
];
const attemptsMost = 20;
/** Rules that somebody has flushed are put back. */
const checkEveryMs = 30_000;
/** Of a node without groups the rules go too, but not between one group and the next. */
const idleMs = 2_000;

export class JobNetwork implements AsyncDisposable {
  readonly #native: Native;
  readonly #underlay: string;
  readonly #names: NetworkNames;
  readonly #links: Links;
  /** Apart, since a removal takes the kernel tens of milliseconds. */
  readonly #removals: Links;
  readonly #firewall: Firewall;
  readonly #tunnels = new Map<string, Tunnel>();
  /** What is done to a group's network last: one thing after another. */
  readonly #turns = new Map<string, Promise<void>>();
  #prepared: Promise<void> | null = null;
  #checking: NodeJS.Timeout | null = null;
  #idle: NodeJS.Timeout | null = null;
  /** Groups that have a network here, as they were told of last. */
  readonly #groups = new Map<string, GroupNetwork>();

  constructor(native: Native, options: { clusterId: string; node: string; underlay: string }) {
    this.#native = native;
    this.#underlay = options.underlay;
    this.#names = networkNames(options.clusterId, options.node);
    this.#links = new Links(native, -1);
    this.#removals = new Links(native, -1);
    this.#firewall = new Firewall(this.#names);
  }

  /** Networks of sandboxes that run stay. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#checking) clearInterval(this.#checking);
    if (this.#idle) clearTimeout(this.#idle);
    await Promise.all(this.#turns.values());
    await this.#removeRules();
    await this.#links[Symbol.asyncDispose]();
    await this.#removals[Symbol.asyncDispose]();
  }

  /**
   * A network namespace joined to the group's network, for a sandbox to be started in. One that is to be restored must not be
   * reachable yet, or the kernel would reset its peers' connections before they are there: `setPlugged` joins it.
   */
  attach(key: string, ordinal: number, group: GroupNetwork, isReachable = true): Promise<Attachment> {
    return this.#inTurn(group.groupUid, () => this.#attach(key, ordinal, group, isReachable));
  }

  /** Takes a sandbox's link away, and the group's network when nobody is left on it here. Also when it never had one. */
  detach(key: string, groupUid: string): Promise<void> {
    return this.#inTurn(groupUid, async () => {
      await this.#removals.remove(this.#names.port(key));
      await this.#removeIfEmpty(groupUid);
    });
  }

  /** Brings bridge, tunnel and firewall to what the group is now: made, or changed by a move. */
  update(group: GroupNetwork): Promise<void> {
    return this.#inTurn(group.groupUid, () => this.#update(group));
  }

  #inTurn<T>(groupUid: string, work: () => Promise<T>): Promise<T> {
    const done = (this.#turns.get(groupUid) ?? Promise.resolve()).then(work);
    const turn: Promise<void> = done
      .then(
        () => undefined,
        () => undefined,
      )
      .then(() => {
        if (this.#turns.get(groupUid) === turn) this.#turns.delete(groupUid);
      });
    this.#turns.set(groupUid, turn);
    return done;
  }

  async #attach(
    key: string,
    ordinal: number,
    group: GroupNetwork,
    isReachable: boolean,
  ): Promise<Attachment> {
    const subnet = parseSubnet(group.subnet);
    const address = addressOf(subnet, ordinal);
    await this.#update(group);
    const netns = this.#native.netnsNew();
    try {
      for (let attempt = 1; ; attempt++) {
        try {
          await this.#plug(key, address, group, netns, isReachable);
          break;
        } catch (error) {
          // Another agent of this machine took the bridge away: it saw nobody on it.
          if (!(error instanceof LinkError) || error.code !== 'ENODEV' || attempt === attemptsMost)
            throw error;
          await this.#removals.remove(this.#names.port(key));
          await this.#update(group);
        }
      }
      await this.#settle(netns, subnet, ordinal, group);
      return { netns, address };
    } catch (error) {
      await this.#removals.remove(this.#names.port(key));
      this.#native.close(netns);
      throw error;
    }
  }

  /** Cuts a sandbox off, or joins it again: fencing, and the last moments before a move. */
  setPlugged(key: string, group: GroupNetwork, ordinal: number, plugged: boolean): Promise<void> {
    const port = this.#names.port(key);
    return this.#inTurn(group.groupUid, async () => {
      if (!plugged) {
        await this.#links.setMaster(port, null);
        return;
      }
      await this.#update(group); // its bridge may have gone while nobody was on it
      await this.#join(port, macOf(addressOf(parseSubnet(group.subnet), ordinal)), group);
    });
  }

  async #join(port: string, mac: string, group: GroupNetwork): Promise<void> {
    await this.#links.setMaster(port, this.#names.bridge(group.groupUid));
    await this.#links.setStaticPort(port, false);
    await this.#links.setForwarding(port, mac);
  }

  async #update(group: GroupNetwork): Promise<void> {
    if (this.#idle) clearTimeout(this.#idle);
    this.#checking ??= setInterval(() => void this.#check(), checkEveryMs).unref();
    this.#groups.set(group.groupUid, group);
    this.#prepared ??= this.#firewall.prepare(group.port);
    await this.#prepared;
    const bridge = this.#names.bridge(group.groupUid);
    const elsewhere = group.members.filter(({ node }) => node !== this.#underlay);
    await this.#makeBridge(bridge, group);
    const before = this.#tunnels.get(group.groupUid) ?? null;
    const now: Tunnel | null =
      elsewhere.length === 0 ? null : { vni: group.vni, nodes: elsewhere.map(({ node }) => node) };
    if (now) await this.#makeTunnel(bridge, group, elsewhere);
    else if (before) await this.#removals.remove(this.#names.vxlan(group.groupUid));
    if (now) this.#tunnels.set(group.groupUid, now);
    else this.#tunnels.delete(group.groupUid);
    const { table } = this.#names;
    const rules = tunnelText(table, before, now) + this.#leaving(bridge, group);
    try {
      await this.#firewall.apply(rules);
    } catch {
      // Another agent of this machine took the table away: it saw no network.
      await this.#restore(group.port);
    }
  }

  /** Rules of whether packets leave the network by this node, and what the kernel needs to know for that. */
  #leaving(bridge: string, { egress }: GroupNetwork): string {
    const { table } = this.#names;
    if (!egress) return closedText(table, bridge, 'add');
    setForwarding(bridge, true);
    if (forwardsAll()) return '';
    const links = uplinks();
    for (const link of links) setForwarding(link, true);
    return uplinksText(table, links);
  }

  /** The table with all that this agent has in it. */
  async #restore(port: number): Promise<void> {
    this.#prepared = this.#firewall.prepare(port);
    await this.#prepared;
    const { table } = this.#names;
    const rules = [...this.#tunnels.values()].map((tunnel) => tunnelText(table, null, tunnel));
    for (const group of this.#groups.values())
      rules.push(this.#leaving(this.#names.bridge(group.groupUid), group));
    await this.#firewall.apply(rules.join(''));
  }

  async #check(): Promise<void> {
    const [group] = this.#groups.values();
    if (group) await this.#restore(group.port).catch(() => undefined);
  }

  /** Removes links of this agent that belong to none of these sandboxes, and networks that nobody is on. */
  async sweep(keys: Iterable<string>): Promise<void> {
    const kept = new Set([...keys].map((key) => this.#names.port(key)));
    for (const { name } of await this.#links.list()) {
      if (this.#names.isOwnPort(name) && !kept.has(name)) await this.#removals.remove(name);
    }
    const left = await this.#links.list();
    const bridges = left.filter(({ name }) => this.#names.isBridge(name));
    const used = new Set(left.filter(({ name }) => this.#names.isAnyPort(name)).map(({ master }) => master));
    for (const { name, index } of bridges) {
      if (used.has(index)) continue;
      for (const port of left) if (port.master === index) await this.#removals.remove(port.name);
      await this.#removals.remove(name);
    }
    for (const { name, master } of left)
      if (this.#names.isVxlan(name) && master === 0) await this.#removals.remove(name);
    const now = await this.#links.list();
    await this.#firewall.sweep(
      new Set(now.filter(({ name }) => this.#names.isVxlan(name)).map(({ vni }) => vni)),
      new Set(now.filter(({ name }) => this.#names.isBridge(name)).map(({ name }) => name)),
    );
    await this.#removeRules();
  }

  /** The rules, and forwarding, where no network is left on this machine. */
  async #removeRules(): Promise<void> {
    const left = (await this.#links.list()).filter(({ name }) => this.#names.isAnyBridge(name));
    if (left.some(({ name }) => this.#names.isBridge(name))) return;
    const forwarding = await this.#firewall.uplinks();
    this.#prepared = null;
    await this.#firewall.remove();
    if (left.length === 0) for (const link of forwarding) setForwarding(link, false);
  }

  async #makeBridge(bridge: string, group: GroupNetwork): Promise<void> {
    if (await this.#links.find(bridge)) return;
    const subnet = parseSubnet(group.subnet);
    await this.#checkRoutes(group);
    const gateway = gatewayOf(subnet);
    try {
      await this.#links.addBridge(bridge, macOf(gateway), group.mtu);
    } catch (error) {
      if (!(error instanceof LinkError && error.code === 'EEXIST')) throw error;
    }
    await this.#links.setAlias(bridge, `muster: network of ${group.title}`);
    await this.#links.addAddress(bridge, gateway, subnet.prefix);
    for (const { node, ordinals } of group.members) {
      if (node !== this.#underlay) continue;
      for (const ordinal of ordinals) {
        const address = addressOf(subnet, ordinal);
        await this.#links.setNeighbour(bridge, address, macOf(address));
      }
    }
    await this.#links.setUp(bridge);
  }

  /** An address of a job must not be one that this node reaches elsewhere. */
  async #checkRoutes({ subnet }: GroupNetwork): Promise<void> {
    const links = new Map((await this.#links.list()).map(({ index, name }) => [index, name]));
    for (const { destination, outInterface } of await this.#links.routes()) {
      if (destination === '0.0.0.0/0' || !overlaps(destination, subnet)) continue;
      const name = links.get(outInterface) ?? '';
      // A job network that is about to go, or of another cluster: there is another subnet, or this one is free soon.
      throw new AgentError(
        isJobLink(name) ? 'transient' : 'failed',
        'SandboxFailed',
        'MUSTER_NETWORK_ROUTE',
        `subnet ${subnet} of the job network overlaps the route to ${destination} by ${name} of this node: give the control plane another --network-pool, or use network Host`,
      );
    }
  }

  async #makeTunnel(bridge: string, group: GroupNetwork, elsewhere: readonly NetworkMember[]): Promise<void> {
    const name = this.#names.vxlan(group.groupUid);
    const subnet = parseSubnet(group.subnet);
    if (!(await this.#links.find(name))) {
      try {
        await this.#links.addVxlan({
          name,
          vni: group.vni,
          port: group.port,
          local: this.#underlay,
          mtu: group.mtu,
        });
      } catch (error) {
        if (!(error instanceof LinkError && error.code === 'EEXIST' && (await this.#links.find(name))))
          throw error;
      }
      await this.#links.setAlias(name, `muster: tunnel of ${group.title}`);
      await this.#links.setMaster(name, bridge);
      await this.#links.setStaticPort(name, false);
      await this.#links.setUp(name);
    }
    for (const { node, ordinals } of elsewhere) {
      for (const ordinal of ordinals) {
        const mac = macOf(addressOf(subnet, ordinal));
        await this.#links.setRemote(name, mac, node);
        await this.#links.setForwarding(name, mac);
      }
    }
  }

  async #plug(
    key: string,
    address: string,
    group: GroupNetwork,
    netns: number,
    isReachable: boolean,
  ): Promise<void> {
    const port = this.#names.port(key);
    const mac = macOf(address);
    await this.#removals.remove(port);
    await this.#links.addVeth(port, group.mtu, { name: 'eth0', netns, mac });
    await this.#links.setAlias(port, `muster: sandbox ${address} of ${group.title}`);
    if (isReachable) await this.#join(port, mac, group);
    await this.#links.setUp(port);
  }

  async #settle(netns: number, subnet: Subnet, own: number, group: GroupNetwork): Promise<void> {
    for (const [path, value] of sysctls) {
      try {
        this.#native.netnsWrite(netns, path, value);
      } catch {
        // An older kernel has not all of them: `probe` tells.
      }
    }
    await using inside = new Links(this.#native, netns);
    await inside.setUp('lo');
    await inside.addAddress('eth0', addressOf(subnet, own), subnet.prefix);
    await inside.setUp('eth0');
    for (const { ordinals } of group.members) {
      for (const ordinal of ordinals) {
        if (ordinal === own) continue;
        const peer = addressOf(subnet, ordinal);
        await inside.setNeighbour('eth0', peer, macOf(peer));
      }
    }
    if (!group.egress) return;
    const gateway = gatewayOf(subnet);
    await inside.setNeighbour('eth0', gateway, macOf(gateway));
    await inside.addDefaultRoute(gateway);
  }

  async #removeIfEmpty(groupUid: string): Promise<void> {
    const bridge = await this.#links.find(this.#names.bridge(groupUid));
    if (!bridge) return;
    const ports = (await this.#links.list()).filter(({ master }) => master === bridge.index);
    if (ports.some(({ name }) => this.#names.isAnyPort(name))) return;
    const { table } = this.#names;
    const before = this.#tunnels.get(groupUid) ?? null;
    const egress = this.#groups.get(groupUid)?.egress ?? false;
    this.#tunnels.delete(groupUid);
    this.#groups.delete(groupUid);
    await this.#removals.remove(this.#names.vxlan(groupUid));
    await this.#removals.remove(bridge.name);
    if (this.#groups.size === 0) {
      if (this.#idle) clearTimeout(this.#idle);
      this.#idle = setTimeout(() => void this.#removeRules().catch(() => undefined), idleMs).unref();
    }
    const rules = tunnelText(table, before, null) + (egress ? '' : closedText(table, bridge.name, 'delete'));
    await this.#firewall.apply(rules).catch(() => undefined); // no table, no rules
  }
}
