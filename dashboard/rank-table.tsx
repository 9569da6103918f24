/**
 * The ranks of a job: as many lines in the document as are in view, however many ranks there are. They are asked for anew when
 * something of the job has changed, and now and then, not more often than every two seconds.
 */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { FeedGroup, FeedSandbox } from '../wire/page-feed.ts';
import { RankSet } from '../crds/rank-set.ts';
import { ask, groupPath } from './session.ts';
import { bytesText } from './text.ts';
import { useSize } from './use-size.ts';

interface RankRow {
  readonly rank: number;
  readonly node: string;
  readonly state: string;
  readonly exit: string;
  readonly program: string;
  readonly cpuShare?: number;
  readonly memoryBytes?: number;
}

const lineHeight = 20;
const leastMs = 2000;
const againMs = 10_000;

export function RankTable({
  group,
  sandboxes,
}: {
  readonly group: FeedGroup;
  readonly sandboxes: readonly FeedSandbox[];
}) {
  const outer = useRef<HTMLDivElement>(null);
  const [rows, setRows] = useState<readonly RankRow[]>([]);
  const [top, setTop] = useState(0);
  const { height } = useSize(outer);
  const { namespace, name, uid } = group;
  const own = sandboxes.filter((sandbox) => sandbox.uid === uid);
  const sign = `${group.phase} ${own.map((one) => `${one.incarnation}${one.state}${one.succeeded}${one.failed}`).join()}`;
  const lastMs = useRef(0);
  useEffect(() => {
    const stop = new AbortController();
    const read = async (): Promise<void> => {
      lastMs.current = performance.now();
      const answer = await ask(`${groupPath(namespace, name, 'ps')}?uid=${uid}`, stop.signal);
      if (answer.ok) setRows(((await answer.json()) as { ranks: RankRow[] }).ranks);
    };
    const quietly = (): void => void read().catch(() => undefined);
    const first = setTimeout(quietly, Math.max(0, lastMs.current + leastMs - performance.now()));
    const timer = setInterval(quietly, againMs);
    return () => {
      clearTimeout(first);
      clearInterval(timer);
      stop.abort();
    };
  }, [namespace, name, uid, sign]);
  const loads = loadsOf(own);
  const first = Math.max(0, Math.floor(top / lineHeight) - 4);
  const visible = rows.slice(first, first + Math.ceil(height / lineHeight) + 8);
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
        <span>Program</span>
      </div>
      <div class="lines" style={{ height: `${rows.length * lineHeight}px` }}>
        <div style={{ height: `${first * lineHeight}px` }} />
        {visible.map((row) => (
          <div class="line" key={row.rank}>
            <span class="number">{row.rank}</span>
            <span>{row.node}</span>
            <span>{row.exit === '' ? row.state : `exit ${row.exit}`}</span>
            <span class="number">{percentOf(row, loads)}</span>
            <span class="faint" title={row.program}>
              {row.memoryBytes === undefined ? '' : `${bytesText(row.memoryBytes)} `}
              {row.program}
            </span>
          </div>
        ))}
      </div>
    </div>
  );
}

function percentOf({ rank, cpuShare, state }: RankRow, loads: ReadonlyMap<number, number>): string {
  const share = cpuShare ?? loads.get(rank);
  return state !== 'Running' || share === undefined ? '' : `${Math.round(share * 100)} %`;
}

/** As the grid has them. */
function loadsOf(sandboxes: readonly FeedSandbox[]): ReadonlyMap<number, number> {
  const loads = new Map<number, number>();
  for (const { ranks, load } of sandboxes) {
    if (load === '') continue;
    let index = 0;
    for (const rank of RankSet.parse(ranks)) {
      loads.set(rank, Number(load[load.length === 1 ? 0 : index]) / 9);
      index += 1;
    }
  }
  return loads;
}
