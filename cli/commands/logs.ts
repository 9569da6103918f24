/**
 * `muster logs`: a job's output from the API server, in frames with offsets. A lost connection is taken up again where it broke,
 * for as long as the server stays away at most 30 s; nothing is lost or doubled. Ranks that wait for their reader are told of it.
 * Exit 1 when some node's output could not be had.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { groupVerbPath } from '../../controllers/subresources/paths.ts';
import { tellShownHeader } from '../../controllers/subresources/shown.ts';
import { connect, processGroupType, type Client } from '../client.ts';
import type { Config } from '../config.ts';
import { CommandError } from '../errors.ts';
import { viewOf } from '../group-wait.ts';
import { logFrameType, LogFrameReader, type LogFrame } from '../../wire/log-frames.ts';
import { isStoreError } from '../../store/object-store.ts';
import { LogPlace } from '../log-place.ts';
import { ShownTeller } from '../shown-teller.ts';
import { LineLabeller } from '../line-labeller.ts';

export interface LogsOptions {
  follow?: boolean;
  ranks?: string;
  stdout?: boolean;
  stderr?: boolean;
  tail?: string;
  label: boolean;
}

const awayAtMostMs = 30_000;
const tellWaitingAfterMs = 2_000;

export async function logs(config: Config, args: string[], options: LogsOptions): Promise<number> {
  const name = args[0] ?? '';
  const client = connect(config.server);
  const labeller = new LineLabeller(options.label);
  const streams =
    options.stdout === true
      ? [1 as const]
      : options.stderr === true
        ? [2 as const]
        : [1 as const, 2 as const];
  if (options.tail !== undefined && !/^\d{1,9}$/.test(options.tail)) {
    throw new CommandError(`--tail ${options.tail}: expected a number of lines`, 2);
  }
  const place = new LogPlace({ ranks: options.ranks, tail: options.tail, streams });
  let uid = '';
  const teller = new ShownTeller((shown) => {
    const path = groupVerbPath({ namespace: config.namespace, name }, 'shown');
    return client.request('POST', `${path}?uid=${uid}`, { positions: shown });
  });
  let awaySince: number | undefined;
  let isPartial = false;
  using _waiting = options.follow === true ? tellWaiting(client, config.namespace, name) : undefined;
  for (;;) {
    const query = place.query();
    query.set('follow', String(options.follow === true));
    if (uid !== '') query.set('uid', uid);
    try {
      const finished = await readOnce(client, config.namespace, name, query, {
        begun: (head) => {
          uid = head.uid;
          if (head.tellShown && options.tail === undefined) teller.again(place.positions);
          else teller.end();
        },
        frame: async (frame) => {
          awaySince = undefined;
          isPartial ||= frame.error;
          if (!place.took(frame)) return;
          await labeller.write(frame);
          teller.again(place.positionOf(frame));
        },
      });
      if (finished) {
        teller.end();
        await labeller.end();
        return isPartial ? 1 : 0;
      }
    } catch (error) {
      // Whoever has read something waits for the rest; else nothing is there to wait for.
      if (!isStoreError(error, 'Unavailable') || uid === '') throw error;
    }
    awaySince ??= Date.now();
    if (Date.now() - awaySince > awayAtMostMs) {
      throw new CommandError(
        `the control plane has been away for 30 s; muster logs ${name} can be called again`,
      );
    }
    await pause(200);
  }
}

/** Says once why there is nothing to see: the job waits for its nodes. */
function tellWaiting(client: Client, namespace: string, name: string): Disposable {
  const timer = setTimeout(() => {
    client.store.get(processGroupType, { namespace, name }).then(
      (object) => {
        const placed = viewOf(object).condition('Placed');
        if (placed?.status === 'False' && viewOf(object).is('Reconciling'))
          process.stderr.write(`muster: ${name} waits for nodes: ${placed.message}\n`);
      },
      () => undefined, // whoever reads the output says what is wrong
    );
  }, tellWaitingAfterMs);
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}

interface Taking {
  readonly begun: (head: { uid: string; tellShown: boolean }) => void;
  readonly frame: (frame: LogFrame) => Promise<void>;
}

/** One connection. True when the server said that there is no more, rather than going away. */
async function readOnce(
  client: Client,
  namespace: string,
  name: string,
  query: URLSearchParams,
  take: Taking,
): Promise<boolean> {
  const response = await client.stream(groupVerbPath({ namespace, name }, 'log'), query, logFrameType);
  const { headers } = response;
  take.begun({
    uid: String(headers['x-muster-group-uid'] ?? ''),
    tellShown: headers[tellShownHeader] === '1',
  });
  const reader = new LogFrameReader();
  let complete = false;
  try {
    for await (const bytes of response) {
      for (const frame of reader.push(bytes as Buffer)) {
        if (frame.end && frame.rank === 0xffffffff) complete = true;
        else await take.frame(frame);
      }
    }
  } catch {
    return false;
  }
  return complete;
}
