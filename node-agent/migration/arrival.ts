// The files of a sandbox that comes, as they are sent (departure.ts): each from its beginning to its end, several by turns, and last
// the manifest, by which all that came must be all that there is. Logs go to where the sandbox will have them, beside the image. It
// knows neither who sends nor what becomes of it.
import { closeSync, constants, openSync, write, writeSync } from 'node:fs';
import type { ImageChunk } from '../../wire/agent-types.ts';
import { AgentError, errnoOf } from '../agent-error.ts';
import { isFileName, manifestVersion } from '../checkpoint/image.ts';
import { endName, linkName, type Departed } from './journey.ts';

/** Written sooner than another thread could be asked to, while ranks stand still. */
const smallBytes = 64 << 10;

export interface ArrivalOptions {
  readonly pathOf: (name: string) => string;
  /** The other side can be reached there beside the call. */
  readonly onLink: (port: number) => void;
  /** What is told of comes over that link. */
  readonly receive: (fd: number, offset: number, length: number) => Promise<void>;
}

export class Arrival implements Disposable {
  readonly #options: ArrivalOptions;
  readonly #files = new Map<string, { fd: number; bytes: number }>();
  readonly #end: Buffer[] = [];
  #bytes = 0;

  constructor(options: ArrivalOptions) {
    this.#options = options;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Throws AgentError StorageFull when there is no room for it. */
  async take({ file, offset, data, carried, whole }: ImageChunk): Promise<void> {
    for (const each of whole) await this.#write(each.file, 0, each.data, 0);
    if (file === endName) this.#end.push(data);
    else if (file === linkName) this.#options.onLink(Number(data.toString()));
    else if (file !== '') await this.#write(file, offset, data, carried);
  }

  /** Throws AgentError with the other's own words when the sandbox stays where it is. */
  finish(): Omit<Extract<Departed, { kind: 'left' }>, 'kind'> {
    if (this.#end.length === 0) throw new Error('it ended in the middle');
    const departed = JSON.parse(Buffer.concat(this.#end).toString('utf8')) as Departed;
    if (departed.kind === 'stayed') {
      const { reason, message } = departed;
      const [, code = 'MUSTER_STAYED', words = message] = /^(MUSTER_[A-Z_]+): (.*)$/s.exec(message) ?? [];
      throw new AgentError('failed', reason, code, `it did not leave: ${words}`);
    }
    const { manifest, files, stillUs } = departed;
    if (manifest.version !== manifestVersion)
      throw new Error(
        `it speaks version ${String(manifest.version)} of images, not ${String(manifestVersion)}`,
      );
    for (const { name, bytes } of manifest.files) {
      const came = (this.#files.get(name) ?? this.#create(name)).bytes;
      if (came !== bytes) throw new Error(`${name} ended after ${String(came)} of ${String(bytes)} bytes`);
    }
    if (this.#files.size !== manifest.files.length)
      throw new Error('it has sent files that its manifest does not name');
    return { manifest, files, stillUs };
  }

  [Symbol.dispose](): void {
    for (const { fd } of this.#files.values()) closeSync(fd);
    this.#files.clear();
  }

  async #write(name: string, offset: number, data: Buffer, carried: number): Promise<void> {
    const file = this.#files.get(name) ?? this.#create(name);
    if (offset !== file.bytes) throw new Error(`it sends ${name} out of its order`);
    try {
      if (carried > 0) await this.#options.receive(file.fd, offset, carried);
      for (let done = 0; done < data.length;) {
        const part = [data, done, data.length - done, offset + done] as const;
        done += data.length <= smallBytes ? writeSync(file.fd, ...part) : await written(file.fd, ...part);
      }
    } catch (error) {
      if (errnoOf(error) !== 'ENOSPC' && errnoOf(error) !== 'EDQUOT') throw error;
      throw new AgentError(
        'failed',
        'StorageFull',
        'MUSTER_NO_ROOM',
        `there is no room left for what comes: ${name} of it ended after ${String(offset)} bytes`,
        { cause: error },
      );
    }
    file.bytes += carried + data.length;
    this.#bytes += carried + data.length;
  }

  #create(name: string): { fd: number; bytes: number } {
    if (!isFileName(name)) throw new Error(`it sends a file ${JSON.stringify(name)}`);
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;
    const file = { fd: openSync(this.#options.pathOf(name), flags, 0o600), bytes: 0 };
    this.#files.set(name, file);
    return file;
  }
}

function written(fd: number, data: Buffer, from: number, length: number, at: number): Promise<number> {
  return new Promise((resolve, reject) => {
    write(fd, data, from, length, at, (error, bytes) => (error ? reject(error) : resolve(bytes)));
  });
}
