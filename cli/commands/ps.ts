/** `muster ps`: a job's ranks, where they are and how they fare; without a name all jobs that hold a node. */
import { dump } from 'js-yaml';
import type { RankRow } from '../../controllers/subresources/rank-rows.ts';
import type { RankUsage } from '../../controllers/subresources/samples.ts';
import { groupVerbPath } from '../../controllers/subresources/paths.ts';
import { connect } from '../client.ts';
import type { Config } from '../config.ts';
import { placedGroups } from '../placed-groups.ts';
import { formatTable, plainTable } from '../table.ts';
import { bytesText, secondsText } from '../top/quantities.ts';
import { doesText } from '../top/views.ts';
import { readUnknown, type UnknownRow } from '../unknown.ts';

export interface PsOptions {
  readonly output?: string;
  readonly unknown?: boolean;
}

export async function ps(config: Config, args: string[], options: PsOptions): Promise<number> {
  const client = connect(config.server);
  if (options.unknown === true) return showUnknown(config, options, (await readUnknown(client)).sandboxes);
  const names = args.length > 0 ? args : await placedGroups(client, config.namespace);
  for (const name of names) {
    const { ranks } = (await client.request(
      'GET',
      groupVerbPath({ namespace: config.namespace, name }, 'ps'),
    )) as { ranks: RankRow[] };
    if (options.output === 'json') process.stdout.write(`${JSON.stringify(ranks, null, 2)}\n`);
    else if (options.output === 'yaml') process.stdout.write(dump(ranks));
    else {
      const wide = options.output === 'wide';
      const columns = ['Group', 'Rank', 'Node', 'Pid', 'State', 'CPU', 'Memory', 'Exit', 'Program'];
      if (wide) columns.push('Sandbox', 'Does', 'Busy', 'Peak', 'Read', 'Written', 'Threads', 'Processors');
      const rows = ranks.map((row) => {
        return [
          name,
          row.rank,
          row.node,
          of(row, ({ pid }) => (pid > 0 ? String(pid) : '-')),
          row.state,
          of(row, ({ userSeconds, systemSeconds }) => secondsText(userSeconds + systemSeconds)),
          of(row, ({ memoryBytes }) => bytesText(memoryBytes)),
          row.exit === '' ? '-' : row.exit,
          row.program,
          ...(wide
            ? [
                row.ordinal,
                of(row, doesText),
                of(row, ({ cores }) => cores.toFixed(2)),
                of(row, ({ memoryPeakBytes }) => bytesText(memoryPeakBytes)),
                of(row, ({ readBytes }) => bytesText(readBytes)),
                of(row, ({ writtenBytes }) => bytesText(writtenBytes)),
                of(row, ({ threads }) => String(threads)),
                row.processors === '' ? '-' : row.processors,
              ]
            : []),
        ];
      });
      process.stdout.write(formatTable(plainTable(columns, rows), { noHeaders: name !== names[0] }, config));
    }
  }
  return 0;
}

const of = ({ usage }: RankRow, text: (usage: RankUsage) => string): string => (usage ? text(usage) : '-');

function showUnknown(config: Config, options: PsOptions, rows: readonly UnknownRow[]): number {
  if (options.output === 'json') process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  else if (options.output === 'yaml') process.stdout.write(dump(rows));
  else {
    const columns = ['Group uid', 'Node', 'Sandbox', 'State', 'Ranks', 'Started'];
    const cells = rows.map(
      ({ groupUid, node, connected, ordinal, state, ranksRunning, ranksTotal, startedMs }) => [
        groupUid,
        node,
        ordinal,
        connected ? state : 'Away',
        `${ranksRunning}/${ranksTotal}`,
        startedMs > 0 ? new Date(startedMs).toISOString().replace(/\.\d+Z$/, 'Z') : '-',
      ],
    );
    process.stdout.write(formatTable(plainTable(columns, cells), {}, config));
  }
  return 0;
}
