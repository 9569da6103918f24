/**
 * From what `muster run` was asked to the ProcessGroup that does it. Pure: the caller's directory, umask, limits and user come
 * in as values, so the same function serves the daemon (for the front) and --dry-run.
 */
import type { ProcessGroup } from '../crds/types.gen.ts';
import type { RunRequest } from './run-options.ts';
import { UsageError } from './run-options.ts';

export interface Caller {
  readonly workingDir: string;
  readonly umask: number;
  readonly rlimits: readonly { name: string; soft: number | 'Unlimited'; hard: number | 'Unlimited' }[];
  readonly environment: Readonly<Record<string, string>>;
  readonly terminal: { readonly rows: number; readonly columns: number } | undefined;
}

/** Variables of the caller that belong to his shell or to another launcher and must not reach ranks. */
const notInherited =
  /^(_|OLDPWD|SHLVL|PMI_|PMIX_|PMI2_|HYDI_|HYDRA_|OMPI_|MUSTER_|MPI_LOCAL|SSH_AUTH_SOCK$|XDG_RUNTIME_DIR$)/;

/** The environment that travels beside the object. */
export function inheritedEnvironment(
  request: RunRequest,
  environment: Readonly<Record<string, string>>,
): Record<string, string> {
  const chosen: Record<string, string> = {};
  if (request.inherit !== 'None') {
    for (const [name, value] of Object.entries(environment)) {
      const wanted = request.inherit === 'All' ? !notInherited.test(name) : request.inherit.includes(name);
      if (wanted) chosen[name] = value;
    }
  }
  return { ...chosen, ...request.env };
}

/** A job of `muster run` is looked at while it runs and for a while after; then it goes by itself, its log too. */
const keptSeconds = 3600;

/** `name` is a fresh one made by the caller for when none was asked for. */
export function groupOfRun(request: RunRequest, caller: Caller, name: string): ProcessGroup {
  let first = 0;
  const processes = request.programs.map((program, index) => {
    const ranks = program.count === 1 ? `${first}` : `${first}-${first + program.count - 1}`;
    first += program.count;
    return {
      name: request.programs.length === 1 ? 'main' : `program${index + 1}`,
      ranks,
      command: [...program.argv],
      workingDir: absolute(program.workingDir, caller.workingDir),
      ...(program.path === undefined ? {} : { path: program.path }),
      ...(Object.keys(program.env).length === 0
        ? {}
        : { env: Object.entries(program.env).map(([key, value]) => ({ name: key, value })) }),
    };
  });
  const nodes = wrappedNodes(request, first);
  const spec = {
    size: first,
    processes,
    placement: {
      ...(nodes.length === 0 ? {} : { nodes }),
      ...(request.ranksPerNode === undefined ? {} : { ranksPerNode: request.ranksPerNode }),
      policy: request.policy,
      binding: request.binding,
    },
    securityContext: { umask: caller.umask.toString(8).padStart(4, '0') },
    stdio: {
      stdin: request.stdin,
      ...(request.whenFull === 'Rotate' ? {} : { whenFull: request.whenFull }),
      ...(request.logQuota === undefined ? {} : { logQuota: request.logQuota }),
    },
    tty: request.tty,
    ...(request.network === undefined ? {} : { network: request.network }),
    ...(request.egress === undefined ? {} : { egress: request.egress }),
    ...(request.pmi === 'Auto' ? {} : { pmi: request.pmi }),
    ...(request.wallTimeSeconds === undefined
      ? {}
      : { limits: { wallTimeSeconds: request.wallTimeSeconds } }),
    ...(request.graceSeconds === undefined ? {} : { gracePeriodSeconds: request.graceSeconds }),
    ttlSecondsAfterFinished: keptSeconds,
    failurePolicy: { rank: request.continueOnFailure ? 'Continue' : 'Abort' },
  };
  return {
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup',
    metadata: { name: request.name ?? name, namespace: request.namespace },
    spec,
  } as unknown as ProcessGroup;
}

/** As mpiexec: when all nodes have their ranks and some are left, the first node takes more. */
function wrappedNodes({ nodes, ranksPerNode }: RunRequest, size: number): string[] {
  const shares = Math.ceil(size / (ranksPerNode ?? size));
  if (nodes.length === 0 || shares <= nodes.length) return [...nodes];
  return Array.from({ length: shares }, (_, share) => nodes[share % nodes.length]!);
}

/** A host file's text: one node a line, `node` or `node:count`, `#` comments. */
export function parseHostFile(text: string, file: string): string[] {
  return text.split('\n').flatMap((raw, index) => {
    const line = raw.replace(/#.*/, '').trim();
    if (line === '') return [];
    const match = /^([a-z0-9][-a-z0-9.]*)(?::(\d{1,6}))?$/.exec(line.split(/\s+/)[0] ?? '');
    if (!match) throw new UsageError(`${file} line ${index + 1}: "${line}": expected NODE or NODE:RANKS`);
    return Array.from({ length: Number(match[2] ?? 1) }, () => match[1]!);
  });
}

function absolute(directory: string | undefined, from: string): string {
  if (directory === undefined || directory === '') return from;
  return directory.startsWith('/') ? directory : `${from.replace(/\/$/, '')}/${directory}`;
}

/** A name that fits an object: of the program, without what names may not hold. */
export function stemOf(program: string): string {
  const base = program.slice(program.lastIndexOf('/') + 1).toLowerCase();
  const cleaned = base
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 40);
  return cleaned === '' ? 'job' : cleaned;
}
