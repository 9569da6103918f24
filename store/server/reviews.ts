/**
 * Questions about access that are asked by creating an object and answered in it, without anything being stored: who am I,
 * what may I, what may somebody. `kubectl auth` asks them. They know no roles; the authoriser does.
 */
import { StoreError } from '../store-error.ts';
import type { AccessRequest, RouteContext, Routes, User } from './routes.ts';

/** What a user may do with some kinds, as SelfSubjectRulesReview tells it. */
export interface ResourceRule {
  readonly verbs: readonly string[];
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
}

export interface NonResourceRule {
  readonly verbs: readonly string[];
  readonly nonResourceURLs: readonly string[];
}

export interface Rules {
  readonly resourceRules: readonly ResourceRule[];
  readonly nonResourceRules: readonly NonResourceRule[];
  /** There is more that depends on the object asked for. */
  readonly incomplete?: boolean;
}

export interface ReviewPorts {
  authorize(access: AccessRequest): Promise<{ readonly allowed: boolean; readonly reason?: string }>;
  rulesOf(user: User, namespace: string): Rules;
}

const authorization = { group: 'authorization.k8s.io', version: 'v1' } as const;
const authentication = { group: 'authentication.k8s.io', version: 'v1' } as const;
const verbs = ['create'];

export const reviewResources = [
  review(authorization, 'SelfSubjectAccessReview', false),
  review(authorization, 'SelfSubjectRulesReview', false),
  review(authorization, 'SubjectAccessReview', false),
  review(authorization, 'LocalSubjectAccessReview', true),
  review(authentication, 'SelfSubjectReview', false),
] as const;

function review(where: { group: string; version: string }, kind: string, namespaced: boolean) {
  const singularName = kind.toLowerCase();
  return { ...where, kind, name: `${singularName}s`, singularName, namespaced, verbs } as const;
}

interface ResourceAttributes {
  namespace?: string;
  verb?: string;
  group?: string;
  resource?: string;
  subresource?: string;
  name?: string;
}

interface AccessSpec {
  resourceAttributes?: ResourceAttributes;
  nonResourceAttributes?: { path?: string; verb?: string };
  user?: string;
  uid?: string;
  groups?: string[];
}

export function addReviews(routes: Routes, ports: ReviewPorts): void {
  const path = ({ group, version }: { group: string; version: string }, name: string): string =>
    `/apis/${group}/${version}/${name}`;
  const answer = (
    where: { group: string; version: string },
    kind: string,
    name: string,
    status: (spec: AccessSpec & { namespace?: string }, context: RouteContext) => Promise<object>,
  ): void =>
    routes.add('POST', path(where, name), async (context) => {
      const body = ((await context.json()) ?? {}) as { metadata?: object; spec?: AccessSpec };
      const spec = body.spec ?? {};
      context.sendJson(201, {
        kind,
        apiVersion: `${where.group}/${where.version}`,
        metadata: { creationTimestamp: null, ...body.metadata },
        ...(kind === 'SelfSubjectReview' ? {} : { spec }),
        status: await status(spec, context),
      });
    });

  answer(authorization, 'SelfSubjectAccessReview', 'selfsubjectaccessreviews', (spec, { user }) =>
    verdictOn(ports, user, spec),
  );
  answer(authorization, 'SelfSubjectRulesReview', 'selfsubjectrulesreviews', (spec, { user }) => {
    const { resourceRules, nonResourceRules, incomplete = false } = ports.rulesOf(user, spec.namespace ?? '');
    return Promise.resolve({ resourceRules, nonResourceRules, incomplete });
  });
  const ofAnother = async (spec: AccessSpec, context: RouteContext): Promise<object> => {
    const resource = 'subjectaccessreviews';
    await context.requireAccess({ verb: 'create', group: authorization.group, resource });
    if ((spec.user ?? '') === '' && (spec.groups ?? []).length === 0) {
      throw new StoreError(
        'Invalid',
        'spec.user: Required value: at least one of user or group must be specified',
      );
    }
    const user = { name: spec.user ?? '', uid: spec.uid, groups: spec.groups ?? [] };
    return verdictOn(ports, user, spec);
  };
  answer(authorization, 'SubjectAccessReview', 'subjectaccessreviews', ofAnother);
  answer(
    authorization,
    'LocalSubjectAccessReview',
    'namespaces/{namespace}/localsubjectaccessreviews',
    (spec, context) => {
      const { namespace = '' } = context.parameters;
      return ofAnother({ ...spec, resourceAttributes: { ...spec.resourceAttributes, namespace } }, context);
    },
  );
  answer(authentication, 'SelfSubjectReview', 'selfsubjectreviews', (_spec, { user }) => {
    const { name: username, uid, groups, extra } = user;
    return Promise.resolve({ userInfo: { username, uid, groups, extra } });
  });
}

async function verdictOn(ports: ReviewPorts, user: User, spec: AccessSpec): Promise<object> {
  const { resourceAttributes: asked, nonResourceAttributes: other } = spec;
  if ((asked === undefined) === (other === undefined)) {
    throw new StoreError(
      'Invalid',
      'spec.resourceAttributes: Invalid value: exactly one of nonResourceAttributes or resourceAttributes must be specified',
    );
  }
  const none = (value: string | undefined): string | undefined => (value === '' ? undefined : value);
  const access: AccessRequest =
    asked === undefined
      ? { user, verb: other?.verb ?? '', path: other?.path ?? '' }
      : {
          user,
          verb: asked.verb ?? '',
          path: '',
          group: asked.group ?? '',
          resource: asked.resource ?? '',
          subresource: none(asked.subresource),
          namespace: none(asked.namespace),
          name: none(asked.name),
        };
  const { allowed, reason } = await ports.authorize(access);
  return { allowed, ...(reason === undefined ? {} : { reason }) };
}
