// What both ends of a sandbox's way from one node to another agree on (Peer.Leaver): the names of what is no file of it, and the word
// that comes last. Plain data.
import type { Manifest } from '../checkpoint/image.ts';
import type { UsedFile } from './used-files.ts';

/** Names of an image's files do not begin so. */
export const linkName = '.link';
export const endName = '.end';
/** Of files that go along, by their place in what was asked for. */
export const copyPrefix = 'copied.';

export type Departed =
  | {
      readonly kind: 'left';
      readonly manifest: Manifest;
      /** Of the node, that its processes use. */
      readonly files: readonly UsedFile[];
      readonly stillUs: number;
    }
  | { readonly kind: 'stayed'; readonly reason: string; readonly message: string };

/** The answer to a probe; null: nobody knows yet. */
export interface Looked {
  readonly files: readonly UsedFile[] | null;
  /** Of file systems that go along with it. */
  readonly carriedBytes?: number;
}
