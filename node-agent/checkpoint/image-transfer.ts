// An image on its way from agent to agent (Peer.Image): the manifest first, then each of its files. Whoever asks must know the
// manifest's digest, and believes nothing that does not fit it: names, lengths and digests all come from there. The manifest is
// put in place last, so an image that was cut off is none.
import type { ImageSource } from '../../wire/agent-types.ts';
import type { ImageCall, Wire } from '../../wire/load.ts';
import { AgentError, messageOf } from '../agent-error.ts';
import { peerClient, peerCredentials } from '../peer-client.ts';
import type { TlsMaterial } from '../tls.ts';
import { FileReceiver, receiveFiles, sendFile, sendManifest } from './file-transfer.ts';
import { digestOf, isValidImageId, type Image, type ImageStore, type Manifest } from './image.ts';

/** Answers another agent. Only who knows the digest gets the image. */
export async function serveImage(store: ImageStore, call: ImageCall): Promise<void> {
  try {
    const { id, digest } = call.request;
    const image = isValidImageId(id) ? store.of(id) : null;
    const bytes = image?.readManifestBytes() ?? null;
    if (image === null || bytes === null || digestOf(bytes) !== digest)
      throw new Error(
        `MUSTER_IMAGE_MISSING: there is no image ${id?.checkpointUid ?? ''} with that digest here`,
      );
    await sendManifest(call, bytes);
    for (const { name, bytes: length } of image.manifest().files)
      await sendFile(call, name, image.pathOf(name), length);
    call.end();
  } catch (error) {
    call.destroy(error instanceof Error ? error : new Error(messageOf(error)));
  }
}

export interface FetchOptions {
  readonly wire: Wire;
  readonly tls: TlsMaterial;
  readonly sources: readonly ImageSource[];
  readonly digest: string;
  readonly onProgress: (bytes: number) => void;
  /** Throws AgentError unless the node has room for so many bytes more of images. */
  readonly checkRoom: (bytes: number) => void;
}

/** Tries one source after the other. Throws AgentError with what each of them said. */
export async function fetchImage(image: Image, options: FetchOptions, signal: AbortSignal): Promise<void> {
  const trouble: string[] = [];
  for (const source of options.sources) {
    try {
      await fetchFrom(image.part, source, options, signal);
      image.replaceByPart();
      return;
    } catch (error) {
      image.part.remove();
      signal.throwIfAborted();
      trouble.push(`${source.node}: ${messageOf(error)}`);
    }
  }
  throw new AgentError(
    'failed',
    'ImageDamaged',
    'MUSTER_IMAGE_MISSING',
    `image ${image.id.checkpointUid} of sandbox ${String(image.id.ordinal)} is not on this node and could not be had: ${trouble.join('; ') || 'no other node has it'}`,
  );
}

async function fetchFrom(
  image: Image,
  source: ImageSource,
  { wire, tls, digest, onProgress, checkRoom }: FetchOptions,
  signal: AbortSignal,
): Promise<void> {
  const client = peerClient(wire, peerCredentials(tls), source); // a connection of its own, apart from the jobs'
  image.create();
  await using receiver = new FileReceiver({
    manifestOf: (bytes) => {
      if (digestOf(bytes) !== digest) throw new Error('its manifest is another one');
      const manifest = JSON.parse(bytes.toString('utf8')) as Manifest;
      checkRoom(manifest.files.reduce((sum, each) => sum + each.bytes, 0));
      return manifest;
    },
    pathOf: (name) => image.pathOf(name),
    onProgress,
  });
  await receiveFiles(client, client.image({ id: image.id, digest }), receiver, signal);
  image.writeManifest(receiver.manifestBytes);
}
