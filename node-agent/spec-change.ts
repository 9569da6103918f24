// What the hub says anew of a sandbox, beside what is known of it: a spec stays as it was launched but for the fields that may change
// while it runs. Pure.
import type { SandboxSpec } from '../wire/agent-types.ts';

export interface SpecChange {
  readonly spec: SandboxSpec;
  readonly isOther: boolean;
  readonly hasOrders: boolean;
  readonly hasNetwork: boolean;
}

const orders = ({ checkpoint, move }: SandboxSpec): unknown => [checkpoint, move];
const network = (spec: SandboxSpec): unknown => spec.network;
const others = ({ graceSeconds, frontToken, abortOnFailure, tree, want }: SandboxSpec): unknown => [
  graceSeconds,
  frontToken,
  abortOnFailure,
  tree,
  want,
];

export function specChange(known: SandboxSpec, told: SandboxSpec): SpecChange {
  const { graceSeconds, frontToken, abortOnFailure, tree, want, checkpoint, move } = told;
  const spec = {
    ...known,
    ...{ graceSeconds, frontToken, abortOnFailure, tree, want, checkpoint, move },
    // While some node is not known, nothing is said of who is where.
    network: (told.network?.members.length ?? 0) > 0 ? told.network : known.network,
  };
  const isOther = (of: (each: SandboxSpec) => unknown): boolean =>
    JSON.stringify(of(spec)) !== JSON.stringify(of(known));
  const [hasOrders, hasNetwork] = [isOther(orders), isOther(network)];
  return { spec, hasOrders, hasNetwork, isOther: hasOrders || hasNetwork || isOther(others) };
}
