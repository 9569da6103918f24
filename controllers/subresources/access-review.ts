/**
 * What a user may do, as the cluster's API server judges by its own roles. A verdict is remembered for a few seconds: a role that is
 * taken away counts soon, and a client that asks often costs little.
 */
import { type AnyObject, isStoreError, type ObjectStore, StoreError } from '../../store/object-store.ts';
import type { ResourceType } from '../../store/resource.ts';
import type { Verdict } from '../../store/server/api-server.ts';
import type { AccessRequest } from '../../store/server/routes.ts';

export const accessReviewType: ResourceType = {
  group: 'authorization.k8s.io',
  version: 'v1',
  kind: 'SubjectAccessReview',
  plural: 'subjectaccessreviews',
  namespaced: false,
};

const rememberedMs = 5_000;
const mostRemembered = 4096;
/** The group that needs no roles, on any cluster. */
const masters = 'system:masters';

interface Review extends AnyObject {
  status?: { allowed?: boolean; reason?: string; evaluationError?: string };
}

export function accessReviewer(
  store: Pick<ObjectStore, 'create'>,
  now: () => number,
): (access: AccessRequest) => Promise<Verdict> {
  const remembered = new Map<string, { verdict: Verdict; untilMs: number }>();
  return async (access) => {
    if (access.user.groups.includes(masters)) return { allowed: true };
    const spec = reviewOf(access);
    const key = JSON.stringify(spec);
    const known = remembered.get(key);
    if (known && known.untilMs > now()) return known.verdict;
    const verdict = await ask(store, spec);
    remembered.delete(key);
    remembered.set(key, { verdict, untilMs: now() + rememberedMs });
    for (const oldest of remembered.keys()) {
      if (remembered.size <= mostRemembered) break;
      remembered.delete(oldest);
    }
    return verdict;
  };
}

function reviewOf({
  user,
  verb,
  path,
  group,
  resource,
  subresource,
  namespace,
  name,
}: AccessRequest): object {
  const { name: userName, uid, groups, extra } = user;
  const what =
    resource === undefined
      ? { nonResourceAttributes: { path, verb } }
      : { resourceAttributes: { verb, group, version: '*', resource, subresource, namespace, name } };
  return { user: userName, uid, groups, extra, ...what };
}

async function ask(store: Pick<ObjectStore, 'create'>, spec: object): Promise<Verdict> {
  try {
    const { status } = await store.create<Review>(accessReviewType, {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SubjectAccessReview',
      metadata: {},
      spec,
    });
    const reason = status?.reason || status?.evaluationError;
    return { allowed: status?.allowed === true, ...(reason ? { reason } : {}) };
  } catch (cause) {
    // Nobody is let in because nobody could be asked.
    if (isStoreError(cause, 'Forbidden')) {
      throw new StoreError(
        'InternalError',
        'the controllers may not create subjectaccessreviews: give their service account the role system:auth-delegator',
        {},
        { cause },
      );
    }
    throw cause;
  }
}
