/**
 * What the chart renders, by the real helm and without a cluster: it is well-formed for every sensible set of values, says clearly
 * what is wrong with others, renders the same each time, and asks for no more rights than it lists.
 */
import { readFileSync } from 'node:fs';
import { globSync } from 'node:fs';
import { load } from 'js-yaml';
import { describe, expect, it } from 'vitest';
import { nodeConfigOf } from '../../cli/node-config.ts';
import { agentMetrics, controllerMetrics } from '../../crds/metrics.ts';
import { chart, find, helm, render, renderText, valueSets, type Rendered } from './helm.ts';

interface PodSpec {
  automountServiceAccountToken?: boolean;
  hostPID?: boolean;
  hostNetwork?: boolean;
  securityContext?: { runAsNonRoot?: boolean };
  containers: [
    {
      securityContext: { privileged?: boolean; capabilities: { add?: string[]; drop: string[] } };
      resources: { limits: { memory?: string } };
      volumeMounts?: { name: string; mountPath: string }[];
    },
  ];
  volumes?: {
    name: string;
    hostPath?: { path: string };
    secret?: { secretName: string };
  }[];
}

type Rule = { apiGroups: string[]; resources: string[]; verbs: string[]; resourceNames?: string[] };

const podSpecOf = (object: Rendered): PodSpec | undefined =>
  (object.kind === 'Pod' ? object['spec'] : object['spec']?.template?.spec) as PodSpec | undefined;

describe('the chart', () => {
  it('passes lint', async () => {
    for (const values of Object.values(valueSets)) {
      expect(await helm(['lint', '--strict', chart, '--set-json', JSON.stringify(values)])).toContain(
        '0 chart(s) failed',
      );
    }
  });

  it.each(Object.entries(valueSets))('renders objects for %s', async (_name, values) => {
    const objects = await render(values);
    for (const object of objects) {
      expect(object.apiVersion, object.kind).toBeTruthy();
      expect(object.metadata.name).toMatch(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/);
      expect(object.metadata.labels?.['app.kubernetes.io/part-of'], object.metadata.name).toBe('muster');
    }
    const names = objects.map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? ''}/${metadata.name}`);
    expect(new Set(names).size).toBe(names.length);
  });

  it.each([
    [{ controllers: { replica: 3 } }, /replica/],
    [{ controllers: { replicas: 0 } }, /controllers\/replicas|controllers\.replicas/],
    [{ controllers: { replicas: 'two' } }, /integer/],
    [{ controllers: { nodeLeaseSeconds: 1 } }, /nodeLeaseSeconds/],
    [{ uninstall: { policy: 'Force' } }, /Refuse.*Kill.*Checkpoint/s],
    [{ image: { digest: 'latest' } }, /digest/],
    [{ agents: { nodeConfig: { allowedUids: 'all' } } }, /allowedUids/],
    [{ agents: { nodeConfig: { storages: { fast: 'mnt' } } } }, /storages/],
    [{ agents: { stateDirectory: 'muster' } }, /stateDirectory/],
    [{ agents: { maxUnavailable: '200%' } }, /maxUnavailable/],
    [{ runAs: [{ users: ['1000'] }] }, /subjects/],
    [{ runAs: [{ subjects: [{ kind: 'Robot', name: 'x' }] }] }, /kind/],
    [{ rbac: { checkpointsFor: ['everybody'] } }, /checkpointsFor/],
    [{ policies: { action: 'deny' } }, /Deny/],
    [{ ipFamily: 'IPX' }, /IPv4/],
    [{ metrics: { agents: { enabled: true } } }, /tokenSecret/],
    [{ podSecurity: true }, /podSecurity/],
  ])('refuses %j and says what is wrong', async (values, message) => {
    await expect(render(values)).rejects.toThrow(message);
  });

  it('renders the same each time, and asks neither the cluster nor chance', async () => {
    expect(await renderText()).toBe(await renderText());
    for (const file of globSync(`${chart}/templates/**/*`, { withFileTypes: true }).filter((f) =>
      f.isFile(),
    )) {
      const text = readFileSync(`${file.parentPath}/${file.name}`, 'utf8');
      const actions = text.match(/\{\{[^}]*\}\}/g)?.join('\n') ?? '';
      expect(actions, file.name).not.toMatch(
        /\b(lookup|genCA|genSignedCert|genSelfSignedCert|rand\w+|uuidv4|now|htpasswd)\b/,
      );
    }
  });

  it('keeps the kinds when it goes, unless told otherwise', async () => {
    const kept = (await render()).filter(({ kind }) => kind === 'CustomResourceDefinition');
    expect(kept.map(({ metadata }) => metadata.name).sort()).toEqual([
      'checkpoints.muster.dev',
      'migrations.muster.dev',
      'nodemonitors.muster.dev',
      'processgroups.muster.dev',
    ]);
    for (const { metadata } of kept) expect(metadata.annotations?.['helm.sh/resource-policy']).toBe('keep');
    const free = (await render({ crds: { keep: false } })).filter(
      ({ kind }) => kind === 'CustomResourceDefinition',
    );
    for (const { metadata } of free) expect(metadata.annotations).toBeUndefined();
  });

  it('gives no Secrets of the cluster, no nodes/proxy and no wildcards to anybody', async () => {
    for (const object of await render(valueSets['everything on'])) {
      if (object.kind !== 'ClusterRole' && object.kind !== 'Role') continue;
      for (const rule of object['rules'] as Rule[]) {
        const where = `${object.kind} ${object.metadata.name}`;
        expect([...rule.verbs, ...rule.resources, ...rule.apiGroups], where).not.toContain('*');
        expect(rule.resources, where).not.toContain('nodes/proxy');
        if (object.kind === 'ClusterRole') expect(rule.resources, where).not.toContain('secrets');
        if (rule.resources.includes('nodes')) expect(rule.verbs, where).toEqual(['get', 'list', 'watch']);
      }
    }
  });

  it('gives agents no rights and no token of the API', async () => {
    const objects = await render(valueSets['everything on']);
    for (const binding of objects.filter(({ kind }) => kind.endsWith('RoleBinding'))) {
      const names = (binding['subjects'] as { name: string }[]).map(({ name }) => name);
      expect(names, binding.metadata.name).not.toContain('muster-agents');
    }
    const spec = podSpecOf(find(objects, 'DaemonSet', 'muster-agents'))!;
    expect(spec.automountServiceAccountToken).toBe(false);
    const { capabilities, privileged } = spec.containers[0].securityContext;
    expect(privileged).toBe(false);
    expect(capabilities.drop).toEqual(['ALL']);
    const text = readFileSync(`${chart}/templates/agents/daemon-set.yaml`, 'utf8');
    for (const name of capabilities.add ?? [])
      expect(text, `the reason for ${name}`).toMatch(new RegExp(`- ${name} # \\w+`));
  });

  it('gives agents what their configuration names of the node, at the same path', async () => {
    const objects = await render(valueSets['everything on']);
    const spec = podSpecOf(find(objects, 'DaemonSet', 'muster-agents'))!;
    const volumes = new Map(spec.volumes?.map((volume) => [volume.name, volume]));
    const places = ['/mnt/fast/muster', '/mnt/slow/muster', '/etc/muster/checks'];
    for (const path of places) {
      const mounts = spec.containers[0].volumeMounts?.filter(({ mountPath }) => mountPath === path) ?? [];
      expect(mounts, path).toHaveLength(1);
      expect(volumes.get(mounts[0]?.name ?? '')?.hostPath?.path).toBe(path);
    }
    const text = (find(objects, 'ConfigMap', 'muster-node')['data'] as Record<string, string>)['node.yaml'];
    expect(nodeConfigOf(load(text ?? ''), 'node.yaml')).toMatchObject({
      imageBudgetBytes: 100 * 2 ** 30,
      imageKeyFile: '/etc/muster/image-key/key',
      storages: { fast: '/mnt/fast/muster' },
    });
    expect(volumes.get('image-key')?.secret).toMatchObject({ secretName: 'image-key' });
  });

  it('runs all but the agents without any privilege', async () => {
    for (const object of await render(valueSets['everything on'])) {
      const spec = podSpecOf(object);
      if (!spec || object.kind === 'DaemonSet') continue;
      const [container] = spec.containers;
      const where = `${object.kind} ${object.metadata.name}`;
      expect(spec.hostPID ?? spec.hostNetwork, where).toBeUndefined();
      expect(spec.securityContext?.runAsNonRoot, where).toBe(true);
      expect(container.securityContext, where).toMatchObject({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
        seccompProfile: { type: 'RuntimeDefault' },
      });
      expect(container.resources.limits.memory, where).toBeTruthy();
    }
  });

  it('tells apart who may look, change and checkpoint', async () => {
    const objects = await render();
    const rules = (name: string): Rule[] => find(objects, 'ClusterRole', name)['rules'] as Rule[];
    const may = (name: string, verb: string, resource: string): boolean =>
      rules(name).some((rule) => rule.verbs.includes(verb) && rule.resources.includes(resource));
    expect(may('muster-view', 'list', 'processgroups')).toBe(true);
    expect(may('muster-view', 'create', 'processgroups')).toBe(false);
    expect(may('muster-view', 'get', 'processgroups/exec')).toBe(false);
    expect(may('muster-edit', 'create', 'processgroups')).toBe(true);
    expect(may('muster-edit', 'create', 'checkpoints')).toBe(false);
    expect(may('muster-edit', 'update', 'nodemonitors')).toBe(false);
    expect(may('muster-checkpoint', 'create', 'checkpoints')).toBe(true);
    expect(find(objects, 'ClusterRole', 'muster-checkpoint').metadata.labels).toMatchObject({
      'rbac.authorization.k8s.io/aggregate-to-admin': 'true',
    });
  });

  it('says in its notes what Pod Security asks for, and what uninstalling does', async () => {
    const notes = await helm([
      'install',
      'muster',
      chart,
      '-n',
      'muster-system',
      '--dry-run=client',
      '--set',
      'uninstall.policy=Kill',
    ]);
    expect(notes).toContain('pod-security.kubernetes.io/enforce=privileged');
    expect(notes).toContain('ends all groups');
  });

  it('has a dashboard and rules that name metrics which the controllers have', async () => {
    const text = readFileSync(`${chart}/dashboards/muster.json`, 'utf8');
    const panels = (JSON.parse(text) as { panels: { targets: { expr: string }[] }[] }).panels;
    const rule = find(await render(valueSets['everything on']), 'PrometheusRule', 'muster');
    const expressions = [
      ...panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
      ...(rule['spec'].groups as { rules: { expr: string }[] }[]).flatMap(({ rules }) =>
        rules.map(({ expr }) => expr),
      ),
    ];
    const known = { ...controllerMetrics, ...agentMetrics };
    for (const name of expressions.flatMap((expr) => expr.match(/\bmuster_\w+/g) ?? []))
      expect(Object.keys(known)).toContain(name.replace(/_(?:bucket|sum|count)$/, ''));
  });
});
