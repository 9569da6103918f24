// Ways into a tree of files that others may change while it is walked: from a descriptor of a directory to a name in it, one step at
// a time, and never through a link that somebody has put there. So whoever walks the root of a Pod as root of the node stays in it.
import { closeSync, constants, lstatSync, openSync, type Stats } from 'node:fs';

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants;

/** The path of a name in an open directory. */
export const within = (directory: number, name: string): string =>
  `/proc/self/fd/${String(directory)}/${name}`;

/** Throws ENOENT, and ENOTDIR where something else has the name. */
export const openWithin = (directory: number, name: string): number =>
  openSync(within(directory, name), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);

export function statWithin(directory: number, name: string): Stats | undefined {
  return lstatSync(within(directory, name), { throwIfNoEntry: false });
}

export const namesOf = (path: string): string[] => path.split('/').filter((name) => name !== '');

/** Gives `use` the directory at a path below `top`, and closes it. */
export async function atDirectory<T>(
  top: number,
  path: string,
  use: (directory: number) => T | Promise<T>,
): Promise<T> {
  const opened: number[] = [];
  try {
    let at = top;
    for (const name of namesOf(path)) opened.push((at = openWithin(at, name)));
    return await use(at);
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}
