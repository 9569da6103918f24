// What a sandbox that leaves sends to the node that it goes to (Peer.Leaver), from before it is frozen on: memory while the engine is
// still writing it, the other files once all is dumped, and last what has become of it: the manifest, or why it stays. Both ends are
// who their certificates say, and TLS keeps what is sent whole, so nothing is hashed while ranks stand still. While there is nothing
// to send it says so now and then, so that silence means that nobody is there. It knows no state but what it is told.
import { constants, readFileSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { setTimeout as after } from 'node:timers/promises';
import type { ImageChunk, SmallFile } from '../../wire/agent-types.ts';
import type { LeaverCall } from '../../wire/load.ts';
import { send } from '../checkpoint/file-transfer.ts';
import type { ImageFile, Manifest } from '../checkpoint/image.ts';
import { copyPrefix, endName, linkName, type Departed, type Looked } from './journey.ts';
import type { LinkServer } from './link.ts';
import type { HeldFile } from './used-files.ts';

export type Standing =
  | { readonly kind: 'waiting' }
  | { readonly kind: 'left'; readonly manifest: Manifest; readonly files: readonly HeldFile[] }
  | { readonly kind: 'stayed'; readonly reason: string; readonly message: string };

/** The sandbox as it is seen from here, at any moment. */
export interface Departing {
  standing(): Standing;
  /** Files of the image that are there, and that nobody changes but by adding to them. */
  growing(): readonly string[];
  open(name: string): Promise<FileHandle>;
  /** All of a file that nobody changes. */
  read(name: string): Buffer;
  /** How long it has been standing still. */
  stillUs(): number;
  /** So much of a file that grows is on its way. */
  sent?(name: string, bytes: number): void;
  /** Files of the node that its processes use at the moment. */
  usedFiles(): readonly HeldFile[];
}

const lookEveryMs = 3;
const newsEveryMs = 1000;
const chunkBytes = 1 << 20;
/** What is told of at once of what comes over the link. */
const carriedBytes = 16 << 20;
/** Less is not worth the words while more is to come. */
const worthSendingBytes = 256 << 10;
/** An image has dozens of files that are smaller: a word for each would take longer than what is in them. */
const smallBytes = 64 << 10;

/** Throws when the other side goes. `link`: null, all goes by the call. `takesWhole`: it takes several small files at once. */
export async function sendDeparture(
  call: LeaverCall,
  departing: Departing,
  link: LinkServer | null,
  takesWhole = false,
): Promise<void> {
  await using files = new GrowingFiles(call, departing, link);
  if (link) await send(call, chunkOf(linkName, 0, Buffer.from(String(link.port))));
  let toldMs = performance.now();
  for (;;) {
    if (call.cancelled) throw new Error('the other agent has gone');
    const standing = departing.standing(); // before files are looked at: of what has left they are whole
    if (standing.kind === 'stayed') {
      await end(call, standing);
      return;
    }
    if (standing.kind === 'left') {
      const { manifest } = standing;
      const used = standing.files.map(({ file }) => file);
      const rest = takesWhole ? await sendSmall(call, departing, manifest, files) : manifest.files;
      for (const { name, bytes } of rest) await files.send(name, bytes);
      await end(call, { kind: 'left', manifest, files: used, stillUs: departing.stillUs() });
      return;
    }
    let sent = 0;
    for (const name of departing.growing()) sent += await files.send(name);
    const nowMs = performance.now();
    if (sent > 0) toldMs = nowMs;
    else if (nowMs - toldMs >= newsEveryMs) {
      await send(call, chunkOf('', 0, Buffer.alloc(0)));
      toldMs = nowMs;
    }
    if (sent === 0) await after(lookEveryMs);
  }
}

/** Gives those that are left. */
async function sendSmall(
  call: LeaverCall,
  departing: Departing,
  { files }: Manifest,
  begun: GrowingFiles,
): Promise<ImageFile[]> {
  const isSmall = ({ name, bytes }: ImageFile): boolean => bytes <= smallBytes && !begun.has(name);
  let whole: SmallFile[] = [];
  let wholeBytes = 0;
  for (const { name, bytes } of files.filter(isSmall)) {
    const data = departing.read(name);
    if (data.length !== bytes) throw new Error(`${name} has changed`);
    whole.push({ file: name, data });
    wholeBytes += bytes;
    if (wholeBytes < chunkBytes) continue;
    await send(call, { ...chunkOf('', 0, Buffer.alloc(0)), whole });
    [whole, wholeBytes] = [[], 0];
  }
  if (whole.length > 0) await send(call, { ...chunkOf('', 0, Buffer.alloc(0)), whole });
  return files.filter((file) => !isSmall(file));
}

/** Files that its processes use, in place of the sandbox itself, which has left. */
export function filesOf(departing: Departing, paths: readonly string[]): Departing {
  const nameOf = (at: number): string => `${copyPrefix}${String(at)}`;
  const held = new Map<string, HeldFile>();
  return {
    ...departing,
    growing: () => [],
    standing: () => {
      const standing = departing.standing();
      if (standing.kind !== 'left') return standing;
      paths.forEach((path, at) => {
        const found = standing.files.find(({ file }) => file.path === path);
        if (!found) throw new Error(`MUSTER_NOT_USED: no process of the sandbox uses ${path}`);
        held.set(nameOf(at), found);
      });
      const files = [...held].map(([name, { file }]) => ({ name, bytes: file.bytes, sha256: '' }));
      return { kind: 'left', manifest: { ...standing.manifest, files }, files: [] };
    },
    open: (name) => open(held.get(name)?.held ?? '', constants.O_RDONLY),
    read: (name) => readFileSync(held.get(name)?.held ?? ''),
  };
}

/** What is known of it before it leaves. */
export async function sendLooked(call: LeaverCall, looked: Looked): Promise<void> {
  await send(call, chunkOf(endName, 0, Buffer.from(JSON.stringify(looked))));
  call.end();
}

async function end(call: LeaverCall, departed: Departed): Promise<void> {
  const bytes = Buffer.from(JSON.stringify(departed));
  for (let offset = 0; offset < bytes.length; offset += chunkBytes)
    await send(call, chunkOf(endName, offset, bytes.subarray(offset, offset + chunkBytes)));
  call.end();
}

const chunkOf = (file: string, offset: number, data: Buffer): ImageChunk => ({
  file,
  offset,
  data,
  carried: 0,
  whole: [],
});

/** Files that are sent as they grow. */
class GrowingFiles implements AsyncDisposable {
  readonly #call: LeaverCall;
  readonly #departing: Departing;
  readonly #link: LinkServer | null;
  readonly #files = new Map<string, { handle: FileHandle; sent: number }>();

  constructor(call: LeaverCall, departing: Departing, link: LinkServer | null) {
    this.#call = call;
    this.#departing = departing;
    this.#link = link;
  }

  has(name: string): boolean {
    return this.#files.has(name);
  }

  /** What has come to be of it; all of `bytes` where that is its length at last. Gives how much went. */
  async send(name: string, bytes?: number): Promise<number> {
    const file = this.#files.get(name) ?? (await this.#open(name));
    const began = file.sent;
    const length = bytes ?? (await file.handle.stat()).size;
    if (bytes === undefined && length - began < worthSendingBytes) return 0;
    while (file.sent < length) {
      file.sent += await this.#step(name, file, length - file.sent);
      this.#departing.sent?.(name, file.sent);
    }
    return file.sent - began;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { handle } of this.#files.values()) await handle.close();
    this.#files.clear();
  }

  async #open(name: string): Promise<{ handle: FileHandle; sent: number }> {
    const file = { handle: await this.#departing.open(name), sent: 0 };
    this.#files.set(name, file);
    return file;
  }

  async #step(name: string, { handle, sent }: { handle: FileHandle; sent: number }, left: number) {
    if (this.#link?.isOpen && left >= worthSendingBytes) {
      const carried = Math.min(carriedBytes, left);
      await send(this.#call, { ...chunkOf(name, sent, Buffer.alloc(0)), carried });
      await this.#link.send(handle.fd, sent, carried);
      return carried;
    }
    const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, left));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, sent);
    if (bytesRead === 0) throw new Error(`${name} has become shorter`);
    await send(this.#call, chunkOf(name, sent, buffer.subarray(0, bytesRead)));
    return bytesRead;
  }
}
