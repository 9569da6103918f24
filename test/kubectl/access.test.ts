/** kubectl with the kubeconfigs that `muster up` and `muster kubeconfig` write: certificates, tokens, roles, who owns a job. */
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Cluster } from '../e2e/cluster.ts';
import { Kubectl } from './api.ts';

const group = (name: string, more: object = {}): string =>
  JSON.stringify({
    apiVersion: 'muster.dev/v1alpha1',
    kind: 'ProcessGroup',
    metadata: { name },
    spec: { size: 1, processes: [{ name: 'all', ranks: '0', command: ['sh', '-c', 'id -u'] }], ...more },
  });

describe('kubectl on muster up', () => {
  let cluster: Cluster;
  let admin: Kubectl;
  let directory: string;
  beforeAll(async () => {
    cluster = await Cluster.up();
    directory = fs.mkdtempSync('/tmp/muster-access-');
    admin = new Kubectl({ directory, kubeconfig: path.join(cluster.home, 'kubeconfig') });
  });
  afterAll(async () => {
    fs.rmSync(directory, { recursive: true });
    await cluster?.[Symbol.asyncDispose]();
  });

  const userWith = async (...args: string[]): Promise<Kubectl> => {
    const kubeconfig = path.join(directory, `config-${args.join('-').replaceAll(/[^a-z0-9-]/g, '_')}`);
    fs.writeFileSync(kubeconfig, await cluster.done(['kubeconfig', ...args]), { mode: 0o600 });
    return new Kubectl({ directory, kubeconfig });
  };
  const apply = (kubectl: Kubectl, text: string, ...args: string[]): Promise<unknown> =>
    kubectl.must(['apply', '-f', '-', ...args], { stdin: text });

  test('the kubeconfig of the home is for its owner alone, and runs a job to its end', async () => {
    expect(fs.statSync(path.join(cluster.home, 'kubeconfig')).mode & 0o777).toBe(0o600);
    expect(await cluster.done(['kubeconfig'])).toContain('client-certificate-data');
    await apply(admin, group('job'));
    await admin.run('wait', 'pg/job', '--for=condition=Succeeded', '--timeout=60s');
    expect(await admin.run('get', 'pg', 'job', '-o', 'jsonpath={.status.ranks.summary}')).toBe('1/1');
    expect(await admin.run('describe', 'pg', 'job')).toMatch(/Normal +Placed/);
    expect(await cluster.done(['logs', '--no-label', 'job'])).toBe('65534\n');
  });

  test('roles: what they may, what not, and that can-i knows', async () => {
    await admin.run('create', 'ns', 'team');
    const viewer = await userWith('--user', 'vera');
    expect(await viewer.run('auth', 'whoami')).toMatch(/Username +vera/);
    expect(await viewer.run('get', 'pg,nm', '-A', '-o', 'name')).toContain('processgroup.muster.dev/job');
    expect(await viewer.refused(['delete', 'pg', 'job'])).toContain(
      'processgroups.muster.dev "job" is forbidden: User "vera" cannot delete resource "processgroups" in API group "muster.dev" in the namespace "default"',
    );
    expect(await viewer.refused(['get', 'secrets'])).toContain('cannot list resource "secrets"');
    expect((await viewer.end(['auth', 'can-i', 'create', 'pg'])).stdout).toMatch(/^no/);
    expect(await viewer.run('auth', 'can-i', 'list', 'pg')).toBe('yes\n');
    expect(await viewer.run('auth', 'can-i', '--list')).toMatch(
      /processgroups\.muster\.dev +\[\] +\[\] +\[get list watch\]/,
    );

    const editor = await userWith('--user', 'ed', '--role', 'edit', '-n', 'team', '--run-as', '1234:1234');
    await apply(editor, group('his'));
    expect(await admin.run('get', 'pg', '-n', 'team', '-o', 'name')).toBe('processgroup.muster.dev/his\n');
    await editor.run('wait', 'pg/his', '--for=condition=Succeeded', '--timeout=60s');
    expect(await cluster.done(['logs', '--no-label', '-n', 'team', 'his'])).toBe('1234\n');
    expect(await editor.refused(['get', 'pg', '-n', 'default'])).toContain('in the namespace "default"');
    expect(await editor.refused(['get', 'pg', '-A'])).toContain('at the cluster scope');
    const asRoot = group('root', { securityContext: { runAsUser: 1235 } });
    expect(await editor.refused(['apply', '-f', '-'], { stdin: asRoot })).toContain(
      'may run jobs only as himself',
    );
    expect(await editor.refused(['apply', '--server-side', '-f', '-'], { stdin: asRoot })).toContain(
      'only as himself',
    );
  });

  test('nobody changes whose a job is, however he writes', async () => {
    const submitted = (): Promise<string> =>
      admin.run(
        'get',
        'pg',
        'his',
        '-n',
        'team',
        '-o',
        'jsonpath={.metadata.annotations.muster\\.dev/submitted-by}',
      );
    expect(await submitted()).toBe('ed');
    await admin.run('annotate', '-n', 'team', 'pg', 'his', 'muster.dev/submitted-by=root', '--overwrite');
    expect(await submitted()).toBe('ed');
    const forged = JSON.parse(group('his')) as { metadata: object };
    forged.metadata = { name: 'his', namespace: 'team', annotations: { 'muster.dev/submitted-uid': '7:7' } };
    await admin.must(['apply', '--server-side', '--force-conflicts', '-f', '-'], {
      stdin: JSON.stringify(forged),
    });
    expect(
      await admin.run('get', 'pg', 'his', '-n', 'team', '-o', 'jsonpath={.metadata.annotations}'),
    ).toContain('1234:1234');
  });

  test('a bearer token serves until it is revoked', async () => {
    const bearer = await userWith('--user', 'bea', '--token');
    expect(await bearer.run('get', 'pg', '-A', '-o', 'name')).toContain('job');
    expect(await cluster.done(['kubeconfig', '--revoke', 'bea'])).toContain('1 token of bea revoked');
    expect(await bearer.refused(['get', 'pg'])).toMatch(/Unauthorized|must be logged in/);
    const nobody = path.join(directory, 'nobody');
    const own = fs.readFileSync(path.join(cluster.home, 'kubeconfig'), 'utf8');
    fs.writeFileSync(
      nobody,
      own.replace(/client-certificate-data.*\n.*client-key-data.*\n/, 'token: wrong\n'),
    );
    const stranger = new Kubectl({ directory, kubeconfig: nobody });
    expect(await stranger.refused(['get', 'pg'])).toMatch(/Unauthorized|must be logged in/);
  });
});
