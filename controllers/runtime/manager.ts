/**
 * Runs one reconciler over a queue with bounded parallelism until it is told to stop. A throw is logged once, here,
 * and tried again with backoff; a conflict is no failure but a reason to read again. Knows no kind of object.
 */
import type { Logger } from 'pino';
import { isStoreError } from '../../store/object-store.ts';
import { backoffMs, reconcileBackoff } from './backoff.ts';
import type { Key, Reconciler } from './reconciler.ts';
import type { WorkQueue } from './work-queue.ts';

export interface ReconcileLoop {
  readonly reconciler: Reconciler;
  readonly queue: WorkQueue;
  readonly parallel: number;
  readonly logger: Logger;
  /** In [0, 1); for the jitter of retries. */
  readonly random?: () => number;
  /** After each visit of a key that did not throw. */
  readonly visited?: (key: Key) => void;
  /** At the begin of each visit; what it gives is called at the end, with whether it failed for more than an object that changed. */
  readonly watched?: () => (failed: boolean) => void;
}

export async function runReconciler(loop: ReconcileLoop, signal: AbortSignal): Promise<void> {
  const failures = new Map<Key, number>();
  const stop = (): void => loop.queue.close();
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  await Promise.all(Array.from({ length: loop.parallel }, () => work(loop, failures, signal)));
}

async function work(loop: ReconcileLoop, failures: Map<Key, number>, signal: AbortSignal): Promise<void> {
  const { reconciler, queue, logger, random = Math.random } = loop;
  for (let key = await queue.take(); key !== undefined; key = await queue.take()) {
    const ended = loop.watched?.();
    let failed = false;
    try {
      const outcome = await reconciler.reconcile(key, signal);
      failures.delete(key);
      if (outcome.kind === 'again') queue.addAfter(key, outcome.afterMs);
      loop.visited?.(key);
    } catch (error) {
      if (!signal.aborted) {
        const count = (failures.get(key) ?? 0) + 1;
        failures.set(key, count);
        const afterMs = backoffMs(reconcileBackoff, count, random());
        const fields = { err: error, reconciler: reconciler.name, key, failures: count, afterMs };
        if (isStoreError(error) && error.class === 'conflict')
          logger.debug(fields, 'object changed meanwhile');
        else {
          failed = true;
          logger.error(fields, 'reconcile failed');
        }
        queue.addAfter(key, afterMs);
      }
    } finally {
      ended?.(failed);
      queue.done(key);
    }
  }
}
