/** All there is to show of one job: its numbers, what it uses, its ranks, its output. */
import { useMemo } from 'preact/hooks';
import type { FeedAct, FeedGroup } from '../wire/page-feed.ts';
import { LogTail } from './log-tail.tsx';
import { lastedMs, launchMs, type Model, type Use } from './model.ts';
import { RankTable } from './rank-table.tsx';
import { groupPath } from './session.ts';
import { ageText, bytesText, clockText, coresText, durationText } from './text.ts';
import { isOver } from './timeline-plan.ts';
import { totalOf, type Timeline } from './timelines.ts';
import { useAsked } from './use-asked.ts';
import type { UsageHistory } from './usage-history.ts';
import { UseChart } from './use-chart.tsx';

const mostSummed = 256;

export interface JobProps {
  readonly group: FeedGroup;
  readonly model: Model;
  readonly use: Use | undefined;
  readonly history: UsageHistory;
  readonly nowMs: number;
}

export function Job({ group, model, use, history, nowMs }: JobProps) {
  const acts = model.acts.filter((act) => act.group === group.name && act.namespace === group.namespace);
  const over = isOver(group.phase);
  const launch = launchMs(group);
  return (
    <>
      <p class="command" title={group.command}>
        <code>{group.command}</code>
      </p>
      {group.message !== '' && <p class="why">{group.message}</p>}
      <dl class="facts">
        <Fact name="State">{group.phase}</Fact>
        <Fact name="Ranks">{over ? group.size : `${group.running} of ${group.size}`}</Fact>
        <Fact name="Nodes">{group.nodeCount}</Fact>
        <Fact name={over ? 'Took' : 'Since'}>
          {over ? durationText(lastedMs(group, nowMs)) : clockText(group.startedMs || group.createdMs)}
        </Fact>
        <Fact name="Launch">{launch === undefined ? '–' : durationText(launch)}</Fact>
        <Fact name="CPU time">{durationText(group.cpuSeconds * 1000)}</Fact>
        <Fact name="Cores now">{over || !use ? '–' : coresText(use.cores)}</Fact>
        <Fact name="Memory">{bytesText(over || !use ? group.memoryBytes : use.memoryBytes)}</Fact>
        <Fact name="Checkpoint">
          {group.checkpointMs > 0 ? `${ageText(nowMs - group.checkpointMs)} ago` : 'none'}
        </Fact>
        <Fact name="Restarts">{group.restarts}</Fact>
        <Fact name="Succeeded">{group.succeeded}</Fact>
        <Fact name="Failed">{group.failed}</Fact>
      </dl>
      {acts.slice(0, 3).map((act) => (
        <ActLine key={`${act.kind}/${act.name}`} act={act} nowMs={nowMs} />
      ))}
      <Used group={group} history={history} />
      <RankTable group={group} sandboxes={model.sandboxes} />
      <LogTail namespace={group.namespace} name={group.name} uid={group.uid} />
    </>
  );
}

/** Agents know the last hour; of a job so large that asking for it would be dear, the page knows what it has seen. */
function Used({ group, history }: Pick<JobProps, 'group' | 'history'>) {
  const { namespace, name, uid, size } = group;
  const path = size > mostSummed ? '' : `${groupPath(namespace, name, 'history')}?uid=${uid}`;
  const past = useAsked<{ timelines: readonly Timeline[] }>(path, group.phase, 30_000);
  const before = useMemo(() => totalOf(past?.timelines ?? []), [past]);
  const seen = history.of(uid);
  const knownMs = before.at(-1)?.atMs ?? 0;
  return <UseChart samples={[...before, ...seen.filter(({ atMs }) => atMs > knownMs)]} />;
}

function Fact({ name, children }: { readonly name: string; readonly children: string | number }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function ActLine({ act, nowMs }: { readonly act: FeedAct; readonly nowMs: number }) {
  const took = durationText((act.finishedMs || nowMs) - (act.startedMs || act.createdMs));
  const stood = act.downtimeMs > 0 ? `, stood still ${durationText(act.downtimeMs)}` : '';
  const way = act.kind === 'migration' ? ` ${act.from} to ${act.to}` : '';
  return (
    <p class="command" title={act.message}>
      {`${act.kind}${way} ${clockText(act.createdMs)}: ${act.phase}, ${took}${stood}, ${bytesText(act.bytes)}`}
      {act.message !== '' && `: ${act.message}`}
    </p>
  );
}
