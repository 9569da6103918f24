/**
 * A group's output as frames over HTTP: what is kept, or also what comes. A reader who lost the connection says what it has; the
 * positions that a limited reading begins at are told first, so that it may do so from its first byte on.
 */
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { StoreError } from '../../store/object-store.ts';
import type { RouteContext } from '../../store/server/routes.ts';
import type { LogPosition } from '../../wire/agent-types.ts';
import { encodeLogFrame, logFrameType, parsePositions } from '../../wire/log-frames.ts';
import type { LogChunk, LogOptions } from '../hub/streams.ts';
import { runEndOf } from './exit-code.ts';
import type { GroupBook } from './group-book.ts';
import { groupOf, ranksOf } from './group-request.ts';
import { tellShownHeader, waitsForAnyReader } from './shown.ts';
import type { VerbPorts } from './verbs.ts';

const everyRank = 0xffffffff;

export async function serveLog(context: RouteContext, ports: VerbPorts): Promise<void> {
  const group = await groupOf(context, ports.store, 'log');
  const { query, response, signal } = context;
  const follow = query.get('follow') === 'true';
  const options = { ...readingOf(query, group), follow };
  response.writeHead(200, {
    'content-type': logFrameType,
    'x-muster-group-uid': group.metadata.uid ?? '',
    ...(follow && waitsForAnyReader(group) ? { [tellShownHeader]: '1' } : {}),
    'cache-control': 'no-store',
  });
  response.flushHeaders();
  const write = async (bytes: Buffer): Promise<void> => {
    if (response.write(bytes) || signal.aborted) return;
    await new Promise<void>((resolve) => {
      response.once('drain', resolve);
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
  };
  const placed = follow ? await untilPlaced(group, ports, signal) : await isPlaced(group, ports, signal);
  if (placed) {
    for await (const chunk of ports.hub.openLogs(group.metadata.uid ?? '', options, signal))
      await write(encodeLogFrame(frameOf(chunk)));
  }
  const end = { rank: everyRank, stream: 0, offset: 0, end: true, error: false, bytes: Buffer.alloc(0) };
  if (!signal.aborted) await write(encodeLogFrame(end));
  response.end();
}

/** What of the output is asked for; throws BadRequest. */
export function readingOf(
  query: URLSearchParams,
  group: ProcessGroup,
): Pick<LogOptions, 'ranks' | 'streams' | 'from' | 'tailLines'> {
  const ranks = query.get('ranks');
  const tail = query.get('tail');
  if (tail !== null && !/^\d{1,9}$/.test(tail))
    throw new StoreError('BadRequest', `tail "${tail}": expected a number of lines`);
  const streams = (query.get('streams') ?? '1,2').split(',').map((one) => {
    if (one === '1') return 1;
    if (one === '2') return 2;
    throw new StoreError('BadRequest', `streams: "${one}": expected 1 (stdout), 2 (stderr) or both`);
  });
  let from: LogPosition[];
  try {
    from = parsePositions(query.get('from') ?? '');
  } catch (cause) {
    throw new StoreError('BadRequest', (cause as Error).message, {}, { cause });
  }
  return {
    ...(ranks === null ? {} : { ranks: ranksOf(ranks, group).toString() }),
    ...(tail === null ? {} : { tailLines: Number(tail) }),
    streams,
    from,
  };
}

export function frameOf(chunk: LogChunk): Parameters<typeof encodeLogFrame>[0] {
  const { rank, stream, offset, end, begun } = chunk;
  const error = chunk.error !== '';
  const bytes = error ? Buffer.from(`node ${chunk.node}: ${chunk.error}`) : chunk.data;
  if (begun) return { rank: everyRank, stream: 0, offset: 0, end: false, error: false, begun, bytes };
  return { rank, stream, offset, end, error, bytes };
}

/** Of a control plane that has just started only once it knows: output that is there must not look like none. */
async function isPlaced(group: ProcessGroup, { hub }: VerbPorts, signal: AbortSignal): Promise<boolean> {
  const isKnown = (): boolean => hub.desired.sandboxesOf(group.metadata.uid ?? '').length > 0;
  if (isKnown()) return true;
  await hub.desired.untilComplete(signal);
  return isKnown();
}

/** A reader who follows may come before the ranks have a node. False: they never will. */
export async function untilPlaced(
  group: ProcessGroup,
  ports: { readonly hub: VerbPorts['hub']; readonly groups: GroupBook },
  signal: AbortSignal,
): Promise<boolean> {
  const uid = group.metadata.uid ?? '';
  const over = new AbortController();
  const judge = (now: ProcessGroup | undefined, isNews: boolean): void => {
    if (isNews ? now === undefined || runEndOf(now) : now && runEndOf(now)) over.abort();
  };
  using _listening = ports.groups.listen(uid, (now) => judge(now, true));
  judge(ports.groups.get(uid) ?? group, false);
  if (ports.hub.desired.sandboxesOf(uid).length > 0) return true;
  return await ports.hub.desired.untilKnown(uid, AbortSignal.any([signal, over.signal]));
}
