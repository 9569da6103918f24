// What a health check's runs come to: a check turns to failed after as many failed runs in a row as its threshold says, and back
// after as many good ones, so that one that comes and goes does not make a node come and go. Pure.

export interface Verdict {
  readonly passed: boolean;
  /** In a row, up to the threshold. Of one that has failed: the threshold, less the good runs since. */
  readonly failures: number;
  readonly message: string;
  /** Wall time at which `passed` turned; 0: it never did. */
  readonly changedMs: number;
}

export interface Run {
  readonly ok: boolean;
  readonly message: string;
}

export const untried: Verdict = { passed: true, failures: 0, message: '', changedMs: 0 };

export function verdictAfter(before: Verdict, run: Run, threshold: number, nowMs: number): Verdict {
  const failures = run.ok
    ? before.passed
      ? 0
      : Math.min(before.failures, threshold) - 1
    : before.passed
      ? Math.min(before.failures + 1, threshold)
      : threshold;
  const passed = before.passed ? failures < threshold : failures <= 0;
  return {
    passed,
    failures: Math.max(0, failures),
    // Of one that is still failed a good run tells nothing that anybody has to know.
    message: run.ok && !passed ? before.message : run.message,
    changedMs: passed === before.passed ? before.changedMs : nowMs,
  };
}
