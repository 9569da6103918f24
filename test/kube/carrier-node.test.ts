/**
 * Carrier Pods on a real kubelet and containerd: ranks in a user's image, beside the containers of their Pods. What the image holds
 * is all that they see; when their Pod goes, so do they, and it is said.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { podType, type Pod } from '../../controllers/carrier/pod.ts';
import { conditionOf } from '../../crds/conditions.ts';
import { eventually } from '../contract/eventually.ts';
import { checkout, program } from '../e2e/cluster.ts';
import { render } from '../chart/helm.ts';
import { KubeCluster } from './cluster.ts';
import { librariesOf } from './images.ts';
import { controllerNamespace, groupOf, MusterOnKube } from './muster.ts';
import { KubeNode, nodeTrouble } from './node.ts';

const waiter = `${checkout}/build/native/carrier-wait`;
const imageRoot = join(checkout, 'build/image-root');
execFileSync('scripts/image-root.sh', [imageRoot], { env: { ...process.env, MUSTER_IMAGE_CRIU: 'no' } });
// What the image takes from Debian's packages: the libraries of Node.
const nodeLibraries = Object.fromEntries(
  librariesOf(execFileSync('scripts/node-path.sh', { encoding: 'utf8' }).trim()).map((path) => [path, path]),
);
const shellTools = ['sh', 'cat', 'sleep', 'id', 'ls', 'mount', 'touch', 'hostname', 'mkdir', 'dd', 'stat'];
const images = {
  'local/pause:1': { files: { '/pause': waiter }, entrypoint: ['/pause'] },
  'local/muster:1': {
    trees: { '/opt/muster': imageRoot },
    files: { '/bin/sh': '/bin/sh', '/usr/sbin/nft': '/usr/sbin/nft', ...nodeLibraries },
    entrypoint: ['/opt/muster/bin/muster'],
  },
  'local/user:1': {
    files: {
      ...Object.fromEntries(shellTools.map((name) => [`/bin/${name}`, `/bin/${name}`])),
      '/bin/id': '/usr/bin/id',
      '/bin/stat': '/usr/bin/stat',
      '/opt/cpi': program('cpi'),
      '/opt/ring': program('ring'),
      '/opt/holder': program('holder'),
    },
    directories: ['home', 'work'],
    texts: { '/etc/image': 'the user’s own\n', '/etc/passwd': 'worker:x:65534:65534::/home:/bin/sh\n' },
  },
};

/** More than Pods of these tests take on a machine that is busy. */
const carrierTimeoutSeconds = 60;

const trouble = nodeTrouble();
let cluster: KubeCluster;
let muster: MusterOnKube;
let node: KubeNode;

describe.skipIf(trouble !== undefined)(
  `carrier Pods on a kubelet${trouble === undefined ? '' : `: ${trouble}`}`,
  () => {
    beforeAll(async () => {
      cluster = await KubeCluster.start();
      await cluster.kubectl('apply', '-f', 'crds');
      const accounts = ['--agent-service-account', `${controllerNamespace}/muster-agents`];
      const image = ['--carrier-image', 'local/muster:1', '--carrier-pull-policy', 'Never'];
      const carriers = [...accounts, ...image, '--carrier-timeout', String(carrierTimeoutSeconds)];
      muster = await MusterOnKube.start(cluster, { arguments: carriers });
      node = await KubeNode.start(cluster, 'node1', images);
      await muster.startAgent('node1');
    }, 900_000);
    afterAll(async () => {
      await muster?.[Symbol.asyncDispose]();
      await node?.[Symbol.asyncDispose]();
      await cluster?.[Symbol.asyncDispose]();
    }, 120_000);

    const carried = (
      name: string,
      command: readonly string[],
      { size = 4, ...spec }: { size?: number; [field: string]: unknown } = {},
      template: object = {},
    ): string =>
      groupOf(name, {
        size,
        command,
        spec: {
          placement: { ranksPerNode: 2 },
          template: { spec: { image: 'local/user:1', imagePullPolicy: 'Never', ...template } },
          gracePeriodSeconds: 2,
          ...spec,
        },
      });
    const sh = (text: string): string[] => ['/bin/sh', '-c', text];
    const pods = async (name: string): Promise<readonly Pod[]> => {
      const labelSelector = `muster.dev/group=${name}`;
      return (await muster.store.list<Pod>(podType, { namespace: 'default', labelSelector })).items;
    };

    it('run a job of two Pods by MPI, in the user’s image', async () => {
      await muster.apply(carried('cpi', ['/opt/cpi'], { pmi: 'PMI1' }));
      const group = await muster.until('cpi', 'Succeeded', 60_000);
      expect(group.status).toMatchObject({ ranks: { succeeded: 4 }, nodeCount: 1 });
    });

    /** Of the last rank of a group of four in two sandboxes, as its node keeps it. */
    const outputOf = (uid = '', incarnation: number): string => {
      const logs = join(muster.home, `nodes/node1/state/sandboxes/${uid}-1-${incarnation}/logs`);
      return readdirSync(logs)
        .filter((name) => name.startsWith('3.out.'))
        .sort()
        .map((name) => readFileSync(join(logs, name), 'utf8'))
        .join('');
    };

    const sights: Readonly<Record<string, string>> = {
      image: 'test "$(cat /etc/image)" = "the user’s own" && test ! -e /usr/bin/apt-get',
      user: 'test "$(id -u)" = 65534',
      volume: 'touch /scratch/a && test $(hostname) = volume-0',
      // An io_uring is what containers may not have by default, and anybody else may.
      calls: 'case "$(/opt/holder uring)" in "not whole"*) exit 0;; esac; exit 1',
      // Nothing of the image gives rights on the node.
      rights:
        'while read a b c d e; do case "$b $d" in "/ "*nosuid*nodev*) exit 0;; esac; done </proc/mounts; exit 1',
    };

    it('see what their image and their Pod have, and no more', async () => {
      const template = {
        volumes: [{ name: 'scratch', emptyDir: { medium: 'Memory' } }],
        volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }],
      };
      for (const [name, text] of Object.entries(sights))
        await muster.apply(carried(name, sh(text), { size: 1 }, template));
      for (const name of Object.keys(sights)) await muster.until(name, 'Succeeded', 60_000);
    });

    it('outlive their agent, which finds them again', async () => {
      await muster.apply(carried('kept', sh('trap "exit 0" TERM; while :; do sleep 0.1; done')));
      await muster.until('kept', 'Running', 60_000);
      const before = (await pods('kept')).map(({ metadata }) => metadata.uid);
      await muster.stopAgent('node1', 'SIGKILL');
      await muster.startAgent('node1');
      expect((await muster.group('kept')).status?.phase).toBe('Running');
      expect((await pods('kept')).map(({ metadata }) => metadata.uid)).toEqual(before);
    });

    const suspend = (value: boolean, name = 'kept', suspendPolicy = 'Stop'): Promise<string> => {
      const spec = { suspend: value, suspendPolicy };
      return cluster.kubectl('patch', 'pg', name, '--type=merge', '-p', JSON.stringify({ spec }));
    };
    const counting = sh('i=0; while [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done');
    /** A ring of MPI over the job's own network, of ranks that have written what goes with their Pod. */
    const saved = {
      template: {
        volumes: [{ name: 'scratch', emptyDir: {} }],
        volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }],
      },
      // Whether what they wrote and the rights that they have are still the same.
      command: sh(
        'echo $$ >/work/$MUSTER_RANK && echo $$ >/scratch/$MUSTER_RANK && ' +
          '/opt/ring --seconds 20 --report-every 10 --bytes 4096 && ' +
          'test "$(cat /work/$MUSTER_RANK /scratch/$MUSTER_RANK)" = "$(echo $$; echo $$)" && ' +
          sights['rights'],
      ),
    };
    const failed = async (name: string): Promise<string> => {
      const { status } = await muster.until(name, 'Failed', 60_000);
      const { reason, message } = conditionOf(status?.conditions, 'Failed')!;
      return `${reason}: ${message}`;
    };

    it('end their group when one of them dies', async () => {
      await suspend(true); // which takes this kubelet a minute: looked at below
      await muster.apply(carried('saved', saved.command, { pmi: 'PMI1' }, saved.template));
      const { metadata } = await muster.until('saved', 'Running', 60_000);
      await eventually(() => expect(outputOf(metadata.uid, 1).length).toBeGreaterThan(1000));
      await suspend(true, 'saved', 'Checkpoint');
      await muster.apply(carried('evicted', counting, { size: 2, suspendPolicy: 'Checkpoint' }));
      await muster.until('evicted', 'Running', 60_000);
      await cluster.kubectl('delete', 'pod', 'evicted-1-0', '--wait=false');
      await muster.apply(carried('dies', ['/bin/sleep', '600']));
      await muster.until('dies', 'Running', 60_000);
      const [pod] = await pods('dies');
      const [status] = pod?.status?.containerStatuses ?? [];
      const id = (status as { containerID?: string } | undefined)?.containerID ?? '';
      await node.ctr('tasks', 'kill', '--signal', 'SIGKILL', id.replace('containerd://', ''));
      expect(await failed('dies')).toMatch(/^CarrierLost: /);
    });

    it('say why the scheduler has no node for one of them', async () => {
      // Of two that take more than half of the node the second is waited for in vain.
      const requests = { cpu: `${String(Math.ceil(availableParallelism() * 600))}m` };
      await muster.apply(
        carried('wide', ['/bin/true'], { size: 2, placement: { ranksPerNode: 1 }, resources: { requests } }),
      );
      await eventually(async () => {
        const { status } = await muster.group('wide');
        expect(conditionOf(status?.conditions, 'Placed')?.message).toMatch(
          /^1 of 2 carrier Pods run: wide-1-\d Unschedulable: 0\/1 nodes are available: 1 Insufficient cpu/,
        );
      }, 40_000);
    });

    it('are held to what the ranks asked for', async () => {
      const hungry = sh('dd if=/dev/zero of=/dev/shm/a bs=1M count=200');
      await muster.apply(carried('hungry', hungry, { resources: { limits: { memory: '64Mi' } }, size: 1 }));
      expect(await failed('hungry')).toMatch(/^MemoryExceeded: /);
    });

    it('say what they wait for when the image is not there', async () => {
      await muster.apply(carried('nothing', ['/bin/true'], { size: 1 }, { image: 'local/nothing:1' }));
      await eventually(async () => {
        const { status } = await muster.group('nothing');
        expect(conditionOf(status?.conditions, 'Placed')?.message).toMatch(/nothing-1-0 ErrImageNeverPull/);
      }, 60_000);
      await cluster.kubectl('delete', 'pg', 'nothing', '--timeout=60s');
    });

    it('are gone when the group is said to be vacated, and come back with a resumption', async () => {
      await muster.until('kept', 'Suspended', 110_000);
      expect(await pods('kept')).toEqual([]);
      await suspend(false);
      await muster.until('kept', 'Running', 60_000);
      expect((await pods('kept')).map(({ metadata }) => metadata.name).sort()).toEqual([
        'kept-2-0',
        'kept-2-1',
      ]);
    });

    it('of a group that was saved are gone, and in others its ranks go on where they were', async () => {
      const group = await muster.until('saved', 'Suspended', 110_000);
      expect(group.status?.restore?.checkpointName).toBe('saved-suspend-1');
      expect(group.metadata.annotations?.['muster.dev/last-checkpoint']).toBe(
        group.status?.lastCheckpoint?.time,
      );
      expect(await pods('saved')).toEqual([]);
      await suspend(false, 'saved', 'Checkpoint');
      const done = await muster.until('saved', 'Succeeded', 90_000);
      expect(done.status).toMatchObject({ ranks: { succeeded: 4 }, nodeCount: 1 });
      expect((await pods('saved')).map(({ metadata }) => metadata.name)).not.toContain('saved-1-0');
      const lines = outputOf(done.metadata.uid, 2).trimEnd().split('\n');
      lines.forEach((line, at) => expect(line).toContain(`rank 3 iteration ${at * 10} `));
      expect(lines.length).toBeGreaterThan(20);
    });

    it('have their group saved when one of them is deleted, by its policy, and it goes on in others', async () => {
      const { status } = await muster.until('evicted', 'Succeeded', 110_000);
      expect(status).toMatchObject({ incarnation: 1, lastCheckpoint: { name: 'evicted-suspend-1' } });
    });

    it('end their group when one of them is deleted, within its grace period', async () => {
      await cluster.kubectl('delete', 'pod', 'kept-2-1', '--wait=false');
      expect(await failed('kept')).toMatch(
        /^CarrierLost: sandbox 1 \(ranks 2-3\) on node1 .*kept-2-1 was deleted/,
      );
    });

    it('leave a node that is drained, with an image elsewhere, and come back to it', async () => {
      await muster.startAgent('node2'); // no node of Kubernetes: it keeps images
      await muster.apply(carried('drained', counting, { size: 2 }));
      await muster.until('drained', 'Running', 60_000);
      await muster.command('drain', 'node1', '--policy', 'checkpoint');
      await eventually(async () => {
        const { status } = await muster.group('drained');
        expect(conditionOf(status?.conditions, 'Placed')?.message).toMatch(
          /drained-2-0 Unschedulable: 0\/1 nodes/,
        );
      }, 40_000);
      await muster.command('uncordon', 'node1');
      await muster.until('drained', 'Succeeded', 60_000);
      await muster.stopAgent('node2');
    });

    it('are all let go in the end when one of them has no node, so that another group may have theirs', async () => {
      await eventually(async () => {
        expect(await cluster.kubectl('events', '--for', 'pg/wide')).toMatch(
          /not all carriers ran within 60 s, all were let go/,
        );
        expect(await pods('wide')).toEqual([]);
      }, 110_000);
      await cluster.kubectl('delete', 'pg', 'wide', '--timeout=60s');
    });

    it('are found and built by an agent that is itself a Pod, as the chart has it, and outlive it', async () => {
      await nothingLeft(); // which only the agent that had it can take away
      await muster.stopAgent('node1');
      const pod = await agentPod();
      await cluster.kubectlWith({ input: JSON.stringify(pod) }, 'apply', '-f', '-');
      const ready = async (): Promise<void> => {
        const path = 'jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.node.bootId}';
        expect(await cluster.kubectl('get', 'nm', 'node1', '-o', path)).toMatch(/^True/);
      };
      await muster.apply(carried('podded', sh('trap "exit 0" TERM; while :; do sleep 0.1; done')));
      await muster.until('podded', 'Running', 90_000).catch(async (error: unknown) => {
        const status = await cluster.kubectl(
          'get',
          'pod',
          'agent',
          '-n',
          controllerNamespace,
          '-o',
          'jsonpath={.status}',
        );
        throw new Error(`${(error as Error).message}\n${status}\n${node.podLog('agent')}`, { cause: error });
      });
      await ready();
      await cluster.kubectl('delete', 'pod', 'agent', '-n', controllerNamespace, '--timeout=120s');
      expect((await muster.group('podded')).status?.phase).toBe('Running');
      await cluster.kubectlWith({ input: JSON.stringify(pod) }, 'apply', '-f', '-');
      await eventually(ready, 60_000);
      await cluster.kubectl('delete', 'pg', 'podded', '--timeout=60s');
      await cluster.kubectl(
        'delete',
        'pod',
        'agent',
        '-n',
        controllerNamespace,
        '--grace-period=1',
        '--wait=false',
      );
    }, 240_000);

    /** That of the chart's DaemonSet, with what differs on this machine: where the controllers are, where state is kept, the image. */
    async function agentPod(): Promise<object> {
      const daemonSet = (await render()).find(({ kind }) => kind === 'DaemonSet')!;
      const { spec } = (daemonSet['spec'] as { template: { spec: PodSpec } }).template;
      const state = join(node.directory, 'agent');
      mkdirSync(state, { recursive: true });
      // As systemd has the file systems of a node: what is mounted there later is seen in Pods.
      execFileSync('mount', ['--bind', '--make-shared', state, state]);
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
          nodeName: 'node1',
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
            if (volume.name === 'state')
              return { name: 'state', hostPath: { path: state, type: 'Directory' } };
            const { configMap, projected } = volume;
            if (configMap) return { ...volume, configMap: { ...configMap, defaultMode: 0o644 } };
            return projected ? { ...volume, projected: { ...projected, defaultMode: 0o644 } } : volume;
          }),
        },
      };
    }

    const nothingLeft = (): Promise<void> =>
      eventually(() => {
        for (const path of node.cgroups()) expect(`${path} ${sandboxesIn(path)}`).toBe(`${path} `);
      }, 30_000);

    it('leave nothing behind on the node', nothingLeft);
  },
);

interface SecurityContext {
  capabilities: { drop: string[]; add: string[] };
}

const capabilityNumbers: Readonly<Record<string, number>> = {
  CHOWN: 0, DAC_OVERRIDE: 1, FOWNER: 3, KILL: 5, SETGID: 6, SETUID: 7, SETPCAP: 8, NET_ADMIN: 12, SYS_CHROOT: 18, SYS_PTRACE: 19,
  SYS_ADMIN: 21, SYS_NICE: 23, SYS_RESOURCE: 24, MKNOD: 27, CHECKPOINT_RESTORE: 40,
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

/** Those of Muster beside the containers. */
function sandboxesIn(pod: string): string {
  return readdirSync(pod)
    .filter((name) => name.startsWith('muster-'))
    .join(' ');
}
