// Regenerates everything that is derived from crds/*.yaml: definitions as JSON, types, validators, the
// reference in docs/reference/, the runbook, and the templates of the Helm chart. With --check it writes nothing and fails on the first differences, naming
// the files. Run by `make generate` and `make verify`. Output is the same on every machine.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { load } from 'js-yaml';
import { definitionFrom, type CrdManifest, type Definition } from './definitions.ts';
import { generateChart } from './generate-chart.ts';
import { generateMetrics } from './generate-metrics.ts';
import { generateReference } from './generate-reference.ts';
import { generateRunbook } from './generate-runbook.ts';
import { generateTypes } from './generate-types.ts';
import { generateValidators } from './generate-validators.ts';

const root = join(import.meta.dirname, '..');
const crdFiles = ['processgroup.yaml', 'checkpoint.yaml', 'migration.yaml', 'nodemonitor.yaml'];

export function readManifests(): CrdManifest[] {
  return crdFiles.map((name) => {
    const path = join(import.meta.dirname, name);
    return load(readFileSync(path, 'utf8'), { filename: path }) as CrdManifest;
  });
}

export async function generatedFiles(): Promise<Map<string, string>> {
  const manifests = readManifests();
  const definitions: Definition[] = manifests.map(definitionFrom);
  const files = new Map<string, string>([
    ['crds/generated/definitions.gen.json', `${JSON.stringify(manifests, null, 1)}\n`],
    ['crds/types.gen.ts', generateTypes(definitions)],
    ['crds/validators.gen.js', await generateValidators(definitions)],
  ]);
  for (const [name, text] of generateReference(definitions)) files.set(`docs/reference/${name}`, text);
  for (const [name, text] of generateChart(manifests)) files.set(`charts/muster/${name}`, text);
  files.set('docs/runbook.md', generateRunbook());
  files.set('docs/reference/metrics.md', generateMetrics());
  return files;
}

function isCurrent(path: string, text: string): boolean {
  try {
    return readFileSync(path, 'utf8') === text;
  } catch {
    return false;
  }
}

if (import.meta.main) {
  const check = process.argv.includes('--check');
  for (const [name, text] of await generatedFiles()) {
    const path = join(root, name);
    if (isCurrent(path, text)) continue;
    if (check) {
      process.stderr.write(
        `${relative(process.cwd(), path)} is not what crds/*.yaml say: run \`make generate\`\n`,
      );
      process.exitCode = 1;
    } else {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
    }
  }
}
