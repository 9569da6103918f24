// The job networks of this node (design: addresses move with ranks). Each sandbox gets a network namespace with one link,
// whose address, hardware address and neighbours follow from the group's subnet; sandboxes of a group on this node share a
// bridge, and a VXLAN device joins it to those of other nodes (RFC 7348) with forwarding entries that are set, never learnt.
// Everything asked for twice is done once; what a dead agent left is found by name and taken away.
import type { Native } from '../../native/addon/index.ts';
import { setTimeout as after } from 'node:timers/promises';
import { addressOf, addressSixOf, dotted, gatewayOf, macOf, parseSubnet } from '../../wire/job-addresses.ts';
import { AgentError } from '../agent-error.ts';
import { Firewall } from './firewall.ts';
import { aliasOfBridge, aliasOfPort, bridging, tunnelling } from './group-links.ts';
import {
  addAddress, addVeth, removeGroup, removeLink, setAlias, setDefaultRoute, setForwarding, setGroup, setMaster, setNeighbour,
  setStaticPort, setUp, type Change,
} from './link-changes.ts'; // prettier-ignore
import { LinkError, Links, type Link, type Route } from './links.ts';
import { Lull } from './lull.ts';
import { networkNames, type NetworkNames } from './names.ts';
import { Namespaces } from './namespaces.ts';
import type { NetworkKey } from './network-key.ts';
import { SealedLink } from './sealed-link.ts';
import { ShortCuts, shortCutsOf, type ShortCut } from './short-cuts.ts';
import { canForwardSix, forwardFrom, isJobLink } from './underlay.ts';

/** Where sandboxes of a group are: on the node with this address of the underlay, these ordinals. */
export interface NetworkMember {
  readonly node: string;
  readonly ordinals: readonly number[];
  /** Of the node, where tunnels are encrypted; else empty. */
  readonly key: string;
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
  /** Beside it, by IPv6, as ADDRESS/64; empty: there is none. */
  readonly subnet6: string;
  readonly mtu: number;
  /** Ranks reach the outside through the node. */
  readonly egress: boolean;
  /** What nodes say to one another nobody else reads. */
  readonly isEncrypted: boolean;
  /** All sandboxes of the group. */
  readonly members: readonly NetworkMember[];
}

/** A sandbox's end of its group's network. */
export interface Plug {
  readonly key: string;
  readonly ordinal: number;
  /** Descriptor of the sandbox's network namespace. */
  readonly netns: number;
  /**
   * False until `setPlugged`: one that is to be restored must not be reachable yet, or the kernel would reset its peers'
   * connections before they are there.
   */
  readonly isReachable: boolean;
}

const attemptsMost = 20;
/** Rules that somebody has flushed are put back, and links that have come are seen: soon after a launch too, not within. */
const checkEveryMs = 30_000;
const checkSoonMs = 500;
/** Of a node without groups the rules go too, but not between one group and the next. */
const idleMs = 2_000;

/** Those that are asked for within this time go together. */
const removalsMeetMs = 5;

const endsOf = (subnet: string): string[] => {
  const { first, prefix } = parseSubnet(subnet);
  return [dotted(first), dotted(first + 2 ** (32 - prefix) - 1)];
};

const leavesBySix = ({ egress, subnet6 }: GroupNetwork): boolean =>
  egress && subnet6 !== '' && canForwardSix();

export class JobNetwork implements AsyncDisposable {
  readonly #native: Native;
  readonly #underlay: string;
  readonly #names: NetworkNames;
  readonly #namespaces: Namespaces;
  readonly #links: Links;
  /** Apart, since a removal takes the kernel tens of milliseconds. */
  readonly #removals: Links;
  readonly #lull = new Lull();
  /** Links that are about to be removed, together. */
  readonly #going = new Set<string>();
  #removing: Promise<void> | null = null;
  readonly #firewall: Firewall;
  readonly #shortCuts: ShortCuts;
  /** null where tunnels cannot be encrypted. */
  readonly #sealed: SealedLink | null;
  /** What is done to a group's network last: one thing after another. */
  readonly #turns = new Map<string, Promise<void>>();
  #checking: NodeJS.Timeout | null = null;
  #idle: NodeJS.Timeout | null = null;
  #soon: NodeJS.Timeout | null = null;
  /** Groups that have a network here, as they were told of last. */
  readonly #groups = new Map<string, GroupNetwork>();
  /** What bridge and tunnel were made for, as JSON. */
  readonly #joined = new Map<string, string>();
  /** Ports of each group that are joined to its bridge, and whose they are. */
  readonly #plugged = new Map<string, Map<string, number>>();

  constructor(
    native: Native,
    options: {
      clusterId: string;
      node: string;
      underlay: string;
      /** Of what encrypts tunnels, where that can be had. */
      seal?: { key: NetworkKey; port: number } | undefined;
    },
  ) {
    this.#native = native;
    this.#underlay = options.underlay;
    this.#names = networkNames(options.clusterId, options.node);
    this.#links = new Links(native, -1);
    this.#removals = new Links(native, -1);
    this.#firewall = new Firewall(native, this.#names);
    this.#shortCuts = new ShortCuts(this.#names, this.#firewall);
    const { clusterId, underlay, seal } = options;
    this.#sealed = seal
      ? new SealedLink(native, { name: this.#names.sealed, clusterId, underlay, ...seal })
      : null;
    this.#namespaces = new Namespaces(native);
  }

  /** Networks of sandboxes that run stay. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#checking) clearInterval(this.#checking);
    if (this.#idle) clearTimeout(this.#idle);
    if (this.#soon) clearTimeout(this.#soon);
    this.#lull.come();
    await Promise.all(this.#turns.values());
    this.#shortCuts[Symbol.dispose]();
    this.#namespaces[Symbol.dispose]();
    await this.#removeRules();
    await this.#firewall[Symbol.asyncDispose]();
    await this.#links[Symbol.asyncDispose]();
    await this.#removals[Symbol.asyncDispose]();
  }

  /** A network namespace to start or restore a sandbox in; it lives as long as it is held or somebody is in it. */
  newNamespace(hasSix: boolean): number {
    return this.#namespaces.take(hasSix);
  }

  /** Joins a sandbox to the group's network; rules stand when this is done. What an earlier attempt made is made anew. */
  attach(plug: Plug, group: GroupNetwork): Promise<void> {
    return this.#lull.during(() => this.#inTurn(group.groupUid, () => this.#attach(plug, group)));
  }

  /** When a network may be taken away that nobody waits for to be gone. */
  untilLull(): Promise<void> {
    return this.#lull.wait();
  }

  /** Takes a sandbox's link away, and the group's network when nobody is left on it here. Also when it never had one. */
  detach(key: string, groupUid: string): Promise<void> {
    return this.#inTurn(groupUid, () => this.#detach(this.#names.port(key), groupUid));
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

  async #attach(plug: Plug, group: GroupNetwork): Promise<void> {
    const allowed = this.#open(group);
    allowed.catch(() => undefined); // waited for below
    await using inside = new Links(this.#native, plug.netns);
    try {
      for (let attempt = 1; ; attempt++) {
        try {
          const changes = [...(await this.#joining(group)), ...this.#plugging(plug, group)];
          await this.#apply(group, changes, { links: inside, changes: this.#settling(plug, group) });
          break;
        } catch (error) {
          // Another agent of this machine took the bridge away: it saw nobody on it.
          if (!(error instanceof LinkError) || error.code !== 'ENODEV' || attempt === attemptsMost)
            throw error;
        }
      }
      if (plug.isReachable) await this.#noteReach(this.#names.port(plug.key), plug.ordinal, group.groupUid);
      await allowed;
      this.#namespaces.refill();
    } catch (error) {
      await this.#noteReach(this.#names.port(plug.key), null, group.groupUid).catch(() => undefined);
      await this.#removals.remove(this.#names.port(plug.key));
      throw error;
    }
  }

  /** Cuts a sandbox off, or joins it again: fencing, and the last moments before a move. */
  setPlugged(key: string, ordinal: number, group: GroupNetwork, plugged: boolean): Promise<void> {
    return this.#inTurn(group.groupUid, async () => {
      if (plugged) await this.#update(group); // its bridge may have gone while nobody was on it
      const port = this.#names.port(key);
      if (plugged) {
        await this.#links.apply(this.#reaching(port, ordinal, group));
        await this.#noteReach(port, ordinal, group.groupUid);
      } else {
        const parted = this.#links.apply([setMaster(port, null)]);
        await Promise.all([parted, this.#noteReach(port, null, group.groupUid)]);
      }
    });
  }

  /** A port is joined to its bridge now, or is about to be cut off or removed (null). */
  #noteReach(port: string, ordinal: number | null, groupUid: string): Promise<void> {
    const ports = this.#plugged.get(groupUid) ?? new Map<string, number>();
    if (ordinal === null) ports.delete(port);
    else ports.set(port, ordinal);
    if (ports.size > 0) this.#plugged.set(groupUid, ports);
    else this.#plugged.delete(groupUid);
    return this.#changeShortCuts(groupUid);
  }

  #changeShortCuts(groupUid: string): Promise<void> {
    return this.#shortCuts.change(groupUid, (): ShortCut[] => {
      const [group, ports] = [this.#groups.get(groupUid), this.#plugged.get(groupUid)];
      if (!group || !ports) return [];
      const elsewhere = this.#elsewhere(group).flatMap(({ ordinals }) => ordinals);
      return shortCutsOf(group.subnet, ports, this.#names.vxlan(groupUid), elsewhere);
    });
  }

  /** A sandbox's port on the bridge. */
  #reaching(port: string, ordinal: number, { groupUid, subnet }: GroupNetwork): Change[] {
    const mac = macOf(addressOf(parseSubnet(subnet), ordinal));
    return [setMaster(port, this.#names.bridge(groupUid)), setStaticPort(port), setForwarding(port, mac)];
  }

  async #update(group: GroupNetwork): Promise<void> {
    const joined = this.#joining(group).then((changes) => this.#apply(group, changes));
    await Promise.all([this.#open(group), joined]);
  }

  async #apply(
    group: GroupNetwork,
    changes: readonly Change[],
    inside?: { readonly links: Links; readonly changes: readonly Change[] },
  ): Promise<void> {
    if (changes.length === 0) return;
    try {
      if (inside) await this.#links.applyAndThen(changes, inside.links, inside.changes);
      else await this.#links.apply(changes);
    } catch (error) {
      this.#joined.delete(group.groupUid);
      throw error;
    }
    const bridge = this.#names.bridge(group.groupUid);
    if (group.egress) forwardFrom(bridge, 'ipv4', true);
    if (leavesBySix(group)) forwardFrom(bridge, 'ipv6', true);
  }

  /** Lets packets of the group in from its other nodes, behind what encrypts them where it has that. */
  async #open(group: GroupNetwork): Promise<void> {
    if (this.#idle) clearTimeout(this.#idle);
    this.#checking ??= setInterval(() => {
      this.#firewall.check().catch(() => undefined);
      this.#seal().catch(() => undefined);
    }, checkEveryMs).unref();
    this.#soon ??= setTimeout(() => {
      this.#soon = null;
      if (this.#groups.size > 0) this.#firewall.check().catch(() => undefined);
    }, checkSoonMs).unref();
    if (group.isEncrypted) this.#checkKeys(group);
    this.#groups.set(group.groupUid, group);
    const nodes = this.#elsewhere(group).map(({ node }) => node);
    const allowed = this.#firewall.allow(group.groupUid, group.port, {
      tunnel: nodes.length === 0 ? null : { vni: group.vni, nodes, isSealed: group.isEncrypted },
      bridge: this.#names.bridge(group.groupUid),
      subnet: group.subnet,
      egress: group.egress,
      hasSix: group.subnet6 !== '',
    });
    await Promise.all([allowed, group.isEncrypted ? this.#seal() : undefined]);
  }

  /** What encrypts has the nodes of all groups that want it as peers, and no others. */
  async #seal(): Promise<void> {
    const groups = [...this.#groups.values()].filter(({ isEncrypted }) => isEncrypted);
    const others = groups.flatMap(({ members }) => members.filter(({ node }) => node !== this.#underlay));
    await this.#sealed?.bring(this.#removals, new Map(others.map(({ key, node }) => [key, node])));
  }

  #checkKeys({ members }: GroupNetwork): void {
    const own = members.find(({ node }) => node === this.#underlay);
    const silent = members.find(({ key }) => key === '');
    const why = !this.#sealed
      ? 'tunnels cannot be encrypted here any more (muster doctor says why)'
      : silent
        ? `the node at ${silent.node} cannot encrypt any more (muster doctor there says why)`
        : own && own.key !== this.#sealed.publicKey
          ? `another agent is known by the same address ${own.node}, which can have one key only: run one agent a machine`
          : null;
    if (why !== null && this.#elsewhere({ members }).length > 0)
      throw new AgentError('failed', 'SandboxFailed', 'MUSTER_NETWORK_ENCRYPTION', why);
  }

  /** By what the tunnel finds them: on the underlay, or where that is encrypted within it. */
  #elsewhere({
    members,
    isEncrypted = false,
  }: Pick<GroupNetwork, 'members'> & { isEncrypted?: boolean }): readonly NetworkMember[] {
    const others = members.filter(({ node }) => node !== this.#underlay);
    const sealed = isEncrypted ? this.#sealed : null;
    return sealed ? others.map((other) => ({ ...other, node: sealed.addressOf(other.key) })) : others;
  }

  /** To bridge and tunnel as the group is now: nothing, when that is how they were made. */
  async #joining(group: GroupNetwork): Promise<Change[]> {
    const [bridge, tunnel] = [this.#names.bridge(group.groupUid), this.#names.vxlan(group.groupUid)];
    const { link, routes } = await this.#links.findWithRoutes(bridge, endsOf(group.subnet));
    const isThere = link !== null;
    const told = JSON.stringify(group);
    if (isThere && this.#joined.get(group.groupUid) === told) return [];
    if (!isThere) await this.#checkRoutes(group, routes);
    await this.#changeShortCuts(group.groupUid); // members may be behind other links from now on
    this.#joined.set(group.groupUid, told);
    const elsewhere = this.#elsewhere(group);
    const local = group.isEncrypted && this.#sealed ? this.#sealed.address : this.#underlay;
    const linkGroup = this.#names.linkGroup(group.groupUid);
    return [
      ...bridging(bridge, group, linkGroup, leavesBySix(group)),
      ...(elsewhere.length === 0
        ? [removeLink(tunnel)]
        : tunnelling(tunnel, bridge, local, group, elsewhere, linkGroup)),
    ];
  }

  /** Removes links of this agent that belong to none of these sandboxes, and networks that nobody is on. */
  async sweep(keys: Iterable<string>): Promise<void> {
    this.#lull.come();
    const kept = new Set([...keys].map((key) => this.#names.port(key)));
    for (const [uid, ports] of [...this.#plugged])
      for (const port of [...ports.keys()]) if (!kept.has(port)) await this.#noteReach(port, null, uid);
    await this.#shortCuts.sweep(this.#plugged.keys());
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

  /** The rules, forwarding, and what encrypts, where no network is left on this machine. */
  async #removeRules(): Promise<void> {
    const all = await this.#links.list();
    const left = all.filter(({ name }) => this.#names.isAnyBridge(name));
    if (left.some(({ name }) => this.#names.isBridge(name))) return;
    await this.#firewall.remove(left.length === 0);
    if (!all.some(({ name }) => name === this.#names.sealed)) return;
    if (this.#sealed) await this.#sealed.remove(this.#removals);
    else await this.#removals.remove(this.#names.sealed);
  }

  /** An address of a job must not be one that this node reaches elsewhere. */
  async #checkRoutes({ subnet, groupUid }: GroupNetwork, routes: readonly (Route | null)[]): Promise<void> {
    for (const route of routes) {
      if (!route || route.destination.endsWith('/0')) continue;
      const name = (await this.#links.list()).find(({ index }) => index === route.outInterface)?.name;
      // Gone already, or made meanwhile by another agent of this machine.
      if (name === undefined || name === this.#names.bridge(groupUid)) continue;
      // A job network that is about to go, or of another cluster: there is another subnet, or this one is free soon.
      throw new AgentError(
        isJobLink(name) ? 'transient' : 'failed',
        'SandboxFailed',
        'MUSTER_NETWORK_ROUTE',
        `subnet ${subnet} of the job network overlaps the route to ${route.destination} by ${name} of this node: give the control plane another --network-pool, or use network Host`,
      );
    }
  }

  /** The sandbox's link, made anew. */
  #plugging({ key, ordinal, netns, isReachable }: Plug, group: GroupNetwork): Change[] {
    const port = this.#names.port(key);
    const ip = addressOf(parseSubnet(group.subnet), ordinal);
    const mac = macOf(ip);
    return [
      removeLink(port),
      addVeth(port, group.mtu, this.#names.linkGroup(group.groupUid), { name: 'eth0', netns, mac }),
      setAlias(port, aliasOfPort(`${ip} of ${group.title}`)),
      setNeighbour(this.#names.bridge(group.groupUid), ip, mac),
      ...(leavesBySix(group)
        ? [setNeighbour(this.#names.bridge(group.groupUid), addressSixOf(group.subnet6, ip), mac)]
        : []),
      ...(isReachable ? this.#reaching(port, ordinal, group) : []),
      setUp(port),
    ];
  }

  /** Inside: addresses and neighbours. */
  #settling({ ordinal }: Plug, group: GroupNetwork): Change[] {
    const { subnet: text, subnet6, members, egress } = group;
    const subnet = parseSubnet(text);
    const own = addressOf(subnet, ordinal);
    const gateway = gatewayOf(subnet);
    const others = members.flatMap(({ ordinals }) => ordinals.filter((other) => other !== ordinal));
    const peers = others.map((other) => addressOf(subnet, other));
    const ips = [...(egress ? [gateway] : []), ...peers];
    const six = (ip: string): string => addressSixOf(subnet6, ip);
    const outBySix = leavesBySix(group);
    const sixes = [...(outBySix ? [gateway] : []), ...peers];
    const bySix =
      subnet6 === ''
        ? []
        : [addAddress('eth0', six(own), 64), ...sixes.map((ip) => setNeighbour('eth0', six(ip), macOf(ip)))];
    return [
      setUp('lo'),
      addAddress('eth0', own, subnet.prefix),
      setUp('eth0'),
      ...ips.map((ip) => setNeighbour('eth0', ip, macOf(ip))),
      ...bySix,
      ...(egress ? [setDefaultRoute(gateway)] : []),
      ...(outBySix ? [setDefaultRoute(six(gateway))] : []),
    ];
  }

  /** With those of other groups, for many take the kernel little longer than one; what then is there still goes one by one. */
  #remove(links: readonly string[]): Promise<void> {
    for (const name of links) this.#going.add(name);
    this.#removing ??= after(removalsMeetMs).then(() => {
      this.#removing = null;
      const names = [...this.#going];
      this.#going.clear();
      const group = this.#names.linkGroup('');
      const together = [...names.map((name) => setGroup(name, group)), removeGroup(group)];
      return this.#removals.apply([...together, ...names.map(removeLink)]);
    });
    return this.#removing;
  }

  async #detach(own: string, groupUid: string): Promise<void> {
    const [bridge, tunnel] = [this.#names.bridge(groupUid), this.#names.vxlan(groupUid)];
    const all = await this.#links.list();
    const { index, alias = '' } = all.find(({ name }) => name === bridge) ?? {};
    // One that is cut off, or is not joined yet, is on it all the same.
    const title = alias.slice(aliasOfBridge('').length);
    const isApart = ({ master, alias: its }: Link): boolean =>
      master === 0 && title !== '' && its.startsWith(aliasOfPort('')) && its.endsWith(` of ${title}`);
    const others = all.filter((each) => (each.master === index || isApart(each)) && each.name !== own);
    await this.#noteReach(own, null, groupUid);
    if (others.some(({ name }) => this.#names.isOwnPort(name))) return this.#remove([own]);
    const isLast = !others.some(({ name }) => this.#names.isAnyPort(name));
    await this.#remove(isLast ? [own, tunnel, bridge] : [own]);
    this.#groups.delete(groupUid);
    this.#joined.delete(groupUid);
    await this.#firewall.forget(groupUid, isLast);
    await this.#seal();
    if (this.#groups.size > 0) return;
    if (this.#checking) clearInterval(this.#checking);
    this.#checking = null;
    if (this.#idle) clearTimeout(this.#idle);
    this.#idle = setTimeout(() => void this.#removeRules().catch(() => undefined), idleMs).unref();
  }
}
