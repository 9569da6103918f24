/**
 * An answer of the API that is asked for again and again while something is looked at: at once when the question changes, but not
 * more often than every two seconds, and not while nobody sees the page.
 */
import { useEffect, useRef, useState } from 'preact/hooks';
import { ask } from './session.ts';

const leastMs = 2000;

/** `sign` is what the answer depends on beside the question itself; an empty question is not asked. */
export function useAsked<T>(path: string, sign: string, everyMs: number): T | undefined {
  const [answer, setAnswer] = useState<T>();
  const lastMs = useRef(-Infinity);
  useEffect(() => {
    if (path === '') return;
    const stop = new AbortController();
    const read = async (): Promise<void> => {
      if (document.hidden) return;
      lastMs.current = performance.now();
      const answered = await ask(path, stop.signal);
      if (answered.ok) setAnswer((await answered.json()) as T);
    };
    // One that failed is asked again in its turn.
    const quietly = (): void => void read().catch(() => undefined);
    const first = setTimeout(quietly, Math.max(0, lastMs.current + leastMs - performance.now()));
    const timer = setInterval(quietly, everyMs);
    return () => {
      clearTimeout(first);
      clearInterval(timer);
      stop.abort();
    };
  }, [path, sign, everyMs]);
  return answer;
}
