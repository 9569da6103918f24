// The file systems that Muster uses on this node: how full they are, whether they are writable, and whether they answer at all.
// A file system whose server is gone can hold whoever asks it for ever, so another program asks (stat(1) of the host), all of
// them at once; only when that does not come back in time each is asked alone, and one that does not answer is not asked again
// before the last asker has ended.
import { statfsSync } from 'node:fs';
import type { DiskFigures } from '../../wire/agent-types.ts';
import { boundedRun } from './bounded-run.ts';
import { readOnce } from './kernel-file.ts';

export interface FileSystemOptions {
  readonly paths: readonly string[];
  readonly answerWithinMs?: number;
  /** What asks; it gets stat(1)'s options and one path or more. */
  readonly program?: string;
}

const format = '%n\t%S\t%b\t%a\t%c\t%d\t%T';

export class FileSystems {
  readonly #options: Required<FileSystemOptions>;
  readonly #figures = new Map<string, DiskFigures>();
  readonly #hanging = new Map<string, { readonly sinceMs: number; isOver: boolean }>();
  #probing = false;

  constructor(options: FileSystemOptions) {
    this.#options = { answerWithinMs: 5000, program: 'stat', ...options };
  }

  get figures(): DiskFigures[] {
    return [...this.#figures.values()];
  }

  of(path: string): DiskFigures | undefined {
    return this.#figures.get(path);
  }

  /** Does nothing while the round before is not over. */
  async probe(nowMs: number): Promise<void> {
    if (this.#probing) return;
    this.#probing = true;
    try {
      for (const [path, { isOver }] of this.#hanging) if (isOver) this.#hanging.delete(path);
      const paths = this.#options.paths.filter((path) => !this.#hanging.has(path));
      if (paths.length === 0) return;
      if (await this.#ask(paths, nowMs)) return;
      for (const path of paths) await this.#ask([path], nowMs);
    } finally {
      this.#probing = false;
    }
  }

  /** False when no answer came in time; a path asked alone is then known to hang. */
  async #ask(paths: readonly string[], nowMs: number): Promise<boolean> {
    const { program, answerWithinMs } = this.#options;
    const run = boundedRun({
      file: program,
      args: ['-f', '-c', format, '--', ...paths],
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
      timeoutMs: answerWithinMs,
      outputBytes: 64 * 1024,
    });
    const outcome = await run.outcome;
    if (outcome.kind === 'not-started') {
      // A node without stat(1): then we ask ourselves, and a file system that hangs is not told from others.
      for (const path of paths) this.#take(path, statfsOf(path), 'cannot be read');
      return true;
    }
    if (outcome.kind !== 'timed-out') {
      const found = new Map(outcome.output.split('\n').map((line) => [line.split('\t', 1)[0] ?? '', line]));
      for (const path of paths) {
        const line = found.get(path);
        const complaint = outcome.output.split('\n').find((each) => each.includes(`'${path}'`));
        this.#take(path, line === undefined ? null : lineOf(line), complaint ?? 'cannot be read');
      }
      return true;
    }
    const [only] = paths;
    if (paths.length === 1 && only !== undefined) {
      const hanging = { sinceMs: nowMs, isOver: false };
      this.#hanging.set(only, hanging);
      void run.ended.then(() => {
        hanging.isOver = true;
      });
      this.#take(only, null, `does not answer within ${String(answerWithinMs / 1000)} s`);
    }
    return false;
  }

  #take(path: string, figures: Omit<DiskFigures, 'path' | 'trouble' | 'readOnly'> | null, why: string): void {
    const last = this.#figures.get(path) ?? empty;
    this.#figures.set(path, {
      ...(figures ?? last),
      path,
      readOnly: isReadOnly(path, readOnce('/proc/self/mountinfo') ?? ''),
      trouble: figures === null ? why : '',
    });
  }
}

const empty = { fileSystem: '', totalBytes: 0, availableBytes: 0, filesTotal: 0, filesFree: 0 };

function lineOf(line: string): Omit<DiskFigures, 'path' | 'trouble' | 'readOnly'> {
  const [, block = '0', blocks = '0', available = '0', files = '0', free = '0', type = ''] = line.split('\t');
  return {
    fileSystem: type,
    totalBytes: Number(block) * Number(blocks),
    availableBytes: Number(block) * Number(available),
    filesTotal: Number(files),
    filesFree: Number(free),
  };
}

function statfsOf(path: string): Omit<DiskFigures, 'path' | 'trouble' | 'readOnly'> | null {
  try {
    const { bsize, blocks, bavail, files, ffree } = statfsSync(path);
    return {
      fileSystem: '',
      totalBytes: bsize * blocks,
      availableBytes: bsize * bavail,
      filesTotal: files,
      filesFree: ffree,
    };
  } catch {
    return null;
  }
}

/** By the mount that the path lies on: `ro` of the mount itself, or of the file system below it, as after an error of its disk. */
export function isReadOnly(path: string, mountinfo: string): boolean {
  let longest = -1;
  let readOnly = false;
  for (const line of mountinfo.split('\n')) {
    const [before = '', after = ''] = line.split(' - ', 2);
    const fields = before.split(' ');
    const at = fields[4]?.replaceAll('\\040', ' ');
    if (at === undefined || at.length < longest) continue;
    if (path !== at && !path.startsWith(at === '/' ? '/' : `${at}/`)) continue;
    longest = at.length;
    readOnly = [fields[5] ?? '', after.split(' ')[2] ?? ''].some((options) =>
      options.split(',').includes('ro'),
    );
  }
  return readOnly;
}
