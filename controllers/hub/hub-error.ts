/**
 * What a caller of the hub's verbs and streams gets when it cannot be done: a stable code, and a message that names the
 * node or group and what to do.
 */
export type HubErrorCode =
  'MUSTER_GROUP_NOT_PLACED' | 'MUSTER_NODE_NOT_CONNECTED' | 'MUSTER_VERB_TIMED_OUT' | 'MUSTER_STREAM_FAILED';

export class HubError extends Error {
  override readonly name = 'HubError';
  readonly code: HubErrorCode;

  constructor(code: HubErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
