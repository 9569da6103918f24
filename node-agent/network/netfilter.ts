// What the kernel says of its packet filter without a process of nft(8): whether a table is there, and the number of the
// ruleset, which every transaction raises, whoever made it (linux/netfilter/nf_tables.h). It changes nothing.
import { getSystemErrorName } from 'node:util';
import type { Native } from '../../native/addon/index.ts';
import {
  decodeAnswers,
  decodeAttributes,
  encodeMessage,
  flags,
  type Answer,
  type Attribute,
} from './netlink.ts';

const netfilterProtocol = 12;
const subsystem = 10 << 8;
const getTable = subsystem | 1;
const getGeneration = subsystem | 16;
const tableName = 1;
const generationId = 1;
const inet = 1;

export class Netfilter implements Disposable {
  readonly #native: Native;
  readonly #socket: number;
  /** A socket has one question at a time. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(native: Native) {
    this.#native = native;
    this.#socket = native.netlinkOpen(-1, netfilterProtocol);
  }

  /** Nobody may be waiting for an answer. */
  [Symbol.dispose](): void {
    this.#native.close(this.#socket);
  }

  async hasTable(name: string): Promise<boolean> {
    return (await this.#ask(getTable, inet, [[tableName, name]])) !== null;
  }

  async generation(): Promise<number> {
    const answers = (await this.#ask(getGeneration, 0, [])) ?? [];
    return (
      decodeAttributes(answers[0]?.body.subarray(4) ?? Buffer.alloc(0))
        .get(generationId)
        ?.readUInt32BE(0) ?? 0
    );
  }

  /** Null when there is no such thing. */
  async #ask(type: number, family: number, attributes: readonly Attribute[]): Promise<Answer[] | null> {
    const fixed = Buffer.from([family, 0, 0, 0]); // struct nfgenmsg
    const message = encodeMessage({ type, flags: flags.ack, fixed, attributes });
    const asked = this.#last.then(() => this.#native.netlinkRequest(this.#socket, message));
    this.#last = asked.catch(() => undefined);
    const { answers, refusals } = decodeAnswers(await asked);
    const [refusal] = refusals;
    if (!refusal) return answers;
    const code = getSystemErrorName(-refusal.errno);
    if (code === 'ENOENT') return null;
    throw new Error(`MUSTER_NETWORK_REFUSED: ask for the rules of packets: ${code} (${refusal.text})`);
  }
}
