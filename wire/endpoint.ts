// Where something listens, as one text: `host:port`, an IPv6 address in brackets (RFC 3986).
import { isIPv6 } from 'node:net';

export const endpointOf = (host: string, port: number): string =>
  isIPv6(host) ? `[${host}]:${String(port)}` : `${host}:${String(port)}`;

export const hostOf = (endpoint: string): string => endpoint.replace(/:\d*$/, '').replace(/^\[|\]$/g, '');
