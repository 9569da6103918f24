/**
 * For programs of the tests that are started again and again, and killed: what Node compiles of them is kept, which makes a start
 * three times as fast. Node keeps it when a program ends by itself, so these say `flushCompileCache()` once they are loaded.
 */
import { fileURLToPath } from 'node:url';

export const environment: NodeJS.ProcessEnv = {
  ...process.env,
  NODE_COMPILE_CACHE: fileURLToPath(new URL('../build/compile-cache-of-tests', import.meta.url)),
};
