// What /etc/resolv.conf says in a job network: name servers at the node's own loopback addresses are not there, and none by IPv6.
// Where the node has such a server for itself, those that it asks in turn take its place. Pure.
import { isIPv4 } from 'node:net';

/** Where systemd-resolved tells of the servers behind its own. */
export const upstreamPath = '/run/systemd/resolve/resolv.conf';

/** As the node's when neither it nor what is upstream names a server that can be reached. */
export function resolverFor(own: string, upstream: string): string {
  for (const text of [own, upstream]) {
    const lines = text.split('\n').filter((line) => isReachable(line));
    if (lines.some((line) => serverOf(line) !== null)) return lines.join('\n');
  }
  return own;
}

const serverOf = (line: string): string | null => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? null;

function isReachable(line: string): boolean {
  const server = serverOf(line);
  return server === null || (isIPv4(server) && !server.startsWith('127.'));
}
