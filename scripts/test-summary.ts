/**
 * A vitest reporter that counts. At the end of a run it prints why each skipped test was skipped and writes the counts to the
 * file that MUSTER_TEST_COUNTS names, from which scripts/test.sh prints the last line and decides how the run ends. A file
 * that could not be loaded, and an error outside any test, count as failures.
 */
import { writeFileSync } from 'node:fs';
import type { Reporter, TestModule } from 'vitest/node';

export default class TestSummary implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    let passed = 0;
    let failed = unhandled.length;
    let skipped = 0;
    const reasons = new Map<string, number>();
    for (const module of modules) {
      // Errors of the file itself and of its suites' hooks belong to no test.
      if (module.errors().length > 0) failed += 1;
      for (const suite of module.children.allSuites()) if (suite.errors().length > 0) failed += 1;
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === 'passed') passed += 1;
        else if (result.state === 'failed' || result.state === 'pending') failed += 1;
        else {
          skipped += 1;
          const reason = `${module.relativeModuleId}: ${result.note ?? 'no reason given'}`;
          reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
        }
      }
    }
    for (const [reason, count] of reasons) process.stdout.write(`skipped ${count}: ${reason}\n`);
    const file = process.env['MUSTER_TEST_COUNTS'];
    if (file) writeFileSync(file, `${passed} ${failed} ${skipped}\n`);
  }
}
