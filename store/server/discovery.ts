/**
 * What kubectl reads before it does anything: which groups, versions and kinds this server has. Pure; made from the
 * list of types.
 */
import { apiVersionOf, hasStatus, type ResourceType } from '../resource.ts';
import { segmentsOf } from './routes.ts';

const verbs = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];

export interface Discovery {
  readonly version: string;
  readonly types: readonly ResourceType[];
}

/** The answer for a discovery path; undefined for any other path. */
export function discoveryAt(path: string, { version, types }: Discovery): unknown {
  const segments = segmentsOf(path);
  switch (segments[0]) {
    case 'version': {
      const [major = '0', minor = '0'] = version.split('.');
      const gitVersion = `v1.36.0+muster.${version}`;
      return segments.length === 1
        ? { major, minor, gitVersion, platform: `${process.platform}/${process.arch}` }
        : undefined;
    }
    case 'api':
      if (segments.length === 1) return { kind: 'APIVersions', apiVersion: 'v1', versions: ['v1'] };
      return segments.length === 2 && segments[1] === 'v1' ? resourceList('', 'v1', types) : undefined;
    case 'apis':
      if (segments.length === 1) {
        const groups = [...new Set(types.map((type) => type.group))].filter((group) => group !== '');
        return {
          kind: 'APIGroupList',
          apiVersion: 'v1',
          groups: groups.map((group) => groupOf(group, types)),
        };
      }
      if (!types.some((type) => type.group === segments[1])) return undefined;
      if (segments.length === 2)
        return { kind: 'APIGroup', apiVersion: 'v1', ...groupOf(segments[1]!, types) };
      if (
        segments.length === 3 &&
        types.some((type) => type.group === segments[1] && type.version === segments[2])
      ) {
        return resourceList(segments[1]!, segments[2]!, types);
      }
      return undefined;
    default:
      return undefined;
  }
}

function groupOf(group: string, types: readonly ResourceType[]): object {
  const versions = [...new Set(types.filter((type) => type.group === group).map((type) => type.version))].map(
    (version) => ({ groupVersion: `${group}/${version}`, version }),
  );
  return { name: group, versions, preferredVersion: versions[0] };
}

function resourceList(group: string, version: string, types: readonly ResourceType[]): object {
  const resources = types
    .filter((type) => type.group === group && type.version === version)
    .flatMap((type) => {
      const { plural: name, namespaced, kind, shortNames, categories } = type;
      const singularName = type.singular ?? kind.toLowerCase();
      const main = { name, singularName, namespaced, kind, verbs, shortNames, categories };
      const status = {
        name: `${name}/status`,
        singularName: '',
        namespaced,
        kind,
        verbs: ['get', 'patch', 'update'],
      };
      return hasStatus(type) ? [main, status] : [main];
    });
  const groupVersion = apiVersionOf({ group, version } as ResourceType);
  return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion, resources };
}
