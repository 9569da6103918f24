/**
 * A vitest reporter that counts. After each test it writes the counts so far to the file that MUSTER_TEST_COUNTS names, from
 * which scripts/test.sh prints the last line and decides how the run ends; so they are there whatever ends the run. A file that
 * could not be loaded, an error outside any test, a test that was cut off and a file that was not reached count as failures.
 * It tells why each skipped test was skipped and, of a run that was cut off, what ran then. What failed is told there a second
 * time, a line each below the counts, so that it stands at the end of a long run.
 */
import { writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import type { Reporter, TestCase, TestModule, TestSpecification } from 'vitest/node';

export default class TestSummary implements Reporter {
  #passed = 0;
  #failed = 0;
  #skipped = 0;
  #hasEnded = false;
  /** Files not finished yet. */
  readonly #files = new Set<string>();
  /** Tests found and not finished yet, by id. */
  readonly #waiting = new Set<string>();
  readonly #running = new Map<string, { readonly name: string; readonly sinceMs: number }>();
  readonly #reasons = new Map<string, number>();
  /** What has failed, for a run that does not get to the end, where vitest tells it. */
  readonly #failures: string[] = [];
  /** The same, a line each. */
  readonly #told: string[] = [];

  onTestRunStart(specifications: readonly TestSpecification[]): void {
    for (const { moduleId } of specifications) this.#files.add(moduleId);
    this.#write();
    process.once('exit', () => this.#cutOff());
  }

  onTestModuleCollected(module: TestModule): void {
    for (const { id } of module.children.allTests()) this.#waiting.add(id);
  }

  onTestCaseReady(test: TestCase): void {
    const name = `${test.module.relativeModuleId} > ${test.fullName}`;
    this.#running.set(test.id, { name, sinceMs: performance.now() });
  }

  onTestCaseResult(test: TestCase): void {
    this.#running.delete(test.id);
    this.#waiting.delete(test.id);
    const result = test.result();
    if (result.state === 'passed') this.#passed += 1;
    else if (result.state === 'failed' || result.state === 'pending') {
      this.#failed += 1;
      const errors = result.errors ?? [];
      const name = `${test.module.relativeModuleId} > ${test.fullName}`;
      const why = errors.map(({ message, stack }) => `${message}\n${stack ?? ''}`);
      this.#failures.push([`failed: ${name}`, ...why].join('\n'));
      this.#tell(name, errors);
    } else {
      this.#skipped += 1;
      const reason = `${test.module.relativeModuleId}: ${result.note ?? 'no reason given'}`;
      this.#reasons.set(reason, (this.#reasons.get(reason) ?? 0) + 1);
    }
    this.#write();
  }

  onTestModuleEnd(module: TestModule): void {
    this.#files.delete(module.moduleId);
    // Errors of the file itself and of its suites' hooks belong to no test.
    for (const part of [module, ...module.children.allSuites()]) {
      const errors = part.errors();
      if (errors.length === 0) continue;
      this.#failed += 1;
      this.#tell(
        part.type === 'suite' ? `${module.relativeModuleId} > ${part.fullName}` : module.relativeModuleId,
        errors,
      );
    }
    this.#write();
  }

  onTestRunEnd(_modules: readonly TestModule[], unhandled: readonly { readonly message: string }[]): void {
    this.#hasEnded = true;
    for (const error of unhandled) this.#tell('outside any test', [error]);
    this.#failed += unhandled.length + this.#unfinished;
    for (const [reason, count] of this.#reasons) process.stdout.write(`skipped ${count}: ${reason}\n`);
    this.#write(0);
  }

  get #unfinished(): number {
    return this.#waiting.size + this.#files.size;
  }

  #cutOff(): void {
    if (this.#hasEnded) return;
    for (const failure of this.#failures) process.stdout.write(`${failure}\n`);
    for (const { name, sinceMs } of this.#running.values()) {
      const seconds = Math.round((performance.now() - sinceMs) / 1000);
      process.stdout.write(`cut off after ${seconds} s: ${name}\n`);
    }
    for (const file of this.#files) process.stdout.write(`not finished: ${relative('.', file)}\n`);
  }

  #tell(name: string, errors: readonly { readonly message: string }[]): void {
    const [why = 'did not end'] = (errors[0]?.message ?? '').split('\n').filter((line) => line.trim() !== '');
    this.#told.push(`failed: ${name}: ${why.slice(0, 200)}\n`);
  }

  /** What is not finished is a failure until it is. */
  #write(unfinished = this.#unfinished): void {
    const file = process.env['MUSTER_TEST_COUNTS'];
    const counts = `${this.#passed} ${this.#failed + unfinished} ${this.#skipped}\n`;
    if (file) writeFileSync(file, counts + this.#told.join(''));
  }
}
