/** The end of a job's output, followed while it is looked at; it stays where the reader has scrolled to, and at the end otherwise. */
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { LogLines, type LogLine } from './log-lines.ts';
import { ask, groupPath, refusalOf } from './session.ts';

const mostLines = 500;
const paintEveryMs = 100;
const retryMs = 3000;

export function LogTail({ namespace, name, uid }: Readonly<Record<'namespace' | 'name' | 'uid', string>>) {
  const outer = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const [lines, setLines] = useState<readonly LogLine[]>([]);
  const [problem, setProblem] = useState('');
  useEffect(() => {
    const stop = new AbortController();
    setLines([]);
    setProblem('');
    atEnd.current = true;
    void follow({ namespace, name, uid }, setLines, setProblem, stop.signal);
    return () => stop.abort();
  }, [namespace, name, uid]);
  useLayoutEffect(() => {
    const { current } = outer;
    if (current && atEnd.current) current.scrollTop = current.scrollHeight;
  }, [lines]);
  const onScroll = (): void => {
    const { current } = outer;
    if (current) atEnd.current = current.scrollTop + current.clientHeight > current.scrollHeight - 24;
  };
  return (
    <div
      class="scroll log"
      id="log"
      ref={outer}
      tabIndex={0}
      role="log"
      aria-label={`Output of ${name}`}
      onScroll={onScroll}
    >
      {problem !== '' && <div class="error">{problem}</div>}
      {lines.length === 0 && problem === '' && <div class="faint">No output yet.</div>}
      {lines.map(({ id, rank, isError, text }) => (
        <div key={id} class={isError ? 'error' : ''}>
          {rank >= 0 && <span class="rank">{`[${rank}] `}</span>}
          {text}
        </div>
      ))}
    </div>
  );
}

async function follow(
  { namespace, name, uid }: Readonly<Record<'namespace' | 'name' | 'uid', string>>,
  show: (lines: readonly LogLine[]) => void,
  tell: (problem: string) => void,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const log = new LogLines(mostLines);
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      const answer = await ask(
        `${groupPath(namespace, name, 'log')}?follow=true&tail=100&uid=${uid}`,
        signal,
      );
      if (!answer.ok || !answer.body) return tell(await refusalOf(answer));
      tell('');
      const reader = answer.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        log.push(value);
        timer ??= setTimeout(() => {
          timer = undefined;
          show(log.lines);
        }, paintEveryMs);
      }
    } catch {
      // Taken up again below, from the end of what there is then.
    } finally {
      clearTimeout(timer);
    }
    if (signal.aborted) return;
    show(log.lines);
    if (log.ended) return;
    await new Promise((resolve) => setTimeout(resolve, retryMs));
  }
}
