/** The real API server of Kubernetes with our kinds and the widgets that can be scaled, to compare ours with. */
import { KubeCluster } from '../kube/cluster.ts';
import { scaledWidgets } from './scripts.ts';

export async function startKubernetes(): Promise<KubeCluster> {
  const cluster = await KubeCluster.start();
  await cluster.kubectlWith({ input: JSON.stringify(widgetDefinition()) }, 'apply', '-f', '-');
  await cluster.installCrds();
  return cluster;
}

function widgetDefinition(): object {
  const { group, version, kind, plural, shortNames, scale } = scaledWidgets;
  const anything = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope: 'Namespaced',
      names: { kind, plural, shortNames },
      versions: [
        {
          name: version,
          served: true,
          storage: true,
          subresources: { status: {}, scale },
          schema: { openAPIV3Schema: { type: 'object', properties: { spec: anything, status: anything } } },
        },
      ],
    },
  };
}
