/**
 * The files of the page, read once from where the build has put them, with the headers that keep a browser from running, fetching or
 * framing anything else. Nothing in them is secret and nothing of the cluster is in them.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { OutgoingHttpHeaders } from 'node:http';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { StoreError } from '../../store/object-store.ts';

const types: Readonly<Record<string, string>> = {
  'index.html': 'text/html; charset=utf-8',
  'page.js': 'text/javascript; charset=utf-8',
  'style.css': 'text/css; charset=utf-8',
  'icon.svg': 'image/svg+xml',
};

const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

export const guardHeaders: OutgoingHttpHeaders = {
  'content-security-policy': policy,
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};

export interface Asset {
  readonly body: Buffer;
  readonly headers: OutgoingHttpHeaders;
  readonly etag: string;
}

export class Assets {
  readonly #directory: string;
  readonly #kept = new Map<string, Asset>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** `name` as in the path, '' for the page itself. Throws NotFound, and Unavailable where it was not built. */
  get(name: string, zipped: boolean): Asset {
    const file = name === '' ? 'index.html' : name;
    const type = Object.hasOwn(types, file) ? types[file] : undefined;
    if (type === undefined) throw new StoreError('NotFound', `the page has no file ${JSON.stringify(name)}`);
    const key = `${file} ${zipped}`;
    const known = this.#kept.get(key);
    if (known) return known;
    const plain = this.#read(file);
    const body = zipped ? gzipSync(plain, { level: 9 }) : plain;
    const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`;
    const asset = {
      body,
      etag,
      headers: {
        ...guardHeaders,
        'content-type': type,
        'cache-control': 'no-cache',
        'content-length': body.length,
        vary: 'Accept-Encoding',
        etag,
        ...(zipped ? { 'content-encoding': 'gzip' } : {}),
      },
    };
    this.#kept.set(key, asset);
    return asset;
  }

  #read(file: string): Buffer {
    try {
      return readFileSync(join(this.#directory, file));
    } catch (cause) {
      throw new StoreError(
        'Unavailable',
        `the page is not built: ${file} cannot be read; run "make build" where Muster was installed from`,
        {},
        { cause },
      );
    }
  }
}
