/**
 * What nodes offer to placement: what their agents said of them, what their NodeMonitors ask for, and what is placed
 * there already. Pure. Rank counts are those of placed groups that have not ended.
 */
import { labels } from '../../crds/names.ts';
import type { NodeMonitor } from '../../crds/types.gen.ts';
import type { NodeState, Standing } from '../hub/node-table.ts';
import type { NodeOffer } from '../placement/place.ts';
import { cordonText, isCordoned, type Treatment } from './treatment.ts';

export interface OfferSources {
  readonly monitors: ReadonlyMap<string, NodeMonitor>;
  readonly treatment: (node: string) => Treatment;
  readonly states: Iterable<NodeState>;
  readonly standing: (node: string) => Standing;
  readonly silentMs: (node: string) => number;
  readonly ranksOn: (node: string) => number;
}

export function offersOf(sources: OfferSources): NodeOffer[] {
  const states = new Map([...sources.states].map((state) => [state.node, state]));
  const names = new Set([...sources.monitors.keys(), ...states.keys()]);
  return [...names].map((name) => {
    const monitor = sources.monitors.get(name);
    const hello = states.get(name)?.hello;
    const treatment = sources.treatment(name);
    const ready = sources.standing(name) === 'Connected';
    return {
      name,
      ready,
      ...(ready ? {} : { notReadyBecause: silenceText(hello !== undefined, sources.silentMs(name)) }),
      cordoned: isCordoned(treatment),
      ...(isCordoned(treatment) ? { cordonedBecause: cordonText(treatment) } : {}),
      labels: { ...hello?.labels, ...monitor?.metadata.labels, [labels.node.name]: name },
      cpus: hello?.capacity?.cpus ?? 0,
      memoryBytes: hello?.capacity?.memoryBytes ?? 0,
      ranksPlaced: sources.ranksOn(name),
    };
  });
}

function silenceText(wasHeard: boolean, silentMs: number): string {
  return wasHeard ? `has had no agent for ${Math.round(silentMs / 1000)} s` : 'has no agent; start one there';
}
