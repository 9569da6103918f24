// Does for one sandbox what its lease asks for (lease.ts): hands renewals to rank-init, and while there is none freezes the ranks and
// takes them off their network, thaws them when it comes, kills them past the hard end. What it does is done again by an agent that
// is started anew; rank-init does what matters without any.
import type { Logger } from 'pino';
import { encodeRenewal } from '../native/addon/abi.ts';
import type { KeeperAction, LeaseTimes } from '../wire/fencing.ts';
import type { AdoptedSandbox } from './adopted-sandbox.ts';
import { boottimeNs } from './boottime.ts';
import { Lease } from './lease.ts';
import { errnoText } from './start-failure.ts';

export interface LeasedSandbox {
  readonly key: string;
  readonly incarnation: number;
  /** Frozen with another reason, it stays so when this one goes. */
  fence(): Promise<void>;
  unfence(): Promise<void>;
  setPlugged(plugged: boolean): Promise<void>;
  /** Without a thaw: the ranks run not one instruction more. */
  killFenced(): void;
  poke(): void;
}

export class LeaseKeeper {
  readonly #lease: Lease;
  readonly #sandbox: LeasedSandbox;
  readonly #log: Logger;
  #timer: NodeJS.Timeout | null = null;
  readonly #waiting = new Set<() => void>();

  constructor(times: LeaseTimes, sandbox: LeasedSandbox, log: Logger) {
    this.#lease = new Lease(times, sandbox.incarnation, boottimeNs);
    this.#sandbox = sandbox;
    this.#log = log;
  }

  get state(): Lease['state'] {
    return this.#lease.state;
  }

  granted(sentNs: bigint): void {
    this.#lease.granted(sentNs);
    for (const look of this.#waiting) look();
    this.#sandbox.poke();
  }

  /** For what is brought back from an image, which runs as soon as it is there. */
  async untilGranted(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const look = (): void => {
      if (this.#lease.isGranted || signal.aborted) resolve();
    };
    this.#waiting.add(look);
    signal.addEventListener('abort', look, { once: true });
    look();
    await promise;
    this.#waiting.delete(look);
    signal.removeEventListener('abort', look);
    signal.throwIfAborted();
  }

  stop(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** What failed is tried again with the next pass. */
  async keep(adopted: AdoptedSandbox, superseded: boolean): Promise<void> {
    const lease = this.#lease;
    lease.look(adopted.table.lease, superseded);
    for (let action = lease.todo[0]; action !== undefined; action = lease.todo[0]) {
      await this.#perform(action, adopted);
      lease.todo.shift();
    }
    this.stop();
    const dueInMs = lease.dueInMs(adopted.table.lease);
    if (dueInMs !== null) this.#timer = setTimeout(() => this.#sandbox.poke(), dueInMs);
  }

  async #perform(action: KeeperAction, adopted: AdoptedSandbox): Promise<void> {
    const sandbox = this.#sandbox;
    switch (action) {
      case 'Renew':
        this.#renew(adopted);
        return;
      case 'Plug':
      case 'Unplug':
        return sandbox.setPlugged(action === 'Plug');
      case 'Freeze':
        this.#log.warn({ sandbox: sandbox.key }, 'lease not renewed by a controller: ranks stand still');
        return sandbox.fence();
      case 'Thaw':
        return sandbox.unfence();
      case 'Start':
        return; // the plan does, under a lease
      case 'Kill':
        this.#log.warn({ sandbox: sandbox.key }, 'lease over: ranks are killed');
        sandbox.killFenced();
        return;
      default:
        action satisfies never;
    }
  }

  /** A frozen rank-init answers once it is thawed: nobody waits for it. */
  #renew(adopted: AdoptedSandbox): void {
    const { expiresNs, endsNs } = this.#lease.renewed;
    adopted.request('renew', encodeRenewal(this.#sandbox.incarnation, expiresNs, endsNs)).then(
      ({ result }) => {
        if (result >= 0) return;
        this.#log.warn(
          { sandbox: this.#sandbox.key, error: errnoText(result) },
          'lease not taken by rank-init',
        );
        this.#sandbox.poke();
      },
      () => undefined,
    );
  }
}
