// Who is at the other end of a connection, by the certificate that the cluster's authority signed: a node's common name is
// its own name, and it may serve as `<node>.node.muster`.
import type { LeaverCall, PagesCall, TreeCall } from '../wire/load.ts';

export function nodeServerName(node: string): string {
  return `${node}.node.muster`;
}

/** The node that the caller's certificate names; empty when there is none. */
export function certificateNode(call: TreeCall | LeaverCall | PagesCall): string {
  const certificate = call.getAuthContext()?.sslPeerCertificate;
  const name: unknown = certificate?.subject.CN;
  return typeof name === 'string' ? name : '';
}
