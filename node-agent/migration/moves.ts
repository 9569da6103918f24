// What the sandboxes of one agent share for migrations: where images lie on their way, and who answers other agents that fetch
// sandboxes which leave this node. Only the node that a sandbox goes to gets it.
import type { Logger } from 'pino';
import type { Native } from '../../native/addon/index.ts';
import type { LeaverRequest, PagesRequest } from '../../wire/agent-types.ts';
import type { LeaverCall, PagesCall } from '../../wire/load.ts';
import { messageOf } from '../agent-error.ts';
import { certificateNode } from '../peer-identity.ts';
import { isValidId, keyOf } from '../sandbox-id.ts';
import type { TlsMaterial } from '../tls.ts';
import { filesOf, sendDeparture, sendLooked, type Departing } from './departure.ts';
import { LinkServer } from './link.ts';
import { servePages } from './page-source.ts';
import { Transit } from './transit.ts';

/** A sandbox that is about to leave, or has left and waits for what becomes of it. */
export interface LeavingSandbox extends Departing {
  readonly migrationUid: string;
  readonly target: string;
  /** Its processes are frozen, and nobody thaws them. */
  hasLeft(): boolean;
  pids(): readonly number[];
  /** Of file systems that go along with it, as of now. */
  carriedBytes(): Promise<number>;
}

/** Where other agents come to beside their calls. */
export interface LinkPlace {
  readonly native: Native;
  readonly tls: TlsMaterial;
  readonly host: string;
}

export class Moves {
  readonly transit: Transit;
  readonly #leaving = new Map<string, LeavingSandbox>();
  readonly #node: string;
  readonly #link: LinkPlace;
  readonly #log: Logger;

  constructor(
    { stateDir, node }: { readonly stateDir: string; readonly node: string },
    link: LinkPlace,
    log: Logger,
  ) {
    this.transit = new Transit(stateDir);
    this.#node = node;
    this.#link = link;
    this.#log = log;
  }

  offer(key: string, leaving: LeavingSandbox): void {
    this.#leaving.set(key, leaving);
  }

  withdraw(key: string): void {
    this.#leaving.delete(key);
  }

  /** Answers another agent. */
  async serve(call: LeaverCall): Promise<void> {
    try {
      const { id, migrationUid, probe, noLink, files, takesWhole } = call.request;
      const asking = certificateNode(call);
      if (probe) {
        const known = isValidId(id) ? this.#leaving.get(keyOf(id)) : undefined;
        const isKnown = known?.migrationUid === migrationUid && known.target === asking;
        const used = isKnown ? known.usedFiles().map(({ file }) => file) : null;
        const carriedBytes = isKnown ? await known.carriedBytes() : 0;
        await sendLooked(call, { files: used, carriedBytes });
        return;
      }
      const leaving = this.#asked(call.request, asking);
      using link = noLink ? null : this.#linkFor(leaving.target);
      await sendDeparture(call, files.length > 0 ? filesOf(leaving, files) : leaving, link, takesWhole);
    } catch (error) {
      this.#log.warn({ err: error }, 'sandbox not handed over');
      call.destroy(error instanceof Error ? error : new Error(messageOf(error)));
    }
  }

  /** Answers another agent for as long as it asks. */
  servePages(call: PagesCall): void {
    let first: PagesRequest | null = null;
    let answer: ((request: PagesRequest) => void) | null = null;
    call.on('error', (error) => {
      this.#log.info({ err: error }, 'pages are asked for no more');
    });
    call.on('end', () => {
      call.end();
    });
    call.on('data', (request: PagesRequest) => {
      try {
        first ??= request;
        const leaving = this.#asked(first, certificateNode(call));
        if (!leaving.hasLeft())
          throw new Error(`MUSTER_NOT_LEFT: the sandbox stands on node ${this.#node} no more, or not yet`);
        answer ??= servePages(call, () => leaving.pids(), first.link ? this.#linkFor(leaving.target) : null);
        answer(request);
      } catch (error) {
        this.#log.warn({ err: error }, 'pages not handed over');
        call.destroy(error instanceof Error ? error : new Error(messageOf(error)));
      }
    });
  }

  #linkFor(node: string): LinkServer | null {
    const { native, tls, host } = this.#link;
    return LinkServer.open(native, tls, host, node);
  }

  #asked({ id, migrationUid }: Pick<LeaverRequest, 'id' | 'migrationUid'>, asking: string): LeavingSandbox {
    const leaving = isValidId(id) ? this.#leaving.get(keyOf(id)) : undefined;
    if (leaving?.migrationUid !== migrationUid)
      throw new Error(`MUSTER_NOT_LEFT: no sandbox leaves node ${this.#node} by that migration`);
    if (asking !== leaving.target)
      throw new Error(`MUSTER_WRONG_NODE: the sandbox goes to node ${leaving.target}, not to ${asking}`);
    return leaving;
  }
}
