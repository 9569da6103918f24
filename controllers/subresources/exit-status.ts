/** How something ended as the Status with which Kubernetes' clients learn of an exit code, and back. Pure. */
import type { Status } from '../../store/store-error.ts';
import type { RunEnd } from './exit-code.ts';

export function exitStatusOf({ code, text }: RunEnd): Status {
  const common = { kind: 'Status', apiVersion: 'v1', metadata: {} } as const;
  if (code === 0) return { ...common, status: 'Success' };
  return {
    ...common,
    status: 'Failure',
    reason: 'NonZeroExitCode',
    message: text,
    details: { causes: [{ reason: 'ExitCode', message: String(code) }] },
  };
}

/** A Status without an exit code is a failure of the connection, not of what ran. */
export function endOfStatus(text: string): RunEnd {
  let status: Partial<Status>;
  try {
    status = JSON.parse(text) as Partial<Status>;
  } catch {
    return { code: 1, text: 'the server ended it with something that is no Status' };
  }
  if (status.status === 'Success') return { code: 0, text: '' };
  const cause = status.details?.causes?.find(({ reason }) => reason === 'ExitCode');
  const code = Number(cause?.message ?? '1');
  return {
    code: Number.isSafeInteger(code) && code > 0 && code < 256 ? code : 1,
    text: status.message ?? '',
  };
}
