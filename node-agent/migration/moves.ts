// What the sandboxes of one agent share for migrations: where images lie on their way, and who answers other agents that fetch
// sandboxes which have left this node. Only the node that a sandbox goes to gets it.
import type { Logger } from 'pino';
import type { LeaverCall } from '../../wire/load.ts';
import { messageOf } from '../agent-error.ts';
import { certificateNode } from '../peer-identity.ts';
import { isValidId, keyOf } from '../sandbox-id.ts';
import { Transit } from './transit.ts';

/** A sandbox that has left and waits for what becomes of it. */
export interface LeftSandbox {
  readonly migrationUid: string;
  readonly target: string;
  send(call: LeaverCall): Promise<void>;
}

export class Moves {
  readonly transit: Transit;
  readonly #left = new Map<string, LeftSandbox>();
  readonly #node: string;
  readonly #log: Logger;

  constructor({ stateDir, node }: { readonly stateDir: string; readonly node: string }, log: Logger) {
    this.transit = new Transit(stateDir);
    this.#node = node;
    this.#log = log;
  }

  offer(key: string, left: LeftSandbox): void {
    this.#left.set(key, left);
  }

  withdraw(key: string): void {
    this.#left.delete(key);
  }

  /** Answers another agent. */
  async serve(call: LeaverCall): Promise<void> {
    try {
      const { id, migrationUid } = call.request;
      const left = isValidId(id) ? this.#left.get(keyOf(id)) : undefined;
      if (left?.migrationUid !== migrationUid)
        throw new Error(`MUSTER_NOT_LEFT: no sandbox has left node ${this.#node} by that migration`);
      const asking = certificateNode(call);
      if (asking !== left.target)
        throw new Error(`MUSTER_WRONG_NODE: the sandbox goes to node ${left.target}, not to ${asking}`);
      await left.send(call);
    } catch (error) {
      this.#log.warn({ err: error }, 'sandbox not handed over');
      call.destroy(error instanceof Error ? error : new Error(messageOf(error)));
    }
  }
}
