// The agent's errors, classified where they are born: `transient` is tried again, `refused` and `failed` end the sandbox
// and are told as its reason and message, `bug` means that this program is wrong. Codes are stable.

export type ErrorClass = 'transient' | 'refused' | 'failed' | 'bug';

export class AgentError extends Error {
  readonly code: string;
  readonly class: ErrorClass;
  /** The closed list of reasons that a SandboxFact may carry. */
  readonly reason: string;

  constructor(
    errorClass: ErrorClass,
    reason: string,
    code: string,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(`${code}: ${message}`, options);
    this.name = 'AgentError';
    this.class = errorClass;
    this.reason = reason;
    this.code = code;
  }
}

export function refused(message: string): AgentError {
  return new AgentError('refused', 'NotAllowed', 'MUSTER_NOT_ALLOWED', message);
}

export function startFailed(message: string): AgentError {
  return new AgentError('failed', 'StartFailed', 'MUSTER_START_FAILED', message);
}

export function errnoOf(error: unknown): string | undefined {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  return typeof code === 'string' ? code : undefined;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
