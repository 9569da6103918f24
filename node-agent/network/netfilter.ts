// The kernel's packet filter without a process of nft(8): which tables are there, the number of the ruleset, which every
// transaction raises, whoever made it, and what stands in the sets of a table (linux/netfilter/nf_tables.h). It makes no tables.
import { getSystemErrorName } from 'node:util';
import { addressBytes, dotted, parseSubnet } from '../../wire/job-addresses.ts';
import type { Native } from '../../native/addon/index.ts';
import {
  decodeAnswers,
  decodeAttributes,
  encodeMessage,
  flags,
  textOf,
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
/** Tables whose chains are hooked to single links. */
const netdev = 5;

const [newElements, deleteElements] = [subsystem | 12, subsystem | 14];
const [batchBegin, batchEnd] = [16, 17];
/** NFTA_SET_ELEM_LIST_*, NFTA_SET_ELEM_*, NFTA_DATA_VALUE. */
const elementList = { table: 1, set: 2, elements: 3, one: 1 };
const elementPart = { key: 1, flags: 3 };
const dataValue = 1;
/** A range is its first address, and the one after its last. */
const endOfRange = Buffer.from([0, 0, 0, 1]);
const nameBytes = 16;

/** nfnetlink(7): messages between these are one transaction of the subsystem. */
const batchMark = (type: number): Buffer =>
  encodeMessage({ type, flags: 0, fixed: Buffer.from([0, 0, 0, subsystem >> 8]), attributes: [] });

function encodeElement(type: number, bits: number, table: string, element: string): Buffer {
  const { set, keys } = elementKeys(element);
  const one = ({ key, isEnd }: ElementKey): Attribute => [
    elementList.one,
    [[elementPart.key, [[dataValue, key]]], ...(isEnd ? [[elementPart.flags, endOfRange] as const] : [])],
  ];
  const attributes: Attribute[] = [
    [elementList.table, table],
    [elementList.set, set],
    [elementList.elements, keys.map(one)],
  ];
  return encodeMessage({ type, flags: flags.ack | bits, fixed: Buffer.from([inet, 0, 0, 0]), attributes });
}

interface ElementKey {
  readonly key: Buffer;
  readonly isEnd: boolean;
}

/** Of SET { ELEMENT }, in the words of nft(8): a range of addresses, an address and a number of 24 bits, or a name of a link. */
export function elementKeys(element: string): { set: string; keys: ElementKey[] } {
  const [, set = '', text = ''] = /^(\w+) \{ (.*) \}$/.exec(element) ?? [];
  const [address = '', number] = text.split(' . ');
  if (number !== undefined) {
    const padded = Buffer.alloc(4); // each part of a key is padded to whole words
    padded.writeUIntBE(Number(number), 0, 3);
    return { set, keys: [{ key: Buffer.concat([addressBytes(address), padded]), isEnd: false }] };
  }
  if (text.startsWith('"')) {
    const name = Buffer.alloc(nameBytes);
    name.write(text.slice(1, -1));
    return { set, keys: [{ key: name, isEnd: false }] };
  }
  const { first, prefix } = parseSubnet(text);
  const bytesOf = (ip: number): Buffer => addressBytes(dotted(ip));
  return {
    set,
    keys: [
      { key: bytesOf(first), isEnd: false },
      { key: bytesOf(first + 2 ** (32 - prefix)), isEnd: true },
    ],
  };
}

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

  /** Names of all tables of chains that are hooked to single links. */
  async tablesOfLinks(): Promise<string[]> {
    const answers = (await this.#ask(getTable, netdev, [], flags.dump)) ?? [];
    return answers.map(({ body }) => textOf(decodeAttributes(body.subarray(4)).get(tableName)));
  }

  async generation(): Promise<number> {
    const answers = (await this.#ask(getGeneration, 0, [])) ?? [];
    return (
      decodeAttributes(answers[0]?.body.subarray(4) ?? Buffer.alloc(0))
        .get(generationId)
        ?.readUInt32BE(0) ?? 0
    );
  }

  /** Changes what stands in sets of a table, all of it or nothing; false: the kernel refused, since something is not as it is taken to be. */
  async change(table: string, gone: readonly string[], added: readonly string[]): Promise<boolean> {
    const messages = [
      ...gone.map((element) => encodeElement(deleteElements, 0, table, element)),
      ...added.map((element) => encodeElement(newElements, flags.create, table, element)),
    ];
    const { refusals } = decodeAnswers(
      await this.#send(Buffer.concat([batchMark(batchBegin), ...messages, batchMark(batchEnd)])),
    );
    return refusals.length === 0;
  }

  #send(bytes: Buffer): Promise<Buffer> {
    const asked = this.#last.then(() => this.#native.netlinkRequest(this.#socket, bytes));
    this.#last = asked.catch(() => undefined);
    return asked;
  }

  /** Null when there is no such thing. */
  async #ask(
    type: number,
    family: number,
    attributes: readonly Attribute[],
    bits = flags.ack,
  ): Promise<Answer[] | null> {
    const fixed = Buffer.from([family, 0, 0, 0]); // struct nfgenmsg
    const message = encodeMessage({ type, flags: bits, fixed, attributes });
    const { answers, refusals } = decodeAnswers(await this.#send(message));
    const [refusal] = refusals;
    if (!refusal) return answers;
    const code = getSystemErrorName(-refusal.errno);
    if (code === 'ENOENT') return null;
    throw new Error(`MUSTER_NETWORK_REFUSED: ask for the rules of packets: ${code} (${refusal.text})`);
  }
}
