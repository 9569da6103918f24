/** `muster wait`: until a job has a condition; for Finished the exit code says whether it succeeded. */
import { connect } from '../client.ts';
import type { Config } from '../config.ts';
import { CommandError } from '../errors.ts';
import { untilGroup } from '../group-wait.ts';

export async function wait(
  config: Config,
  args: string[],
  options: { for: string; timeout: string },
): Promise<number> {
  const client = connect(config.server);
  const wanted = options.for.replace(/^condition=/, '');
  const seconds = Number(options.timeout);
  if (!(seconds >= 0)) throw new CommandError(`--timeout ${options.timeout}: expected seconds`, 2);
  const signal = seconds > 0 ? AbortSignal.timeout(seconds * 1000) : undefined;
  const key = { namespace: config.namespace, name: args[0] ?? '' };
  try {
    const group = await untilGroup(
      client,
      key,
      (view) => {
        const ended = view.is('Succeeded') || view.is('Failed') || view.is('Stalled');
        return wanted === 'Finished' ? ended : view.is(wanted) || ended;
      },
      signal,
    );
    const failed = group.condition('Failed');
    const stalled = group.condition('Stalled');
    if (wanted !== 'Finished' && !group.is(wanted)) {
      throw new CommandError(
        `processgroup/${key.name} ended without becoming ${wanted}: ${failed?.message ?? stalled?.message ?? ''}`,
      );
    }
    if (wanted !== 'Finished' || group.is('Succeeded')) {
      process.stdout.write(`processgroup/${key.name} ${wanted === 'Finished' ? 'succeeded' : wanted}\n`);
      return 0;
    }
    const reason = failed?.status === 'True' ? failed : stalled;
    throw new CommandError(
      `processgroup/${key.name} ${reason?.reason ?? 'failed'}: ${reason?.message ?? ''}`,
    );
  } catch (error) {
    if (signal?.aborted === true)
      throw new CommandError(`timed out after ${seconds} s waiting for ${key.name} to be ${wanted}`);
    throw error;
  }
}
