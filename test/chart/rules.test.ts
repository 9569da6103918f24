/**
 * The chart's alerts and recorded figures, judged by Prometheus' own promtool: they are well-formed, each alert fires when what it is
 * for has lasted, says what it should, and keeps silent before and otherwise.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { find, render, valueSets } from './helm.ts';
import { promtool } from './promtool.ts';

interface Rule {
  readonly alert?: string;
  readonly record?: string;
  readonly labels?: Record<string, string>;
  readonly annotations?: Record<string, string>;
}

let directory: string;
let rules: Rule[];
const file = (name: string): string => join(directory, name);

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'muster-rules-'));
  const { spec } = find(await render(valueSets['everything on']), 'PrometheusRule', 'muster');
  const { groups } = spec as { groups: { rules: Rule[] }[] };
  rules = groups.flatMap((group) => group.rules);
  writeFileSync(file('rules.json'), JSON.stringify(spec));
});
afterAll(() => rmSync(directory, { recursive: true }));

/** What is told each minute of half an hour, in promtool's shorthand. */
type Told = Readonly<Record<string, string>>;
interface Case {
  readonly alert: string;
  /** Labels of the alert that fires, and the figure in its words. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly value?: string;
  readonly fires: Told;
  /** From this minute on; not at the one before. */
  readonly atMinute: number;
  readonly silent: Told;
}

const disk = (kind: string): string =>
  `muster_node_disk_bytes{node="n1",instance="a",path="/var/lib/muster",kind="${kind}"}`;
const onDisk = { node: 'n1', path: '/var/lib/muster' };
const of = (name: string, labels: string): string => `${name}{${labels}}`;
const failed = of('muster_operations_total', 'operation="checkpoint",result="Failed"');
const errors = of('muster_reconcile_errors_total', 'controller="migration"');
const trouble = of('muster_node_disk_trouble', 'node="n1",path="/var/lib/muster"');
const clock = of('muster_node_clock_offset_seconds', 'node="n1"');
const leading = (pod: string): string => of('muster_leading', `pod="${pod}"`);
const nodes = (standing: string): string => of('muster_nodes', `standing="${standing}"`);

const cases: readonly Case[] = [
  {
    alert: 'MusterNobodyLeads',
    atMinute: 7,
    fires: { [leading('a')]: '0x4 0x26', [leading('b')]: '1x4 0x26' },
    silent: { [leading('a')]: '0x4 1x26', [leading('b')]: '1x4 0x26' },
  },
  {
    // All controllers are gone, and with them what they tell.
    alert: 'MusterNobodyLeads',
    atMinute: 2,
    fires: {},
    silent: { [leading('a')]: '1x30' },
  },
  {
    alert: 'MusterNodeSilent',
    value: '3',
    atMinute: 10,
    fires: { [nodes('Connected')]: '5x30', [nodes('Away')]: '2x30', [nodes('Lost')]: '1x30' },
    silent: { [nodes('Connected')]: '8x30', [nodes('Away')]: '0x8 2x8 0x14', [nodes('Lost')]: '0x30' },
  },
  {
    alert: 'MusterNodeUnhealthy',
    value: '2',
    atMinute: 5,
    fires: { muster_nodes_unhealthy: '2x30' },
    silent: { muster_nodes_unhealthy: '0x5 1x3 0x22' },
  },
  {
    alert: 'MusterCheckpointsFail',
    value: '4',
    atMinute: 5,
    fires: { [failed]: '0x1 1+1x30' },
    silent: { [failed]: '900x3 901+1x1 902x26' },
  },
  {
    alert: 'MusterVisitsFail',
    labels: { controller: 'migration' },
    // A mean of ten minutes is above the bound after half of them, and has to stay there as long.
    atMinute: 16,
    fires: { [errors]: '0+12x30' },
    silent: { [errors]: '0+3x30' },
  },
  {
    alert: 'MusterNodeDiskFull',
    labels: onDisk,
    atMinute: 10,
    fires: { [disk('total')]: '100x30', [disk('available')]: '4x30' },
    silent: { [disk('total')]: '100x30', [disk('available')]: '6x30' },
  },
  {
    alert: 'MusterNodeDiskTrouble',
    labels: onDisk,
    atMinute: 5,
    fires: { [trouble]: '1x30' },
    silent: { [trouble]: '0x3 1x3 0x24' },
  },
  {
    alert: 'MusterNodeClockOff',
    labels: { node: 'n1' },
    value: '3',
    atMinute: 10,
    fires: { [clock]: '-3x30' },
    silent: { [clock]: '-0.5x30' },
  },
];

/** As Prometheus fills in what its template names. */
function filled(text: string, { labels = {}, value = '' }: Case): string {
  return text
    .replaceAll(/\{\{ \$labels\.(\w+) \}\}/g, (_, name: string) => labels[name] ?? '')
    .replaceAll(/\{\{ (printf "%.0f" )?\$value \}\}/g, value);
}

function testOf(one: Case) {
  const rule = rules.find(({ alert }) => alert === one.alert)!;
  const { labels = {}, annotations = {} } = rule;
  const fired = {
    exp_labels: { ...labels, ...one.labels },
    exp_annotations: Object.fromEntries(
      Object.entries(annotations).map(([name, text]) => [name, filled(text, one)]),
    ),
  };
  const seriesOf = (told: Told) => Object.entries(told).map(([series, values]) => ({ series, values }));
  const at = (minute: number, exp_alerts: object[]) => ({
    ...{ eval_time: `${minute}m`, alertname: one.alert, exp_alerts },
  });
  return [
    {
      ...{ name: `${one.alert} fires`, interval: '1m', input_series: seriesOf(one.fires) },
      alert_rule_test: [at(one.atMinute - 1, []), at(one.atMinute, [fired])],
    },
    {
      ...{ name: `${one.alert} is silent`, interval: '1m', input_series: seriesOf(one.silent) },
      alert_rule_test: Array.from({ length: 29 }, (_, minute) => at(minute + 1, [])),
    },
  ];
}

const sandbox = (name: string, more: string): string => of(name, `namespace="a",group="g",${more}`);

/** Two sandboxes of a job on two nodes: 1.5 and 0.5 cores, 3 and 5 bytes, ranks that use up to 1 where the mean is 0.25. */
const figures = {
  name: 'figures of jobs',
  interval: '1m',
  input_series: Object.entries({
    [sandbox('muster_sandbox_cpu_seconds_total', 'ordinal="0",mode="user",node="n1"')]: '0+60x10',
    [sandbox('muster_sandbox_cpu_seconds_total', 'ordinal="0",mode="system",node="n1"')]: '9+30x10',
    [sandbox('muster_sandbox_cpu_seconds_total', 'ordinal="1",mode="user",node="n2"')]: '5+30x10',
    [sandbox('muster_sandbox_memory_bytes', 'ordinal="0",kind="current",node="n1"')]: '3x10',
    [sandbox('muster_sandbox_memory_bytes', 'ordinal="0",kind="peak",node="n1"')]: '70x10',
    [sandbox('muster_sandbox_memory_bytes', 'ordinal="1",kind="current",node="n2"')]: '5x10',
    [sandbox('muster_sandbox_rank_cores', 'ordinal="0",of="max",node="n1"')]: '1x10',
    [sandbox('muster_sandbox_rank_cores', 'ordinal="0",of="mean",node="n1"')]: '0.4x10',
    [sandbox('muster_sandbox_rank_cores', 'ordinal="1",of="mean",node="n2"')]: '0.1x10',
  }).map(([series, values]) => ({ series, values })),
  promql_expr_test: (
    [
      ['muster:group_cores:sum', 2],
      ['muster:group_memory_bytes:sum', 8],
      ['muster:group_rank_imbalance:ratio', 4],
    ] as const
  ).map(([expr, value]) => ({
    ...{ expr, eval_time: '8m' },
    exp_samples: [{ labels: `${expr}{namespace="a",group="g"}`, value }],
  })),
};

test('the rules are well-formed', async () => {
  expect(await promtool(['check', 'rules', '--lint=all', '--lint-fatal', file('rules.json')])).toMatch(
    new RegExp(`SUCCESS: ${rules.length} rules found$`),
  );
});

test('each alert fires when it should, and not before or otherwise; figures of jobs are right', async () => {
  const untested = rules.flatMap(({ alert }) => (alert === undefined ? [] : [alert]));
  expect(new Set(cases.map(({ alert }) => alert))).toEqual(new Set(untested));
  expect(new Set(figures.promql_expr_test.map(({ expr }) => expr))).toEqual(
    new Set(rules.flatMap(({ record }) => (record === undefined ? [] : [record]))),
  );
  const tests = { rule_files: ['rules.json'], tests: [...cases.flatMap(testOf), figures] };
  writeFileSync(file('tests.json'), JSON.stringify(tests));
  expect(await promtool(['test', 'rules', file('tests.json')])).toMatch(/SUCCESS$/);
});
