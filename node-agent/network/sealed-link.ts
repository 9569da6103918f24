// What encrypts the tunnels of job networks, where the administrator wants that: one WireGuard device a node below all of them, the
// kernel's own or, where it has none, that of wireguard-go, which goes on when the agent ends. Peers are the nodes of groups that have
// sandboxes here; each is heard from one address alone, which follows from its key, so that rules can go by it. wg(8) sets it up.
import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import type { Native } from '../../native/addon/index.ts';
import { sealedMtuOver } from '../../wire/job-addresses.ts';
import { addAddress, addWireguard, setMtu, setUp } from './link-changes.ts';
import { LinkError, Links } from './links.ts';
import { sealedAddressOf, sealedPrefix, type NetworkKey } from './network-key.ts';
import { underlayOf } from './underlay.ts';

export interface SealedLinkOptions {
  readonly name: string;
  readonly clusterId: string;
  /** UDP port on the underlay, the same on all nodes. */
  readonly port: number;
  /** Of this node on the underlay. */
  readonly underlay: string;
  readonly key: NetworkKey;
}

const tun = '/dev/net/tun';
const readyWithinMs = 5_000;
const lookEveryMs = 10;
const usualMtu = 1500;
/** As it is called by libuv. */
const noSuchKind = 'ENOTSUP';

/** Why tunnels cannot be encrypted here, with the cure; null when they can. */
export async function sealingTrouble(native: Native): Promise<string | null> {
  if (!starts('wg', '--version')) return 'wg does not start: install wireguard-tools';
  if (await kernelSeals(native)) return null;
  if (!starts('wireguard-go', '--version'))
    return 'the kernel has no WireGuard (modprobe wireguard) and wireguard-go does not start: install it';
  try {
    accessSync(tun, constants.R_OK | constants.W_OK);
    return null;
  } catch {
    return `the kernel has no WireGuard (modprobe wireguard), and wireguard-go cannot have ${tun}`;
  }
}

const starts = (file: string, ...args: string[]): boolean =>
  spawnSync(file, args, { stdio: 'ignore', timeout: 5000 }).status === 0;

/** Tried in a network namespace that nobody is in. */
async function kernelSeals(native: Native): Promise<boolean> {
  const netns = native.netnsNew('');
  try {
    await using links = new Links(native, netns);
    await links.apply([addWireguard('probe')]);
    return true;
  } catch (error) {
    if (error instanceof LinkError) return false;
    throw error;
  } finally {
    native.close(netns);
  }
}

export class SealedLink {
  readonly #native: Native;
  readonly #options: SealedLinkOptions;
  /** Peers that it has been told of, by key: where they are. */
  readonly #told = new Map<string, string>();
  #index: number | null = null;
  #last: Promise<void> = Promise.resolve();

  constructor(native: Native, options: SealedLinkOptions) {
    this.#native = native;
    this.#options = options;
  }

  get publicKey(): string {
    return this.#options.key.publicKey;
  }

  get address(): string {
    return this.addressOf(this.publicKey);
  }

  /** By which the node with this key is known within the encrypted link. */
  addressOf(publicKey: string): string {
    return sealedAddressOf(this.#options.clusterId, publicKey);
  }

  /**
   * Resolves when packets to these peers (key: address on the underlay) are encrypted, and from no others taken. One that an earlier
   * agent told it of stays until it is told otherwise, or goes with the device.
   */
  bring(links: Links, peers: ReadonlyMap<string, string>): Promise<void> {
    const done = this.#last.catch(() => undefined).then(() => this.#bring(links, peers));
    this.#last = done;
    return done;
  }

  /** When no network is left that needs it. */
  remove(links: Links): Promise<void> {
    const done = this.#last
      .catch(() => undefined)
      .then(async () => {
        this.#told.clear();
        this.#index = null;
        if ((await links.find(this.#options.name)) !== null) await links.remove(this.#options.name);
      });
    this.#last = done;
    return done;
  }

  async #bring(links: Links, peers: ReadonlyMap<string, string>): Promise<void> {
    const { name, port } = this.#options;
    const found = await links.find(name);
    if (found === null || found.index !== this.#index) {
      if (peers.size === 0) return;
      this.#told.clear();
      this.#index = found?.index ?? (await this.#make(links));
      await this.#setUp(links, this.#index);
    }
    const words: string[] = [];
    for (const [key, address] of peers) {
      if (this.#told.get(key) === address) continue;
      const endpoint = `${isIPv6(address) ? `[${address}]` : address}:${String(port)}`;
      words.push('peer', key, 'endpoint', endpoint, 'allowed-ips', `${this.addressOf(key)}/128`);
    }
    const gone = [...this.#told.keys()].filter((key) => !peers.has(key));
    for (const key of gone) words.push('peer', key, 'remove');
    if (words.length === 0) return;
    await wg('set', name, ...words);
    for (const key of gone) this.#told.delete(key);
    for (const [key, address] of peers) this.#told.set(key, address);
  }

  async #make(links: Links): Promise<number> {
    const { name } = this.#options;
    try {
      await links.apply([addWireguard(name)]);
    } catch (error) {
      if (!(error instanceof LinkError) || error.code !== noSuchKind) throw error;
      // Of a session of its own: it is to outlive the agent.
      const child = spawn('wireguard-go', ['--foreground', name], { stdio: 'ignore', detached: true });
      child.on('error', () => undefined); // that it is not there tells
      child.unref();
    }
    const deadline = performance.now() + readyWithinMs;
    for (;;) {
      const link = await links.find(name);
      if (link !== null && isListening(name, link.kind)) return link.index;
      if (performance.now() > deadline)
        throw new Error(
          `MUSTER_NETWORK_SEAL: no device ${name} of WireGuard within ${String(readyWithinMs)} ms`,
        );
      await pause(lookEveryMs);
    }
  }

  async #setUp(links: Links, index: number): Promise<void> {
    const { name, port, key, underlay } = this.#options;
    await wg('set', name, 'listen-port', String(port), 'private-key', key.file);
    const { mtu } = await underlayOf(this.#native, underlay);
    await links.apply([
      setMtu(name, index, sealedMtuOver(mtu > 0 ? mtu : usualMtu, isIPv6(underlay))),
      addAddress(name, this.address, sealedPrefix, index),
      setUp(name, index),
    ]);
  }
}

/** That of wireguard-go is set up over a socket. */
const isListening = (name: string, kind: string): boolean =>
  kind === 'wireguard' || existsSync(`/var/run/wireguard/${name}.sock`);

function wg(...args: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('wg', args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let complaint = '';
    child.stderr.on('data', (data: Buffer) => (complaint += data.toString('utf8').slice(0, 4096)));
    child.on('error', (cause) =>
      reject(new Error('MUSTER_NETWORK_SEAL: wg does not start: install wireguard-tools', { cause })),
    );
    child.on('close', (code) =>
      code === 0
        ? resolve()
        : reject(
            new Error(
              `MUSTER_NETWORK_SEAL: wg ${args[0] ?? ''}: ${complaint.trim() || `status ${String(code)}`}`,
            ),
          ),
    );
  });
}
