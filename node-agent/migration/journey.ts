// What both ends of a sandbox's way from one node to another agree on (Peer.Leaver): the names of what is no file of it, and the word
// that comes last. Plain data.
import type { Manifest } from '../checkpoint/image.ts';

/** Names of an image's files do not begin so. */
export const linkName = '.link';
export const endName = '.end';

export type Departed =
  | { readonly kind: 'left'; readonly manifest: Manifest; readonly stillUs: number }
  | { readonly kind: 'stayed'; readonly reason: string; readonly message: string };
