/**
 * How an agent in a Pod proves which node it is on: by a token of its service account that is bound to its Pod and meant for us alone
 * (audience `muster`). The cluster's API server judges it and names the node; what the agent itself says counts for nothing.
 */
import { type AnyObject, isStoreError, type ObjectStore } from '../../store/object-store.ts';
import type { ResourceType } from '../../store/resource.ts';

export const tokenAudience = 'muster';

const tokenReviewType: ResourceType = {
  group: 'authentication.k8s.io',
  version: 'v1',
  kind: 'TokenReview',
  plural: 'tokenreviews',
  namespaced: false,
};

export interface ReviewStatus {
  authenticated?: boolean;
  error?: string;
  audiences?: string[];
  user?: { username?: string; extra?: Record<string, string[]> };
}

export type NodeVerdict =
  | { readonly ok: true }
  | {
      readonly ok: false;
      readonly code: 'MUSTER_JOIN_ACCOUNT_REFUSED' | 'MUSTER_JOIN_REVIEW_FAILED';
      readonly message: string;
    };

/** Whether a token of a Pod may speak for a node. */
export type NodeJudge = (token: string, node: string) => Promise<NodeVerdict>;

/** One-time tokens have no dots, those of service accounts have two. */
export const isAccountToken = (token: string): boolean => token.split('.').length === 3;

export function nodeJudge(
  store: Pick<ObjectStore, 'create'>,
  account: { readonly namespace: string; readonly name: string },
): NodeJudge {
  return async (token, node) => {
    try {
      const { status } = await store.create<AnyObject & { status?: ReviewStatus }>(tokenReviewType, {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenReview',
        metadata: {},
        spec: { token, audiences: [tokenAudience] },
      });
      return nodeVerdict(status ?? {}, account, node);
    } catch (error) {
      if (!isStoreError(error)) throw error;
      const message = `The cluster could not be asked about the token: ${error.message}`;
      return { ok: false, code: 'MUSTER_JOIN_REVIEW_FAILED', message };
    }
  };
}

/** Pure. Every cluster that names the Pod of a token but not its node is too old. */
export function nodeVerdict(
  { authenticated, error, audiences = [], user = {} }: ReviewStatus,
  account: { readonly namespace: string; readonly name: string },
  node: string,
): NodeVerdict {
  const refuse = (message: string): NodeVerdict => ({
    ok: false,
    code: 'MUSTER_JOIN_ACCOUNT_REFUSED',
    message,
  });
  if (authenticated !== true || !audiences.includes(tokenAudience)) {
    return refuse(
      `The token is not valid for audience "${tokenAudience}"${error ? `: ${error}` : ''}; mount one into the agent's Pod, as the chart does`,
    );
  }
  const wanted = `system:serviceaccount:${account.namespace}:${account.name}`;
  if (user.username !== wanted)
    return refuse(`The token belongs to ${user.username ?? 'nobody'}; agents are ${wanted}`);
  const [pod] = user.extra?.['authentication.kubernetes.io/pod-name'] ?? [];
  const [place] = user.extra?.['authentication.kubernetes.io/node-name'] ?? [];
  if (pod === undefined)
    return refuse('The token is bound to no Pod; only a projected one of a Pod is taken');
  if (place === undefined)
    return refuse(`The cluster does not say on which node Pod ${pod} is; Kubernetes 1.30 or later is needed`);
  if (place !== node) return refuse(`The token's Pod ${pod} is on node ${place}, not on ${node}`);
  return { ok: true };
}
