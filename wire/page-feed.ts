/**
 * What the web page is told over server-sent events: first everything it may see, then what changes. A thing is known by a key
 * (`node/NAME`, `group/NAMESPACE/NAME`, ...), and its newest value is all that counts, so a feed that was cut off goes on by telling
 * the newest values of what changed since. Both ends read this file. Pure; who may see what is decided elsewhere.
 */
export interface FeedNode {
  readonly kind: 'node';
  readonly name: string;
  readonly phase: string;
  /** Why it is not simply ready; empty: it is. */
  readonly problem: string;
  readonly cpus: number;
  readonly load1: number;
  readonly memoryBytes: number;
  readonly memoryAvailableBytes: number;
  /** Share of time in which something waited, in percent: for a processor, for memory, for input and output. */
  readonly pressure: readonly [number, number, number];
}

export interface FeedGroup {
  readonly kind: 'group';
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly phase: string;
  /** Why it is as it is, where that is worth a word. */
  readonly message: string;
  readonly size: number;
  readonly running: number;
  readonly succeeded: number;
  readonly failed: number;
  readonly nodeCount: number;
  readonly command: string;
  readonly restarts: number;
  readonly createdMs: number;
  /** From when to when ranks were being started for the first time; 0: not yet. */
  readonly startedMs: number;
  readonly runningMs: number;
  readonly finishedMs: number;
  readonly cpuSeconds: number;
  readonly memoryBytes: number;
  /** Name and time of the newest checkpoint; '' and 0: none. */
  readonly checkpoint: string;
  readonly checkpointMs: number;
  /** Phases in order, each with when it began; the last one lasts. */
  readonly past: readonly (readonly [phase: string, sinceMs: number])[];
}

/** Ranks of a group that are on one node together: what the grid is painted from. */
export interface FeedSandbox {
  readonly kind: 'sandbox';
  readonly namespace: string;
  readonly group: string;
  readonly uid: string;
  readonly ordinal: number;
  readonly incarnation: number;
  readonly node: string;
  /** Rank sets. */
  readonly ranks: string;
  readonly succeeded: string;
  readonly failed: string;
  readonly state: SandboxState;
  /** Processor use of each rank in order, 0 to 9 tenths of a core; one digit: the same for all; '': not known. */
  readonly load: string;
  readonly cores: number;
  readonly memoryBytes: number;
}

export const sandboxStates = [
  'Unknown',
  'Pending',
  'Creating',
  'Running',
  'Frozen',
  'Saving',
  'Ending',
  'Ended',
  'Failed',
] as const;
export type SandboxState = (typeof sandboxStates)[number];

/** A checkpoint or a migration of a group. */
export interface FeedAct {
  readonly kind: 'checkpoint' | 'migration';
  readonly namespace: string;
  readonly name: string;
  readonly group: string;
  readonly phase: string;
  readonly message: string;
  readonly createdMs: number;
  readonly startedMs: number;
  readonly finishedMs: number;
  readonly downtimeMs: number;
  readonly bytes: number;
  readonly from: string;
  readonly to: string;
}

export interface FeedEvent {
  readonly kind: 'event';
  readonly namespace: string;
  readonly atMs: number;
  readonly count: number;
  readonly warning: boolean;
  readonly reason: string;
  readonly note: string;
  readonly aboutKind: string;
  readonly about: string;
}

export type FeedItem = FeedNode | FeedGroup | FeedSandbox | FeedAct | FeedEvent;

/** One message of the feed. The first of a feed that begins anew says `all`: what was known before is forgotten. */
export interface FeedMessage {
  readonly all?: true;
  /** More of the same state follows at once; what is shown may wait for it. */
  readonly more?: true;
  /** The server's clock. */
  readonly nowMs: number;
  readonly set: Readonly<Record<string, FeedItem>>;
  readonly gone: readonly string[];
}

/** Folds a message into what is known, in place. */
export function foldFeed(known: Map<string, FeedItem>, message: FeedMessage): void {
  if (message.all) known.clear();
  for (const [key, item] of Object.entries(message.set)) known.set(key, item);
  for (const key of message.gone) known.delete(key);
}

export const eventText = (id: string, data: string): string => `id: ${id}\ndata: ${data}\n\n`;

/** Of no meaning but that the connection lives. */
export const beatText = ': beat\n\n';

export interface StreamEvent {
  readonly id: string;
  readonly data: string;
}

/** Cuts events out of a text that arrives in any pieces. Throws when one grows beyond any that a server of ours sends. */
export class EventReader {
  #rest = '';

  push(text: string): StreamEvent[] {
    const blocks = (this.#rest + text).split('\n\n');
    this.#rest = blocks.pop() ?? '';
    if (this.#rest.length > longestEvent) throw new Error('MUSTER_FEED_EVENT: an event that has no end');
    return blocks.flatMap((block) => {
      let id = '';
      const data: string[] = [];
      for (const line of block.split('\n')) {
        if (line.startsWith('id: ')) id = line.slice(4);
        else if (line.startsWith('data: ')) data.push(line.slice(6));
      }
      return data.length === 0 ? [] : [{ id, data: data.join('\n') }];
    });
  }
}

const longestEvent = 4 * 1024 * 1024;
