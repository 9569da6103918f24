/** The list of jobs. One of them may be chosen, with the mouse or by the arrow keys; the list is one stop of the tab key. */
import { useEffect, useRef } from 'preact/hooks';
import type { FeedGroup } from '../wire/page-feed.ts';
import { keyOf, lastedMs, type Use } from './model.ts';
import { ageText, bytesText, coresText } from './text.ts';
import { isOver } from './timeline-plan.ts';

export interface JobsProps {
  readonly groups: readonly FeedGroup[];
  readonly uses: ReadonlyMap<string, Use>;
  readonly nowMs: number;
  readonly chosen: string;
  readonly choose: (namespace: string, name: string) => void;
}

const mostRows = 200;
const looks: Readonly<Record<string, string>> = {
  Running: 'running',
  Suspended: 'frozen',
  Suspending: 'frozen',
  Succeeded: 'ended',
  Stopping: 'ended',
  Failed: 'failed',
  Stalled: 'failed',
};

export function Jobs({ groups, uses, nowMs, chosen, choose }: JobsProps) {
  const outer = useRef<HTMLDivElement>(null);
  const shown = groups.slice(0, mostRows);
  const index = shown.findIndex((group) => keyOf(group) === chosen);
  useEffect(() => {
    outer.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: 'nearest' });
  }, [index]);
  const onKeyDown = (event: KeyboardEvent): void => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined || shown.length === 0) return;
    event.preventDefault();
    const next = shown[index < 0 ? 0 : Math.max(0, Math.min(shown.length - 1, index + step))];
    if (next) choose(next.namespace, next.name);
  };
  if (shown.length === 0) return <p class="empty">No job. Start one: muster run -n 4 ./program</p>;
  const spaces = new Set(shown.map(({ namespace }) => namespace)).size > 1;
  return (
    <div class="scroll jobs" id="jobs" ref={outer} tabIndex={0} onKeyDown={onKeyDown} aria-label="Jobs">
      <table role="grid" aria-label="Jobs">
        <thead>
          <tr>
            <th class="name">Job</th>
            <th>State</th>
            <th class="number">Ranks</th>
            <th class="number">Cores</th>
            <th class="number">Memory</th>
            <th class="number">Time</th>
          </tr>
        </thead>
        <tbody>
          {shown.map((group) => {
            const use = uses.get(group.uid);
            const over = isOver(group.phase);
            return (
              <tr
                key={group.uid}
                class={over ? 'over' : ''}
                aria-selected={keyOf(group) === chosen}
                onClick={() => choose(group.namespace, group.name)}
                title={group.message === '' ? group.command : group.message}
              >
                <td class="name">
                  <i class={`dot ${looks[group.phase] ?? ''}`} /> {spaces ? keyOf(group) : group.name}
                </td>
                <td>{group.phase}</td>
                <td class="number">
                  {over || group.running === group.size
                    ? group.size.toLocaleString('en')
                    : `${group.running}/${group.size}`}
                </td>
                <td class="number">{over || !use ? '' : coresText(use.cores)}</td>
                <td class="number">{bytesText(over || !use ? group.memoryBytes : use.memoryBytes)}</td>
                <td class="number">{ageText(lastedMs(group, nowMs))}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {groups.length > mostRows && <p class="empty">{groups.length - mostRows} more: narrow the filter.</p>}
    </div>
  );
}
