// A sandbox that has left on its way from agent to agent (Peer.Leaver): a manifest with the length of each file, then the files.
// Both ends are who their certificates say, and TLS keeps what is sent whole, so nothing is hashed while ranks stand still. Logs
// come from where the sandbox had them and go to where it will have them, beside the image. Nothing of it knows who may ask.
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import type { ImageChunk, SandboxId } from '../../wire/agent-types.ts';
import type { LeaverCall, Wire } from '../../wire/load.ts';
import { AgentError, messageOf } from '../agent-error.ts';
import { isFileName, manifestName, manifestVersion, type Manifest } from '../checkpoint/image.ts';
import { peerClient, peerCredentials } from '../peer-client.ts';
import type { TlsMaterial } from '../tls.ts';

const chunkBytes = 1 << 20;

/** `pathOf`: where a file of the manifest is. Throws when the other side goes. */
export async function sendLeaver(
  call: LeaverCall,
  manifest: Manifest,
  pathOf: (name: string) => string,
): Promise<void> {
  const text = Buffer.from(JSON.stringify(manifest));
  for (let offset = 0; offset < text.length; offset += chunkBytes)
    await send(call, { file: manifestName, offset, data: text.subarray(offset, offset + chunkBytes) });
  for (const { name, bytes } of manifest.files) await sendFile(call, name, pathOf(name), bytes);
  call.end();
}

async function sendFile(call: LeaverCall, name: string, path: string, bytes: number): Promise<void> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    for (let offset = 0; offset < bytes;) {
      const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, bytes - offset));
      const { bytesRead } = await file.read(buffer, 0, buffer.length, offset);
      if (bytesRead === 0) throw new Error(`${name} has become shorter`);
      await send(call, { file: name, offset, data: buffer.subarray(0, bytesRead) });
      offset += bytesRead;
    }
  } finally {
    await file.close();
  }
}

function send(call: LeaverCall, chunk: ImageChunk): Promise<void> {
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

export interface FetchLeaver {
  readonly wire: Wire;
  readonly tls: TlsMaterial;
  readonly node: string;
  readonly address: string;
  /** As it is where it leaves. */
  readonly id: SandboxId;
  readonly migrationUid: string;
  /** Where a file of the manifest goes. */
  readonly pathOf: (name: string) => string;
}

/** Gives the manifest and how much came. Throws AgentError TransferFailed. */
export async function fetchLeaver(
  { wire, tls, node, address, id, migrationUid, pathOf }: FetchLeaver,
  signal: AbortSignal,
): Promise<{ manifest: Manifest; bytes: number }> {
  const client = peerClient(wire, peerCredentials(tls), { node, address });
  const call = client.leaver({ id, migrationUid });
  const cancel = () => {
    call.cancel();
  };
  signal.addEventListener('abort', cancel);
  try {
    await using receiver = new Receiver(pathOf);
    for await (const chunk of call) await receiver.take(chunk as ImageChunk);
    return await receiver.finish();
  } catch (cause) {
    signal.throwIfAborted();
    if (cause instanceof AgentError) throw cause;
    throw new AgentError(
      'failed',
      'TransferFailed',
      'MUSTER_TRANSFER_FAILED',
      `from node ${node} at ${address}: ${messageOf(cause)}`,
      { cause },
    );
  } finally {
    signal.removeEventListener('abort', cancel);
    call.cancel();
    client.close();
  }
}

/** Writes what comes, in the order of the manifest, and nothing else. */
class Receiver implements AsyncDisposable {
  readonly #pathOf: (name: string) => string;
  readonly #manifestParts: Buffer[] = [];
  #manifest: Manifest | null = null;
  #next = 0;
  #file: FileHandle | null = null;
  #offset = 0;
  #bytes = 0;

  constructor(pathOf: (name: string) => string) {
    this.#pathOf = pathOf;
  }

  async take({ file, offset, data }: ImageChunk): Promise<void> {
    this.#bytes += data.length;
    if (file === manifestName) {
      this.#manifestParts.push(data);
      return;
    }
    const { files } = this.#begun();
    while (files[this.#next]?.name !== file) {
      if (this.#next >= files.length)
        throw new Error(`it sends a file ${JSON.stringify(file)} that is none of the sandbox`);
      await this.#end();
    }
    if (offset !== this.#offset || offset + data.length > (files[this.#next]?.bytes ?? 0))
      throw new Error(`it sends more of ${file} than there is`);
    this.#file ??= await this.#create(file);
    for (let done = 0; done < data.length;)
      done += (await this.#file.write(data, done, data.length - done, offset + done)).bytesWritten;
    this.#offset += data.length;
  }

  async finish(): Promise<{ manifest: Manifest; bytes: number }> {
    const manifest = this.#begun();
    while (this.#next < manifest.files.length) await this.#end();
    return { manifest, bytes: this.#bytes };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file?.close();
    this.#file = null;
  }

  #begun(): Manifest {
    if (this.#manifest !== null) return this.#manifest;
    const manifest = JSON.parse(Buffer.concat(this.#manifestParts).toString('utf8')) as Manifest;
    if (manifest.version !== manifestVersion)
      throw new Error(
        `it speaks version ${String(manifest.version)} of images, not ${String(manifestVersion)}`,
      );
    for (const { name } of manifest.files)
      if (!isFileName(name)) throw new Error(`its manifest names a file ${JSON.stringify(name)}`);
    return (this.#manifest = manifest);
  }

  #create(name: string): Promise<FileHandle> {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;
    return open(this.#pathOf(name), flags, 0o600);
  }

  /** The file that is being received has come to its end. */
  async #end(): Promise<void> {
    const expected = this.#manifest?.files[this.#next];
    if (!expected) return;
    this.#file ??= await this.#create(expected.name); // an empty one
    await this.#file.close();
    this.#file = null;
    if (this.#offset !== expected.bytes)
      throw new Error(
        `${expected.name} ended after ${String(this.#offset)} of ${String(expected.bytes)} bytes`,
      );
    this.#offset = 0;
    this.#next++;
  }
}
