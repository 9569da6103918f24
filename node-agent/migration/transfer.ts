// Fetches a sandbox from the node that it leaves (Peer.Leaver; departure.ts sends, arrival.ts takes), also while it is still being
// dumped there. An agent there that is started anew in the middle is asked again; one that is silent for too long is given up, since
// ranks stand still meanwhile. Whether the other node can be reached at all is tried before anything stops.
import { setTimeout as after } from 'node:timers/promises';
import type { Native } from '../../native/addon/index.ts';
import type { ImageChunk, SandboxId } from '../../wire/agent-types.ts';
import { hostOf } from '../../wire/endpoint.ts';
import type { Wire } from '../../wire/load.ts';
import { AgentError, messageOf } from '../agent-error.ts';
import type { Manifest } from '../checkpoint/image.ts';
import { peerClient, peerCredentials } from '../peer-client.ts';
import type { TlsMaterial } from '../tls.ts';
import { Arrival } from './arrival.ts';
import type { Looked } from './journey.ts';
import { LinkClient, silentAtMostMs } from './link.ts';
import type { UsedFile } from './used-files.ts';

export interface LeaverPlace {
  readonly wire: Wire;
  readonly tls: TlsMaterial;
  readonly node: string;
  /** Another one once the agent there was started anew. */
  readonly address: () => string;
  /** As it is where it leaves. */
  readonly id: SandboxId;
  readonly migrationUid: string;
}

export interface FetchLeaver extends LeaverPlace {
  readonly native: Native;
  /** Where a file of it goes. */
  readonly pathOf: (name: string) => string;
  /** Not the sandbox but these files that its processes use, named by their places here. */
  readonly files?: readonly string[];
}

export interface Fetched {
  readonly manifest: Manifest;
  /** Of the other node, that its processes use. */
  readonly files: readonly UsedFile[];
  readonly bytes: number;
  /** How long it had stood still, when all of it was sent. */
  readonly stillUs: number;
}

const reachedWithinMs = 10_000;
const lookedWithinMs = 2000;
const againAfterMs = 200;
const watchEveryMs = 500;
/** Of those that began well. */
const mostFailures = 5;

/** Throws AgentError TransferFailed, or with the other side's own reason why the sandbox stays there. */
export async function fetchLeaver(options: FetchLeaver, signal: AbortSignal): Promise<Fetched> {
  let heardMs = performance.now();
  const heard = (): void => {
    heardMs = performance.now();
  };
  for (let failures = 0; ;) {
    const before = heardMs;
    try {
      return await fetchOnce(options, { byLink: failures === 0, heard }, signal);
    } catch (cause) {
      signal.throwIfAborted();
      if (cause instanceof AgentError) throw cause;
      if (heardMs > before) failures++;
      const { node, address } = options;
      if (failures >= mostFailures || performance.now() - heardMs >= silentAtMostMs)
        throw failure(
          'MUSTER_TRANSFER_FAILED',
          `from node ${node} at ${address()}: ${messageOf(cause)}`,
          cause,
        );
    }
    await after(againAfterMs, undefined, { signal });
  }
}

async function fetchOnce(
  { wire, tls, native, node, address: addressNow, id, migrationUid, pathOf, files = [] }: FetchLeaver,
  { byLink, heard }: { byLink: boolean; heard: () => void },
  signal: AbortSignal,
): Promise<Fetched> {
  using ending = new DisposableStack();
  const address = addressNow();
  const client = ending.adopt(peerClient(wire, peerCredentials(tls), { node, address }), (each) =>
    each.close(),
  );
  const call = ending.adopt(
    client.leaver({ id, migrationUid, noLink: !byLink, files: [...files], takesWhole: true }),
    (each) => each.cancel(),
  );
  let link: LinkClient | null = null;
  let lastMs = performance.now();
  let isSilent = false;
  const watch = setInterval(() => {
    isSilent = performance.now() - lastMs >= silentAtMostMs;
    if (isSilent) call.cancel();
  }, watchEveryMs);
  ending.defer(() => clearInterval(watch));
  const cancel = (): void => call.cancel();
  signal.addEventListener('abort', cancel);
  ending.defer(() => signal.removeEventListener('abort', cancel));
  using arrival = new Arrival({
    pathOf,
    onLink: (port) => {
      link = LinkClient.open(native, tls, { host: hostOf(address), port, node });
      if (link) ending.use(link);
    },
    receive: (fd, offset, length) =>
      link?.receive(fd, offset, length) ?? Promise.reject(new Error('there is no link')),
  });
  try {
    for await (const chunk of call) {
      lastMs = performance.now();
      heard();
      await arrival.take(chunk as ImageChunk);
    }
  } catch (error) {
    throw isSilent ? new Error('nothing is heard of it any more', { cause: error }) : error;
  }
  return { ...arrival.finish(), bytes: arrival.bytes };
}

/**
 * What the sandbox's processes use besides their memory, as of now; nothing where that is not known soon. Throws AgentError TransferFailed unless the
 * other agent answers; one that is being started anew is given time.
 */
export async function reachLeaver(
  place: LeaverPlace,
  signal: AbortSignal,
): Promise<{ readonly files: readonly UsedFile[]; readonly carriedBytes: number }> {
  const beganMs = performance.now();
  const leftMs = (withinMs: number): number => withinMs - (performance.now() - beganMs);
  for (;;) {
    try {
      const { files, carriedBytes = 0 } = await probe(place, leftMs(reachedWithinMs), signal);
      if (files !== null || leftMs(lookedWithinMs) <= 0) return { files: files ?? [], carriedBytes };
    } catch (cause) {
      signal.throwIfAborted();
      if (leftMs(reachedWithinMs) <= againAfterMs)
        throw failure(
          'MUSTER_PEER_UNREACHABLE',
          `the agent of node ${place.node} cannot be reached at ${place.address()}: ${messageOf(cause)}; agents fetch ranks from each other, so let them through`,
          cause,
        );
    }
    await after(againAfterMs, undefined, { signal });
  }
}

async function probe(
  { wire, tls, node, address, id, migrationUid }: LeaverPlace,
  withinMs: number,
  signal: AbortSignal,
): Promise<Looked> {
  const client = peerClient(wire, peerCredentials(tls), { node, address: address() });
  const call = client.leaver({ id, migrationUid, probe: true }, { deadline: Date.now() + withinMs });
  const cancel = (): void => call.cancel();
  signal.addEventListener('abort', cancel);
  try {
    const chunks = (await call.toArray()) as ImageChunk[];
    const text = Buffer.concat(chunks.map(({ data }) => data)).toString();
    return text === '' ? { files: null } : (JSON.parse(text) as Looked);
  } finally {
    signal.removeEventListener('abort', cancel);
    call.cancel();
    client.close();
  }
}

const failure = (code: string, message: string, cause: unknown): AgentError =>
  new AgentError('failed', 'TransferFailed', code, message, { cause });
