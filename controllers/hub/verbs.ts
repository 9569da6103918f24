/**
 * Imperative orders to sandboxes (signals, end of input, window size): at most once, never stored, each answered or
 * timed out. Signal ids ascend per group, so that an agent that sees one again drops it.
 */
import { RankSet } from '../../crds/rank-set.ts';
import type { Sent, Verb, VerbReply } from '../../wire/agent-types.ts';
import type { Clock } from '../runtime/clock.ts';
import type { Entry } from './desired-book.ts';
import { HubError } from './hub-error.ts';

export interface VerbOutcome {
  /** Ranks (or sandboxes, for verbs without ranks) that it reached. */
  readonly reached: number;
  /** One line for each sandbox that it did not reach, naming its node. */
  readonly problems: readonly string[];
}

export type VerbOrder =
  | { readonly kind: 'Signal'; readonly signal: number; readonly ranks?: string | undefined }
  | { readonly kind: 'StdinEnd' }
  | { readonly kind: 'Window'; readonly rows: number; readonly columns: number };

interface Waiting {
  readonly node: string;
  readonly answer: (reply: VerbReply) => void;
  readonly fail: (message: string) => void;
}

export interface VerbPorts {
  readonly clock: Clock;
  /** False when the node's agent is not connected. */
  readonly send: (node: string, verb: Sent<Verb>) => boolean;
}

const answerWithinMs = 5_000;

export class Verbs {
  readonly #ports: VerbPorts;
  readonly #waiting = new Map<number, Waiting>();
  #nextVerb: number;
  #nextSignal: number;

  constructor(ports: VerbPorts) {
    this.#ports = ports;
    this.#nextVerb = 1;
    this.#nextSignal = ports.clock.now() * 1000;
  }

  async order(uid: string, sandboxes: readonly Entry[], order: VerbOrder): Promise<VerbOutcome> {
    if (sandboxes.length === 0) {
      throw new HubError(
        'MUSTER_GROUP_NOT_PLACED',
        `ProcessGroup with uid ${uid} has no ranks on any node (yet, or any more)`,
      );
    }
    const chosen = order.kind === 'Signal' && order.ranks ? RankSet.parse(order.ranks) : undefined;
    const signalId = order.kind === 'Signal' ? (this.#nextSignal += 1) : 0;
    const problems: string[] = [];
    let reached = 0;
    const each = sandboxes.map(async ({ node, spec }) => {
      const ranks = chosen ? RankSet.parse(spec.ranks ?? '').intersect(chosen) : undefined;
      if (ranks?.size === 0) return;
      try {
        const reply = await this.#ask(node, {
          ...order,
          id: spec.id,
          ranks: ranks?.toString() ?? '',
          signalId,
        });
        if (reply.ok) reached += reply.reached;
        else problems.push(`node ${node}: ${reply.message}`);
      } catch (error) {
        if (!(error instanceof HubError)) throw error;
        problems.push(error.message);
      }
    });
    await Promise.all(each);
    return { reached, problems };
  }

  replied(node: string, reply: VerbReply): void {
    const waiting = this.#waiting.get(reply.verbId);
    if (waiting?.node === node) waiting.answer(reply);
  }

  disconnected(node: string): void {
    for (const waiting of [...this.#waiting.values()]) {
      if (waiting.node === node)
        waiting.fail(`node ${node}: the connection broke; whether it was carried out is not known`);
    }
  }

  async #ask(node: string, verb: Sent<Verb>): Promise<VerbReply> {
    const verbId = this.#nextVerb++;
    const { promise, resolve, reject } = Promise.withResolvers<VerbReply>();
    const fail = (message: string): void => reject(new HubError('MUSTER_VERB_TIMED_OUT', message));
    this.#waiting.set(verbId, { node, answer: resolve, fail });
    using _timer = this.#ports.clock.after(answerWithinMs, () => {
      fail(
        `node ${node}: no answer within ${answerWithinMs / 1000} s; whether it was carried out is not known`,
      );
    });
    try {
      if (!this.#ports.send(node, { ...verb, verbId })) {
        throw new HubError(
          'MUSTER_NODE_NOT_CONNECTED',
          `node ${node}: its agent is not connected; start it and try again`,
        );
      }
      return await promise;
    } finally {
      this.#waiting.delete(verbId);
    }
  }
}
