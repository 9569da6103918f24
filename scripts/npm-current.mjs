/**
 * Exits 0 when node_modules holds exactly what package-lock.json asks for, so that an install can be left out. npm keeps its
 * own record of what it installed; the two are compared. Plain JavaScript, because any Node.js from 20 on must run it.
 */
import { existsSync, readFileSync } from 'node:fs';

const packagesOf = (file) => JSON.parse(readFileSync(file, 'utf8')).packages;
const recordFile = 'node_modules/.package-lock.json';

if (!existsSync(recordFile)) process.exit(1);
const wanted = packagesOf('package-lock.json');
const installed = packagesOf(recordFile);
const differs = Object.keys(wanted).some((path) => {
  if (path === '') return false;
  const found = installed[path];
  // Optional packages for other machines are not installed.
  if (found === undefined) return wanted[path].optional !== true;
  return (
    found.version !== wanted[path].version || found.integrity !== wanted[path].integrity || !existsSync(path)
  );
});
const foreign = Object.keys(installed).some((path) => wanted[path] === undefined);
process.exit(differs || foreign ? 1 : 0);
