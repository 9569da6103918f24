/**
 * `muster cordon`, `muster drain` and `muster uncordon`: write a NodeMonitor's spec and wait until it is so; exit 1, the reason on
 * stderr, where something stays on the node, or something else keeps it cordoned. Ctrl-C leaves a drain to itself.
 */
import type { NodeMonitor } from '../../crds/types.gen.ts';
import { drainPolicies } from '../../controllers/node-monitor/treatment.ts';
import { type Client, connect, nodeMonitorType } from '../client.ts';
import type { Config } from '../config.ts';
import { CommandError } from '../errors.ts';
import { untilObject, type GroupView } from '../group-wait.ts';
import { ProgressLine } from '../progress-line.ts';

export interface DrainOptions {
  readonly policy?: string;
  readonly wait: boolean;
}

export async function drain(config: Config, nodes: string[], options: DrainOptions): Promise<number> {
  const asked = policyOf(options.policy);
  // Who drained the node before, and how, is nobody's wish today: only a drain that goes on keeps its policy.
  const specOf = ({ spec }: NodeMonitor): NodeMonitor['spec'] => {
    const policy = asked ?? (spec?.drain?.enabled === true ? spec.drain.policy : undefined) ?? 'Migrate';
    return { drain: { enabled: true, policy } };
  };
  return eachNode(config, nodes, specOf, async (client, node, generation) => {
    if (!options.wait) return say(node, 'is to be drained');
    const progress = new ProgressLine(process.stderr);
    const view = await untilNode(client, node, generation, (seen) => {
      const draining = seen.condition('Draining');
      progress.show(draining?.message ?? '');
      return seen.is('Drained') || draining?.reason === 'DrainBlocked';
    }).finally(() => progress.end());
    if (view.is('Drained')) return say(node, 'drained');
    return fail(node, `not drained: ${view.condition('Draining')?.message}`);
  });
}

export async function cordon(config: Config, nodes: string[], { wait }: DrainOptions): Promise<number> {
  return eachNode(
    config,
    nodes,
    () => ({ cordon: true }),
    async (client, node, generation) => {
      if (wait) await untilNode(client, node, generation, isCordoned);
      return say(node, wait ? 'cordoned' : 'is to be cordoned');
    },
  );
}

export async function uncordon(config: Config, nodes: string[], { wait }: DrainOptions): Promise<number> {
  const spec = { cordon: false, drain: { enabled: false } };
  return eachNode(
    config,
    nodes,
    () => spec,
    async (client, node, generation) => {
      if (!wait) return say(node, 'is to be uncordoned');
      const view = await untilNode(client, node, generation, () => true);
      if (!isCordoned(view)) return say(node, 'uncordoned');
      return fail(node, `still cordoned: ${view.condition('Draining')?.message}`);
    },
  );
}

async function eachNode(
  config: Config,
  nodes: readonly string[],
  specOf: (monitor: NodeMonitor) => NodeMonitor['spec'],
  done: (client: Client, node: string, generation: number) => Promise<number>,
): Promise<number> {
  const client = connect(config.server);
  const patched: NodeMonitor[] = [];
  for (const name of nodes) {
    const spec = specOf(await client.store.get<NodeMonitor>(nodeMonitorType, { name }));
    const patch = { type: 'merge', patch: { spec } } as const;
    patched.push(await client.store.patch<NodeMonitor>(nodeMonitorType, { name }, patch));
  }
  const codes = [];
  for (const { metadata } of patched) codes.push(await done(client, metadata.name, metadata.generation ?? 0));
  return Math.max(0, ...codes);
}

/** `wanted` is asked of what the controllers have said since the spec was written. */
function untilNode(
  client: Client,
  name: string,
  generation: number,
  wanted: (view: GroupView) => boolean,
): Promise<GroupView> {
  return untilObject(client, nodeMonitorType, { name }, (view) => {
    const status = view.object.status as NodeMonitor['status'];
    return (status?.observedGeneration ?? 0) >= generation && wanted(view);
  });
}

const isCordoned = ({ object }: GroupView): boolean =>
  (object.status as NodeMonitor['status'])?.cordoned === true;

function policyOf(text: string | undefined): (typeof drainPolicies)[number] | undefined {
  if (text === undefined) return undefined;
  const found = drainPolicies.find((policy) => policy.toLowerCase() === text.toLowerCase());
  if (!found) throw new CommandError(`--policy ${text}: expected ${drainPolicies.join(', ')}`, 2);
  return found;
}

function say(node: string, what: string): number {
  process.stdout.write(`nodemonitor/${node} ${what}\n`);
  return 0;
}

function fail(node: string, why: string): number {
  process.stderr.write(`muster: nodemonitor/${node} is ${why}\n`);
  return 1;
}
