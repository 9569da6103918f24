import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { generatedFiles } from './generate.ts';

const root = join(import.meta.dirname, '..');

it('generated files are what the definitions say, and there are no others', async () => {
  const files = await generatedFiles();
  const stale = [...files].filter(([name, text]) => readFileSync(join(root, name), 'utf8') !== text);
  expect(stale.map(([name]) => name)).toEqual([]);
  const pages = readdirSync(join(root, 'docs/reference')).map((name) => `docs/reference/${name}`);
  expect(pages.sort()).toEqual([...files.keys()].filter((name) => name.startsWith('docs/reference/')).sort());
});
