// Memory of frozen processes that CRIU is not to look at, since it goes another way: CRIU pins every page that it leaves to somebody else
// in a pipe, which takes as long as to copy it. So native/criu-beside, loaded into it, keeps these pages from it, and what it has kept is put
// into CRIU's page maps afterwards, as pages that are not in the image, as CRIU itself names them. What is small is in the image: ranks need
// it at once. Only mappings that a restore can bring later.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { Native } from '../../native/addon/index.ts';
import { errnoOf } from '../agent-error.ts';
import { innermostPidOf } from '../monitor/process-text.ts';
import { processOfPagemap, withMissing, type MissingPages } from './pagemap.ts';

/** Less comes as soon as it is asked for. */
const worthBytes = 64 << 10;
const rangeBytes = 24;
const foundBytes = 16;
const mostFoundBytes = 1 << 30;

export interface Range {
  readonly start: bigint;
  readonly end: bigint;
}

/** Anonymous private memory, of /proc/PID/maps; of smaps none that is locked, which has to be there at once. */
export function anonymousRangesOf(maps: string): Range[] {
  const ranges: Range[] = [];
  let isLast = false;
  for (const line of maps.split('\n')) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) ...(.) [0-9a-f]+ [0-9a-f]+:[0-9a-f]+ (\d+) *(.*)$/.exec(line);
    if (head) {
      const [, from = '0', to = '0', sharing, inode, name = ''] = head;
      const [start, end] = [BigInt(`0x${from}`), BigInt(`0x${to}`)];
      const isAnonymous = sharing === 'p' && inode === '0' && /^($|\[heap\]|\[anon:)/.test(name);
      isLast = isAnonymous && end - start >= worthBytes;
      if (isLast) ranges.push({ start, end });
    } else if (isLast && /^VmFlags:.* lo\b/.test(line)) ranges.pop();
  }
  return ranges;
}

/** As native/criu-beside reads it. */
export function apartTable(
  processes: readonly { readonly pid: number; readonly inner: number; readonly ranges: readonly Range[] }[],
): Buffer {
  const sorted = processes.toSorted((one, other) => one.pid - other.pid);
  const lines = sorted.flatMap(({ pid, inner, ranges }) => ranges.map((range) => ({ pid, inner, ...range })));
  const table = Buffer.alloc(lines.length * rangeBytes);
  lines.forEach(({ pid, inner, start, end }, line) => {
    table.writeUInt32LE(pid, line * rangeBytes);
    table.writeUInt32LE(inner, line * rangeBytes + 4);
    table.writeBigUInt64LE(start, line * rangeBytes + 8);
    table.writeBigUInt64LE(end, line * rangeBytes + 16);
  });
  return table;
}

/** Linux can tell of pages in a way that the library understands (PAGEMAP_SCAN). */
export function tellsOfPages(release: string): boolean {
  const [major = 0, minor = 0] = release.split('.').map(Number);
  return major > 6 || (major === 6 && minor >= 7);
}

export class PagesApart implements Disposable {
  readonly #native: Native;
  /** What the library reads, and what it writes. */
  readonly descriptors: readonly [ranges: number, found: number];

  constructor(native: Native) {
    this.#native = native;
    const empty = (name: string): number => native.memfd(name, Buffer.alloc(0), false);
    this.descriptors = [empty('ranges'), empty('found')];
  }

  /** Before CRIU is asked anything. `pids`: frozen. */
  keep(pids: readonly number[]): void {
    writeFileSync(this.descriptors[0], apartTable(pids.flatMap(processOf)));
  }

  /** In the image, once CRIU has ended well. */
  note(directory: string): void {
    const bytes = this.#native.readAll(this.descriptors[1], mostFoundBytes);
    const found = new Map<number, MissingPages[]>();
    for (let at = 0; at + foundBytes <= bytes.length; at += foundBytes) {
      const pid = bytes.readUInt32LE(at);
      const pages = found.get(pid) ?? [];
      found.set(pid, pages);
      pages.push({ pages: bytes.readUInt32LE(at + 4), address: Number(bytes.readBigUInt64LE(at + 8)) });
    }
    for (const name of readdirSync(directory)) {
      const pid = processOfPagemap(name);
      if (pid === undefined) continue;
      const path = `${directory}/${name}`;
      writeFileSync(path, withMissing(readFileSync(path), found.get(pid) ?? []));
      found.delete(pid);
    }
    const [lost] = found.keys();
    if (lost !== undefined)
      throw new Error(`MUSTER_PAGES_LOST: CRIU has written no page map of process ${String(lost)}`);
  }

  [Symbol.dispose](): void {
    for (const descriptor of this.descriptors) this.#native.close(descriptor);
  }
}

/** Nothing of one that has ended. */
function processOf(pid: number): { pid: number; inner: number; ranges: Range[] }[] {
  try {
    const status = readFileSync(`/proc/${String(pid)}/status`, 'utf8');
    const inner = innermostPidOf(status);
    if (inner === null) return [];
    const maps = /^VmLck:\s+0 kB$/m.test(status) ? 'maps' : 'smaps';
    const ranges = anonymousRangesOf(readFileSync(`/proc/${String(pid)}/${maps}`, 'utf8'));
    return ranges.length === 0 ? [] : [{ pid, inner, ranges }];
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ESRCH') return [];
    throw error;
  }
}
