/** Options of daemons about the networks of jobs. */
import { Option } from 'commander';

export interface NetworkOptions {
  readonly network?: 'Isolated' | 'Host' | undefined;
  readonly networkPool?: string | undefined;
  readonly reservedRanges?: string | undefined;
  readonly networkEncryption?: 'None' | 'WireGuard' | undefined;
  readonly networkFamilies?: 'IPv4' | 'DualStack' | undefined;
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

export const reservedRangesOption = (): Option =>
  new Option(
    '--reserved-ranges <range,...>',
    'addresses that networks of jobs never cross, besides routes of their nodes and, on Kubernetes, Services and Pods',
  );

export const networkEncryptionOption = (): Option =>
  new Option(
    '--network-encryption <kind>',
    'of what nodes say to one another for jobs in networks of their own; nodes that cannot get no such job (default: None)',
  ).choices(['None', 'WireGuard']);

export const networkFamiliesOption = (): Option =>
  new Option(
    '--network-families <families>',
    'in which jobs in networks of their own have addresses (default: IPv4)',
  ).choices(['IPv4', 'DualStack']);

/** What jobs' networks are to be like, as a control plane takes it. */
export const natureOf = ({
  networkEncryption = 'None',
  networkFamilies = 'IPv4',
}: NetworkOptions): { networkEncryption?: 'WireGuard'; networkFamilies: 'IPv4' | 'DualStack' } => ({
  ...(networkEncryption === 'None' ? {} : { networkEncryption }),
  networkFamilies,
});
