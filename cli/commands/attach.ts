/**
 * `muster attach`: a running job's output here, and with -i its input from here. Leaving it, by Ctrl-P Ctrl-Q on a job's terminal or
 * Ctrl-C elsewhere, leaves the job as it is; its exit code is the command's when it ends meanwhile.
 */
import { randomUUID } from 'node:crypto';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { runEndOf } from '../../controllers/subresources/exit-code.ts';
import { attachTo } from '../attach-client.ts';
import { connect, processGroupType } from '../client.ts';
import type { Config } from '../config.ts';
import { CommandError } from '../errors.ts';
import { LineLabeller } from '../line-labeller.ts';
import { hasTerminal, rawKeys, terminalSize } from '../terminal.ts';

export interface AttachCommandOptions {
  stdin?: boolean;
  ranks?: string;
  tail: string;
  label: boolean;
}

export async function attach(config: Config, args: string[], options: AttachCommandOptions): Promise<number> {
  const client = connect(config.server);
  const key = { namespace: config.namespace, name: args[0] ?? '' };
  const group = await client.store.get<ProcessGroup>(processGroupType, key);
  if (runEndOf(group))
    throw new CommandError(`processgroup ${key.name} has ended; its output: muster logs ${key.name}`);
  const ownTerminal = group.spec.tty === true && hasTerminal();
  const labeller = new LineLabeller(
    options.label && !group.spec.tty && (group.spec.size ?? group.status?.ranks?.desired ?? 1) > 1,
  );
  const leaving = new AbortController();
  const leave = (): void => leaving.abort();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, leave);
  using keys = options.stdin === true && ownTerminal ? rawKeys(leave) : undefined;
  if (keys) process.stderr.write('muster: attached; Ctrl-P Ctrl-Q leaves the job running\r\n');
  const end = await attachTo(
    client,
    {
      key,
      uid: group.metadata.uid ?? '',
      token: randomUUID(),
      reading: { ranks: options.ranks, tail: options.tail },
      input: options.stdin === true ? (keys?.input ?? process.stdin) : undefined,
      output: (frame) => labeller.write(frame),
      notice: ({ kind, message }) => {
        if (kind === 'NoInput' || kind === 'Problem') process.stderr.write(`muster: ${message}\n`);
        else if (kind === 'Waiting') process.stderr.write(`muster: waiting: ${message}\n`);
        else if (kind === 'Suspended') process.stderr.write('muster: the job is suspended\n');
      },
      size: ownTerminal ? terminalSize : undefined,
    },
    leaving.signal,
  );
  await labeller.end();
  keys?.[Symbol.dispose]();
  process.stdin.destroy();
  if (end) {
    if (end.text !== '') process.stderr.write(`${end.text}\n`);
    return end.code;
  }
  process.stderr.write(`muster: left processgroup/${key.name}, which runs on\n`);
  return 0;
}
