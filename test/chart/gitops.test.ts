/**
 * Muster's objects in the hands of GitOps tools: what kstatus (by helm --wait, which has it built in) and Argo CD's Lua make of the
 * status of every phase, what the example repository comes to on the real API server, and that applying it again changes nothing.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { load } from 'js-yaml';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gitOpsNotes } from '../../controllers/process-group/gitops.ts';
import type { Phase } from '../../controllers/process-group/phase.ts';
import type { Seen } from '../../controllers/process-group/seen.ts';
import { statusOf } from '../../controllers/process-group/status.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { eventually } from '../contract/eventually.ts';
import { KubeCluster } from '../kube/cluster.ts';
import { helm } from './helm.ts';

type Shown = Exclude<Phase, 'Deleting' | 'Finished'> | 'EndedBadly';
/** What the tools are to say of each phase. */
const verdicts: Readonly<
  Record<Shown, readonly [kstatus: 'Current' | 'InProgress' | 'Failed', argo: string]>
> = {
  Invalid: ['Failed', 'Degraded'],
  NotSupported: ['Failed', 'Degraded'],
  Held: ['Current', 'Suspended'],
  Pending: ['InProgress', 'Progressing'],
  Placing: ['InProgress', 'Progressing'],
  Starting: ['InProgress', 'Progressing'],
  Running: ['Current', 'Healthy'],
  Suspending: ['InProgress', 'Progressing'],
  Frozen: ['Current', 'Suspended'],
  Resuming: ['InProgress', 'Progressing'],
  Saving: ['InProgress', 'Progressing'],
  Restarting: ['InProgress', 'Progressing'],
  Restarted: ['InProgress', 'Progressing'],
  Vacating: ['InProgress', 'Progressing'],
  Vacated: ['Current', 'Suspended'],
  Ending: ['InProgress', 'Progressing'],
  Ended: ['Current', 'Healthy'],
  EndedBadly: ['Failed', 'Degraded'],
};
const phases = Object.keys(verdicts) as Shown[];

const groupIn = (phase: Shown): ProcessGroup => ({
  apiVersion: 'muster.dev/v1alpha1',
  kind: 'ProcessGroup',
  metadata: { name: phase.toLowerCase(), namespace: 'default', generation: 1 },
  spec: { size: 1, pmi: 'None', processes: [{ name: 'a', ranks: '0', command: ['/bin/true'] }] },
});

function statusIn(phase: Shown): NonNullable<ProcessGroup['status']> {
  const sandbox = {
    ordinal: 0, incarnation: 1, node: 'n1', ranks: '0', rankCount: 1, standing: 'Connected', state: 'Live', known: undefined,
    loss: undefined, forgotten: false,
  } as const; // prettier-ignore
  const bad = phase === 'EndedBadly' || phase === 'Ending';
  const seen: Seen = {
    nowMs: 0,
    group: groupIn(phase),
    sandboxes: phase === 'Vacated' || phase === 'Restarted' ? [sandbox] : [],
    network: 'Host',
    networkClaim: undefined,
    carriers: undefined,
    placing: { kind: 'waiting', reason: 'Insufficient', message: 'no room' },
    invalid: ['spec.size: wrong'],
    unsupported: ['spec.pmi: not here'],
    restore: undefined,
    saving: undefined,
    lastCheckpoint: undefined,
    policyCheckpoints: [],
    clientLeaseLeftMs: undefined,
    endRequest: bad ? { kill: false, reason: 'Deleted', message: 'on request' } : undefined,
    removedForMs: undefined,
  };
  const status = statusOf(seen, phase === 'EndedBadly' ? 'Ended' : phase);
  return JSON.parse(JSON.stringify(status)) as NonNullable<ProcessGroup['status']>;
}

let work: string;
let cluster: KubeCluster;
beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'muster-gitops-'));
  cluster = await KubeCluster.start();
  await cluster.kubectl('apply', '-f', 'crds');
}, 900_000);
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
  if (work) rmSync(work, { recursive: true, force: true });
});

describe('kstatus, by helm --wait', () => {
  /** A release of one group, whose status is written as soon as it is there; `seen` false: by nobody. */
  async function verdictOn(phase: Shown, seen = true): Promise<string> {
    const { metadata, ...rest } = groupIn(phase);
    const chart = join(work, phase);
    mkdirSync(join(chart, 'templates'), { recursive: true });
    writeFileSync(
      join(chart, 'Chart.yaml'),
      JSON.stringify({ apiVersion: 'v2', name: 'one', version: '1.0.0' }),
    );
    const hook = { ...rest, metadata: { name: metadata.name } };
    writeFileSync(join(chart, 'templates/group.yaml'), JSON.stringify(hook));
    await cluster.kubectlWith(
      { input: JSON.stringify(owned(hook, phase)) },
      'apply',
      '--server-side',
      '-f',
      '-',
    );
    const status = JSON.stringify({ status: statusIn(phase) });
    if (seen)
      await cluster.kubectl(
        'patch',
        'pg',
        hook.metadata.name,
        '--subresource=status',
        '--type=merge',
        '-p',
        status,
      );
    const args = [
      'install',
      phase.toLowerCase(),
      chart,
      '--wait',
      '--timeout',
      '4s',
      '--force-conflicts',
      '--take-ownership',
    ];
    return helm(args, cluster.kubeconfig).then(
      () => 'Current',
      (error: unknown) => {
        const text = String((error as { stderr?: string }).stderr ?? error);
        return /status: (\w+)/.exec(text)?.[1] ?? text;
      },
    );
  }
  const owned = (object: { metadata: { name: string } }, phase: Shown): object => ({
    ...object,
    metadata: {
      ...object.metadata,
      labels: { 'app.kubernetes.io/managed-by': 'Helm' },
      annotations: {
        'meta.helm.sh/release-name': phase.toLowerCase(),
        'meta.helm.sh/release-namespace': 'default',
      },
    },
  });

  it('says of every phase what is so', async () => {
    const said: Record<string, string> = {};
    for (let i = 0; i < phases.length; i += 4)
      await Promise.all(phases.slice(i, i + 4).map(async (phase) => (said[phase] = await verdictOn(phase))));
    expect(said).toEqual(Object.fromEntries(phases.map((phase) => [phase, verdicts[phase][0]])));
  }, 120_000);

  it('waits for what nobody has looked at yet', async () => {
    await helm(['uninstall', 'running'], cluster.kubeconfig);
    expect(await verdictOn('Running', false)).toBe('InProgress');
  });
});

const settings = load(readFileSync('examples/gitops/argocd/argocd-cm.yaml', 'utf8')) as {
  data: Record<string, string>;
};
const lua = ['/usr/bin/lua5.1', '/usr/bin/lua5.4'].find((path) => existsSync(path));

describe.skipIf(lua === undefined)(`Argo CD's Lua${lua === undefined ? ': no lua is installed' : ''}`, () => {
  /** Runs a script as Argo CD does, with the object as `obj`, and gives what `shown` says of the `result`. */
  function run(script: string, object: object, shown: string): string {
    const text = `local obj_ = ${literal(object)}\nobj = obj_\nlocal f = function()\n${script}\nend\nlocal result = f()\nio.write(${shown})`;
    return execFileSync(lua!, ['-'], { input: text, encoding: 'utf8' });
  }
  const health = (object: object): string =>
    run(settings.data['resource.customizations.health.muster.dev_ProcessGroup']!, object, 'result.status');
  const actions = load(settings.data['resource.customizations.actions.muster.dev_ProcessGroup']!) as {
    'discovery.lua': string;
    definitions: { name: string; 'action.lua': string }[];
  };

  it.each(phases)('health of a group that is %s', (phase) => {
    const status = { observedGeneration: 1, ...statusIn(phase) };
    expect(health({ ...groupIn(phase), status })).toBe(verdicts[phase][1]);
  });

  it('waits for what nobody has looked at yet', () => {
    expect(health(groupIn('Running'))).toBe('Progressing');
    const status = { ...statusIn('Running'), observedGeneration: 0 };
    expect(health({ ...groupIn('Running'), status })).toBe('Progressing');
  });

  it('knows the other kinds', () => {
    const of = (kind: string, conditions: [string, string][]): string =>
      health({
        kind,
        metadata: { generation: 1 },
        status: {
          conditions: conditions.map(([type, status]) => ({ type, status, reason: 'R', message: 'm' })),
        },
      });
    expect(of('Checkpoint', [['Reconciling', 'True']])).toBe('Progressing');
    expect(of('Checkpoint', [['Ready', 'True'], ['Reconciling', 'False']])).toBe('Healthy'); // prettier-ignore
    expect(of('Migration', [['Failed', 'True']])).toBe('Degraded');
    expect(of('NodeMonitor', [['Ready', 'False']])).toBe('Degraded');
    expect(of('NodeMonitor', [['Ready', 'True']])).toBe('Healthy');
    for (const kind of ['Checkpoint', 'Migration', 'NodeMonitor'])
      expect(settings.data[`resource.customizations.health.muster.dev_${kind}`]).toContain('hs.status');
  });

  it('offers and carries out suspending and resuming', () => {
    const offered = (object: object): string =>
      run(
        actions['discovery.lua'],
        object,
        'tostring(result.suspend.disabled) .. " " .. tostring(result.resume.disabled)',
      );
    const running = { ...groupIn('Running'), status: statusIn('Running') };
    expect(offered(running)).toBe('false true');
    expect(offered({ ...running, spec: { ...running.spec, suspend: true } })).toBe('true false');
    expect(offered({ ...groupIn('Ended'), status: statusIn('Ended') })).toBe('true true');
    for (const { name, 'action.lua': script } of actions.definitions)
      expect(run(script, running, 'tostring(result.spec.suspend)')).toBe(String(name === 'suspend'));
  });
});

describe('the example repository', () => {
  it.each(['staging', 'production'])(
    '%s is accepted, and applied again it changes nothing',
    async (overlay) => {
      const objects = await cluster.kubectl('kustomize', `examples/gitops/overlays/${overlay}`);
      const { metadata } = load(objects) as ProcessGroup;
      await cluster.kubectl('create', 'namespace', metadata.namespace ?? '');
      const apply = (): Promise<string> =>
        cluster.kubectlWith(
          { input: objects },
          'apply',
          '--server-side',
          '--field-manager=argocd',
          '-f',
          '-',
        );
      const version = (): Promise<string> =>
        cluster.kubectl(
          ...['get', 'pg', metadata.name, '-n', metadata.namespace ?? '', '-o'],
          'jsonpath={.metadata.resourceVersion}/{.metadata.generation}',
        );
      await apply();
      // Nobody has written its status here, so its default is kept by the next write of anybody.
      await apply();
      const before = await version();
      await apply();
      expect(await version()).toBe(before);
      await eventually(async () => {
        const differences = cluster.kubectlWith(
          { input: objects },
          'diff',
          '--server-side',
          '--field-manager=argocd',
          '-f',
          '-',
        );
        expect(await differences).toBe('');
      });
    },
  );

  it('is warned of a group that removes itself', () => {
    const group = groupIn('Running');
    const kept = { ...group, spec: { ...group.spec, ttlSecondsAfterFinished: 60 } };
    const tracked = { 'argocd.argoproj.io/tracking-id': 'x' };
    expect(gitOpsNotes(kept)).toEqual([]);
    expect(gitOpsNotes({ ...group, metadata: { ...group.metadata, annotations: tracked } })).toEqual([]);
    expect(gitOpsNotes({ ...kept, metadata: { ...group.metadata, annotations: tracked } })).toMatchObject([
      { type: 'Warning', reason: 'RemovesItself' },
    ]);
  });
});

/** An object as Lua writes it. */
function literal(value: unknown): string {
  if (value === null || value === undefined) return 'nil';
  if (Array.isArray(value)) return `{${value.map(literal).join(', ')}}`;
  if (typeof value !== 'object') return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([key, each]) => `[${JSON.stringify(key)}] = ${literal(each)}`)
    .join(', ')}}`;
}
