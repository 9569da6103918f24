/**
 * What an administrator says of a node, as a file: what jobs may see, use and be there. Every key is optional; one that is not
 * known is refused, since a mistyped limit would be none.
 */
import { readFileSync } from 'node:fs';
import { loadAll } from 'js-yaml';
import { nearest } from '../crds/nearest-name.ts';
import { quantityOf } from '../crds/quantity.ts';
import type { Bind, NodeConfig } from '../node-agent/config.ts';
import { CommandError } from './errors.ts';

type Given = Partial<NodeConfig>;

const readers: Readonly<Record<string, (value: unknown, where: string) => Given>> = {
  binds: (value, where) => ({ binds: listOf(value, where).map((item, i) => bindOf(item, `${where}[${i}]`)) }),
  allowedUids: (value, where) => ({ allowedUids: textOf(value, where) }),
  roots: (value, where) => ({ allowedRoots: pathsOf(value, where) }),
  devices: (value, where) => ({
    devices: Object.fromEntries(
      Object.entries(mapOf(value, where)).map(([name, paths]) => [
        name,
        devicesOf(paths, `${where}.${name}`),
      ]),
    ),
  }),
  processesPerSandbox: (value, where) => ({ processesPerSandbox: countOf(value, where) }),
  healthChecks: (value, where) => ({ healthChecks: pathOf(value, where) }),
  ownerFile: (value, where) => ({ ownerFile: pathOf(value, where) }),
  cgroupParent: (value, where) => {
    const path = textOf(value, where);
    if (path === '' || path.split('/').some((part) => ['', '.', '..'].includes(part)))
      throw wrong(where, 'a path below the root of all cgroups, such as muster.slice', value);
    return { cgroupParent: path };
  },
  imageBudget: (value, where) => {
    const bytes = typeof value === 'string' || typeof value === 'number' ? quantityOf(value) : NaN;
    if (!(bytes >= 1 << 20)) throw wrong(where, 'a quantity of at least 1Mi, such as 100Gi', value);
    return { imageBudgetBytes: Math.floor(bytes) };
  },
  storages: (value, where) => ({
    storages: Object.fromEntries(
      Object.entries(mapOf(value, where)).map(([name, path]) => [name, pathOf(path, `${where}.${name}`)]),
    ),
  }),
  imageCompression: (value, where) => {
    if (value !== 'None' && value !== 'Zstd') throw wrong(where, 'None or Zstd', value);
    return { imageCompression: value };
  },
  imageKeyFile: (value, where) => ({ imageKeyFile: pathOf(value, where) }),
  logQuota: (value, where) => {
    const bytes = typeof value === 'string' || typeof value === 'number' ? quantityOf(value) : NaN;
    if (!(bytes >= 4096)) throw wrong(where, 'a quantity of at least 4Ki, such as 256Mi', value);
    return { logQuotaBytes: Math.floor(bytes) };
  },
};

/** Throws CommandError naming file, key and what was expected. */
export function readNodeConfig(path: string): Given {
  let content: unknown;
  try {
    [content] = loadAll(readFileSync(path, 'utf8'), { filename: path });
  } catch (cause) {
    throw new CommandError(`${path}: ${(cause as Error).message}`, 2, { cause });
  }
  return nodeConfigOf(content, path);
}

export function nodeConfigOf(content: unknown, file: string): Given {
  if (content === undefined || content === null) return {};
  const given: Given[] = Object.entries(mapOf(content, file)).map(([key, value]) => {
    const read = Object.hasOwn(readers, key) ? readers[key] : undefined;
    if (read) return read(value, `${file}: ${key}`);
    const names = Object.keys(readers);
    const meant = nearest(key, names);
    const hint = meant === undefined ? `known are ${names.join(', ')}` : `did you mean ${meant}?`;
    throw new CommandError(`${file}: ${key}: there is no such key; ${hint}`, 2);
  });
  return Object.assign({}, ...given) as Given;
}

function bindOf(item: unknown, where: string): Bind {
  if (typeof item === 'string') return { source: pathOf(item, where) };
  const { source, target, readOnly, ...rest } = (item ?? {}) as Record<string, unknown>;
  const [other] = Object.keys(rest);
  if (other !== undefined)
    throw new CommandError(`${where}.${other}: there is no such key; known are source, target, readOnly`, 2);
  if (readOnly !== undefined && typeof readOnly !== 'boolean')
    throw wrong(`${where}.readOnly`, 'true or false', readOnly);
  return {
    source: pathOf(source, `${where}.source`),
    ...(target === undefined ? {} : { target: pathOf(target, `${where}.target`) }),
    ...(readOnly === undefined ? {} : { readOnly }),
  };
}

function devicesOf(value: unknown, where: string): string[] {
  const devices = pathsOf(value, where);
  const other = devices.find((device) => !device.startsWith('/dev/'));
  if (other !== undefined) throw wrong(where, 'paths below /dev', other);
  return devices;
}

function mapOf(value: unknown, where: string): object {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrong(where, 'keys with values', value);
  return value;
}

function listOf(value: unknown, where: string): unknown[] {
  if (!Array.isArray(value)) throw wrong(where, 'a list', value);
  return value;
}

function pathsOf(value: unknown, where: string): string[] {
  return listOf(value, where).map((item, i) => pathOf(item, `${where}[${i}]`));
}

function pathOf(value: unknown, where: string): string {
  const clean = typeof value === 'string' && value.startsWith('/') && !value.split('/').includes('..');
  if (!clean) throw wrong(where, 'an absolute path without ".."', value);
  return value;
}

function textOf(value: unknown, where: string): string {
  if (typeof value !== 'string') throw wrong(where, 'a text', value);
  return value;
}

function countOf(value: unknown, where: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 1 || value > 4_194_304)
    throw wrong(where, 'a number from 1 to 4194304', value);
  return value;
}

function wrong(where: string, expected: string, value: unknown): CommandError {
  return new CommandError(`${where}: expected ${expected}, not ${JSON.stringify(value)}`, 2);
}
