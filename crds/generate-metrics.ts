// The reference of metrics, from the table that they are made of.
import { agentMetrics, controllerMetrics, type Metric } from './metrics.ts';

export function generateMetrics(): string {
  return `# Metrics

Generated from crds/metrics.ts. How to get at them: [docs/monitor.md](../monitor.md#metrics). Beside these both have Node.js' own
\`process_\` and \`nodejs_\` metrics.

## Controllers

${tableOf(controllerMetrics)}

## Agents

${tableOf(agentMetrics)}
`;
}

function tableOf(metrics: Readonly<Record<string, Metric>>): string {
  const rows = Object.entries(metrics).map(
    ([name, { type, labels, help }]) =>
      `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(', ')} | ${help} |`,
  );
  return ['| name | type | labels | meaning |', '| --- | --- | --- | --- |', ...rows].join('\n');
}
