/** The real helm on our chart: runs it, and reads what it renders as objects. */
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { loadAll } from 'js-yaml';

export const chart = 'charts/muster';
export const release = 'muster';
export const releaseNamespace = 'muster-system';

let program: string | undefined;
let home: string | undefined;

/** What it printed; what it said beside goes into the error when it fails. */
export async function helm(args: readonly string[], kubeconfig?: string): Promise<string> {
  program ??= execFileSync('scripts/helm.sh', {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();
  home ??= mkdtempSync(join(tmpdir(), 'muster-helm-'));
  const env = {
    PATH: process.env['PATH'],
    HOME: home,
    HELM_CACHE_HOME: home,
    HELM_CONFIG_HOME: home,
    HELM_DATA_HOME: home,
    KUBECONFIG: kubeconfig ?? '/dev/null',
  };
  const running = promisify(execFile)(program, [...args], {
    env,
    timeout: 100_000,
    maxBuffer: 64 * 1024 * 1024,
  });
  running.child.stdin?.end();
  return (await running).stdout;
}

export interface Rendered {
  apiVersion: string;
  kind: string;
  metadata: {
    name: string;
    namespace?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
  };
  // Whatever the kind has; tests reach into it.
  [field: string]: any; // eslint-disable-line @typescript-eslint/no-explicit-any
}

export async function renderText(values: object = {}, args: readonly string[] = []): Promise<string> {
  const common = ['template', release, chart, '--namespace', releaseNamespace, '--kube-version', '1.36.0'];
  return helm([...common, '--set-json', JSON.stringify(values), ...args]);
}

export async function render(values: object = {}, args: readonly string[] = []): Promise<Rendered[]> {
  return (loadAll(await renderText(values, args)) as (Rendered | null)[]).filter((each) => each !== null);
}

export const find = (objects: readonly Rendered[], kind: string, name: string): Rendered => {
  const found = objects.find((each) => each.kind === kind && each.metadata.name === name);
  if (!found) throw new Error(`the chart renders no ${kind} ${name}`);
  return found;
};

/** Sets of values that an installation may have; each must render, and be accepted by the API server. */
export const valueSets: Readonly<Record<string, object>> = {
  'the defaults': {},
  'one controller, IPv6': { ipFamily: 'IPv6', controllers: { replicas: 1 } },
  'everything on': {
    controllers: {
      environmentNamespaces: ['default'],
      podLabels: { team: 'hpc' },
      podAnnotations: { a: 'b' },
    },
    agents: {
      nodeSelector: { mpi: 'yes' },
      nodeConfig: {
        allowedUids: '1000-1999',
        binds: ['/scratch'],
        devices: { gpu: ['/dev/null'] },
        healthChecks: '/etc/muster/checks',
        imageBudget: '100Gi',
        imageCompression: 'Zstd',
        storages: { fast: '/mnt/fast/muster', same: '/mnt/fast/muster', slow: '/mnt/slow/muster' },
      },
      imageKeySecret: 'image-key',
    },
    runAs: [
      { subjects: [{ kind: 'Group', name: 'physicists' }], users: ['1000'], groups: ['100', '101'] },
      { subjects: [{ kind: 'ServiceAccount', name: 'ci' }], users: ['*'], namespaces: ['default'] },
    ],
    networkPolicy: { metricsFrom: [{ namespaceSelector: {} }] },
    metrics: {
      serviceMonitor: { enabled: true },
      prometheusRule: { enabled: true },
      dashboard: { enabled: true },
      agents: { enabled: true, tokenSecret: 'scrape' },
    },
    tracing: { endpoint: 'http://collector:4318' },
    uninstall: { policy: 'Checkpoint' },
  },
  'everything off': {
    crds: { install: false },
    controllers: { replicas: 1, podDisruptionBudget: { enabled: false } },
    policies: { enabled: false },
    subresources: { enabled: false },
    networkPolicy: { enabled: false },
    rbac: { aggregate: false, checkpointsFor: [] },
  },
  'an image by digest': {
    image: { digest: `sha256:${'0'.repeat(64)}`, pullSecrets: [{ name: 'registry' }] },
  },
};
