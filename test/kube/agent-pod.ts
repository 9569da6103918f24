/**
 * The agent as a Pod, by the chart's DaemonSet, for a node of the tests: no more rights, no other volumes.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { render } from '../chart/helm.ts';
import type { KubeCluster } from './cluster.ts';
import { controllerNamespace, type MusterOnKube } from './muster.ts';
import type { KubeNode } from './node.ts';

/** That of the chart's DaemonSet, with what differs on this machine: where the controllers are, where state is kept, the image. */
export async function agentPod(
  cluster: KubeCluster,
  muster: MusterOnKube,
  node: KubeNode,
): Promise<{ readonly metadata: object; readonly [field: string]: unknown }> {
  const daemonSet = (await render()).find(({ kind }) => kind === 'DaemonSet')!;
  const { spec } = (daemonSet['spec'] as { template: { spec: PodSpec } }).template;
  const state = join(node.directory, 'agent');
  mkdirSync(state, { recursive: true });
  // As systemd has the file systems of a node: what is mounted there later is seen in Pods.
  node.run('mount', '--bind', '--make-shared', state, state);
  const given: Readonly<Record<string, string>> = {
    '--home': state,
    '--join': muster.joinAddress(),
    '--address': '127.0.0.1',
  };
  const [container] = spec.containers;
  const args = container.args.map((arg) => {
    const [name = ''] = arg.split('=');
    return name in given ? `${name}=${given[name]}` : arg;
  });
  await cluster
    .kubectl('create', 'serviceaccount', 'muster-agents', '-n', controllerNamespace)
    .catch(() => '');
  const text = 'allowedUids: 1000-65534';
  await cluster.kubectl(
    'create',
    'configmap',
    'muster-node',
    '-n',
    controllerNamespace,
    `--from-literal=node.yaml=${text}`,
  );
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'agent', namespace: controllerNamespace, labels: { app: 'agent' } },
    spec: {
      ...spec,
      priorityClassName: undefined,
      nodeName: node.name,
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 5,
      containers: [
        {
          ...container,
          image: 'local/muster:1',
          securityContext: withinMachine(container.securityContext),
          imagePullPolicy: 'Never',
          args,
          // This node has no address of its own; the agent is told one.
          env: container.env
            .filter(({ name }) => name !== 'HOST_IP')
            .map(({ name, valueFrom }) => ({
              name,
              valueFrom: { fieldRef: { apiVersion: 'v1', ...valueFrom.fieldRef } },
            })),
          volumeMounts: container.volumeMounts.map((mount) =>
            mount.name === 'state' ? { ...mount, mountPath: state } : mount,
          ),
        },
      ],
      // What a whole API server fills in.
      volumes: spec.volumes.map((volume) => {
        if (volume.name === 'state') return { name: 'state', hostPath: { path: state, type: 'Directory' } };
        const { configMap, projected } = volume;
        if (configMap) return { ...volume, configMap: { ...configMap, defaultMode: 0o644 } };
        return projected ? { ...volume, projected: { ...projected, defaultMode: 0o644 } } : volume;
      }),
    },
  };
}

interface SecurityContext {
  capabilities: { drop: string[]; add: string[] };
}

const capabilityNumbers: Readonly<Record<string, number>> = {
  CHOWN: 0, DAC_OVERRIDE: 1, DAC_READ_SEARCH: 2, FOWNER: 3, KILL: 5, SETGID: 6, SETUID: 7, SETPCAP: 8, NET_ADMIN: 12, IPC_LOCK: 14,
  IPC_OWNER: 15, SYS_CHROOT: 18, SYS_PTRACE: 19, SYS_ADMIN: 21, SYS_NICE: 23, SYS_RESOURCE: 24, SYS_TIME: 25, MKNOD: 27,
  CHECKPOINT_RESTORE: 40,
}; // prettier-ignore

/** A machine that is a container itself may lack one of them, and a container cannot have it then. */
function withinMachine(context: SecurityContext): object {
  const held = BigInt(`0x${/^CapBnd:\s+(\w+)/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]}`);
  const add = context.capabilities.add.filter(
    (name) => ((held >> BigInt(capabilityNumbers[name]!)) & 1n) === 1n,
  );
  return { ...context, capabilities: { ...context.capabilities, add } };
}

interface PodSpec {
  containers: [
    {
      securityContext: SecurityContext;
      args: string[];
      env: { name: string; valueFrom: { fieldRef: object } }[];
      volumeMounts: { name: string; mountPath: string }[];
    },
  ];
  volumes: { name: string; configMap?: object; projected?: object }[];
}
