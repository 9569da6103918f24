/** `muster controller`: the control plane of a home, in the foreground until SIGTERM or SIGINT. */
import type { Config } from '../config.ts';
import { runController } from '../daemon/controller-daemon.ts';
import { stopSignal } from '../daemon/stop-signal.ts';

export async function controller(
  config: Config,
  _args: string[],
  options: { listen: string },
): Promise<number> {
  await runController(config.home, options.listen, stopSignal());
  return 0;
}
