/**
 * The one error a store throws on purpose. Its reasons are those of Kubernetes' `Status` objects, so it crosses the
 * HTTP API and comes back the same. Anything else that a store throws is a bug or the runtime's own failure.
 */
export type StoreReason =
  | 'BadRequest'
  | 'Unauthorized'
  | 'Forbidden'
  | 'NotFound'
  | 'MethodNotAllowed'
  | 'NotAcceptable'
  | 'AlreadyExists'
  | 'Conflict'
  | 'Expired'
  | 'TooLarge'
  | 'Invalid'
  | 'TooManyRequests'
  | 'UnsupportedMediaType'
  | 'InternalError'
  | 'Unavailable'
  | 'Timeout'
  | 'InsufficientStorage';

/** What an error means for the caller: try again as it is, read again and retry, or never. */
export type StoreErrorClass = 'transient' | 'conflict' | 'terminal';

export interface FieldError {
  readonly field: string;
  readonly message: string;
  readonly expected?: string | undefined;
  readonly reason?: string | undefined;
  readonly line?: number | undefined;
}

export interface StoreErrorDetails {
  readonly group?: string;
  readonly kind?: string;
  readonly name?: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly causes?: readonly FieldError[];
  readonly retryAfterSeconds?: number;
}

/** Kubernetes' `Status` object, as it stands in an HTTP answer. */
export interface Status {
  readonly kind: 'Status';
  readonly apiVersion: 'v1';
  readonly metadata: Record<string, never>;
  readonly status: 'Success' | 'Failure';
  readonly message?: string;
  readonly reason?: string;
  readonly code?: number;
  readonly details?: {
    readonly name?: string;
    readonly group?: string;
    readonly kind?: string;
    readonly uid?: string;
    readonly retryAfterSeconds?: number;
    readonly causes?: readonly { reason?: string; message?: string; field?: string }[];
  };
}

const codes = {
  BadRequest: 400,
  Unauthorized: 401,
  Forbidden: 403,
  NotFound: 404,
  MethodNotAllowed: 405,
  NotAcceptable: 406,
  AlreadyExists: 409,
  Conflict: 409,
  Expired: 410,
  TooLarge: 413,
  UnsupportedMediaType: 415,
  Invalid: 422,
  TooManyRequests: 429,
  InternalError: 500,
  Unavailable: 503,
  Timeout: 504,
  InsufficientStorage: 507,
} as const satisfies Record<StoreReason, number>;

/** Reasons that Kubernetes spells differently on the wire. */
const wireNames: Partial<Record<StoreReason, string>> = {
  TooLarge: 'RequestEntityTooLarge',
  Unavailable: 'ServiceUnavailable',
};

export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly reason: StoreReason;
  readonly details: StoreErrorDetails;

  constructor(
    reason: StoreReason,
    message: string,
    details: StoreErrorDetails = {},
    options: { cause?: unknown } = {},
  ) {
    super(message, options);
    this.reason = reason;
    this.details = details;
  }

  /** The HTTP status code. */
  get code(): number {
    return codes[this.reason];
  }

  /** The stable code for users and scripts: `MUSTER_STORE_NOT_FOUND`. */
  get stableCode(): string {
    return `MUSTER_STORE_${this.reason.replaceAll(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase()}`;
  }

  get class(): StoreErrorClass {
    switch (this.reason) {
      case 'Conflict':
      case 'Expired':
        return 'conflict';
      case 'TooManyRequests':
      case 'InternalError':
      case 'Unavailable':
      case 'Timeout':
      case 'InsufficientStorage':
        return 'transient';
      default:
        return 'terminal';
    }
  }

  toStatus(): Status {
    const { group, kind, name, uid, causes, retryAfterSeconds } = this.details;
    return {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message: this.message,
      reason: wireNames[this.reason] ?? this.reason,
      code: this.code,
      details: {
        ...(name === undefined ? {} : { name }),
        ...(group === undefined || group === '' ? {} : { group }),
        ...(kind === undefined ? {} : { kind }),
        ...(uid === undefined ? {} : { uid }),
        ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
        ...(causes === undefined
          ? {}
          : {
              causes: causes.map((cause) => ({
                reason: cause.reason ?? 'FieldValueInvalid',
                message: causeText(cause),
                field: cause.field,
              })),
            }),
      },
    };
  }

  static fromStatus(status: Partial<Status>, httpCode: number): StoreError {
    const reason = reasonOf(status, httpCode);
    const details = status.details;
    return new StoreError(reason, status.message ?? `The server answered ${httpCode}`, {
      ...(details?.group === undefined ? {} : { group: details.group }),
      ...(details?.kind === undefined ? {} : { kind: details.kind }),
      ...(details?.name === undefined ? {} : { name: details.name }),
      ...(details?.uid === undefined ? {} : { uid: details.uid }),
      ...(details?.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: details.retryAfterSeconds }),
      ...(details?.causes === undefined
        ? {}
        : {
            causes: details.causes.map((cause) => ({
              field: cause.field ?? '',
              message: withoutPrefix(cause.reason, cause.message ?? ''),
              ...(cause.reason === undefined ? {} : { reason: cause.reason }),
            })),
          }),
    });
  }
}

/** How Kubernetes begins the message of a cause, by its reason. */
const prefixes: Readonly<Record<string, string>> = {
  FieldValueRequired: 'Required value',
  FieldValueInvalid: 'Invalid value',
  FieldValueTypeInvalid: 'Invalid value',
  FieldValueNotSupported: 'Unsupported value',
  FieldValueForbidden: 'Forbidden',
  FieldValueDuplicate: 'Duplicate value',
  FieldValueTooLong: 'Too long',
  FieldValueTooMany: 'Too many',
};

/** `Invalid value: must be at least 1 (expected ...)` */
export function causeText({ reason = 'FieldValueInvalid', message, expected }: FieldError): string {
  const prefix = prefixes[reason];
  const text = expected === undefined ? message : `${message} (expected ${expected})`;
  return prefix === undefined ? text : `${prefix}: ${text}`;
}

function withoutPrefix(reason: string | undefined, message: string): string {
  const prefix = `${prefixes[reason ?? 'FieldValueInvalid']}: `;
  return message.startsWith(prefix) ? message.slice(prefix.length) : message;
}

function reasonOf(status: Partial<Status>, httpCode: number): StoreReason {
  for (const reason of Object.keys(codes) as StoreReason[]) {
    if (status.reason === (wireNames[reason] ?? reason) || status.reason === reason) return reason;
  }
  if (status.reason === 'Gone') return 'Expired';
  // The server knows less than its client: it was put back to an older state, and only a new list helps.
  if (status.details?.causes?.some(({ reason }) => reason === 'ResourceVersionTooLarge')) return 'Expired';
  const code = status.code ?? httpCode;
  const found = (Object.keys(codes) as StoreReason[]).find((reason) => codes[reason] === code);
  if (code === 409) return 'Conflict';
  return found ?? (code >= 500 ? 'InternalError' : 'BadRequest');
}

/** True for a StoreError with one of these reasons. */
export function isStoreError(error: unknown, ...reasons: StoreReason[]): error is StoreError {
  return error instanceof StoreError && (reasons.length === 0 || reasons.includes(error.reason));
}
