// Addresses of a job's network, all of which follow from its subnet and a sandbox's ordinal, so that nobody has to be asked or
// told: the first is the gateway, the same on every node; sandbox 0 has the second. A hardware address is "0a:4d" and the IPv4
// address, so it moves with it. RFC 4632 for subnets; the locally administered bit is set (IEEE 802).
import { isIPv6 } from 'node:net';

export interface Subnet {
  /** Of the first address, as a number. */
  readonly first: number;
  readonly prefix: number;
}

/** "100.64.16.0/28". Throws RangeError for anything else. */
export function parseSubnet(text: string): Subnet {
  const subnet = parseRange(text);
  if (subnet.prefix > 30)
    throw new RangeError(`${text} is not a subnet: expected ADDRESS/LENGTH, length at most 30`);
  return subnet;
}

/** Also a single address. */
export function parseRange(text: string): Subnet {
  const [ip = '', prefixText = ''] = text.split('/');
  const prefix = Number(prefixText);
  if (!/^\d+$/.test(prefixText) || prefix > 32)
    throw new RangeError(`${text} is not a subnet: expected ADDRESS/LENGTH`);
  const bytes = addressBytes(ip);
  if (bytes.length !== 4) throw new RangeError(`${text} is not an IPv4 subnet`);
  const first = bytes.readUInt32BE(0);
  if (first % 2 ** (32 - prefix) !== 0) throw new RangeError(`${text} has bits set beyond its length`);
  return { first, prefix };
}

/** Whether two subnets have an address in common. */
export function overlaps(one: string, other: string): boolean {
  const [a, b] = [parseRange(one), parseRange(other)];
  const shorter = 2 ** (32 - Math.min(a.prefix, b.prefix));
  return Math.floor(a.first / shorter) === Math.floor(b.first / shorter);
}

/** VXLAN over IPv4 or IPv6: outer Ethernet, IP, UDP, VXLAN headers. */
const overheadBytes = (six: boolean): number => (six ? 70 : 50);
const leastMtu = 1280 - overheadBytes(true);

/** What is left for packets of a job network on a link that carries so much; 0: too little. */
export function mtuOver(underlayMtu: number, six: boolean, isEncrypted = false): number {
  // Tunnels that are encrypted go over IPv6 within WireGuard.
  const carried = isEncrypted ? sealedMtuOver(underlayMtu, six) : Math.min(65_535, underlayMtu);
  const mtu = carried - overheadBytes(isEncrypted || six);
  return mtu >= leastMtu ? mtu : 0;
}

/** What WireGuard carries over such a link: without IP, UDP and its own header and tag. */
export const sealedMtuOver = (underlayMtu: number, six: boolean): number =>
  Math.min(65_535, underlayMtu) - (six ? 80 : 60);

/** How many sandboxes a subnet holds: all addresses but the network's, the gateway's and the broadcast. */
export const roomOf = ({ prefix }: Subnet): number => 2 ** (32 - prefix) - 3;

export const dotted = (address: number): string =>
  [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.');

export const gatewayOf = ({ first }: Subnet): string => dotted(first + 1);

export function addressOf(subnet: Subnet, ordinal: number): string {
  if (!(ordinal >= 0 && ordinal < roomOf(subnet))) {
    throw new RangeError(
      `sandbox ${String(ordinal)} has no address in ${dotted(subnet.first)}/${String(subnet.prefix)}`,
    );
  }
  return dotted(subnet.first + 2 + ordinal);
}

/** What all of the next are in. */
export const jobsBySix = 'fd6d:4d75::/32';

/** The addresses by IPv6 beside those of the network with this number: unique local (RFC 4193), none that is routed anywhere. */
export const subnetSixOf = (vni: number): string =>
  `fd6d:4d75:${(vni >>> 8).toString(16)}:${(((vni & 0xff) << 8) | 1).toString(16)}::/64`;

/** The one beside an IPv4 address, which stands at its end. */
export function addressSixOf(subnetSix: string, ip: string): string {
  const bytes = addressBytes(ip);
  const words = [bytes.readUInt16BE(0), bytes.readUInt16BE(2)].map((word) => word.toString(16));
  return subnetSix.replace(/\/64$/, words.join(':'));
}

export function macOf(ip: string): string {
  const hex = addressBytes(ip).toString('hex');
  return `0a:4d:${hex.match(/../g)!.join(':')}`;
}

export function macBytes(mac: string): Buffer {
  const bytes = Buffer.from(mac.replaceAll(':', ''), 'hex');
  if (bytes.length !== 6) throw new RangeError(`${mac} is not a hardware address of six bytes`);
  return bytes;
}

/** In network order, 4 or 16 bytes. */
export function addressBytes(ip: string): Buffer {
  if (!isIPv6(ip)) {
    const parts = ip.split('.').map(Number);
    if (parts.length !== 4 || parts.some((part) => !(part >= 0 && part <= 255)))
      throw new RangeError(`${ip} is not an address`);
    return Buffer.from(parts);
  }
  const [head = '', tail] = ip.split('::');
  const words = (text: string): number[] =>
    text === ''
      ? []
      : text.split(':').flatMap((word) => {
          if (!word.includes('.')) return [parseInt(word, 16)];
          const four = addressBytes(word);
          return [four.readUInt16BE(0), four.readUInt16BE(2)];
        });
  const [before, after] = [words(head), words(tail ?? '')];
  const all =
    tail === undefined
      ? before
      : [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
  const bytes = Buffer.alloc(16);
  all.forEach((word, index) => bytes.writeUInt16BE(word, index * 2));
  return bytes;
}
