/**
 * The ranks of a job: as many lines in the document as are in view, however many ranks there are. What each does now and did in the
 * last hour its agent is asked for, of the ranks in view.
 */
import { useMemo, useRef, useState } from 'preact/hooks';
import type { FeedGroup, FeedSandbox } from '../wire/page-feed.ts';
import { groupPath } from './session.ts';
import { bytesText } from './text.ts';
import { lineOf, pointsOf, type Timeline } from './timelines.ts';
import { useAsked } from './use-asked.ts';
import { useSize } from './use-size.ts';

interface RankRow {
  readonly rank: number;
  readonly node: string;
  readonly state: string;
  readonly exit: string;
  readonly program: string;
  readonly usage?: {
    readonly pid: number;
    readonly waitsFor: string;
    readonly cores: number;
    readonly memoryBytes: number;
    readonly threads: number;
  };
}

const lineHeight = 20;
const beyond = 4;
const lineWidth = 84;

export interface RankTableProps {
  readonly group: FeedGroup;
  readonly sandboxes: readonly FeedSandbox[];
}

export function RankTable({ group, sandboxes }: RankTableProps) {
  const outer = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const { height } = useSize(outer);
  const { namespace, name, uid } = group;
  const own = sandboxes.filter((sandbox) => sandbox.uid === uid);
  const sign = `${group.phase} ${own.map((one) => `${one.incarnation}${one.state}${one.succeeded}${one.failed}`).join()}`;
  const path = groupPath(namespace, name, 'ps');
  const rows = useAsked<{ ranks: readonly RankRow[] }>(`${path}?uid=${uid}`, sign, 5000)?.ranks ?? [];
  // In whole steps, so that scrolling asks for the past only now and then.
  const first = Math.max(0, Math.floor(top / lineHeight / beyond) * beyond - beyond);
  const visible = rows.slice(first, first + Math.ceil(height / lineHeight) + 3 * beyond);
  const ranks = visible.map(({ rank }) => rank).join();
  const past = useAsked<{ timelines: readonly Timeline[] }>(
    ranks === '' ? '' : `${groupPath(namespace, name, 'history')}?uid=${uid}&ranks=${ranks}`,
    '',
    15_000,
  );
  const lines = useMemo(
    () => new Map(past?.timelines.map((one) => [one.rank, lineOf(pointsOf(one), lineWidth, lineHeight - 4)])),
    [past],
  );
  return (
    <div
      class="scroll ranks"
      id="ranks"
      ref={outer}
      tabIndex={0}
      aria-label={`Ranks of ${name}`}
      onScroll={(event) => setTop(event.currentTarget.scrollTop)}
    >
      <div class="titles">
        <span class="number">Rank</span>
        <span>Node</span>
        <span>State</span>
        <span class="number">CPU</span>
        <span class="number">Memory</span>
        <span>Last hour</span>
      </div>
      <div class="lines" style={{ height: `${rows.length * lineHeight}px` }}>
        <div style={{ height: `${first * lineHeight}px` }} />
        {visible.map((row) => (
          <Line key={row.rank} row={row} line={lines.get(row.rank) ?? ''} />
        ))}
      </div>
    </div>
  );
}

function Line({ row, line }: { readonly row: RankRow; readonly line: string }) {
  const { usage } = row;
  const isLive = row.state === 'Running' && usage !== undefined;
  return (
    <div class="line" title={titleOf(row)}>
      <span class="number">{row.rank}</span>
      <span>{row.node}</span>
      <span>{row.exit === '' ? row.state : `exit ${row.exit}`}</span>
      <span class="number">{isLive ? `${Math.round(usage.cores * 100)} %` : ''}</span>
      <span class="number">{usage && usage.memoryBytes > 0 ? bytesText(usage.memoryBytes) : ''}</span>
      <svg width={lineWidth} height={lineHeight - 4} aria-hidden="true">
        {line !== '' && <polyline class="use" points={line} />}
      </svg>
    </div>
  );
}

function titleOf({ program, usage }: RankRow): string {
  if (!usage) return program;
  const waits = usage.waitsFor === '' || usage.waitsFor === '0' ? '' : `, waits in ${usage.waitsFor}`;
  return `${program} (pid ${usage.pid}, ${usage.threads} threads${waits})`;
}
