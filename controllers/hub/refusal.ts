/**
 * Whether an agent that says hello may have a session: under its own name only, in a version that both speak, and one agent a
 * node. Pure. Who follows an agent that was killed is no second one, though the end of the call before may be told late.
 */
import type { AgentHello } from '../../wire/agent-types.ts';
import { protocolVersionMax, protocolVersionMin } from '../../wire/load.ts';

export interface Refusal {
  readonly code: 'WrongNode' | 'VersionSkew' | 'SecondAgent';
  readonly message: string;
}

/** The agent that has the node's session now. */
export interface Incumbent {
  readonly hello: AgentHello;
  readonly silentMs: number;
}

/** `certified`: the node that the agent's certificate is for. `patienceMs`: an agent silent for longer is taken for dead. */
export function refusalOf(
  hello: AgentHello,
  certified: string | undefined,
  incumbent: Incumbent | undefined,
  patienceMs: number,
): Refusal | undefined {
  const { node } = hello;
  if (node === '' || certified !== node) {
    const message = `The certificate is for node ${certified ?? '(none)'}, but the agent calls itself ${node}; join the node again under its own name`;
    return { code: 'WrongNode', message };
  }
  if (hello.versionMin > protocolVersionMax || hello.versionMax < protocolVersionMin) {
    const message = `The agent on ${node} speaks protocol versions ${hello.versionMin} to ${hello.versionMax}, the hub ${protocolVersionMin} to ${protocolVersionMax}; install an agent of this version or of the one before it`;
    return { code: 'VersionSkew', message };
  }
  if (!incumbent || incumbent.silentMs >= patienceMs || isSuccessor(hello, incumbent.hello)) return undefined;
  const message = `Another agent for node ${node} is connected and alive; stop it first`;
  return { code: 'SecondAgent', message };
}

/**
 * On one machine the lock of its state directory, beside which the local socket stands, lets only one agent of a node run: who
 * holds it now is the only one. The end of the call of one that was killed may be told late, or never.
 */
function isSuccessor(hello: AgentHello, before: AgentHello): boolean {
  if (hello.instance === before.instance) return true;
  return (
    hello.localSocket !== '' && before.localSocket === hello.localSocket && before.bootId === hello.bootId
  );
}
