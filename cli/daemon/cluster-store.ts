/** The store of a Kubernetes cluster for a command: the one that --kubeconfig names, or the one in whose Pod this runs. */
import { pino } from 'pino';
import { inClusterTarget, kubeDaemonTargetOf } from '../../store/client/kubeconfig.ts';
import { KubernetesStore } from '../../store/kubernetes/kubernetes-store.ts';
import type { Config } from '../config.ts';
import { CommandError } from '../errors.ts';

export interface ClusterStore extends Disposable {
  readonly store: KubernetesStore;
  /** Of the Pod, or of the kubeconfig's context. */
  readonly namespace: string;
}

export function clusterStoreOf(config: Config, inCluster: boolean): ClusterStore {
  if (!inCluster && !config.isRemote)
    throw new CommandError('this is for Kubernetes: give --kubeconfig FILE, or --in-cluster in a Pod', 2);
  const target = inCluster ? inClusterTarget() : kubeDaemonTargetOf(config.kubeconfig, config.context);
  const store = new KubernetesStore({ server: target.server, logger: pino({ level: 'silent' }) });
  const namespace = inCluster ? (target.namespace ?? 'default') : config.namespace;
  return { store, namespace, [Symbol.dispose]: () => store[Symbol.dispose]() };
}
