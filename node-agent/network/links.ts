// Links and routes of one network namespace, over one rtnetlink socket: what is asked is done one after another, off the main
// thread, since the kernel's lock on links may take a while. What changes mean is in link-changes.ts, names come from the caller.
import { getSystemErrorName } from 'node:util';
import type { Native } from '../../native/addon/index.ts';
import { addressBytes } from '../../wire/job-addresses.ts';
import { removeLink, type Change } from './link-changes.ts';
import {
  decodeAnswers,
  decodeAttributes,
  encodeMessage,
  flags,
  textOf,
  type Answer,
  type Answers,
  type Message,
} from './netlink.ts';

const type = { getLink: 18, getRoute: 26 };
const link = { name: 3, mtu: 4, master: 10, info: 18, alias: 20 };
const linkInfo = { kind: 1, data: 2 };
const vxlanId = 1;
const route = { destination: 1, outInterface: 4 };
const inet = 2;
const mainTable = 254;
/** RTM_F_FIB_MATCH: the route itself, not what follows from it for this address. */
const routeMatched = 0x2000;
/** Their acknowledgements fit into a socket's buffer. */
const mostAtOnce = 64;

export interface Link {
  readonly index: number;
  readonly name: string;
  readonly mtu: number;
  /** Index of the bridge that it is a port of; 0: none. */
  readonly master: number;
  /** What it is, for people; empty: nobody has said. */
  readonly alias: string;
  /** Of a VXLAN device; 0: it is none. */
  readonly vni: number;
  /** In the kernel's words, such as vxlan; empty: one that has none. */
  readonly kind: string;
}

export interface Route {
  /** Dotted address and length; "0.0.0.0/0" is the default route. */
  readonly destination: string;
  readonly outInterface: number;
}

/** The kernel refused: `code` is the errno's name; the message names what was asked and what the kernel said. */
export class LinkError extends Error {
  override readonly name = 'LinkError';
  readonly code: string;

  constructor(what: string, code: string, text: string) {
    super(`MUSTER_NETWORK_REFUSED: ${what}: ${code}${text === '' ? '' : ` (${text})`}`);
    this.code = code;
  }
}

export class Links implements AsyncDisposable {
  readonly #native: Native;
  readonly #socket: number;
  /** A socket has one question at a time. */
  #last: Promise<unknown> = Promise.resolve();

  /** Of the network namespace behind this descriptor; -1: the agent's own. */
  constructor(native: Native, netns: number) {
    this.#native = native;
    this.#socket = native.netlinkOpen(netns, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last;
    this.#native.close(this.#socket);
  }

  async list(): Promise<Link[]> {
    const message = { type: type.getLink, flags: flags.dump, fixed: Buffer.alloc(16), attributes: [] };
    const [answers] = await this.#ask([{ what: 'list links', message }]);
    return answers!.map(({ body }) => decodeLink(body));
  }

  /** Null when there is none of that name. */
  async find(name: string): Promise<Link | null> {
    const [[answer] = []] = await this.#ask([questionOfLink(name)]);
    return answer ? decodeLink(answer.body) : null;
  }

  /** In one step: a link, and the route that packets to each of these addresses take; null where there is none. */
  async findWithRoutes(
    name: string,
    ips: readonly string[],
  ): Promise<{ link: Link | null; routes: (Route | null)[] }> {
    const [link = [], ...routes] = await this.#ask([questionOfLink(name), ...ips.map(questionOfRoute)]);
    return {
      link: link[0] ? decodeLink(link[0].body) : null,
      routes: routes.map(([answer]) => (answer ? decodeRoute(answer.body) : null)),
    };
  }

  /** IPv4 routes of the main table. */
  async routes(): Promise<Route[]> {
    const fixed = Buffer.alloc(12);
    fixed[0] = inet;
    const message = { type: type.getRoute, flags: flags.dump, fixed, attributes: [] };
    const [answers] = await this.#ask([{ what: 'list routes', message }]);
    return answers!.flatMap(({ body }) => (body[4] === mainTable ? [decodeRoute(body)] : []));
  }

  /** Does these one after another in as few steps as can be; each is tried, whatever became of those before it. */
  async apply(changes: readonly Change[]): Promise<void> {
    for (let at = 0; at < changes.length; at += mostAtOnce) {
      const some = changes.slice(at, at + mostAtOnce);
      refuse(some, await this.#send(some.map(({ message }) => message)));
    }
  }

  /** As `apply`, and then what is to be done in another namespace, by the same step where both are few. */
  async applyAndThen(changes: readonly Change[], other: Links, further: readonly Change[]): Promise<void> {
    if (changes.length > mostAtOnce || further.length > mostAtOnce) {
      await this.apply(changes);
      return other.apply(further);
    }
    const all = [...changes, ...further];
    const messages = all.map(({ message }) => message);
    refuse(all, await this.#send(messages, { links: other, from: changes.length }));
  }

  remove(name: string): Promise<void> {
    return this.apply([removeLink(name)]);
  }

  /** Answers by question. */
  async #ask(questions: readonly Question[]): Promise<Answer[][]> {
    const { answers, refusals } = await this.#send(questions.map(({ message }) => message));
    for (const { sequence, errno, text } of refusals) {
      const { what, nothing } = questions[sequence]!;
      const code = getSystemErrorName(-errno);
      if (code !== nothing) throw new LinkError(what, code, text);
    }
    return questions.map((_, index) => answers.filter(({ sequence }) => sequence === index));
  }

  /** Those from `from` on go to another socket, which nobody else uses meanwhile. */
  async #send(messages: readonly Message[], other?: { links: Links; from: number }): Promise<Answers> {
    const encoded = messages.map(encodeMessage);
    const bytes = Buffer.concat(encoded.slice(0, other?.from));
    const asked = this.#last.then(() =>
      other
        ? this.#native.netlinkRequest(this.#socket, bytes, other.links.#socket, Buffer.concat(encoded.slice(other.from))) // prettier-ignore
        : this.#native.netlinkRequest(this.#socket, bytes),
    );
    this.#last = asked.catch(() => undefined);
    return decodeAnswers(await asked);
  }
}

interface Question {
  readonly what: string;
  readonly message: Message;
  /** By which the kernel says that there is none. */
  readonly nothing?: string;
}

const questionOfLink = (name: string): Question => ({
  what: `find link ${name}`,
  message: {
    type: type.getLink,
    flags: flags.ack,
    fixed: Buffer.alloc(16),
    attributes: [[link.name, name]],
  },
  nothing: 'ENODEV',
});

function questionOfRoute(ip: string): Question {
  const fixed = Buffer.alloc(12); // struct rtmsg
  fixed[0] = inet;
  fixed[1] = 32;
  fixed.writeUInt32LE(routeMatched, 8);
  const attributes = [[route.destination, addressBytes(ip)]] as const;
  const message = { type: type.getRoute, flags: flags.ack, fixed, attributes };
  return { what: `find the route to ${ip}`, message, nothing: 'ENETUNREACH' };
}

function refuse(changes: readonly Change[], { refusals }: Answers): void {
  for (const { sequence, errno, text } of refusals) {
    const { what, unless } = changes[sequence]!;
    const code = getSystemErrorName(-errno);
    if (code !== unless) throw new LinkError(what, code, text);
  }
}

function decodeLink(body: Buffer): Link {
  const attributes = decodeAttributes(body.subarray(16));
  const info = decodeAttributes(attributes.get(link.info) ?? Buffer.alloc(0));
  const data = decodeAttributes(info.get(linkInfo.data) ?? Buffer.alloc(0));
  const kind = textOf(info.get(linkInfo.kind));
  return {
    index: body.readInt32LE(4),
    name: textOf(attributes.get(link.name)),
    mtu: attributes.get(link.mtu)?.readUInt32LE(0) ?? 0,
    master: attributes.get(link.master)?.readUInt32LE(0) ?? 0,
    alias: textOf(attributes.get(link.alias)),
    vni: kind === 'vxlan' ? (data.get(vxlanId)?.readUInt32LE(0) ?? 0) : 0,
    kind,
  };
}

function decodeRoute(body: Buffer): Route {
  const attributes = decodeAttributes(body.subarray(12));
  const destination = attributes.get(route.destination) ?? Buffer.alloc(4);
  const outInterface = attributes.get(route.outInterface)?.readUInt32LE(0) ?? 0;
  return { destination: `${[...destination].join('.')}/${String(body[1])}`, outInterface };
}
