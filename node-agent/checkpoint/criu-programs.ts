// Which CRIU is run. It runs in the node's own mounts; an agent in a container has brought one in its image, which is not there. So
// its folder, which is whole in itself (scripts/criu.sh), is copied to where the node keeps the agent's state, named by what is in
// it, and used for as long as nothing of it has changed. What CRIU does is not known here.
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, readlink, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { hostRoot, isOnNode } from '../host-root.ts';

export class CriuPrograms {
  readonly #paths: readonly string[];
  readonly #place: string;
  #copied: { readonly from: string; readonly to: Promise<string> } | null = null;

  /** `paths`: where it may be, in order; it may come and go. `place`: a directory that is at the same path on the node. */
  constructor(paths: readonly string[], place: string) {
    this.#paths = paths;
    this.#place = place;
  }

  /** Changes when the program comes, goes or is replaced; empty: there is none. */
  get identity(): string {
    for (const path of this.#paths) {
      const stat = statOf(path);
      if (stat) return `${path} ${String(stat.ino)} ${String(stat.mtimeMs)}`;
    }
    return '';
  }

  /** Its path on the node; null: there is none. */
  async find(): Promise<string | null> {
    const path = this.#paths.find((each) => statOf(each) !== undefined);
    if (path === undefined || !existsSync(path) || isOnNode(path)) return path ?? null;
    const { identity } = this;
    if (this.#copied?.from !== identity || !existsSync(await this.#copied.to)) {
      const to = copyOf(dirname(dirname(realpathSync(path))), this.#place);
      to.catch(() => (this.#copied = null)); // tried again by who asks next
      this.#copied = { from: identity, to };
    }
    return join(await this.#copied.to, 'bin', basename(path));
  }
}

/** In the agent's image, else on the node. */
const statOf = (path: string) =>
  statSync(path, { throwIfNoEntry: false }) ?? statSync(`${hostRoot()}${path}`, { throwIfNoEntry: false });

/** Where a whole copy of a folder is, which is made if need be; others that were made before are removed. */
export async function copyOf(folder: string, place: string): Promise<string> {
  const digest = await digestOf(folder);
  const copy = join(place, digest);
  const isWhole = async (): Promise<boolean> => (await digestOf(copy).catch(() => '')) === digest;
  if (!(await isWhole())) {
    await mkdir(place, { recursive: true, mode: 0o700 });
    const fresh = mkdtempSync(join(place, 'new-'));
    await cp(folder, fresh, { recursive: true, verbatimSymlinks: true });
    await rm(copy, { recursive: true, force: true });
    await rename(fresh, copy);
  }
  for (const name of readdirSync(place))
    if (name !== digest) await rm(join(place, name), { recursive: true, force: true });
  return copy;
}

/** Of all names, links and contents in it, and what may be run. */
async function digestOf(folder: string): Promise<string> {
  const hash = createHash('sha256');
  const add = async (directory: string): Promise<void> => {
    const entries = await readdir(join(folder, directory), { withFileTypes: true });
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const name = join(directory, entry.name);
      const path = join(folder, name);
      hash.update(`${name}\0`);
      if (entry.isDirectory()) await add(name);
      else if (entry.isSymbolicLink()) hash.update(`> ${await readlink(path)}\0`);
      else {
        const content = await readFile(path);
        hash.update(`${String(statSync(path).mode & 0o111)} ${String(content.length)}\0`).update(content);
      }
    }
  };
  await add('.');
  return hash.digest('hex').slice(0, 16);
}
