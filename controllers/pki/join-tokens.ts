/**
 * One-time tokens for nodes that join. Only hashes are kept; a token is compared in constant time, ends after its time,
 * and serves once. The book also remembers which key a node name belongs to, so that nobody joins under another's name.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { readIfThere, writePrivately } from './key-files.ts';

interface TokenRecord {
  readonly hash: string;
  readonly expiresMs: number;
  /** May give a node name that is taken to another key. */
  readonly replace: boolean;
  usedBy?: string;
}

interface Book {
  tokens: TokenRecord[];
  nodes: Record<string, string>;
}

export type Redeemed =
  { readonly ok: true } | { readonly ok: false; readonly code: JoinRefusal; readonly message: string };
export type JoinRefusal =
  | 'MUSTER_JOIN_TOKEN_UNKNOWN'
  | 'MUSTER_JOIN_TOKEN_USED'
  | 'MUSTER_JOIN_TOKEN_EXPIRED'
  | 'MUSTER_JOIN_NAME_TAKEN';

/** Where the book is kept; a write that meets another writer's throws, and is not done. */
export interface BookKeeper {
  read(): Promise<string | undefined>;
  write(text: string): Promise<void>;
}

const fileKeeper = (path: string): BookKeeper => ({
  read: () => readIfThere(path),
  write: (text) => writePrivately(path, text),
});

const keepUsedMs = 7 * 86_400_000;

export class JoinTokens {
  readonly #keeper: BookKeeper;
  readonly #now: () => number;
  #last: Promise<unknown> = Promise.resolve();

  /** `keeper` may be the path of a file. */
  constructor(keeper: BookKeeper | string, now: () => number) {
    this.#keeper = typeof keeper === 'string' ? fileKeeper(keeper) : keeper;
    this.#now = now;
  }

  async create({ ttlMs = 3_600_000, replace = false } = {}): Promise<string> {
    return this.#exclusive(async (book) => {
      const token = randomBytes(24).toString('base64url');
      book.tokens = book.tokens.filter(({ expiresMs }) => expiresMs + keepUsedMs > this.#now());
      book.tokens.push({ hash: hashOf(token), expiresMs: this.#now() + ttlMs, replace });
      await this.#write(book);
      return token;
    });
  }

  /** Uses the token up for this node and key. The same node with the same key may ask again: its answer may have been lost. */
  async redeem(token: string, node: string, keyHash: string): Promise<Redeemed> {
    return this.#exclusive(async (book) => {
      const hash = Buffer.from(hashOf(token), 'hex');
      let record: TokenRecord | undefined;
      for (const candidate of book.tokens)
        if (timingSafeEqual(Buffer.from(candidate.hash, 'hex'), hash)) record = candidate;
      const refused = this.#refusalOf(book, record, node, keyHash);
      if (refused) return { ok: false, ...refused };
      record!.usedBy = `${node} ${keyHash}`;
      book.nodes[node] = keyHash;
      await this.#write(book);
      return { ok: true };
    });
  }

  /** A node that got its certificate without joining: its name is taken from now on. */
  async reserve(node: string, keyHash: string): Promise<void> {
    await this.#exclusive(async (book) => {
      book.nodes[node] = keyHash;
      await this.#write(book);
    });
  }

  #refusalOf(
    book: Book,
    record: TokenRecord | undefined,
    node: string,
    keyHash: string,
  ): { code: JoinRefusal; message: string } | undefined {
    const again = 'make a new one with `muster token create`';
    if (!record)
      return { code: 'MUSTER_JOIN_TOKEN_UNKNOWN', message: `The token is not one of this cluster; ${again}` };
    if (record.usedBy === `${node} ${keyHash}`) return undefined;
    if (record.usedBy !== undefined) {
      return {
        code: 'MUSTER_JOIN_TOKEN_USED',
        message: `The token was used by node ${record.usedBy.split(' ')[0]}; a token serves once, ${again}`,
      };
    }
    if (record.expiresMs <= this.#now()) {
      return {
        code: 'MUSTER_JOIN_TOKEN_EXPIRED',
        message: `The token ended at ${new Date(record.expiresMs).toISOString()}; ${again}`,
      };
    }
    const owner = Object.hasOwn(book.nodes, node) ? book.nodes[node] : undefined;
    if (owner !== undefined && owner !== keyHash && !record.replace) {
      return {
        code: 'MUSTER_JOIN_NAME_TAKEN',
        message: `Node ${node} has joined before with another key; take another name, or make a token with --replace`,
      };
    }
    return undefined;
  }

  /** One change at a time, each on the file as it is. */
  async #exclusive<T>(work: (book: Book) => Promise<T>): Promise<T> {
    const turn = this.#last.then(async () => {
      const text = await this.#keeper.read();
      const book: Book = text === undefined ? { tokens: [], nodes: {} } : (JSON.parse(text) as Book);
      return work(book);
    });
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #write(book: Book): Promise<void> {
    await this.#keeper.write(`${JSON.stringify(book, null, 2)}\n`);
  }
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}
