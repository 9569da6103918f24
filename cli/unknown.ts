/** What the control plane says of its store and of sandboxes that the store does not know, and the order to end those. */
import type { Client } from './client.ts';

export interface UnknownRow {
  readonly groupUid: string;
  readonly node: string;
  readonly connected: boolean;
  readonly ordinal: number;
  readonly incarnation: number;
  readonly state: string;
  readonly ranksRunning: number;
  readonly ranksTotal: number;
  readonly startedMs: number;
}

export interface Unknown {
  /** Set while objects may be missing from the store that nobody deleted. */
  readonly doubt: {
    readonly severity: string;
    readonly since: string;
    readonly messages: readonly string[];
  } | null;
  readonly sandboxes: readonly UnknownRow[];
}

const path = '/apis/subresources.muster.dev/v1alpha1/unknownsandboxes';

export async function readUnknown(client: Client): Promise<Unknown> {
  return (await client.request('GET', path)) as Unknown;
}

/** Ends the sandboxes of these groups, or all; then the store is trusted again. Gives how many sandboxes it concerns. */
export async function endUnknown(client: Client, groups: readonly string[] | 'all'): Promise<number> {
  const asked = groups === 'all' ? { all: true } : { groups };
  return ((await client.request('DELETE', path, asked)) as { told: number }).told;
}
