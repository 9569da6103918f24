/** Names of the jobs of a namespace that hold, or have held, a node. */
import { type Client, processGroupType } from './client.ts';

export async function placedGroups(client: Client, namespace: string): Promise<string[]> {
  const { items } = await client.store.list(processGroupType, { namespace });
  const placed = items.filter(
    ({ status }) => ((status as { placement?: unknown[] } | undefined)?.placement ?? []).length > 0,
  );
  return placed.map(({ metadata }) => metadata.name ?? '');
}
