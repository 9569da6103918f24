// How an agent reaches another one: over mutual TLS, believing only a certificate that names the node meant. Clients made with the
// same credentials share a connection, which outlives them by some seconds: a job that follows another finds it open.
import { credentials, type ChannelCredentials } from '@grpc/grpc-js';
import { channelOptions, type PeerClient, type Wire } from '../wire/load.ts';
import { nodeServerName } from './peer-identity.ts';
import type { TlsMaterial } from './tls.ts';

export const peerCredentials = ({ ca, key, cert }: TlsMaterial): ChannelCredentials =>
  credentials.createSsl(ca, key, cert);

export function peerClient(
  wire: Wire,
  secure: ChannelCredentials,
  { node, address }: { readonly node: string; readonly address: string },
): PeerClient {
  const name = nodeServerName(node);
  return new wire.Peer(address, secure, {
    ...channelOptions,
    // A peer that was away is tried again about as often as whoever needs it asks.
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 2000,
    'grpc.ssl_target_name_override': name,
    'grpc.default_authority': name,
  });
}
