// Storages on servers that take root for nobody: found out by trying, and refused with what to do.
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkout } from '../e2e/cluster.ts';
import { nobody, squashTrouble, underSquash } from './squashing.ts';

let work: string;

beforeAll(() => {
  work = mkdtempSync(`${realpathSync(tmpdir())}/muster-squash-`);
  chmodSync(work, 0o755);
  for (const name of ['back', 'seen']) {
    mkdirSync(`${work}/${name}`);
    chownSync(`${work}/${name}`, nobody, nobody);
  }
  mkdirSync(`${work}/back/nobodys`);
  chownSync(`${work}/back/nobodys`, nobody, nobody);
  mkdirSync(`${work}/back/roots`, { mode: 0o700 });
});

afterAll(() => {
  rmSync(work, { recursive: true, force: true });
});

const program = `
  const { storageTrouble } = await import('${checkout}/node-agent/checkpoint/storages.ts');
  console.log(JSON.stringify(['nobodys', 'roots'].map((name) => storageTrouble(process.argv[1] + '/' + name, 'node1'))));`;

test.skipIf(squashTrouble !== undefined)(
  `a storage whose server takes root for nobody is refused, and left as it was${squashTrouble === undefined ? '' : `: ${squashTrouble}`}`,
  () => {
    const seen = `${work}/seen`;
    const command = [process.execPath, '--input-type=module', '-e', program, seen];
    const said = JSON.parse(underSquash(work, `${work}/back`, seen, ...command)) as string[];
    expect(said[0]).toBe(
      `what root writes in ${seen}/nobodys belongs to user ${String(nobody)}: export it with no_root_squash`,
    );
    expect(said[1]).toMatch(
      /roots cannot be used by root: EACCES.*; if it is on NFS, export it with no_root_squash$/,
    );
    for (const name of ['nobodys', 'roots']) expect(readdirSync(`${work}/back/${name}`)).toEqual([]);
  },
);
