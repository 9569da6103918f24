// Orders from the hub that reach into a running sandbox at once: signals, the end of standard input, the size of a terminal.
import { encodeSignal } from '../native/addon/abi.ts';
import type { Native } from '../native/addon/index.ts';
import { RankSet } from '../crds/rank-set.ts';
import type { Verb } from '../wire/agent-types.ts';
import type { AdoptedSandbox } from './adopted-sandbox.ts';
import { AgentError } from './agent-error.ts';
import type { InputSpool } from './input.ts';
import type { RankProcesses } from './rank-processes.ts';
import { errnoText } from './start-failure.ts';

export interface VerbTarget {
  readonly adopted: AdoptedSandbox;
  readonly processes: RankProcesses;
  readonly input: InputSpool | null;
  readonly isEnding: boolean;
  readonly native: Native;
  readonly node: string;
}

export interface VerbOutcome {
  /** Processes. */
  readonly reached: number;
  readonly message: string;
}

/** Throws AgentError for a verb that this agent does not know. */
export async function carryOut(verb: Verb, target: VerbTarget): Promise<VerbOutcome> {
  const wanted = verb.ranks === '' ? null : RankSet.parse(verb.ranks);
  const slots = target.processes.runningSlots
    .filter(({ rank }) => wanted === null || wanted.has(rank))
    .map(({ slot }) => slot);
  switch (verb.kind) {
    case 'Signal':
      return sendSignal(verb, slots, target);
    case 'StdinEnd':
      target.input?.end();
      return { reached: slots.length, message: '' };
    case 'Window':
      for (const slot of slots) setWindow(verb, slot, target);
      return { reached: slots.length, message: '' };
    default:
      throw new AgentError(
        'refused',
        'NotSupported',
        'MUSTER_VERB',
        `verb ${verb.kind} is not known to the agent of ${target.node}; update it`,
      );
  }
}

async function sendSignal(
  { signalId, signal }: Verb,
  slots: number[],
  { adopted, isEnding }: VerbTarget,
): Promise<VerbOutcome> {
  if (slots.length === 0) return { reached: 0, message: 'none of the ranks runs' };
  const reply = await adopted.request('signal', encodeSignal(BigInt(signalId), signal, slots));
  if (reply.result < 0) {
    const why = isEnding ? 'the ranks are being ended already' : errnoText(reply.result);
    return { reached: 0, message: `not sent: ${why}` };
  }
  return { reached: reply.body.length >= 4 ? reply.body.readUInt32LE(0) : 0, message: '' };
}

function setWindow({ rows, columns }: Verb, index: number, { adopted, native }: VerbTarget): void {
  const slot = adopted.table.slot(index);
  const terminal = slot.stdin ?? slot.stdout;
  if (terminal === null) return;
  const fd = adopted.duplicate(terminal);
  try {
    native.setWindowSize(fd, rows, columns);
  } finally {
    native.close(fd);
  }
}
