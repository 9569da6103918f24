/** Where the imperative verbs are served, the same by the aggregated API server and by the file store's. Pure. */
export const verbsGroup = 'subresources.muster.dev';
export const verbsVersion = 'v1alpha1';
export const verbsBase = `/apis/${verbsGroup}/${verbsVersion}`;

/** Subresources of a group: what each asks for. `attach` and `exec` reach into a job, so looking does not suffice. */
export const groupVerbs = {
  log: ['get'],
  shown: ['create'],
  ps: ['get'],
  top: ['get'],
  history: ['get'],
  attach: ['get', 'create'],
  exec: ['get', 'create'],
  signal: ['create'],
  kill: ['create'],
  detach: ['create'],
} as const satisfies Record<string, readonly string[]>;
export type GroupVerb = keyof typeof groupVerbs;

export const nodeVerbs = {
  ps: ['get'],
  top: ['get'],
  history: ['get'],
} as const satisfies Record<string, readonly string[]>;
export type NodeVerb = keyof typeof nodeVerbs;

export function groupVerbPath(
  key: { namespace?: string | undefined; name: string },
  verb: GroupVerb,
): string {
  const namespace = encodeURIComponent(key.namespace ?? 'default');
  return `${verbsBase}/namespaces/${namespace}/processgroups/${encodeURIComponent(key.name)}/${verb}`;
}

export const nodeVerbPath = (node: string, verb: NodeVerb): string =>
  `${verbsBase}/nodemonitors/${encodeURIComponent(node)}/${verb}`;

/** What the aggregator and kubectl read of this API before they use it, by path. */
export function verbsDiscovery(): ReadonlyMap<string, object> {
  const groupVersion = `${verbsGroup}/${verbsVersion}`;
  const version = { groupVersion, version: verbsVersion };
  const group = { name: verbsGroup, versions: [version], preferredVersion: version };
  const of = (plural: string, kind: string, namespaced: boolean, table: Record<string, readonly string[]>) =>
    Object.entries(table).map(([verb, verbs]) => ({
      name: `${plural}/${verb}`,
      singularName: '',
      namespaced,
      kind,
      verbs,
    }));
  const resources = [
    ...of('processgroups', 'ProcessGroup', true, groupVerbs),
    ...of('nodemonitors', 'NodeMonitor', false, nodeVerbs),
  ];
  return new Map<string, object>([
    [`/apis/${verbsGroup}`, { kind: 'APIGroup', apiVersion: 'v1', ...group }],
    [verbsBase, { kind: 'APIResourceList', apiVersion: 'v1', groupVersion, resources }],
  ]);
}
