/**
 * `muster controller`: the control plane of a home, or with --kubeconfig or --in-cluster a replica of a Kubernetes cluster's, in the
 * foreground until SIGTERM or SIGINT.
 */
import type { Config } from '../config.ts';
import { checkNetworkRanges } from '../network-pool.ts';
import type { NodeLeaseOptions } from '../node-lease.ts';
import { stopSignal } from '../daemon/stop-signal.ts';
import type { KubeControllerOptions } from '../daemon/kube-controller-daemon.ts';
import { CommandError } from '../errors.ts';

export interface ControllerOptions extends NodeLeaseOptions {
  listen?: string;
  joinListen: string;
  advertise?: string;
  verbsListen?: string;
  verbsAdvertise?: string;
  metricsListen?: string;
  agentServiceAccount?: string;
  inCluster?: boolean;
  network?: 'Isolated' | 'Host';
  networkPool?: string;
  reservedRanges?: string;
  networkEncryption?: 'None' | 'WireGuard';
  networkFamilies?: 'IPv4' | 'DualStack';
  namespace?: string;
  carrierImage?: string;
  carrierPullPolicy?: string;
  carrierTimeout?: number;
}

export async function controller(
  config: Config,
  _args: string[],
  options: ControllerOptions,
): Promise<number> {
  const { inCluster = false, advertise, network, nodeLease } = options;
  const { networkPool, reservedRanges, networkEncryption, networkFamilies } = options;
  const networks = { network, networkPool, reservedRanges, networkEncryption, networkFamilies };
  checkNetworkRanges(options);
  if (!inCluster && !config.isRemote) {
    const { runController } = await import('../daemon/controller-daemon.ts');
    await runController(config.home, options.listen ?? '127.0.0.1', { ...networks, nodeLease }, stopSignal());
    return 0;
  }
  if (inCluster && config.isRemote)
    throw new CommandError('--in-cluster and --kubeconfig: give one of them, not both', 2);
  const { inClusterTarget, kubeDaemonTargetOf } = await import('../../store/client/kubeconfig.ts');
  const { defaultNamespace } = await import('../../controllers/pki/cluster-secret.ts');
  const { runKubeController, splitAddress } = await import('../daemon/kube-controller-daemon.ts');
  const target = inCluster ? inClusterTarget() : kubeDaemonTargetOf(config.kubeconfig, config.context);
  const listen = options.listen ?? '127.0.0.1:7360';
  const addresses = advertise === undefined ? [] : advertise.split(',');
  const { joinListen, verbsListen, verbsAdvertise, metricsListen } = options;
  const agentAccount = accountOf(options.agentServiceAccount);
  const others = [verbsListen, verbsAdvertise, metricsListen].filter((address) => address !== undefined);
  for (const address of [listen, joinListen, ...addresses, ...others]) splitAddress(address);
  const namespace = options.namespace ?? (inCluster ? target.namespace : undefined) ?? defaultNamespace;
  await runKubeController(
    {
      ...{ target, namespace, listen, joinListen, advertise: addresses },
      ...{ verbsListen, verbsAdvertise, metricsListen, agentAccount },
      ...{ ...networks, nodeLease, carriers: carriersOf(options) },
    },
    stopSignal(),
  );
  return 0;
}

function carriersOf({
  carrierImage: image,
  carrierPullPolicy: pullPolicy,
  carrierTimeout,
}: ControllerOptions): KubeControllerOptions['carriers'] {
  if (image === undefined) return undefined;
  return {
    image,
    ...(pullPolicy === undefined ? {} : { pullPolicy }),
    ...(carrierTimeout === undefined ? {} : { policy: { timeoutMs: carrierTimeout * 1000 } }),
  };
}

function accountOf(text: string | undefined): { namespace: string; name: string } | undefined {
  if (text === undefined) return undefined;
  const [namespace, name, more] = text.split('/');
  if (!namespace || !name || more !== undefined)
    throw new CommandError(`--agent-service-account ${text}: expected NAMESPACE/NAME`, 2);
  return { namespace, name };
}
