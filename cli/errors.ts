/**
 * How errors look to a person: one line that says what and what to do, the causes below it, never a stack unless asked.
 */
import { isStoreError } from '../store/store-error.ts';
import { UsageError } from './run-options.ts';

export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly exitCode: number;
  constructor(message: string, exitCode = 1, options: { cause?: unknown } = {}) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

export function textOfError(error: unknown): string {
  const lines: string[] = [];
  if (isStoreError(error)) {
    lines.push(error.message);
    for (const cause of error.details.causes ?? []) {
      const where = cause.line === undefined ? '' : `line ${cause.line}: `;
      const expected = cause.expected === undefined ? '' : ` (expected ${cause.expected})`;
      const text = `${where}${cause.field}: ${cause.message}${expected}`;
      if (!error.message.includes(cause.message)) lines.push(`  ${text}`);
    }
  } else if (error instanceof Error) {
    lines.push(error.message);
    for (let cause = error.cause; cause instanceof Error; cause = cause.cause)
      lines.push(`  ${cause.message}`);
  } else lines.push(String(error));
  return lines.join('\n');
}

export function showError(error: unknown): void {
  process.stderr.write(`muster: ${textOfError(error)}\n`);
  if (process.env['MUSTER_DEBUG'] && error instanceof Error) process.stderr.write(`${error.stack}\n`);
}

export function exitCodeOf(error: unknown): number {
  if (error instanceof CommandError) return error.exitCode;
  return error instanceof UsageError ? 2 : 1;
}
