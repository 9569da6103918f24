/**
 * Bundles the web page into build/page: one script, one style sheet, the page itself and its icon, nothing from elsewhere. Fails when
 * the script has grown beyond what a page may weigh. `--report` says what is in it.
 */
import { copyFileSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { analyzeMetafile, build } from 'esbuild';

const root = join(import.meta.dirname, '..');
const out = join(root, 'build', 'page');
/** Compressed, as it is sent. */
const mostBytes = 60 * 1024;

try {
  mkdirSync(out, { recursive: true });
  const result = await build({
    absWorkingDir: root,
    entryPoints: { page: 'dashboard/main.tsx', style: 'dashboard/page.css' },
    outdir: out,
    bundle: true,
    minify: true,
    platform: 'browser',
    target: ['chrome120', 'firefox121', 'safari17'],
    format: 'esm',
    charset: 'utf8',
    jsx: 'automatic',
    jsxImportSource: 'preact',
    legalComments: 'none',
    logLevel: 'warning',
    metafile: true,
  });
  for (const file of ['index.html', 'icon.svg']) copyFileSync(join(root, 'dashboard', file), join(out, file));
  const size = gzipSync(readFileSync(join(out, 'page.js')), { level: 9 }).length;
  if (process.argv.includes('--report')) {
    process.stdout.write(await analyzeMetafile(result.metafile));
    process.stdout.write(`${size} bytes compressed\n`);
  }
  if (size > mostBytes)
    throw new Error(`build/page/page.js has ${size} bytes compressed, at most ${mostBytes}`);
} catch (error) {
  // esbuild has shown what is wrong in the sources.
  if (!(error instanceof Error && 'errors' in error)) throw error;
  process.exitCode = 1;
}
