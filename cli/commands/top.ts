/**
 * `muster top [nodes|jobs|ranks] [NAME...]`: what nodes, jobs or ranks do now. On a terminal it is drawn anew until q is typed;
 * elsewhere, with --once or as JSON, it says it once.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { groupVerbPath, nodeVerbPath } from '../../controllers/subresources/paths.ts';
import type { RankRow } from '../../controllers/subresources/rank-rows.ts';
import type { NodeTop } from '../../controllers/subresources/top-rows.ts';
import { isTrue } from '../../crds/conditions.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { isStoreError } from '../../store/object-store.ts';
import { type Client, connect, nodeMonitorType, processGroupType } from '../client.ts';
import type { Config } from '../config.ts';
import { CommandError } from '../errors.ts';
import { formatTable, plainTable } from '../table.ts';
import { LiveScreen } from '../top/screen.ts';
import { jobsView, nodesView, ranksView, type View, type ViewName, viewNames } from '../top/views.ts';

export interface TopOptions {
  readonly output?: string;
  readonly once?: boolean;
  readonly sort?: string;
  readonly reverse?: boolean;
  readonly interval?: string;
}

interface Shown {
  view: ViewName;
  sort: string | undefined;
  reversed: boolean;
}

const isView = (word: string | undefined): word is ViewName => viewNames.includes(word as ViewName);

export async function top(config: Config, args: string[], options: TopOptions): Promise<number> {
  const [first, ...others] = args;
  const names = isView(first) ? others : args;
  const shown: Shown = {
    view: isView(first) ? first : 'jobs',
    sort: options.sort,
    reversed: options.reverse ?? false,
  };
  const everyMs = Number(options.interval ?? 2) * 1000;
  if (!(everyMs >= 200))
    throw new CommandError(`--interval ${options.interval}: expected at least 0.2 seconds`, 2);
  const client = connect(config.server);
  const live = options.once !== true && options.output === undefined && process.stdout.isTTY;
  if (live) return show(config, client, names, shown, everyMs);
  const view = await look(client, config.namespace, shown, names);
  const { sort } = options;
  if (sort !== undefined && view.sortedBy !== sort.toLowerCase().replaceAll(/[^a-z0-9]/g, ''))
    throw new CommandError(`--sort ${sort}: expected one of ${view.keys.join(', ')}`, 2);
  process.stdout.write(
    options.output === 'json' ? `${JSON.stringify(view.data, null, 2)}\n` : tableOf(view, config),
  );
  return 0;
}

const tableOf = (view: View, config: Pick<Config, 'columns' | 'colour'>): string =>
  formatTable(plainTable(view.columns, view.cells), { noHeaders: false }, config);

async function look(
  client: Client,
  namespace: string,
  shown: Shown,
  names: readonly string[],
): Promise<View> {
  const { view, sort, reversed } = shown;
  if (view === 'nodes') return nodesView(await nodesOf(client, names), sort, reversed);
  const jobs = await jobsOf(client, namespace, names);
  if (view === 'jobs') return jobsView(jobs, sort, reversed);
  const ranks = jobs.flatMap(({ job, ranks: own }) => own.map((row) => ({ ...row, job })));
  return ranksView(ranks, sort, reversed);
}

/** Without names those that run. */
async function jobsOf(client: Client, namespace: string, names: readonly string[]) {
  const groups =
    names.length > 0
      ? await Promise.all(names.map((name) => client.store.get(processGroupType, { namespace, name })))
      : (await client.store.list(processGroupType, { namespace })).items.filter((group) =>
          runs(group as ProcessGroup),
        );
  return Promise.all(
    groups.map(async (object) => {
      const group = object as ProcessGroup;
      const job = group.metadata.name ?? '';
      const path = groupVerbPath({ namespace, name: job }, 'ps');
      const { ranks } = (await client.request('GET', path)) as { ranks: RankRow[] };
      return { job, state: group.status?.phase ?? 'Pending', ranks, group };
    }),
  );
}

function runs({ status }: ProcessGroup): boolean {
  const over = isTrue(status?.conditions, 'Succeeded') || isTrue(status?.conditions, 'Failed');
  return (status?.placement ?? []).length > 0 && !over;
}

async function nodesOf(client: Client, asked: readonly string[]): Promise<NodeTop[]> {
  const names =
    asked.length > 0
      ? asked
      : (await client.store.list(nodeMonitorType)).items.map((item) => item.metadata.name ?? '');
  const rows = await Promise.all(
    names.map(async (name) => {
      try {
        return [(await client.request('GET', nodeVerbPath(name, 'top'))) as NodeTop];
      } catch (error) {
        // One whose agent has not been heard of since the control plane started.
        if (!isStoreError(error, 'NotFound') || asked.length > 0) throw error;
        return [];
      }
    }),
  );
  return rows.flat();
}

const help = 'q quit  n nodes  j jobs  r ranks  s sort  v reverse';

async function show(
  config: Config,
  client: Client,
  names: readonly string[],
  shown: Shown,
  everyMs: number,
): Promise<number> {
  const over = new AbortController();
  let wake = new AbortController();
  let view: View | undefined;
  const typed = (keys: Buffer): void => {
    for (const key of keys.toString('latin1')) {
      if (key === 'q' || key === '\u0003' || key === '\u0004') over.abort();
      const other = viewNames.find((name) => name.startsWith(key));
      if (other && other !== shown.view)
        Object.assign(shown, { view: other, sort: undefined, reversed: false });
      if (key === 'v') shown.reversed = !shown.reversed;
      if (key === 's' && view)
        shown.sort = view.keys[(view.keys.indexOf(view.sortedBy) + 1) % view.keys.length];
    }
    wake.abort();
  };
  using screen = new LiveScreen({
    write: (text) => void process.stdout.write(text),
    get columns() {
      return process.stdout.columns;
    },
    get rows() {
      return process.stdout.rows;
    },
  });
  using _keys = keysOf(typed);
  const resized = (): void => wake.abort();
  process.stdout.on('resize', resized);
  const ended = (): void => over.abort();
  process.once('SIGTERM', ended);
  // Names are of jobs or of nodes: the other view shows all.
  const first = shown.view;
  const ofJobs = (name: ViewName): boolean => name !== 'nodes';
  try {
    while (!over.signal.aborted) {
      wake = new AbortController();
      const own = ofJobs(first) === ofJobs(shown.view) ? names : [];
      let trouble = '';
      try {
        view = await look(client, config.namespace, shown, own);
      } catch (error) {
        trouble = error instanceof Error ? error.message : String(error);
      }
      const sorted = view ? `by ${view.sortedBy}${shown.reversed ? ', reversed' : ''}` : '';
      const state =
        trouble === '' ? `${shown.view} ${sorted}  ${new Date().toLocaleTimeString('en-GB')}` : trouble;
      const lines = view
        ? tableOf(view, { columns: process.stdout.columns, colour: config.colour }).split('\n')
        : [];
      screen.draw([`${state}   ${help}`, ...lines]);
      await pause(everyMs, undefined, { signal: AbortSignal.any([wake.signal, over.signal]) }).catch(
        () => undefined,
      );
    }
  } finally {
    process.stdout.off('resize', resized);
    process.off('SIGTERM', ended);
  }
  return 0;
}

function keysOf(typed: (keys: Buffer) => void): Disposable {
  const { stdin } = process;
  if (!stdin.isTTY) return { [Symbol.dispose]: () => undefined };
  stdin.setRawMode(true);
  stdin.on('data', typed);
  return {
    [Symbol.dispose]: () => {
      stdin.off('data', typed);
      stdin.setRawMode(false);
      stdin.pause();
    },
  };
}
