/**
 * Questions to agents about what they measure, each answered once or given up: a node that is slow or away costs whoever asks a
 * moment, never an error of all the others. What answers mean is their asker's business; nothing is kept.
 */
import type { Answer, Query, Sent } from '../../wire/agent-types.ts';
import type { Clock } from '../runtime/clock.ts';

export interface QueryPorts {
  readonly clock: Clock;
  /** False when the node's agent is not connected. */
  readonly send: (node: string, query: Sent<Query>) => boolean;
}

export type Asked = Omit<Sent<Query>, 'queryId'>;

interface Waiting {
  readonly node: string;
  readonly settle: (answer: Answer | undefined) => void;
}

const answerWithinMs = 3_000;

export class Queries {
  readonly #ports: QueryPorts;
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;

  constructor(ports: QueryPorts) {
    this.#ports = ports;
  }

  /** Undefined when the node did not answer. */
  async ask(node: string, asked: Asked): Promise<Answer | undefined> {
    const queryId = this.#next++;
    const { promise, resolve } = Promise.withResolvers<Answer | undefined>();
    this.#waiting.set(queryId, { node, settle: resolve });
    using _timer = this.#ports.clock.after(answerWithinMs, () => resolve(undefined));
    try {
      if (!this.#ports.send(node, { ...asked, queryId })) return undefined;
      return await promise;
    } finally {
      this.#waiting.delete(queryId);
    }
  }

  answered(node: string, answer: Answer): void {
    const waiting = this.#waiting.get(answer.queryId);
    if (waiting?.node === node) waiting.settle(answer);
  }

  disconnected(node: string): void {
    for (const waiting of [...this.#waiting.values()]) if (waiting.node === node) waiting.settle(undefined);
  }
}
