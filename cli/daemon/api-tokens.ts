/**
 * Bearer tokens of the API: who each is and how long it serves. Only hashes are kept, in a file that only the owner of the
 * home reads. It knows nothing of what users may do.
 */
import { createHash, randomBytes } from 'node:crypto';
import { readIfThere, writePrivately } from '../../controllers/pki/key-files.ts';
import type { User } from '../../store/server/routes.ts';

interface TokenRecord {
  readonly hash: string;
  readonly user: string;
  readonly groups: readonly string[];
  readonly expiresMs: number;
}

const hashOf = (token: string): string => createHash('sha256').update(token).digest('hex');

export class ApiTokens {
  readonly #path: string;
  #records: ReadonlyMap<string, TokenRecord>;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(path: string, records: readonly TokenRecord[]) {
    this.#path = path;
    this.#records = new Map(records.map((record) => [record.hash, record]));
  }

  static async open(path: string): Promise<ApiTokens> {
    const text = await readIfThere(path);
    return new ApiTokens(path, text === undefined ? [] : (JSON.parse(text) as TokenRecord[]));
  }

  /** Looked up by hash, so that its time says nothing of how much of a token was right. */
  userOf(token: string, nowMs: number): User | undefined {
    const record = this.#records.get(hashOf(token));
    if (record === undefined || record.expiresMs <= nowMs) return undefined;
    return { name: record.user, groups: [...record.groups, 'system:authenticated'] };
  }

  async create(user: User, ttlMs: number, nowMs: number): Promise<string> {
    const token = randomBytes(32).toString('base64url');
    const record = { hash: hashOf(token), user: user.name, groups: user.groups, expiresMs: nowMs + ttlMs };
    await this.#write((records) => [...records.filter(({ expiresMs }) => expiresMs > nowMs), record]);
    return token;
  }

  /** Ends all tokens of a user; tells how many there were. */
  async revoke(user: string): Promise<number> {
    const before = this.#records.size;
    await this.#write((records) => records.filter((record) => record.user !== user));
    return before - this.#records.size;
  }

  /** One change at a time; it counts once it is on disk. */
  async #write(change: (records: readonly TokenRecord[]) => readonly TokenRecord[]): Promise<void> {
    const turn = this.#last.then(async () => {
      const records = change([...this.#records.values()]);
      await writePrivately(this.#path, `${JSON.stringify(records, null, 2)}\n`);
      this.#records = new Map(records.map((record) => [record.hash, record]));
    });
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}
