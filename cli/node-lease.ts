/** Options of daemons in seconds: the lease of groups that may be started elsewhere, and how long carrier Pods are waited for. */
import { InvalidArgumentError, Option } from 'commander';

export interface NodeLeaseOptions {
  readonly nodeLease?: number | undefined;
}

const most = 86_400;

export const nodeLeaseOption = (): Option =>
  new Option(
    '--node-lease <seconds>',
    'after which a node that hears of no controller stops ranks that may be started elsewhere (default: 120)',
  ).argParser(secondsFrom(4));

export const carrierTimeoutOption = (): Option =>
  new Option(
    '--carrier-timeout <seconds>',
    'on Kubernetes: until all carrier Pods of a group run, or all are let go (default: 300)',
  ).argParser(secondsFrom(1));

function secondsFrom(least: number): (text: string) => number {
  return (text) => {
    const seconds = Number(text);
    if (Number.isSafeInteger(seconds) && seconds >= least && seconds <= most) return seconds;
    throw new InvalidArgumentError(`expected a whole number of seconds from ${least} to ${most}`);
  };
}

export const nodeLeaseArguments = ({ nodeLease }: NodeLeaseOptions): string[] =>
  nodeLease === undefined ? [] : ['--node-lease', String(nodeLease)];
