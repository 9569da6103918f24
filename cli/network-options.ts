/** Options of daemons about the networks of jobs. */
import { Option } from 'commander';

export interface NetworkOptions {
  readonly network?: 'Isolated' | 'Host' | undefined;
  readonly networkPool?: string | undefined;
}

export const networkOption = (): Option =>
  new Option(
    '--network <kind>',
    'network of jobs that do not say (default: Isolated where nodes can, else Host)',
  ).choices(['Isolated', 'Host']);

export const networkPoolOption = (): Option =>
  new Option(
    '--network-pool <range>',
    'where networks of jobs get their addresses from (default: 100.64.0.0/10)',
  );
