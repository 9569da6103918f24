/**
 * A datagram in an Ethernet frame as a tunnel carries it (RFC 7348): what somebody on the wire would send who knows all about a
 * job's network but is no part of it.
 */
import { addressBytes, macBytes, macOf } from '../../wire/job-addresses.ts';

export interface TunnelledDatagram {
  readonly vni: number;
  readonly from: string;
  readonly to: string;
  readonly port: number;
  readonly text: string;
}

export function vxlanPacket({ vni, from, to, port, text }: TunnelledDatagram): Buffer {
  const payload = Buffer.from(text);
  const udp = Buffer.alloc(8); // without a checksum, which IPv4 allows
  udp.writeUInt16BE(port, 0);
  udp.writeUInt16BE(port, 2);
  udp.writeUInt16BE(8 + payload.length, 4);
  const ip = Buffer.alloc(20);
  ip.writeUInt16BE(0x4500, 0);
  ip.writeUInt16BE(20 + udp.length + payload.length, 2);
  ip.writeUInt16BE(0x4011, 8); // 64 hops, UDP
  addressBytes(from).copy(ip, 12);
  addressBytes(to).copy(ip, 16);
  ip.writeUInt16BE(checksum(ip), 10);
  const ethernet = Buffer.concat([macBytes(macOf(to)), macBytes(macOf(from)), Buffer.from([0x08, 0x00])]);
  const header = Buffer.alloc(8);
  header[0] = 0x08; // the VNI counts
  header.writeUInt32BE(vni * 2 ** 8, 4);
  return Buffer.concat([header, ethernet, ip, udp, payload]);
}

function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
