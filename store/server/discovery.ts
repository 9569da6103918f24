/**
 * What kubectl reads before it does anything: which groups, versions and kinds this server has, in the old form (a document
 * a group) and the aggregated one. Pure; made from the served types.
 */
import { apiVersionOf, type ResourceType } from '../resource.ts';
import { reviewResources } from './reviews.ts';
import { segmentsOf } from './routes.ts';
import type { ServedType } from './served-type.ts';
import { subresourcesOf } from './target.ts';

/** The release of Kubernetes whose API this server speaks. */
const kubernetesMinor = '36';

interface Resource {
  readonly name: string;
  readonly singularName: string;
  readonly namespaced: boolean;
  readonly kind: string;
  readonly group?: string;
  readonly version?: string;
  readonly verbs: readonly string[];
  readonly shortNames?: readonly string[] | undefined;
  readonly categories?: readonly string[] | undefined;
}

interface GroupVersion {
  readonly group: string;
  readonly version: string;
  readonly resources: readonly Resource[];
}

const verbs = ['delete', 'deletecollection', 'get', 'list', 'patch', 'create', 'update', 'watch'];

export interface Discovery {
  readonly version: string;
  readonly types: readonly ServedType[];
}

/** Whether the client wants all groups in one document. */
export function wantsAggregated(accept: string | undefined): boolean {
  return (accept ?? '')
    .split(',')
    .some((part) => /as=APIGroupDiscoveryList/.test(part) && /v=v2(;|$)/.test(part.replaceAll(' ', '')));
}

/** The answer for a discovery path; undefined for any other path. */
export function discoveryAt(path: string, discovery: Discovery, aggregated = false): unknown {
  const segments = segmentsOf(path);
  const { types, version } = discovery;
  switch (segments[0]) {
    case 'version':
      return segments.length === 1 ? versionOf(version) : undefined;
    case 'api':
      if (segments.length === 1) {
        if (aggregated) return aggregatedOf(groupVersions(types).filter(({ group }) => group === ''));
        return { kind: 'APIVersions', apiVersion: 'v1', versions: ['v1'] };
      }
      return segments.length === 2 && segments[1] === 'v1' ? resourceList('', 'v1', types) : undefined;
    case 'apis': {
      const all = groupVersions(types).filter(({ group }) => group !== '');
      if (segments.length === 1) {
        if (aggregated) return aggregatedOf(all);
        const groups = [...new Set(all.map(({ group }) => group))].map((group) => groupOf(group, all));
        return { kind: 'APIGroupList', apiVersion: 'v1', groups };
      }
      const [, group = '', one] = segments;
      if (!all.some((known) => known.group === group)) return undefined;
      if (segments.length === 2) return { kind: 'APIGroup', apiVersion: 'v1', ...groupOf(group, all) };
      return segments.length === 3 ? resourceList(group, one!, types) : undefined;
    }
    default:
      return undefined;
  }
}

function versionOf(version: string): object {
  return {
    major: '1',
    minor: kubernetesMinor,
    gitVersion: `v1.${kubernetesMinor}.0+muster.${version}`,
    gitCommit: '',
    gitTreeState: '',
    buildDate: '1970-01-01T00:00:00Z',
    goVersion: `node ${process.version}`,
    compiler: 'v8',
    platform: `${process.platform}/${process.arch === 'x64' ? 'amd64' : process.arch}`,
  };
}

function groupVersions(types: readonly ServedType[]): GroupVersion[] {
  const found = new Map<string, { group: string; version: string; resources: Resource[] }>();
  const add = (group: string, version: string, resources: readonly Resource[]): void => {
    const key = `${group}/${version}`;
    const known = found.get(key);
    if (known === undefined) found.set(key, { group, version, resources: [...resources] });
    else known.resources.push(...resources);
  };
  for (const { type } of types) add(type.group, type.version, resourcesOf(type));
  for (const { group, version, ...resource } of reviewResources) add(group, version, [resource]);
  return [...found.values()];
}

function resourcesOf(type: ResourceType): Resource[] {
  const { plural: name, namespaced, kind, shortNames, categories } = type;
  const singularName = type.singular ?? kind.toLowerCase();
  const main: Resource = { name, singularName, namespaced, kind, verbs, shortNames, categories };
  const subresources = subresourcesOf(type).map((subresource): Resource => {
    const common = {
      name: `${name}/${subresource}`,
      singularName: '',
      namespaced,
      verbs: ['get', 'patch', 'update'],
    };
    return subresource === 'scale'
      ? { ...common, kind: 'Scale', group: 'autoscaling', version: 'v1' }
      : { ...common, kind };
  });
  return [main, ...subresources];
}

function groupOf(group: string, all: readonly GroupVersion[]): object {
  const versions = all
    .filter((one) => one.group === group)
    .map(({ version }) => ({ groupVersion: `${group}/${version}`, version }));
  return { name: group, versions, preferredVersion: versions[0] };
}

function resourceList(group: string, version: string, types: readonly ServedType[]): object | undefined {
  const found = groupVersions(types).find((one) => one.group === group && one.version === version);
  if (found === undefined) return undefined;
  const groupVersion = apiVersionOf({ group, version });
  return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion, resources: found.resources };
}

function aggregatedOf(all: readonly GroupVersion[]): object {
  const groups = [...new Set(all.map(({ group }) => group))];
  const items = groups.map((group) => ({
    metadata: group === '' ? { creationTimestamp: null } : { name: group, creationTimestamp: null },
    versions: all
      .filter((one) => one.group === group)
      .map((one) => ({ version: one.version, freshness: 'Current', resources: aggregatedResources(one) })),
  }));
  return { kind: 'APIGroupDiscoveryList', apiVersion: 'apidiscovery.k8s.io/v2', metadata: {}, items };
}

function aggregatedResources({ group, version, resources }: GroupVersion): object[] {
  const responseKind = (one: Resource): object => ({
    group: one.group ?? group,
    version: one.version ?? version,
    kind: one.kind,
  });
  return resources
    .filter(({ name }) => !name.includes('/'))
    .map((main) => {
      const subresources = resources
        .filter(({ name }) => name.startsWith(`${main.name}/`))
        .map((sub) => ({
          subresource: sub.name.slice(main.name.length + 1),
          responseKind: responseKind(sub),
          verbs: sub.verbs,
        }));
      return {
        resource: main.name,
        responseKind: responseKind(main),
        scope: main.namespaced ? 'Namespaced' : 'Cluster',
        singularResource: main.singularName,
        verbs: main.verbs,
        ...(main.shortNames === undefined ? {} : { shortNames: main.shortNames }),
        ...(main.categories === undefined ? {} : { categories: main.categories }),
        ...(subresources.length === 0 ? {} : { subresources }),
      };
    });
}
