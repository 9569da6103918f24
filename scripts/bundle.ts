/**
 * Bundles the `muster` command into build/dist, so that it starts without reading hundreds of files: cli/main.ts with lazy chunks
 * for what it imports on demand, and a few lines in front that turn on Node's compile cache. It knows no command.
 *
 * Sources may go on reading files that lie beside them (`import.meta.url`, `import.meta.dirname`): both are rewritten to the
 * place of the source in the checkout, which the bundle never leaves.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { build, type Plugin } from 'esbuild';

const root = join(import.meta.dirname, '..');
const dist = join(root, 'build', 'dist');

/** Every output file lies in build/dist itself, so one relative path is right for all chunks. */
const placeOfSources: Plugin = {
  name: 'place-of-sources',
  setup(bundler) {
    bundler.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
      if (path.includes('/node_modules/')) return undefined;
      const text = await readFile(path, 'utf8');
      if (!text.includes('import.meta.')) return { contents: text, loader: 'ts' };
      const place = (of: string): string => `new URL(${JSON.stringify(relative(dist, of))}, import.meta.url)`;
      const replacements: Record<string, string> = {
        main: 'false',
        url: `${place(path)}.href`,
        filename: `decodeURIComponent(${place(path)}.pathname)`,
        dirname: `decodeURIComponent(${place(dirname(path))}.pathname)`,
      };
      // In one pass: the replacements themselves speak of import.meta.url.
      const contents = text.replaceAll(
        /import\.meta\.(main|url|filename|dirname)\b/g,
        (whole, name: string) => {
          return replacements[name] ?? whole;
        },
      );
      return { contents, loader: 'ts' };
    });
  },
};

/** Bundled CommonJS packages call `require`, which an ES module has not. */
const requireForPackages =
  "import { createRequire as createRequireOfBundle } from 'node:module'; const require = createRequireOfBundle(import.meta.url);";

const front = `import { enableCompileCache } from 'node:module';
enableCompileCache(new URL('../compile-cache', import.meta.url).pathname);
await import('./main.mjs');
`;

// Written aside and then put in place, so that a command started meanwhile finds a whole bundle, old or new. What runs from
// the old one and imports a chunk later still finds it: chunks are named by content, and the previous ones are kept.
const fresh = `${dist}.${process.pid}`;
rmSync(fresh, { recursive: true, force: true });
try {
  const result = await build({
    absWorkingDir: root,
    entryPoints: { main: 'cli/main.ts' },
    outdir: fresh,
    bundle: true,
    splitting: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    outExtension: { '.js': '.mjs' },
    entryNames: '[name]',
    chunkNames: '[name]-[hash]',
    banner: { js: requireForPackages },
    plugins: [placeOfSources],
    external: ['*.node'],
    sourcemap: 'linked',
    sourcesContent: false,
    legalComments: 'none',
    logLevel: 'warning',
    metafile: true,
  });
  mkdirSync(dist, { recursive: true });
  const changed = Object.keys(result.metafile.outputs)
    .map((output) => relative(fresh, join(root, output)))
    // The entry last: it names the chunks.
    .sort((a, b) => Number(a === 'main.mjs') - Number(b === 'main.mjs'))
    .filter((name) => putInPlace(join(fresh, name), join(dist, name)));
  writeFileSync(join(fresh, 'muster.mjs'), front);
  putInPlace(join(fresh, 'muster.mjs'), join(dist, 'muster.mjs'));
  if (changed.length > 0) process.stderr.write(`bundle: wrote ${changed.length} files to build/dist\n`);
} catch (error) {
  // esbuild has shown what is wrong in the sources; anything else is a fault of this script.
  if (!(error instanceof Error && 'errors' in error)) throw error;
  process.exitCode = 1;
} finally {
  rmSync(fresh, { recursive: true, force: true });
}

/** Renames a new file over the old one; false, and nothing done, when they are the same. */
function putInPlace(from: string, to: string): boolean {
  try {
    if (readFileSync(to).equals(readFileSync(from))) return false;
  } catch {
    // There is no old one.
  }
  renameSync(from, to);
  return true;
}
