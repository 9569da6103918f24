/**
 * Runs the model checker SPIN: translates a model, compiles the checker that comes out and has it search all states. A search that
 * was not exhaustive (too deep, out of memory) is an error of the model's bounds and throws. It knows no protocol.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface Search {
  /** File names and their texts; those that `main` includes stand beside it. */
  readonly files: Readonly<Record<string, string>>;
  readonly main: string;
  /**
   * `Safety`: assertions and invalid end states. Otherwise the name of an `ltl` claim of the model, searched for cycles too.
   */
  readonly property: 'Safety' | { readonly claim: string; readonly weaklyFair?: boolean };
  /** Given to the model as `#define NAME VALUE`. */
  readonly defines?: Readonly<Record<string, number>>;
  readonly deepest?: number;
  readonly withinMs?: number;
}

export interface Found {
  readonly holds: boolean;
  readonly states: number;
  readonly depth: number;
  /** What pan said of the first error. */
  readonly error: string;
  /** The counterexample, a line a statement; empty when it holds. */
  readonly trail: string;
}

const memoryMiB = 2048;

export async function search(wanted: Search): Promise<Found> {
  const { files, main, property, defines = {}, deepest = 200_000, withinMs = 120_000 } = wanted;
  const directory = await mkdtemp(join(tmpdir(), 'muster-spin-'));
  const options = { cwd: directory, timeout: withinMs, maxBuffer: 64 << 20 };
  try {
    for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text);
    const given = Object.entries(defines).map(([name, value]) => `-D${name}=${value}`);
    await run('spin', [...given, '-a', main], options).catch(failed('spin does not take the model'));
    const isSafety = property === 'Safety';
    const kinds = isSafety ? ['-DSAFETY', '-DNOCLAIM'] : property.weaklyFair === true ? ['-DNFAIR=5'] : [];
    const flags = ['-O1', '-w', `-DMEMLIM=${memoryMiB}`, '-DVECTORSZ=2048', '-DCOLLAPSE', ...kinds];
    await run('gcc', [...flags, '-o', 'pan', 'pan.c'], options).catch(failed('the checker does not compile'));
    const searches = isSafety
      ? []
      : ['-a', ...(property.weaklyFair === true ? ['-f'] : []), '-N', property.claim];
    const { stdout } = await run('./pan', [`-m${deepest}`, '-w20', ...searches], options).catch(
      failed('the search did not come to an end'),
    );
    const errors = Number(/errors: (\d+)/.exec(stdout)?.[1] ?? Number.NaN);
    if (
      Number.isNaN(errors) ||
      (errors === 0 && /search depth too small|Search not completed|out of memory/i.test(stdout))
    )
      throw new Error(`the search was not exhaustive: ${stdout}`);
    return {
      holds: errors === 0,
      states: Number(/(\d+) states, stored/.exec(stdout)?.[1] ?? 0),
      depth: Number(/depth reached (\d+)/.exec(stdout)?.[1] ?? 0),
      error: /^pan:\d+: (.*)$/m.exec(stdout)?.[1] ?? '',
      trail: errors === 0 ? '' : (await run('spin', [...given, '-t', '-p', '-g', main], options)).stdout,
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function failed(what: string): (error: unknown) => never {
  return (error) => {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(`${what}: ${stdout}${stderr}`, { cause: error });
  };
}
