// Files of an image on their way between agents: a manifest, which says names and lengths, then each file in its order, in chunks.
// The receiver writes what the manifest names and nothing else; files are new, are what the manifest has the digests of, and outlive a
// loss of power. Who may ask, what a manifest must be, and where files lie are the business of image-transfer.ts. Sandboxes that move
// go another way (migration/departure.ts).
import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import type { ClientReadableStream } from '@grpc/grpc-js';
import type { ImageChunk } from '../../wire/agent-types.ts';
import type { ImageCall, LeaverCall, PeerClient } from '../../wire/load.ts';
import { isFileName, manifestName, type Manifest } from './image.ts';

const chunkBytes = 1 << 20;

type Call = ImageCall | LeaverCall;

export async function sendManifest(call: Call, bytes: Buffer): Promise<void> {
  for (let offset = 0; offset < bytes.length; offset += chunkBytes)
    await send(call, {
      file: manifestName,
      offset,
      data: bytes.subarray(offset, offset + chunkBytes),
      carried: 0,
      whole: [],
    });
}

/** Throws when there is less of it than `bytes`, or the other side goes. */
export async function sendFile(call: Call, name: string, path: string, bytes: number): Promise<void> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    for (let offset = 0; offset < bytes;) {
      const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, bytes - offset));
      const { bytesRead } = await file.read(buffer, 0, buffer.length, offset);
      if (bytesRead === 0) throw new Error(`${name} has become shorter`);
      await send(call, { file: name, offset, data: buffer.subarray(0, bytesRead), carried: 0, whole: [] });
      offset += bytesRead;
    }
  } finally {
    await file.close();
  }
}

export function send(call: Call, chunk: ImageChunk): Promise<void> {
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

/** Ends call and client, however it goes. */
export async function receiveFiles(
  client: PeerClient,
  call: ClientReadableStream<ImageChunk>,
  receiver: FileReceiver,
  signal: AbortSignal,
): Promise<Manifest> {
  const cancel = () => {
    call.cancel();
  };
  signal.addEventListener('abort', cancel);
  try {
    for await (const chunk of call) await receiver.take(chunk as ImageChunk);
    return await receiver.finish();
  } finally {
    signal.removeEventListener('abort', cancel);
    call.cancel();
    client.close();
  }
}

export interface ReceiverOptions {
  /** Throws unless it is one that may be received. */
  readonly manifestOf: (bytes: Buffer) => Manifest;
  readonly pathOf: (name: string) => string;
  readonly onProgress?: (bytes: number) => void;
}

export class FileReceiver implements AsyncDisposable {
  readonly #options: ReceiverOptions;
  readonly #manifestParts: Buffer[] = [];
  #manifest: Manifest | null = null;
  #next = 0;
  #file: FileHandle | null = null;
  #hash: Hash | null = null;
  #offset = 0;
  #bytes = 0;

  constructor(options: ReceiverOptions) {
    this.#options = options;
  }

  /** That came, manifest and all. */
  get bytes(): number {
    return this.#bytes;
  }

  get manifestBytes(): Buffer {
    return Buffer.concat(this.#manifestParts);
  }

  async take({ file, offset, data }: ImageChunk): Promise<void> {
    this.#bytes += data.length;
    if (file === manifestName) this.#manifestParts.push(data);
    else await this.#write(file, offset, data);
    this.#options.onProgress?.(this.#bytes);
  }

  async finish(): Promise<Manifest> {
    const manifest = this.#begun();
    while (this.#next < manifest.files.length) await this.#end();
    return manifest;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file?.close();
    this.#file = null;
  }

  async #write(name: string, offset: number, data: Buffer): Promise<void> {
    const { files } = this.#begun();
    while (files[this.#next]?.name !== name) {
      if (this.#next >= files.length)
        throw new Error(`it sends a file ${JSON.stringify(name)} that its manifest does not name`);
      await this.#end();
    }
    if (offset !== this.#offset || offset + data.length > (files[this.#next]?.bytes ?? 0))
      throw new Error(`it sends more of ${name} than there is`);
    this.#file ??= await this.#create(name);
    this.#hash?.update(data);
    for (let done = 0; done < data.length;)
      done += (await this.#file.write(data, done, data.length - done, offset + done)).bytesWritten;
    this.#offset += data.length;
  }

  #begun(): Manifest {
    if (this.#manifest !== null) return this.#manifest;
    const manifest = this.#options.manifestOf(this.manifestBytes);
    for (const { name } of manifest.files)
      if (!isFileName(name)) throw new Error(`its manifest names a file ${JSON.stringify(name)}`);
    return (this.#manifest = manifest);
  }

  #create(name: string): Promise<FileHandle> {
    this.#hash = createHash('sha256');
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_EXCL;
    return open(this.#options.pathOf(name), flags, 0o600);
  }

  /** The file that is being received has come to its end. */
  async #end(): Promise<void> {
    const expected = this.#manifest?.files[this.#next];
    if (!expected) return;
    this.#file ??= await this.#create(expected.name); // an empty one
    await this.#file.sync();
    await this.#file.close();
    this.#file = null;
    if (this.#offset !== expected.bytes)
      throw new Error(
        `${expected.name} ended after ${String(this.#offset)} of ${String(expected.bytes)} bytes`,
      );
    if (this.#hash && this.#hash.digest('hex') !== expected.sha256)
      throw new Error(`what it sent of ${expected.name} is not what was saved`);
    this.#offset = 0;
    this.#next++;
  }
}
