/**
 * What the roles of the API may do: view, edit and admin, in all namespaces or in one, as rules in the words of Kubernetes.
 * A user has roles by groups such as `muster:role:edit` or `muster:role:view:team-a`. Pure; who a user is and what the
 * machine's own users may do are other files.
 */
import type { NonResourceRule, ResourceRule, Rules } from '../../store/server/reviews.ts';
import type { AccessRequest, User } from '../../store/server/routes.ts';

export const administrators = 'muster:administrators';
export const roles = ['view', 'edit', 'admin'] as const;
export type Role = (typeof roles)[number];

export const isAdministrator = (user: User): boolean => user.groups.includes(administrators);

/** The group that gives a role; admin of all namespaces is an administrator. */
export function roleGroup(role: Role, namespace: string | undefined): string {
  if (namespace === undefined) return role === 'admin' ? administrators : `muster:role:${role}`;
  return `muster:role:${role}:${namespace}`;
}

const read = ['get', 'list', 'watch'];
const write = ['create', 'update', 'patch', 'delete', 'deletecollection'];
const own = 'muster.dev';
const verbsOfJobs = 'subresources.muster.dev';

/** What anybody who is known may ask. */
const discovery: readonly NonResourceRule[] = [
  {
    verbs: ['get'],
    nonResourceURLs: [
      '/api',
      '/api/*',
      '/apis',
      '/apis/*',
      '/openapi/*',
      '/version',
      '/healthz',
      '/livez',
      '/readyz',
    ],
  },
];
/** Counts without names, for whoever has a role anywhere. */
const metrics: NonResourceRule = { verbs: ['get'], nonResourceURLs: ['/metrics'] };
const reviews: readonly ResourceRule[] = [
  {
    verbs: ['create'],
    apiGroups: ['authorization.k8s.io', 'authentication.k8s.io'],
    resources: ['selfsubjectaccessreviews', 'selfsubjectrulesreviews', 'selfsubjectreviews'],
  },
];
/** Of the whole cluster, for whoever has a role anywhere. */
const wide: readonly ResourceRule[] = [
  { verbs: read, apiGroups: [own], resources: ['nodemonitors', 'nodemonitors/status'] },
  // The page shows nothing that its reader may not list.
  { verbs: ['get', 'watch'], apiGroups: [verbsOfJobs], resources: ['dashboard', 'dashboardfeed'] },
  {
    verbs: ['get'],
    apiGroups: [verbsOfJobs],
    resources: ['nodemonitors/ps', 'nodemonitors/top', 'nodemonitors/history'],
  },
  { verbs: read, apiGroups: [''], resources: ['namespaces'] },
];
const all = (...kinds: string[]): string[] => kinds.flatMap((kind) => [kind, `${kind}/status`]);
const viewing: readonly ResourceRule[] = [
  { verbs: read, apiGroups: [own], resources: all('processgroups', 'checkpoints', 'migrations') },
  { verbs: read, apiGroups: ['', 'events.k8s.io'], resources: ['events'] },
  { verbs: read, apiGroups: [''], resources: ['configmaps'] },
  { verbs: read, apiGroups: ['coordination.k8s.io'], resources: ['leases'] },
  {
    verbs: ['get'],
    apiGroups: [verbsOfJobs],
    resources: ['processgroups/log', 'processgroups/ps', 'processgroups/top', 'processgroups/history'],
  },
];
/** A checkpoint reads the memory of a job, so making one is the admin's. */
const editing: readonly ResourceRule[] = [
  { verbs: write, apiGroups: [own], resources: ['processgroups', 'migrations'] },
  { verbs: ['update', 'patch', 'delete', 'deletecollection'], apiGroups: [own], resources: ['checkpoints'] },
  { verbs: [...read, ...write], apiGroups: [''], resources: ['configmaps', 'secrets'] },
  { verbs: ['get', 'create'], apiGroups: [verbsOfJobs], resources: ['processgroups/*'] },
];
const everything: readonly ResourceRule[] = [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }];
const rulesOfRole: Record<Role, readonly ResourceRule[]> = {
  view: viewing,
  edit: [...viewing, ...editing],
  admin: everything,
};

interface Grant {
  readonly role: Role;
  readonly namespace: string | undefined;
}

function grantsOf(user: User): Grant[] {
  return user.groups.flatMap((group) => {
    const match = /^muster:role:(view|edit|admin)(?::(.+))?$/.exec(group);
    return match === null ? [] : [{ role: match[1] as Role, namespace: match[2] }];
  });
}

export const hasRoles = (user: User): boolean => grantsOf(user).length > 0;

/** What a user may do in a namespace; '' or nothing asks for the whole cluster. */
export function rulesOf(user: User, namespace: string | undefined): Rules {
  if (isAdministrator(user)) {
    return {
      resourceRules: everything,
      nonResourceRules: [{ verbs: ['*'], nonResourceURLs: ['*'] }],
    };
  }
  const grants = grantsOf(user);
  const here = grants.filter((grant) => grant.namespace === undefined || grant.namespace === namespace);
  const resourceRules = [
    ...reviews,
    ...(grants.length > 0 ? wide : []),
    ...here.flatMap(({ role, namespace: only }) =>
      // An admin of one namespace is none of what belongs to no namespace.
      role === 'admin' && only === undefined ? everything : rulesOfRole[role],
    ),
  ];
  const nonResourceRules = grants.length > 0 ? [...discovery, metrics] : discovery;
  return { resourceRules, nonResourceRules };
}

export function roleAllows(access: AccessRequest): boolean {
  const { user, verb, path, group = '', resource, subresource, namespace, name } = access;
  const { resourceRules, nonResourceRules } = rulesOf(user, namespace);
  if (resource === undefined) {
    return nonResourceRules.some(
      (rule) => covers(rule.verbs, verb) && rule.nonResourceURLs.some((one) => urlCovers(one, path)),
    );
  }
  const asked = subresource === undefined ? resource : `${resource}/${subresource}`;
  return resourceRules.some(
    (rule) =>
      covers(rule.verbs, verb) &&
      covers(rule.apiGroups, group) &&
      (covers(rule.resources, asked) ||
        (subresource !== undefined && rule.resources.includes(`${resource}/*`))) &&
      (rule.resourceNames === undefined || (name !== undefined && rule.resourceNames.includes(name))),
  );
}

const covers = (allowed: readonly string[], asked: string): boolean =>
  allowed.includes('*') || allowed.includes(asked);

const urlCovers = (pattern: string, path: string): boolean =>
  pattern === '*' || pattern === path || (pattern.endsWith('/*') && path.startsWith(pattern.slice(0, -1)));
