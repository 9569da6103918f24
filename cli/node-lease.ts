/** Option of daemons about the lease of groups that may be started elsewhere. */
import { InvalidArgumentError, Option } from 'commander';

export interface NodeLeaseOptions {
  readonly nodeLease?: number | undefined;
}

const [least, most] = [4, 86_400];

export const nodeLeaseOption = (): Option =>
  new Option(
    '--node-lease <seconds>',
    'after which a node that hears of no controller stops ranks that may be started elsewhere (default: 120)',
  ).argParser((text) => {
    const seconds = Number(text);
    if (Number.isSafeInteger(seconds) && seconds >= least && seconds <= most) return seconds;
    throw new InvalidArgumentError(`expected a whole number of seconds from ${least} to ${most}`);
  });

export const nodeLeaseArguments = ({ nodeLease }: NodeLeaseOptions): string[] =>
  nodeLease === undefined ? [] : ['--node-lease', String(nodeLease)];
