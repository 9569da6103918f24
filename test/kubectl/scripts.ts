/**
 * Every command of the unmodified kubectl that a user of Kubernetes would try first, on Muster's own API server and on the real
 * one: what holds on both is what `same answers` means to people.
 */
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ResourceType } from '../../store/resource.ts';
import { eventually, widgets } from '../contract/object-store.ts';
import { Kubectl, type KubectlTarget } from './api.ts';

const group = (name: string, more = ''): string => `apiVersion: muster.dev/v1alpha1
kind: ProcessGroup
metadata: {name: ${name}}
spec:
  size: 4
  processes:
    - {name: all, ranks: "0-3", command: [./cpi]}
${more}`;

/** A kind that can be scaled, which a target has to keep beside ours. */
export const scaledWidgets: ResourceType = {
  ...widgets,
  scale: { specReplicasPath: '.spec.size', statusReplicasPath: '.status.size' },
};

export interface KubectlUnderTest extends KubectlTarget, AsyncDisposable {}

export function describeKubectl(name: string, start: () => Promise<KubectlUnderTest>): void {
  describe(`the unmodified kubectl on ${name}`, () => {
    let target: KubectlUnderTest;
    let kubectl: Kubectl;
    beforeAll(async () => {
      target = await start();
      kubectl = new Kubectl(target);
    }, 900_000);
    afterAll(async () => target?.[Symbol.asyncDispose]());
    const write = (file: string, text: string): void =>
      fs.writeFileSync(path.join(target.directory, file), text);

    it('finds what there is', async () => {
      const resources = await kubectl.run('api-resources', '--no-headers');
      expect(resources).toMatch(/processgroups +pg +muster.dev\/v1alpha1 +true +ProcessGroup/);
      expect(resources).toMatch(/nodemonitors +nm +muster.dev\/v1alpha1 +false +NodeMonitor/);
      expect((await kubectl.run('api-versions')).split('\n')).toContain('muster.dev/v1alpha1');
      expect(await kubectl.run('version')).toMatch(/Server Version: v1\.36\./);
      for (const path of ['/readyz', '/livez', '/healthz'])
        expect(await kubectl.run('get', '--raw', path)).toBe('ok');
    });

    it('explains fields', async () => {
      expect(await kubectl.run('explain', 'pg.spec.size')).toMatch(
        /FIELD: size <integer>[^]*Number of ranks/,
      );
      expect(await kubectl.run('explain', 'processgroup', '--recursive')).toContain('maxRestarts');
      expect(await kubectl.run('explain', 'pg.metadata.labels')).toContain('map[string]string');
      expect(await kubectl.run('explain', 'pg.spec.suspendPolicy')).toContain('ENUM:');
      expect(await kubectl.run('explain', 'cm.data')).toContain('map[string]string');
      expect(await kubectl.refused(['explain', 'pg.spec.none'])).toContain('field "none" does not exist');
    });

    it('applies by the client: created, unchanged, configured, and removed fields', async () => {
      write('a.yaml', group('a', '  priority: 5\n'));
      expect(await kubectl.run('apply', '-f', 'a.yaml')).toContain('a created');
      expect(await kubectl.run('diff', '-f', 'a.yaml')).toBe('');
      const before = await kubectl.json('get', 'pg', 'a');
      expect(await kubectl.run('apply', '-f', 'a.yaml')).toContain('a unchanged');
      expect(await kubectl.json('get', 'pg', 'a')).toEqual(before);
      write('a.yaml', group('a', '  suspend: true\n'));
      const differing = await kubectl.end(['diff', '-f', 'a.yaml']);
      expect(differing.code, differing.stderr).toBe(1);
      expect(differing.stdout).toMatch(/-  priority: 5\n\+  priority: 0/);
      expect(await kubectl.run('apply', '-f', 'a.yaml')).toContain('a configured');
      expect(await kubectl.run('get', 'pg', 'a', '-o', 'jsonpath={.spec.suspend} {.spec.priority}')).toBe(
        'true 0',
      );
      expect(await kubectl.run('get', 'pg', 'a', '-o', 'jsonpath={.metadata.generation}')).toBe('2');
    });

    it('is told every unknown field, or warned, or not', async () => {
      write('typo.yaml', group('typo', '  graecPeriodSeconds: 3\n'));
      const strict = await kubectl.refused(['create', '-f', 'typo.yaml']);
      expect(strict).toContain('strict decoding error: unknown field "spec.graecPeriodSeconds"');
      const warned = await kubectl.must(['create', '--validate=warn', '-f', 'typo.yaml']);
      expect(warned.stderr).toContain('Warning: unknown field "spec.graecPeriodSeconds"');
      expect(await kubectl.run('get', 'pg', 'typo', '-o', 'yaml')).not.toContain('graec');
      await kubectl.run('delete', 'pg', 'typo');
      expect((await kubectl.must(['create', '--validate=ignore', '-f', 'typo.yaml'])).stderr).toBe('');
      await kubectl.run('delete', 'pg', 'typo');
    });

    it('is told what is invalid, with the field', async () => {
      write('bad.yaml', group('bad').replace('size: 4', 'size: 0'));
      expect(await kubectl.refused(['create', '-f', 'bad.yaml'])).toMatch(
        /^The ProcessGroup "bad" is invalid: spec.size: Invalid value: /,
      );
      write('bad.yaml', group('bad', '  environment: Dirty\n  priority: high\n'));
      expect(await kubectl.refused(['create', '-f', 'bad.yaml'])).toMatch(
        /^The ProcessGroup "bad" is invalid: \n\* spec\.(priority: Invalid value|environment: Unsupported value): [^]*\n\* spec\./,
      );
      write('bad.yaml', group('bad').replace('size: 4', 'stdio: {stdout: Files}'));
      expect(await kubectl.refused(['create', '-f', 'bad.yaml'])).toContain(
        'spec.stdio.stdoutFile: Required value: ',
      );
      expect(await kubectl.refused(['get', 'pg', 'none'])).toBe(
        'Error from server (NotFound): processgroups.muster.dev "none" not found\n',
      );
      expect(await kubectl.refused(['create', '-f', 'a.yaml'])).toContain(
        'Error from server (AlreadyExists): error when creating "a.yaml": processgroups.muster.dev "a" already exists',
      );
    });

    it('tells of a write on an old version', async () => {
      const old = await kubectl.json('get', 'pg', 'a');
      await kubectl.run('label', 'pg', 'a', 'changed=yes');
      write('old.json', JSON.stringify(old));
      expect(await kubectl.refused(['replace', '-f', 'old.json'])).toContain(
        'Operation cannot be fulfilled on processgroups.muster.dev "a": the object has been modified; please apply your changes to the latest version and try again',
      );
    });

    it('gets, in every form, by labels and fields, page by page', async () => {
      expect(await kubectl.run('get', 'pg')).toMatch(
        /^NAME +STATE +RANKS +RESTARTS +LAST CHECKPOINT +AGE\na /,
      );
      expect(await kubectl.run('get', 'pg', '-o', 'wide')).toMatch(/IMAGE SIZE/);
      expect(await kubectl.run('get', 'muster', '-o', 'name')).toBe('processgroup.muster.dev/a\n');
      await kubectl.run('label', 'pg', 'a', 'team=x');
      expect(await kubectl.run('get', 'pg', '-l', 'team in (x,y)', '-o', 'name')).toContain('/a');
      expect(await kubectl.run('get', 'pg', '-l', 'team!=x', '-o', 'name')).toBe('');
      expect(await kubectl.run('get', 'pg', '--field-selector', 'metadata.name=a', '-o', 'name')).toContain(
        '/a',
      );
      expect(await kubectl.run('get', 'pg', '--field-selector', 'status.phase=Running', '-o', 'name')).toBe(
        '',
      );
      expect(await kubectl.refused(['get', 'pg', '--field-selector', 'spec.size=4'])).toContain(
        'field label not supported',
      );
      expect(await kubectl.run('get', 'pg', 'a', '-o', 'custom-columns=S:.spec.size', '--no-headers')).toBe(
        '4\n',
      );
      for (const name of ['p1', 'p2', 'p3']) {
        write('page.yaml', group(name));
        await kubectl.run('create', '-f', 'page.yaml');
      }
      expect(
        (await kubectl.run('get', 'pg', '--chunk-size=2', '-o', 'name')).trim().split('\n'),
      ).toHaveLength(4);
      expect(await kubectl.run('get', 'pg', '-A', '--sort-by=.metadata.name', '--no-headers')).toMatch(
        /^default +a /,
      );
      await kubectl.run('delete', 'pg', 'p1', 'p2', 'p3');
    });

    it('edits, patches, labels, annotates, replaces', async () => {
      const env = { EDITOR: `sed -i 's/priority: 0/priority: 7/'` };
      expect((await kubectl.must(['edit', 'pg', 'a'], { env })).stdout).toContain('a edited');
      expect(await kubectl.run('get', 'pg', 'a', '-o', 'jsonpath={.spec.priority}')).toBe('7');
      await kubectl.run('patch', 'pg', 'a', '--type=merge', '-p', '{"spec":{"suspend":false}}');
      await kubectl.run(
        'patch',
        'pg',
        'a',
        '--type=json',
        '-p',
        '[{"op":"test","path":"/spec/priority","value":7},{"op":"replace","path":"/spec/priority","value":8}]',
      );
      expect(await kubectl.run('get', 'pg', 'a', '-o', 'jsonpath={.spec.suspend}{.spec.priority}')).toBe(
        'false8',
      );
      expect(await kubectl.refused(['patch', 'pg', 'a', '-p', '{}'])).toContain(
        'strategic-merge-patch+json is not supported',
      );
      expect(
        await kubectl.refused(['patch', 'pg', 'a', '--type=merge', '-p', '{"spec":{"size":5}}']),
      ).toContain('spec.size: Forbidden');
      expect(await kubectl.run('annotate', 'pg', 'a', 'note=x')).toContain('annotated');
      expect(await kubectl.run('annotate', 'pg', 'a', 'note-')).toContain('annotated');
      const replaced = (await kubectl.run('get', 'pg', 'a', '-o', 'yaml')).replace(
        'priority: 8',
        'priority: 9',
      );
      write('replace.yaml', replaced);
      expect(await kubectl.run('replace', '-f', 'replace.yaml')).toContain('replaced');
      expect(
        await kubectl.run(
          'patch',
          'pg',
          'a',
          '--subresource=status',
          '--type=merge',
          '-p',
          '{"status":{"phase":"Pending"}}',
        ),
      ).toContain('patched');
      expect(
        await kubectl.run('get', 'pg', '--field-selector', 'status.phase=Pending', '-o', 'name'),
      ).toContain('/a');
      expect(
        await kubectl.run(
          'get',
          'pg',
          'a',
          '-o',
          'jsonpath={.metadata.managedFields[*].manager}',
          '--show-managed-fields',
        ),
      ).toMatch(/kubectl-client-side-apply.*kubectl-label.*kubectl-patch.*kubectl-replace/);
    });

    it('dry runs change nothing', async () => {
      const before = await kubectl.json('get', 'pg', 'a');
      write('dry.yaml', group('dry'));
      expect(await kubectl.run('create', '--dry-run=server', '-f', 'dry.yaml')).toContain(
        'created (server dry run)',
      );
      await kubectl.run('apply', '--dry-run=server', '-f', 'dry.yaml');
      await kubectl.run('apply', '--server-side', '--dry-run=server', '-f', 'dry.yaml');
      await kubectl.run('label', '--dry-run=server', 'pg', 'a', 'dry=run');
      await kubectl.run('delete', '--dry-run=server', 'pg', 'a');
      expect(await kubectl.refused(['get', 'pg', 'dry'])).toContain('not found');
      expect(await kubectl.json('get', 'pg', 'a')).toEqual(before);
    });

    it('watches and waits', async () => {
      const watching = kubectl.start(['get', 'pg', '-w', '--output-watch-events']);
      let seen = '';
      watching.stdout!.setEncoding('utf8').on('data', (text: string) => (seen += text));
      await eventually(() => expect(seen).toMatch(/ADDED +a /));
      const waiting = kubectl.end(['wait', 'pg/a', '--for=condition=Ready', '--timeout=30s']);
      const condition = {
        type: 'Ready',
        status: 'True',
        reason: 'Testing',
        message: '',
        lastTransitionTime: '2026-01-01T00:00:00Z',
      };
      const generation = await kubectl.run('get', 'pg', 'a', '-o', 'jsonpath={.metadata.generation}');
      const status = { observedGeneration: Number(generation), phase: 'Running', conditions: [condition] };
      const patch = JSON.stringify({ status });
      await kubectl.run('patch', 'pg', 'a', '--subresource=status', '--type=merge', '-p', patch);
      expect((await waiting).stdout).toContain('condition met');
      await eventually(() => expect(seen).toMatch(/MODIFIED +a +Running/));
      const gone = kubectl.end(['wait', 'pg/a', '--for=delete', '--timeout=30s']);
      expect(await kubectl.run('delete', 'pg', 'a')).toContain('deleted');
      expect((await gone).code).toBe(0);
      await eventually(() => expect(seen).toMatch(/DELETED +a /));
      watching.kill();
    });

    it('describes with events, and lists them', async () => {
      write('told.yaml', group('told'));
      await kubectl.run('create', '-f', 'told.yaml');
      const { metadata } = (await kubectl.json('get', 'pg', 'told')) as { metadata: { uid: string } };
      write(
        'event.json',
        JSON.stringify({
          apiVersion: 'events.k8s.io/v1',
          kind: 'Event',
          metadata: { name: 'told.1' },
          eventTime: '2026-01-01T00:00:00.000000Z',
          action: 'Placed',
          reason: 'Placed',
          type: 'Normal',
          note: 'every rank has a node',
          reportingController: 'muster.dev/controllers',
          reportingInstance: 'one',
          regarding: {
            apiVersion: 'muster.dev/v1alpha1',
            kind: 'ProcessGroup',
            name: 'told',
            namespace: 'default',
            uid: metadata.uid,
          },
        }),
      );
      await kubectl.run('create', '-f', 'event.json');
      expect(await kubectl.run('describe', 'pg', 'told')).toMatch(
        /Normal +Placed +\S+ +muster.dev\/controllers +every rank has a node/,
      );
      expect(await kubectl.run('get', 'events.v1.events.k8s.io', '-o', 'jsonpath={.items[0].note}')).toBe(
        'every rank has a node',
      );
      expect(await kubectl.run('events', '--for', 'processgroup/told')).toContain('every rank has a node');
      expect(
        await kubectl.run('get', 'ev', '--field-selector', 'involvedObject.name=other', '-o', 'name'),
      ).toBe('');
      expect(
        await kubectl.run(
          'get',
          'ev',
          '--field-selector',
          'reason=Placed',
          '-o',
          'jsonpath={.items[0].involvedObject.name}',
        ),
      ).toBe('told');
      await kubectl.run('delete', 'pg/told', 'event/told.1');
    });

    it('keeps the built-in kinds', async () => {
      await kubectl.run('create', 'configmap', 'settings', '--from-literal=a=1');
      await kubectl.run('create', 'secret', 'generic', 'hidden', '--from-literal=b=2');
      expect(await kubectl.run('get', 'secret', 'hidden', '-o', 'jsonpath={.data.b} {.type}')).toBe(
        'Mg== Opaque',
      );
      await kubectl.run('label', 'cm', 'settings', 'x=y');
      await kubectl.run('patch', 'cm', 'settings', '-p', '{"data":{"c":"3","a":null}}');
      expect(await kubectl.run('get', 'cm', 'settings', '-o', 'jsonpath={.data}')).toBe('{"c":"3"}');
      const applied = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {k: v}\n';
      write('cm.yaml', applied);
      expect(await kubectl.run('apply', '-f', 'cm.yaml')).toContain('created');
      write('cm.yaml', applied.replace('k: v', 'l: w'));
      expect(await kubectl.run('apply', '-f', 'cm.yaml')).toContain('configured');
      expect(await kubectl.run('get', 'cm', 'applied', '-o', 'jsonpath={.data}')).toBe('{"l":"w"}');
      await kubectl.run('delete', 'cm', '--all');
      await kubectl.run('delete', 'secret', 'hidden');
    });

    it('makes namespaces and empties those it deletes', async () => {
      expect(await kubectl.refused(['create', '-n', 'team', '-f', 'dry.yaml'])).toContain(
        'namespaces "team" not found',
      );
      await kubectl.run('create', 'namespace', 'team');
      expect(await kubectl.run('get', 'ns', 'team', '-o', 'jsonpath={.status.phase}')).toBe('Active');
      await kubectl.run('apply', '-n', 'team', '-f', 'dry.yaml');
      await kubectl.run('apply', '--server-side', '-n', 'team', '-f', 'cm.yaml');
      await kubectl.run(
        'patch',
        '-n',
        'team',
        'pg',
        'dry',
        '--type=merge',
        '-p',
        '{"metadata":{"finalizers":["test.dev/hold"]}}',
      );
      await kubectl.run('delete', 'ns', 'team', '--wait=false');
      await eventually(async () =>
        expect(await kubectl.run('get', 'ns', 'team', '-o', 'jsonpath={.status.phase}')).toBe('Terminating'),
      );
      expect(await kubectl.refused(['create', '-n', 'team', '-f', 'cm.yaml'])).toContain(
        'because it is being terminated',
      );
      await kubectl.run(
        'patch',
        '-n',
        'team',
        'pg',
        'dry',
        '--type=merge',
        '-p',
        '{"metadata":{"finalizers":null}}',
      );
      await kubectl.run('wait', 'ns/team', '--for=delete', '--timeout=30s');
      expect(await kubectl.run('get', 'pg,cm', '-n', 'team', '-o', 'name')).toBe('');
      expect(await kubectl.refused(['delete', 'ns', 'default'])).toContain(
        'this namespace may not be deleted',
      );
    });

    it('scales only what declares it', async () => {
      write(
        'w.json',
        JSON.stringify({
          apiVersion: 'test.muster.dev/v1',
          kind: 'Widget',
          metadata: { name: 'w' },
          spec: { size: 1 },
        }),
      );
      await kubectl.run('create', '-f', 'w.json');
      expect(await kubectl.run('scale', 'widget', 'w', '--replicas=3')).toContain('scaled');
      expect(await kubectl.run('get', 'widget', 'w', '-o', 'jsonpath={.spec.size}')).toBe('3');
      expect(
        await kubectl.refused(['scale', 'widget', 'w', '--current-replicas=9', '--replicas=1']),
      ).toContain('Expected replicas to be 9');
      write('pg.yaml', group('fixed'));
      await kubectl.run('create', '-f', 'pg.yaml');
      expect(await kubectl.refused(['scale', 'pg', 'fixed', '--replicas=3'])).toContain('NotFound');
      await kubectl.run('delete', 'pg/fixed', 'widget/w');
    });

    it('asks what it may, and who it is', async () => {
      expect(await kubectl.run('auth', 'can-i', 'create', 'pg')).toBe('yes\n');
      expect(await kubectl.run('auth', 'can-i', '--list')).toMatch(/\*\.\* +\[\] +\[\] +\[\*\]/);
      expect(await kubectl.run('auth', 'whoami')).toMatch(/Username +(admin|tester)/);
    });

    it('deletes in every way', async () => {
      for (const name of ['d1', 'd2', 'd3']) {
        write('d.yaml', group(name));
        await kubectl.run('create', '-f', 'd.yaml');
      }
      expect(await kubectl.run('delete', 'pg', 'd1', '--cascade=foreground')).toContain('deleted');
      expect(await kubectl.run('delete', 'pg', '--all', '--cascade=orphan')).toMatch(/"d2"[^]*"d3"/);
      expect(await kubectl.run('get', 'pg', '-o', 'name')).toBe('');
      expect(await kubectl.run('delete', 'pg', 'd1', '--ignore-not-found')).toBe('');
    });
  });
}
