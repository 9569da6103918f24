// Health checks: programs of the administrator's directory that the hub names, and checks of the agent's own. Each runs at its
// interval, never twice at once, under a time limit and with bounded output; its runs come to a verdict (verdict.ts), which is kept
// on disk, so that a new agent does not find a sick node well until it has counted anew. What follows of a verdict is decided
// elsewhere.
import { lstatSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { CheckOrder, CheckResult } from '../../wire/agent-types.ts';
import { errnoOf } from '../agent-error.ts';
import { boundedRun, type BoundedRun, type Outcome } from './bounded-run.ts';
import { untried, verdictAfter, type Run, type Verdict } from './verdict.ts';

export interface ChecksOptions {
  readonly node: string;
  /** Where programs are; nothing that the hub says leads out of it. */
  readonly directory: string;
  readonly file: string;
  /** By name; null: it says nothing on this node. */
  readonly builtIn: Readonly<Record<string, () => Run | null>>;
  /** Some verdict has turned. */
  readonly turned: (result: CheckResult) => void;
}

const builtInOrder = { intervalSeconds: 60, timeoutSeconds: 0, failureThreshold: 3 };
const outputBytes = 64 * 1024;
const messageLength = 1024;
const notKnownYetMs = 10_000;

interface Check {
  order: CheckOrder;
  verdict: Verdict;
  timer: NodeJS.Timeout | null;
  run: BoundedRun | null;
  hasRun: boolean;
}

export class Checks {
  readonly #options: ChecksOptions;
  readonly #checks = new Map<string, Check>();
  readonly #kept: Readonly<Record<string, Verdict>>;
  #stopped = false;

  constructor(options: ChecksOptions) {
    this.#options = options;
    this.#kept = readVerdicts(options.file);
  }

  /** The built-in ones always, besides those that are asked for. */
  order(asked: readonly CheckOrder[]): void {
    const own = Object.keys(this.#options.builtIn).map((name) => ({ name, ...builtInOrder }));
    const orders = new Map([...own, ...asked].map((order) => [order.name, order]));
    for (const [name, check] of this.#checks) if (!orders.has(name)) this.#drop(name, check);
    for (const [name, order] of orders) {
      const known = this.#checks.get(name);
      if (known) {
        const isSooner = order.intervalSeconds < known.order.intervalSeconds;
        known.order = order;
        if (isSooner && known.run === null) this.#after(known, order.intervalSeconds * 1000);
        continue;
      }
      const verdict = this.#kept[name] ?? untried;
      const check: Check = { order, verdict, timer: null, run: null, hasRun: this.#kept[name] !== undefined };
      this.#checks.set(name, check);
      // Not all of them in the same moment.
      this.#after(check, 100 * this.#checks.size);
    }
  }

  /** Of those that have run, in the order of their names. */
  get results(): CheckResult[] {
    return [...this.#checks.values()]
      .filter(({ hasRun }) => hasRun)
      .map((check) => this.#resultOf(check))
      .sort((one, other) => (one.name < other.name ? -1 : 1));
  }

  stop(): void {
    this.#stopped = true;
    for (const [name, check] of this.#checks) this.#drop(name, check);
  }

  #drop(name: string, check: Check): void {
    this.#checks.delete(name);
    if (check.timer) clearTimeout(check.timer);
    check.run?.kill();
  }

  #after(check: Check, ms: number): void {
    if (check.timer) clearTimeout(check.timer);
    if (this.#stopped || this.#checks.get(check.order.name) !== check) return;
    check.timer = setTimeout(() => {
      void this.#run(check);
    }, ms);
    check.timer.unref();
  }

  async #run(check: Check): Promise<void> {
    const { builtIn } = this.#options;
    const { name } = check.order;
    const run = Object.hasOwn(builtIn, name) ? (builtIn[name]?.() ?? null) : await this.#runProgram(check);
    if (this.#stopped || this.#checks.get(name) !== check) return;
    if (run) this.#take(check, run);
    const everyMs = Math.max(1, check.order.intervalSeconds) * 1000;
    this.#after(check, run ? everyMs : Math.min(everyMs, notKnownYetMs));
  }

  #take(check: Check, run: Run): void {
    const before = check.verdict;
    check.verdict = verdictAfter(before, run, Math.max(1, check.order.failureThreshold), Date.now());
    const isFirst = !check.hasRun;
    check.hasRun = true;
    if (isFirst || before.passed !== check.verdict.passed) {
      this.#keep();
      this.#options.turned(this.#resultOf(check));
    }
  }

  async #runProgram(check: Check): Promise<Run> {
    const { directory, node } = this.#options;
    const { name, timeoutSeconds } = check.order;
    if (check.run) return { ok: false, message: 'the run before has not ended, and cannot be killed' };
    const trouble = programTrouble(directory, name);
    if (trouble !== null) return { ok: false, message: trouble };
    const run = boundedRun({
      file: `${directory}/${name}`,
      env: {
        PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        LC_ALL: 'C',
        MUSTER_NODE: node,
        MUSTER_CHECK: name,
      },
      timeoutMs: Math.max(1, timeoutSeconds) * 1000,
      outputBytes,
    });
    check.run = run;
    void run.ended.then(() => {
      check.run = null;
    });
    return runOf(await run.outcome, timeoutSeconds);
  }

  #resultOf({ order, verdict }: Check): CheckResult {
    const { passed, failures, message, changedMs } = verdict;
    const builtIn = Object.hasOwn(this.#options.builtIn, order.name);
    // Of one that has failed the threshold, whatever good runs there were since: the verdict stands until it turns.
    const counted = passed ? failures : Math.max(1, order.failureThreshold);
    return { name: order.name, passed, failures: counted, message, changedNs: changedMs * 1e6, builtIn };
  }

  #keep(): void {
    const verdicts = Object.fromEntries(
      [...this.#checks].filter(([, { hasRun }]) => hasRun).map(([name, { verdict }]) => [name, verdict]),
    );
    try {
      writeFileSync(`${this.#options.file}.new`, JSON.stringify(verdicts), { mode: 0o600 });
      renameSync(`${this.#options.file}.new`, this.#options.file);
    } catch {
      // On a full or broken disk, which is what checks are there to tell, they are counted anew after a restart.
    }
  }
}

/** Why the program may not run, or cannot; null: it may. Whoever may write it could run anything as root. */
function programTrouble(directory: string, name: string): string | null {
  if (!/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(name)) return `${name} is no name of a program`;
  const path = `${directory}/${name}`;
  for (const each of [directory, path]) {
    try {
      const { uid, mode } = lstatSync(each);
      if (each === path && (mode & 0o170000) !== 0o100000) return `${path} is no regular file`;
      if ((uid !== 0 && uid !== process.geteuid?.()) || (mode & 0o022) !== 0)
        return `${each} may be written by others than its owner, or is not root's: chown root and chmod go-w it`;
      if (each === path && (mode & 0o111) === 0) return `${path} cannot be run: chmod +x it`;
    } catch (error) {
      const why =
        errnoOf(error) === 'ENOENT' ? 'is not there' : `cannot be read (${errnoOf(error) ?? 'error'})`;
      return `${each} ${why}: put the program there, or take the check out of the NodeMonitor`;
    }
  }
  return null;
}

function runOf(outcome: Outcome, timeoutSeconds: number): Run {
  const [said = ''] = outcome.output.trim().split('\n');
  const line = printable(said).slice(0, messageLength - 100);
  const and = line === '' ? '' : `: ${line}`;
  switch (outcome.kind) {
    case 'exited':
      return {
        ok: outcome.code === 0,
        message: outcome.code === 0 ? line : `exit code ${String(outcome.code)}${and}`,
      };
    case 'signaled':
      return { ok: false, message: `ended by ${outcome.signal}${and}` };
    case 'timed-out':
      return { ok: false, message: `no end within ${String(timeoutSeconds)} s, killed${and}` };
    case 'too-much-output':
      return { ok: false, message: `printed more than ${String(outputBytes / 1024)} KiB, killed${and}` };
    case 'not-started':
      return { ok: false, message: `cannot be started (${outcome.code})` };
  }
}

/** What goes into an object, and to terminals. */
const printable = (text: string): string => text.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, ' ').trim();

function readVerdicts(file: string): Record<string, Verdict> {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Record<string, Verdict>;
  } catch {
    return {};
  }
}
