/**
 * Carrier Pods on a real kubelet and containerd: ranks in a user's image, beside the containers of their Pods. What the image holds
 * is all that they see; when their Pod goes, so do they, and it is said.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { podType, type Pod } from '../../controllers/carrier/pod.ts';
import { conditionOf } from '../../crds/conditions.ts';
import { parseNodeList } from '../../crds/node-list.ts';
import { eventually } from '../contract/eventually.ts';
import { agentPod } from './agent-pod.ts';
import { images } from './carrier-images.ts';
import { KubeCluster } from './cluster.ts';
import { controllerNamespace, groupOf, MusterOnKube } from './muster.ts';
import { KubeNode, nodeTrouble } from './node.ts';

/** More than Pods of these tests take on a machine that is busy. */
const carrierTimeoutSeconds = 60;

/** A seccomp profile of the node that lets nobody make directories. */
const narrow = {
  defaultAction: 'SCMP_ACT_ALLOW',
  syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO' }],
};
const narrowed = {
  securityContext: { seccompProfile: { type: 'Localhost', localhostProfile: 'narrow.json' } },
};

const trouble = nodeTrouble();
let cluster: KubeCluster;
let muster: MusterOnKube;
let node: KubeNode;
let other: KubeNode | undefined;

describe.skipIf(trouble !== undefined)(
  `carrier Pods on a kubelet${trouble === undefined ? '' : `: ${trouble}`}`,
  () => {
    beforeAll(async () => {
      cluster = await KubeCluster.start();
      await cluster.kubectl('apply', '-f', 'crds');
      const accounts = ['--agent-service-account', `${controllerNamespace}/muster-agents`];
      const image = ['--carrier-image', 'local/muster:1', '--carrier-pull-policy', 'Never'];
      const times = ['--carrier-timeout', String(carrierTimeoutSeconds), '--node-lease', '15'];
      const carriers = [...accounts, ...image, ...times];
      muster = await MusterOnKube.start(cluster, { arguments: carriers });
      node = await KubeNode.start(cluster, 'node1', images);
      writeFileSync(join(node.directory, 'seccomp/narrow.json'), JSON.stringify(narrow));
      await muster.startAgent('node1');
    }, 900_000);
    afterAll(async () => {
      await muster?.[Symbol.asyncDispose]();
      await other?.[Symbol.asyncDispose]();
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

    const uidsOf = (of: readonly Pod[]): string[] => of.map(({ metadata }) => metadata.uid ?? '');
    /** The first two of the group that has no room. */
    let wide: string[] = [];

    it('run a job of two Pods by MPI, in the user’s image', async () => {
      await muster.apply(carried('cpi', ['/opt/cpi'], { pmi: 'PMI1' }));
      const group = await muster.until('cpi', 'Succeeded', 60_000);
      expect(group.status).toMatchObject({ ranks: { succeeded: 4 }, nodeCount: 1 });
    });

    /** Where the first node's agent keeps its state. */
    let agentHome = (): string => muster.home;
    /** Of the last rank of a group of four in two sandboxes, as its node keeps it. */
    const outputOf = (uid = '', incarnation: number): string => {
      const logs = join(agentHome(), `nodes/node1/state/sandboxes/${uid}-1-${incarnation}/logs`);
      return readdirSync(logs)
        .filter((name) => name.startsWith('3.out.'))
        .sort()
        .map((name) => readFileSync(join(logs, name), 'utf8'))
        .join('');
    };

    const sights: Readonly<Record<string, string>> = {
      image: 'test "$(cat /etc/image)" = "the user’s own" && test ! -e /usr/bin/apt-get',
      user: 'test "$(id -u)" = 65534',
      volume: 'touch /scratch/a && mkdir /work/a && test $(hostname) = volume-0',
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

    /** On the first node. */
    const untilAtWork = async (name: string): Promise<void> => {
      const { metadata } = await muster.until(name, 'Running', 60_000);
      await eventually(() => expect(outputOf(metadata.uid, 1).length).toBeGreaterThan(500), 20_000);
    };
    const suspend = (value: boolean, name = 'kept', suspendPolicy = 'Stop'): Promise<string> => {
      const spec = { suspend: value, suspendPolicy };
      return cluster.kubectl('patch', 'pg', name, '--type=merge', '-p', JSON.stringify({ spec }));
    };
    /** By policy it is brought back when it loses a Pod or a node. */
    const goesBack = { failurePolicy: { node: 'RestoreLatestCheckpoint' } };
    const told = '/scratch/told';
    const ringFor = (limits: string): string => `/opt/ring ${limits} --report-every 10 --bytes 4096`;
    const ring = ringFor('--seconds 20');
    /** A ring of MPI over the job's own network, of ranks that have written what goes with their Pod, under a profile of the node. */
    const saved = {
      template: {
        ...narrowed,
        volumes: [{ name: 'scratch', emptyDir: {} }],
        volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }],
      },
    };
    /** Whether what they wrote and the rights that they have are still the same when the ring ends. */
    const keeping = (program: string): string[] =>
      sh(
        'echo $$ >/work/$MUSTER_RANK && echo $$ >/scratch/$MUSTER_RANK && ' +
          `${program} && ` +
          'test "$(cat /work/$MUSTER_RANK /scratch/$MUSTER_RANK)" = "$(echo $$; echo $$)" && ' +
          '! mkdir /work/new-$MUSTER_RANK 2>/dev/null && ' +
          sights['rights'],
      );
    const failed = async (name: string): Promise<string> => {
      const { status } = await muster.until(name, 'Failed', 60_000);
      const { reason, message } = conditionOf(status?.conditions, 'Failed')!;
      return `${reason}: ${message}`;
    };

    it('end their group when one of them dies', async () => {
      await suspend(true); // which takes this kubelet a minute: looked at below
      await muster.apply(carried('saved', keeping(ring), { pmi: 'PMI1' }, saved.template));
      await untilAtWork('saved');
      await suspend(true, 'saved', 'Checkpoint');
      await muster.apply(carried('evicted', sh(ring), { pmi: 'PMI1', suspendPolicy: 'Checkpoint' }));
      await untilAtWork('evicted');
      await cluster.kubectl('delete', 'pod', 'evicted-1-0', '--wait=false');
      await muster.apply(carried('dies', ['/bin/sleep', '600']));
      await muster.apply(carried('back', sh(ring), { ...goesBack, pmi: 'PMI1' }));
      await muster.until('dies', 'Running', 60_000);
      await killContainer('dies');
      expect(await failed('dies')).toMatch(/^CarrierLost: /);
      await untilAtWork('back');
      await muster.command('checkpoint', 'back', '--name', 'back-1');
      await killContainer('back');
    });

    /** As the kernel does when memory is short. */
    async function killContainer(name: string): Promise<void> {
      await node.ctr('tasks', 'kill', '--signal', 'SIGKILL', await containerOf(name));
    }

    /** Of the first of its Pods that is to stay. */
    async function containerOf(name: string): Promise<string> {
      const pod = (await pods(name)).find(({ metadata }) => metadata.deletionTimestamp === undefined);
      const [status] = pod?.status?.containerStatuses ?? [];
      const id = (status as { containerID?: string } | undefined)?.containerID ?? '';
      return id.replace('containerd://', '');
    }

    /** What the last rank wrote is whole, nothing of it twice. */
    const expectWhole = (uid: string | undefined, incarnation: number): void => {
      const lines = outputOf(uid, incarnation).trimEnd().split('\n');
      lines.forEach((line, at) => expect(line).toContain(`rank 3 iteration ${at * 10} `));
      expect(lines.length).toBeGreaterThan(20);
    };

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
      wide = uidsOf(await pods('wide'));
      expect(wide).toHaveLength(2);
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
      expectWhole(done.metadata.uid, 2);
    });

    it('of a group that lost one of them, and is to be brought back, are made anew', async () => {
      const { metadata, status } = await muster.until('back', 'Succeeded', 110_000);
      expect(status).toMatchObject({ ranks: { succeeded: 4 }, restarts: 1, incarnation: 1 });
      expect(status?.restore?.checkpointName).toBe('back-1');
      expect(await cluster.kubectl('events', '--for', 'pg/back')).toMatch(
        /Restarting .*carrier Pod .* (?:ended|deleted|Error)\b.*brought back from Checkpoint back-1/,
      );
      expectWhole(metadata.uid, 2);
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

    it('are all let go in the end when one of them has no node, so that another group may have theirs', async () => {
      await eventually(async () => {
        expect(await cluster.kubectl('events', '--for', 'pg/wide')).toMatch(
          /not all carriers ran within 60 s, all were let go/,
        );
        // Half a minute later it tries again, with others.
        expect(uidsOf(await pods('wide')).filter((uid) => wide.includes(uid))).toEqual([]);
      }, 110_000);
      await cluster.kubectl('delete', 'pg', 'wide', '--timeout=60s');
    });

    const cordon = (name: string, isNot = ''): Promise<string> => cluster.kubectl(`${isNot}cordon`, name);
    const nodesOf = async (name: string): Promise<string[]> =>
      ((await muster.group(name)).status?.placement ?? []).flatMap(({ nodes }) => parseNodeList(nodes));

    /** Those that nobody has told to go, which takes this kubelet a while. */
    const kept = async (name: string): Promise<string[]> =>
      (await pods(name))
        .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
        .map(({ metadata }) => metadata.name ?? '')
        .sort();
    const from1 = ['migrate', 'moved', '--from', 'node1', '--to', 'node2'];

    it('are made on another node for ranks that move there as they run, and let go where nothing comes of it', async () => {
      other = await node.beside('node2');
      writeFileSync(join(other.directory, 'seccomp/narrow.json'), JSON.stringify(narrow));
      await cordon('node2');
      await muster.startAgent('node2');
      const program = keeping(ringFor(`--seconds 200 --until ${told}`));
      await muster.apply(carried('moved', program, { pmi: 'PMI1' }, saved.template));
      await untilAtWork('moved');
      await cordon('node2', 'un');
      await eventually(async () => {
        expect(await cluster.kubectl('get', 'nm', 'node2', '-o', 'jsonpath={.status.cordoned}')).not.toBe(
          'true',
        );
      });
      // No Pod runs so soon.
      await expect(muster.command(...from1, '--deadline', '1')).rejects.toThrow(
        /DeadlineExceeded: .*carrier Pod/,
      );
      await eventually(async () => expect(await kept('moved')).toEqual(['moved-1-0', 'moved-1-1']), 60_000);
      expect(new Set(await nodesOf('moved'))).toEqual(new Set(['node1']));
      await muster.command(...from1);
      expect((await muster.group('moved')).status?.phase).toBe('Running');
      expect(new Set(await nodesOf('moved'))).toEqual(new Set(['node2']));
      await eventually(async () => expect(await kept('moved')).toEqual(['moved-2-0', 'moved-2-1']), 60_000);
    }, 300_000);

    it('of a job that runs are left behind by a drain, and the ranks have what they wrote', async () => {
      await muster.command('drain', 'node2');
      await muster.until('moved', 'Running');
      expect(new Set(await nodesOf('moved'))).toEqual(new Set(['node1']));
      await muster.command('uncordon', 'node2');
      await eventually(async () => expect(await kept('moved')).toEqual(['moved-3-0', 'moved-3-1']), 60_000);
      await node.ctr('tasks', 'exec', '--exec-id', 'told', await containerOf('moved'), '/bin/touch', told);
      const { metadata, status } = await muster.until('moved', 'Succeeded', 60_000);
      expect(status).toMatchObject({ ranks: { succeeded: 4 }, restarts: 0 });
      expect(status).not.toHaveProperty('lastCheckpoint');
      expectWhole(metadata.uid, 3);
    }, 300_000);

    it('leave a node that is drained, and their ranks go on on another', async () => {
      await cordon('node2');
      await muster.apply(carried('drained', sh(ring), { pmi: 'PMI1' }));
      await untilAtWork('drained');
      await cordon('node2', 'un');
      await muster.command('drain', 'node1', '--policy', 'checkpoint');
      const { status } = await muster.until('drained', 'Succeeded', 110_000);
      expect(status).toMatchObject({ incarnation: 1, lastCheckpoint: { name: 'drained-suspend-1' } });
      expect(new Set(await nodesOf('drained'))).toEqual(new Set(['node2']));
      await muster.command('uncordon', 'node1');
    }, 300_000);

    it('of a node that is lost are made anew on another, and the ranks go on from the last checkpoint', async () => {
      await cordon('node1');
      await muster.apply(carried('lost', sh(ring), { ...goesBack, pmi: 'PMI1' }));
      await muster.until('lost', 'Running', 60_000);
      expect(new Set(await nodesOf('lost'))).toEqual(new Set(['node2']));
      await cordon('node1', 'un');
      await muster.command('checkpoint', 'lost', '--name', 'lost-1');
      await cluster.kubectl('wait', '--for=condition=Durable', '--timeout=60s', 'ckpt/lost-1');
      await muster.stopAgent('node2', 'SIGKILL');
      await other!.lose();
      // As the cluster's own node controller does.
      await cluster.kubectl('taint', 'node', 'node2', 'node.kubernetes.io/unreachable:NoSchedule');
      const { metadata, status } = await muster.until('lost', 'Succeeded', 110_000);
      expect(status).toMatchObject({ ranks: { succeeded: 4 }, restarts: 1 });
      expect(new Set(await nodesOf('lost'))).toEqual(new Set(['node1']));
      expectWhole(metadata.uid, 2);
    }, 300_000);

    it('of a node that comes back are nothing that it still holds', async () => {
      await muster.startAgent('node2');
      await eventually(async () => {
        const count = await cluster.kubectl('get', 'nm', 'node2', '-o', 'jsonpath={.status.sandboxes.count}');
        expect(Number(count)).toBe(0);
      }, 60_000);
      await muster.stopAgent('node2');
      await cluster.kubectl('delete', 'node', 'node2');
    });

    let agentName = 'agent';
    const agentsPod = (...args: readonly string[]): Promise<string> =>
      cluster.kubectl(args[0]!, 'pod', agentName, '-n', controllerNamespace, ...args.slice(1));
    let pod: { readonly metadata: object };
    const startAgentPod = async (): Promise<void> => {
      await cluster.kubectlWith({ input: JSON.stringify(pod) }, 'apply', '-f', '-');
      const path = 'jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.node.bootId}';
      await eventually(
        async () => expect(await cluster.kubectl('get', 'nm', 'node1', '-o', path)).toMatch(/^True/),
        60_000,
      ).catch(withAgentsLog);
    };
    const withAgentsLog = async (error: unknown): Promise<never> => {
      const status = await agentsPod('get', '-o', 'jsonpath={.status}');
      throw new Error(`${(error as Error).message}\n${status}\n${node.podLog(agentName)}`, { cause: error });
    };

    /** All that a process can hold, until it finds itself in another cgroup. */
    const holding =
      'before=$(cat /proc/self/cgroup); /opt/holder keep & ' +
      'while [ "$(cat /proc/self/cgroup)" = "$before" ]; do sleep 0.1; done; kill -USR1 $!; wait $!';

    it('are found and built by an agent that is itself a Pod, as the chart has it, which saves them', async () => {
      await nothingLeft(); // which only the agent that had it can take away
      await muster.stopAgent('node1');
      pod = await agentPod(cluster, muster, node);
      agentHome = () => join(node.directory, 'agent');
      await startAgentPod();
      await muster.apply(carried('podded', keeping(ring), { pmi: 'PMI1' }, saved.template));
      await muster.apply(carried('holds', sh(holding), { ...goesBack, size: 1 }));
      await untilAtWork('podded').catch(withAgentsLog);
      await muster.until('holds', 'Running', 60_000);
      const save = (name: string) => muster.command('checkpoint', name, '--name', `${name}-1`);
      await Promise.all(['podded', 'holds'].map(save)).catch(withAgentsLog);
      await suspend(true, 'podded', 'Checkpoint');
      await cluster.kubectl('wait', '--for=create', '--timeout=60s', 'ckpt/podded-suspend-1');
      await cluster.kubectl('wait', '--for=condition=Ready', '--timeout=60s', 'ckpt/podded-suspend-1');
    }, 240_000);

    it('outlive it, and it brings them back where they were', async () => {
      await agentsPod('delete', '--wait=false');
      // The kubelet may take longer to say that the Pod is gone than these controllers wait for a node: the next has another name.
      await eventually(async () => {
        const phase = await agentsPod('get', '--ignore-not-found', '-o', 'jsonpath={.status.phase}');
        expect(phase).toMatch(/^(Succeeded|Failed|)$/);
      }, 60_000);
      expect((await muster.group('holds')).status?.phase).toBe('Running');
      agentName = 'agent-anew';
      pod = { ...pod, metadata: { ...pod.metadata, name: agentName } };
      await startAgentPod();
      await killContainer('holds');
      await muster.until('podded', 'Suspended', 110_000).catch(withAgentsLog);
      await suspend(false, 'podded', 'Checkpoint');
      const held = await muster.until('holds', 'Succeeded', 110_000).catch(withAgentsLog);
      expect(held.status).toMatchObject({ restarts: 1, restore: { checkpointName: 'holds-1' } });
      const done = await muster.until('podded', 'Succeeded', 110_000).catch(withAgentsLog);
      expect(done.status).toMatchObject({ ranks: { succeeded: 4 } });
      expectWhole(done.metadata.uid, 2);
      await agentsPod('delete', '--grace-period=1', '--wait=false');
    }, 300_000);

    const nothingLeft = (): Promise<void> =>
      eventually(() => {
        for (const path of node.cgroups()) expect(`${path} ${sandboxesIn(path)}`).toBe(`${path} `);
      }, 30_000);

    it('leave nothing behind on the node', nothingLeft);
  },
);

/** Those of Muster beside the containers. */
function sandboxesIn(pod: string): string {
  return readdirSync(pod)
    .filter((name) => name.startsWith('muster-'))
    .join(' ');
}
