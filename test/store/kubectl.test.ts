import { execFile, execFileSync } from 'node:child_process';
import fs from 'node:fs';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileStore } from '../../store/file/file-store.ts';
import { musterAdmit, musterTypes } from '../../store/muster-types.ts';
import { ApiServer } from '../../store/server/api-server.ts';

const kubectlPath = execFileSync('scripts/kubectl.sh', { encoding: 'utf8' }).trim();

const manifest = `apiVersion: muster.dev/v1alpha1
kind: ProcessGroup
metadata: {name: cpi}
spec:
  size: 4
  processes:
    - {name: all, ranks: "0-3", command: [./cpi]}
`;

describe('the unmodified kubectl', () => {
  let directory: string;
  let store: FileStore;
  let server: ApiServer;
  let port: number;
  beforeEach(async () => {
    directory = fs.mkdtempSync(path.join(os.tmpdir(), 'muster-kubectl-'));
    store = await FileStore.open({
      directory: path.join(directory, 'store'),
      types: musterTypes(),
      admit: musterAdmit,
    });
    server = new ApiServer({
      store,
      types: musterTypes(),
      authenticate: () => ({ name: 'tester', groups: [] }),
    });
    ({ port } = (await server.listen({ host: '127.0.0.1', port: 0 })) as AddressInfo);
    fs.writeFileSync(path.join(directory, 'cpi.yaml'), manifest);
  });
  afterEach(async () => {
    await server.close();
    await store.close();
    fs.rmSync(directory, { recursive: true });
  });

  const kubectl = async (...args: string[]): Promise<string> => {
    const all = [`--server=http://127.0.0.1:${port}`, `--cache-dir=${directory}/cache`, ...args];
    const env = { ...process.env, KUBECONFIG: '/dev/null', HOME: directory };
    const { stdout } = await promisify(execFile)(kubectlPath, all, { env, cwd: directory, timeout: 60_000 });
    return stdout;
  };

  it('creates, applies, reads, patches and deletes', async () => {
    expect(await kubectl('apply', '--validate=false', '-f', 'cpi.yaml')).toContain('cpi created');
    expect(await kubectl('get', 'pg')).toMatch(/^NAME +STATE +RANKS/);
    expect(await kubectl('get', 'pg', 'cpi', '-o', 'jsonpath={.spec.size}')).toBe('4');
    expect(await kubectl('get', 'muster', '-o', 'name')).toBe('processgroup.muster.dev/cpi\n');
    fs.writeFileSync(path.join(directory, 'cpi.yaml'), manifest.replace('spec:', 'spec:\n  suspend: true'));
    expect(await kubectl('apply', '--validate=false', '-f', 'cpi.yaml')).toContain('cpi configured');
    expect(await kubectl('apply', '--validate=false', '-f', 'cpi.yaml')).toContain('cpi unchanged');
    await kubectl('label', 'pg', 'cpi', 'team=a');
    expect(await kubectl('get', 'pg', '-l', 'team=a', '-o', 'name')).toContain('cpi');
    await kubectl('patch', 'pg', 'cpi', '--type=merge', '-p', '{"spec":{"suspend":false}}');
    expect(await kubectl('get', 'pg', 'cpi', '-o', 'jsonpath={.spec.suspend}')).toBe('false');
    expect(await kubectl('delete', 'pg', 'cpi')).toContain('deleted');
    await expect(kubectl('get', 'pg', 'cpi')).rejects.toThrow('not found');
  });

  it('is told what is wrong', async () => {
    fs.writeFileSync(path.join(directory, 'cpi.yaml'), manifest.replace('0-3', '0-2'));
    await expect(kubectl('create', '--validate=false', '-f', 'cpi.yaml')).rejects.toThrow(
      /is invalid|Invalid|ranks/,
    );
  });
});
