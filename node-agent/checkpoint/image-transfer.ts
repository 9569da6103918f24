// An image on its way from agent to agent (Peer.Image): the manifest first, then each of its files. Whoever asks must know the
// manifest's digest, and believes nothing that does not fit it: names, lengths and digests all come from there. The manifest is
// put in place last, so an image that was cut off is none.
import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import type { ImageChunk, ImageSource } from '../../wire/agent-types.ts';
import type { ImageCall, Wire } from '../../wire/load.ts';
import { AgentError, messageOf } from '../agent-error.ts';
import { peerClient, peerCredentials } from '../peer-client.ts';
import type { TlsMaterial } from '../tls.ts';
import {
  digestOf,
  isFileName,
  isValidImageId,
  manifestName,
  type Image,
  type ImageStore,
  type Manifest,
} from './image.ts';

const chunkBytes = 1 << 20;

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
    await send(call, { file: manifestName, offset: 0, data: bytes });
    for (const { name } of image.manifest().files) await sendFile(call, image, name);
    call.end();
  } catch (error) {
    call.destroy(error instanceof Error ? error : new Error(messageOf(error)));
  }
}

async function sendFile(call: ImageCall, image: Image, name: string): Promise<void> {
  const file = await open(image.pathOf(name), constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    for (let offset = 0; ;) {
      const buffer = Buffer.allocUnsafe(chunkBytes);
      const { bytesRead } = await file.read(buffer, 0, buffer.length, offset);
      if (bytesRead === 0) return;
      await send(call, { file: name, offset, data: buffer.subarray(0, bytesRead) });
      offset += bytesRead;
    }
  } finally {
    await file.close();
  }
}

function send(call: ImageCall, chunk: ImageChunk): Promise<void> {
  return new Promise((resolve, reject) => {
    if (call.cancelled) {
      reject(new Error('the other agent has gone'));
      return;
    }
    if (call.write(chunk)) {
      resolve();
      return;
    }
    const done = () => {
      call.off('drain', done);
      call.off('cancelled', done);
      resolve();
    };
    call.on('drain', done);
    call.on('cancelled', done);
  });
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
  const call = client.image({ id: image.id, digest });
  const cancel = () => {
    call.cancel();
  };
  signal.addEventListener('abort', cancel);
  try {
    await using receiver = new Receiver(image, digest, checkRoom);
    for await (const chunk of call) {
      await receiver.take(chunk as ImageChunk);
      onProgress(receiver.bytes);
    }
    await receiver.finish();
  } finally {
    signal.removeEventListener('abort', cancel);
    call.cancel();
    client.close();
  }
}

/** Writes what comes, in the order of the manifest, and nothing else. */
class Receiver implements AsyncDisposable {
  bytes = 0;
  readonly #image: Image;
  readonly #digest: string;
  readonly #checkRoom: FetchOptions['checkRoom'];
  readonly #manifestParts: Buffer[] = [];
  #manifest: Manifest | null = null;
  #next = 0;
  #file: FileHandle | null = null;
  #hash: Hash = createHash('sha256');
  #offset = 0;

  constructor(image: Image, digest: string, checkRoom: FetchOptions['checkRoom']) {
    this.#image = image;
    this.#digest = digest;
    this.#checkRoom = checkRoom;
    image.create();
  }

  async take({ file, offset, data }: ImageChunk): Promise<void> {
    this.bytes += data.length;
    if (file === manifestName) {
      this.#manifestParts.push(data);
      return;
    }
    await this.#begin();
    const files = this.#manifest?.files ?? [];
    while (files[this.#next]?.name !== file) {
      if (this.#next >= files.length)
        throw new Error(`it sends a file ${JSON.stringify(file)} that is none of the image`);
      await this.#end();
    }
    if (offset !== this.#offset || offset + data.length > (files[this.#next]?.bytes ?? 0))
      throw new Error(`it sends more of ${file} than there is`);
    this.#file ??= await this.#create(file);
    this.#hash.update(data);
    for (let done = 0; done < data.length;) {
      const { bytesWritten } = await this.#file.write(data, done, data.length - done, offset + done);
      done += bytesWritten;
    }
    this.#offset += data.length;
  }

  async finish(): Promise<void> {
    await this.#begin();
    while (this.#next < (this.#manifest?.files.length ?? 0)) await this.#end();
    this.#image.writeManifest(Buffer.concat(this.#manifestParts));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file?.close();
    this.#file = null;
  }

  /** The manifest is there: it must be the one asked for, and there must be room for all that it names. */
  async #begin(): Promise<void> {
    if (this.#manifest !== null) return;
    const bytes = Buffer.concat(this.#manifestParts);
    if (digestOf(bytes) !== this.#digest) throw new Error('its manifest is another one');
    const manifest = JSON.parse(bytes.toString('utf8')) as Manifest;
    const needed = manifest.files.reduce((sum, each) => sum + each.bytes, 0);
    this.#checkRoom(needed);
    for (const { name } of manifest.files)
      if (!isFileName(name)) throw new Error(`its manifest names a file ${JSON.stringify(name)}`);
    this.#manifest = manifest;
  }

  #create(name: string): Promise<FileHandle> {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    return open(this.#image.pathOf(name), flags, 0o600);
  }

  /** The file that is being received has come to its end. */
  async #end(): Promise<void> {
    const expected = this.#manifest?.files[this.#next];
    if (!expected) return;
    this.#file ??= await this.#create(expected.name); // an empty one
    await this.#file.sync();
    await this.#file.close();
    this.#file = null;
    if (this.#offset !== expected.bytes || this.#hash.digest('hex') !== expected.sha256)
      throw new Error(`what it sent of ${expected.name} is not what was saved`);
    this.#hash = createHash('sha256');
    this.#offset = 0;
    this.#next++;
  }
}
