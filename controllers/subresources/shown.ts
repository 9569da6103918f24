/**
 * A reader's word on how far it has written output out, for groups whose ranks wait for their reader when the log is full
 * (`stdio.whenFull: Block`). A group with a foreground client waits for that one alone, which tells it in its own way.
 */
import { annotations } from '../../crds/names.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { StoreError } from '../../store/object-store.ts';
import type { RouteContext } from '../../store/server/routes.ts';
import type { LogPosition } from '../../wire/agent-types.ts';
import { parsePositions } from '../../wire/log-frames.ts';
import { groupOf } from './group-request.ts';
import { isOwnClient } from './input-desk.ts';
import type { VerbPorts } from './verbs.ts';

/** On a log's response: this reader is to tell what it has shown. */
export const tellShownHeader = 'x-muster-tell-shown';

/** Ranks wait for the group's reader when its log is full. */
export const waitsForReaders = (group: ProcessGroup): boolean => group.spec.stdio?.whenFull === 'Block';

/** They wait for anybody who follows the log. */
export const waitsForAnyReader = (group: ProcessGroup): boolean =>
  waitsForReaders(group) && group.metadata.annotations?.[annotations.clientLease.name] === undefined;

/** All before these positions has been written out. */
export async function takeShown(context: RouteContext, ports: VerbPorts): Promise<void> {
  const group = await groupOf(context, ports.store, 'shown');
  const { positions, client } = (await context.json()) as { positions?: unknown; client?: unknown };
  const own = typeof client === 'string' && isOwnClient(group, client);
  if (!waitsForAnyReader(group) && !(waitsForReaders(group) && own)) {
    throw new StoreError(
      'Conflict',
      `processgroup ${group.metadata.name} does not wait for this reader: its stdio.whenFull is Rotate, or a client in the foreground reads it`,
    );
  }
  ports.hub.shown(group.metadata.uid ?? '', positionsOf(positions));
  context.sendJson(200, { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success' });
}

function positionsOf(text: unknown): LogPosition[] {
  try {
    return parsePositions(typeof text === 'string' ? text : '');
  } catch (cause) {
    throw new StoreError('BadRequest', (cause as Error).message, {}, { cause });
  }
}
