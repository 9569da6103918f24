// agent.proto loaded for @grpc/grpc-js, with types: the two services as client constructors and as definitions for a
// server. It knows the options of decoding (see agent-types.ts) and nothing of hubs, agents, addresses or certificates.
// The .proto is read from beside this file; a bundler puts a copy beside the bundle.
import {
  loadPackageDefinition,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientOptions,
  type ChannelCredentials,
  type Client,
  type Metadata,
  type ServerDuplexStream,
  type ServerWritableStream,
  type ServiceDefinition,
  type CallOptions,
} from '@grpc/grpc-js';
import { loadSync, type Options } from '@grpc/proto-loader';
import { fileURLToPath } from 'node:url';
import type {
  AgentMessage,
  Chunk,
  HubMessage,
  ImageChunk,
  ImageRequest,
  LeaverRequest,
  PagesChunk,
  PagesRequest,
  Sent,
  TreeMessage,
} from './agent-types.ts';

/** Versions of this protocol that this build speaks. */
export const protocolVersionMin = 1;
export const protocolVersionMax = 1;

/** Largest message either side accepts. A fence delta of a large job is the longest. */
export const maxMessageBytes = 256 * 1024 * 1024;

export const loadOptions: Options = {
  keepCase: false,
  longs: Number,
  defaults: true,
  oneofs: true,
};

type Duplex<In, Out> = (metadata?: Metadata, options?: CallOptions) => ClientDuplexStream<Sent<In>, Out>;

export interface HubClient extends Client {
  session: Duplex<AgentMessage, HubMessage>;
  stream: Duplex<Chunk, Chunk>;
}

export interface PeerClient extends Client {
  tree: Duplex<TreeMessage, TreeMessage>;
  image: (request: Sent<ImageRequest>, options?: CallOptions) => ClientReadableStream<ImageChunk>;
  leaver: (request: Sent<LeaverRequest>, options?: CallOptions) => ClientReadableStream<ImageChunk>;
  pages: Duplex<PagesRequest, PagesChunk>;
}

export type SessionCall = ServerDuplexStream<AgentMessage, Sent<HubMessage>>;
export type StreamCall = ServerDuplexStream<Chunk, Sent<Chunk>>;
export type ImageCall = ServerWritableStream<ImageRequest, Sent<ImageChunk>>;
export type LeaverCall = ServerWritableStream<LeaverRequest, Sent<ImageChunk>>;
export type PagesCall = ServerDuplexStream<PagesRequest, Sent<PagesChunk>>;
export type TreeCall = ServerDuplexStream<TreeMessage, Sent<TreeMessage>>;

/** Implementations for `server.addService(wire.hubService, {...})`. Type aliases, so that grpc-js takes them as maps of handlers. */
export type HubHandlers = {
  session: (call: SessionCall) => void;
  stream: (call: StreamCall) => void;
};
export type PeerHandlers = {
  tree: (call: TreeCall) => void;
  image?: (call: ImageCall) => void;
  leaver?: (call: LeaverCall) => void;
  pages?: (call: PagesCall) => void;
};

type ClientConstructor<T> = (new (
  address: string,
  credentials: ChannelCredentials,
  options?: Partial<ClientOptions>,
) => T) & {
  service: ServiceDefinition;
};

export interface Wire {
  readonly Hub: ClientConstructor<HubClient>;
  readonly Peer: ClientConstructor<PeerClient>;
  readonly hubService: ServiceDefinition;
  readonly peerService: ServiceDefinition;
}

export function loadWire(path: string = fileURLToPath(new URL('./agent.proto', import.meta.url))): Wire {
  const loaded = loadPackageDefinition(loadSync(path, loadOptions)) as unknown as {
    muster: { v1: { Hub: ClientConstructor<HubClient>; Peer: ClientConstructor<PeerClient> } };
  };
  const { Hub, Peer } = loaded.muster.v1;
  return { Hub, Peer, hubService: Hub.service, peerService: Peer.service };
}

/** Channel options for both sides of every connection: big messages, and a dead peer is noticed within half a minute. */
export const channelOptions: ClientOptions = {
  'grpc.max_receive_message_length': maxMessageBytes,
  'grpc.max_send_message_length': maxMessageBytes,
  'grpc.keepalive_time_ms': 20_000,
  'grpc.keepalive_timeout_ms': 10_000,
  'grpc.keepalive_permit_without_calls': 0,
};
