/**
 * The verbs of a replica on a Kubernetes cluster: while it leads it serves them, else it passes connections on to whoever does, so
 * that the Service may send the API server to any replica.
 */
import type { Logger } from 'pino';
import type { ControlPlane } from '../../controllers/control-plane.ts';
import type { HubTls } from '../../controllers/hub/hub.ts';
import { requestEnd } from '../../controllers/process-group/end-request.ts';
import { systemClock } from '../../controllers/runtime/clock.ts';
import { apiServiceName, publishAuthority } from '../../controllers/subresources/api-service.ts';
import { GroupBook } from '../../controllers/subresources/group-book.ts';
import { InputDesk } from '../../controllers/subresources/input-desk.ts';
import { startVerbRelay, type VerbRelay } from '../../controllers/subresources/verb-relay.ts';
import { startVerbServer } from '../../controllers/subresources/verb-server.ts';
import { isStoreError, type ObjectStore } from '../../store/object-store.ts';
import { ownVersion } from '../commands/version.ts';
import { pageDirectory } from '../config.ts';
import { clientPresence } from './run-ports.ts';

export interface KubeVerbsOptions {
  readonly store: ObjectStore;
  readonly listen: { readonly host: string; readonly port: number };
  readonly tls: HubTls;
  /** `host:port` of the leader's verbs; empty while nobody leads. */
  readonly leader: () => string;
  readonly logger: Logger;
}

export class KubeVerbs implements AsyncDisposable {
  readonly #options: KubeVerbsOptions;
  #relay: VerbRelay | undefined;

  constructor(options: KubeVerbsOptions) {
    this.#options = options;
  }

  async stand(): Promise<void> {
    const { listen, leader } = this.#options;
    this.#relay ??= await startVerbRelay({ listen, leader });
  }

  /** Serves until the signal aborts. */
  async lead(plane: ControlPlane, signal: AbortSignal): Promise<void> {
    const { store, listen, tls, logger } = this.#options;
    await this[Symbol.asyncDispose]();
    const groups = new GroupBook(store);
    const following = groups.follow(() => undefined, signal);
    using presence = clientPresence(plane);
    await using _server = await startVerbServer(
      {
        listen,
        tls,
        clock: systemClock,
        logger,
        version: ownVersion(),
        pageDirectory: pageDirectory(),
        ports: {
          store,
          hub: plane.hub,
          groups,
          inputs: new InputDesk(),
          end: (group, now) => requestEnd(store, group, now ? 'Kill' : 'End'),
          lease: (uid, present) => presence.set(uid, present),
          failed: (error, message) => logger.warn({ err: error }, message),
        },
      },
      signal,
    );
    if (!signal.aborted) await this.#publish(signal);
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener('abort', () => resolve(), { once: true });
    });
    await following;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const relay = this.#relay;
    this.#relay = undefined;
    await relay?.[Symbol.asyncDispose]();
  }

  async #publish(signal: AbortSignal): Promise<void> {
    const { store, tls, logger } = this.#options;
    try {
      if (!(await publishAuthority(store, String(tls.ca), signal)))
        logger.info({ apiService: apiServiceName }, 'nobody asks for the verbs: there is no APIService');
    } catch (error) {
      if (!isStoreError(error)) throw error;
      logger.warn({ err: error, apiService: apiServiceName }, 'the authority of the verbs cannot be told');
    }
  }
}
