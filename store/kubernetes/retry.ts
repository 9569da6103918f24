/**
 * Which failed requests of the Kubernetes API are tried again, and when. Pure. What the server refused before it did anything
 * (too many requests) may be repeated whatever it was; a broken connection only where nothing can have been written.
 */
import type { StoreError } from '../store-error.ts';

const firstMs = 100;
const longestMs = 10_000;

/** Doubling with every failure in a row (from 1), with jitter; `random` is in [0, 1). */
export function retryDelayMs(failures: number, random: number): number {
  const stepMs = Math.min(longestMs, firstMs * 2 ** Math.min(Math.max(failures, 1) - 1, 20));
  return stepMs * (0.5 + random / 2);
}

/** Times that one request is sent, in all. */
const mostTries = 5;

/** Undefined when the request is not to be sent again. */
export function retryAfterMs(
  error: StoreError,
  tries: number,
  request: { readonly method: string },
  random: number,
): number | undefined {
  if (tries >= mostTries) return undefined;
  const asked = (error.details.retryAfterSeconds ?? 0) * 1000;
  const delayMs = retryDelayMs(tries, random);
  switch (error.reason) {
    case 'TooManyRequests':
      return Math.min(longestMs, Math.max(asked, delayMs));
    case 'Unavailable':
    case 'InternalError':
      return request.method === 'GET' && tries < 2 ? delayMs : undefined;
    default:
      return undefined;
  }
}
