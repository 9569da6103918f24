/**
 * The status of a NodeMonitor from what its agent said and whether it is there. Pure. Ready is False when the lease is
 * out or the agent said goodbye; a node whose agent is away for less keeps the condition it had.
 */
import { conditionOf, setCondition, type ConditionInput } from '../../crds/conditions.ts';
import type { Condition } from '../../crds/objects.ts';
import type { NodeMonitor, NodeMonitorStatus } from '../../crds/types.gen.ts';
import type { NodeState, Standing } from '../hub/node-table.ts';
import { remainsText, type DrainPlan } from './drain.ts';
import { cordonText, isCordoned, type Treatment } from './treatment.ts';
import { healthCondition, ownerCondition, pressureConditions } from './health.ts';
import { measuredFields, withoutFigures } from './measured.ts';

export interface NodeSeen {
  readonly monitor: NodeMonitor;
  readonly treatment: Treatment;
  /** Of a node that is drained. */
  readonly drain: DrainPlan | undefined;
  readonly state: NodeState | undefined;
  readonly standing: Standing;
  readonly silentMs: number;
  readonly nowMs: number;
}

export function nodeStatusOf(seen: NodeSeen): NodeMonitorStatus {
  const { monitor, state, standing } = seen;
  const before = monitor.status ?? {};
  const cordoned = isCordoned(seen.treatment);
  const conditions = conditionsOf(seen);
  const ready = conditionOf(conditions, 'Ready')?.status === 'True';
  const generation = monitor.metadata.generation;
  return {
    ...before,
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    phase: !ready
      ? standing === 'Lost' || state?.left || before.phase === 'NotReady'
        ? 'NotReady'
        : 'Pending'
      : seen.drain
        ? seen.drain.remains.length === 0
          ? 'Drained'
          : 'Draining'
        : cordoned
          ? 'Cordoned'
          : conditionOf(conditions, 'Healthy')?.status === 'False'
            ? 'Unhealthy'
            : 'Ready',
    conditions,
    cordoned,
    ...helloFields(state),
    ...measuredFields(state, before),
  };
}

function conditionsOf(seen: NodeSeen): Condition[] {
  const { monitor, standing, state, silentMs, nowMs } = seen;
  const before = monitor.status?.conditions;
  const { generation } = monitor.metadata;
  const unchanged = conditionOf(before, 'Ready');
  const ready: Omit<ConditionInput, 'type'> =
    standing === 'Connected'
      ? { status: 'True', reason: 'AgentReady', message: 'the agent is connected' }
      : state?.left
        ? {
            status: 'False',
            reason: 'AgentStopped',
            message: 'the agent was stopped on the node, its ranks go on; start it again',
          }
        : standing === 'Lost'
          ? {
              status: 'False',
              reason: 'AgentGone',
              message: `nothing was heard of the agent for ${Math.round(silentMs / 1000)} s; start it again`,
            }
          : unchanged
            ? { status: unchanged.status, reason: 'AgentReady', message: unchanged.message }
            : {
                status: 'Unknown',
                reason: 'Progressing',
                message: 'the agent has not told yet what it holds',
              };
  const inputs: ConditionInput[] = [
    ...(standing === 'Away' && unchanged && !state?.left ? [] : [{ type: 'Ready' as const, ...ready }]),
    healthCondition(monitor, state),
    ...ownerCondition(monitor, state),
    ...pressureConditions(state, before),
    { type: 'Reconciling', status: 'False', reason: 'Settled', message: 'as it is to be' },
    ...drainStates(seen),
    { type: 'Stalled', status: 'False', reason: 'NotStalled', message: missingText(state) },
  ];
  let conditions: readonly Condition[] = before ?? [];
  for (const input of inputs) {
    conditions = setCondition(
      conditions,
      generation === undefined ? input : { ...input, observedGeneration: generation },
      new Date(nowMs),
    );
  }
  return [...conditions];
}

function drainStates({ treatment, drain, standing }: NodeSeen): ConditionInput[] {
  if (!drain) {
    const message = isCordoned(treatment)
      ? `groups that are there stay; nothing new is placed: the node ${cordonText(treatment)}`
      : 'the node is not drained';
    return [
      { type: 'Draining', status: 'False', reason: 'NotDraining', message },
      { type: 'Drained', status: 'False', reason: 'NotDraining', message },
    ];
  }
  const { remains } = drain;
  const why = `the node ${treatment.drain?.causes.map(({ text }) => text).join('; ')}`;
  if (remains.length === 0) {
    const unsure = standing === 'Connected' ? '' : ' by what is on record, its agent being away';
    const message = `nothing of any group is left${unsure}${lostText(drain.lost)}; ${why}`;
    return [
      { type: 'Draining', status: 'False', reason: 'Drained', message },
      { type: 'Drained', status: 'True', reason: 'Drained', message },
    ];
  }
  const reason = remains.every(({ blocked }) => blocked) ? 'DrainBlocked' : 'DrainRequested';
  const message = `${remains.length} to go: ${remainsText(remains)}; ${why}`;
  return [
    { type: 'Draining', status: 'True', reason, message },
    { type: 'Drained', status: 'False', reason, message },
  ];
}

const mostNamed = 8;

function lostText(checkpoints: readonly string[]): string {
  if (checkpoints.length === 0) return '';
  const names = checkpoints.slice(0, mostNamed).join(', ');
  return `, but the only images of Checkpoints ${names}${checkpoints.length > mostNamed ? ', ...' : ''} are here`;
}

function missingText(state: NodeState | undefined): string {
  const missing = state?.hello?.missing ?? [];
  return missing.length === 0
    ? 'nothing stands in the way'
    : `the node lacks ${missing.join('; ')}`.slice(0, 4000);
}

function helloFields(state: NodeState | undefined): Partial<NodeMonitorStatus> {
  const hello = state?.hello;
  const capacity = hello?.capacity;
  if (!hello) return {};
  return {
    node: {
      address: hello.peerAddress,
      agentVersion: hello.build,
      ...(state.version === undefined ? {} : { protocolVersion: state.version }),
      bootId: hello.bootId,
      ...(capacity
        ? { kernel: capacity.kernel, osImage: capacity.os, architecture: capacity.architecture }
        : {}),
    },
    features: hello.features,
    ...(capacity
      ? {
          capacity: { cpu: capacity.cpus, memory: capacity.memoryBytes },
          allocatable: { cpu: capacity.cpus, memory: capacity.memoryBytes },
          topology: { sockets: capacity.sockets, cores: capacity.cores, threads: capacity.cpus },
        }
      : {}),
  };
}

/** What is worth a write at once; the rest waits for its turn. */
export function urgentPartOf(status: NodeMonitorStatus | undefined): object {
  return withoutFigures(status ?? {});
}
