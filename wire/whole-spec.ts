/**
 * A spec that an agent of another version has kept, as this version would have received it: a field that came later has the default of
 * the protocol, one that is no more is left out. Pure.
 */
import type { HubMessage, SandboxSpec } from './agent-types.ts';
import type { Wire } from './load.ts';

export function wholeSpec(kept: SandboxSpec, wire: Pick<Wire, 'hubService'>): SandboxSpec {
  const { responseSerialize, responseDeserialize } = wire.hubService['Session']!;
  const message = responseDeserialize(responseSerialize({ desired: { sandboxes: [kept] } })) as HubMessage;
  return message.desired?.sandboxes[0] ?? kept;
}
