/**
 * The scheduler of a Kubernetes cluster for tests, from the same source as the kubelet (scripts/kubelet.sh), with what of its plugins
 * has to do with nodes and what they offer; those for volumes, preemption and spreading want kinds that this API server does not have.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KubeCluster } from './cluster.ts';

const all = [{ name: '*' }];
const only = (...names: readonly string[]): object => ({
  disabled: all,
  enabled: names.map((name) => ({ name })),
});

const configOf = (kubeconfig: string): object => ({
  apiVersion: 'kubescheduler.config.k8s.io/v1beta1',
  kind: 'KubeSchedulerConfiguration',
  leaderElection: { leaderElect: false },
  clientConnection: { kubeconfig, contentType: 'application/json', acceptContentTypes: 'application/json' },
  // Pods that could not be scheduled are looked at again soon.
  podInitialBackoffSeconds: 1,
  podMaxBackoffSeconds: 2,
  profiles: [
    {
      schedulerName: 'default-scheduler',
      plugins: {
        preFilter: only('NodeResourcesFit'),
        filter: only('NodeUnschedulable', 'NodeName', 'TaintToleration', 'NodeAffinity', 'NodeResourcesFit'),
        postFilter: only(),
        preScore: only('TaintToleration'),
        score: only('NodeResourcesLeastAllocated', 'NodeAffinity', 'TaintToleration'),
        reserve: only(),
        permit: only(),
        preBind: only(),
      },
    },
  ],
});

export class KubeScheduler implements AsyncDisposable {
  readonly #directory = mkdtempSync(join(tmpdir(), 'muster-scheduler-'));
  readonly #process: ChildProcess;

  /** `programs`: the folder that the scheduler is in. */
  constructor(cluster: KubeCluster, programs: string) {
    const config = join(this.#directory, 'config.json');
    writeFileSync(config, JSON.stringify(configOf(cluster.kubeconfig)));
    const log = openSync(join(this.#directory, 'log'), 'a');
    const args = ['--config', config, '--port', '0', '--secure-port', '0', '-v', '2'];
    this.#process = spawn('setpriv', ['--pdeathsig', 'KILL', join(programs, 'kube-scheduler'), ...args], {
      stdio: ['ignore', log, log],
      env: { PATH: '/usr/bin:/bin', HOME: this.#directory },
    });
    closeSync(log);
  }

  /** Its last words. */
  logs(): string {
    return readFileSync(join(this.#directory, 'log'), 'utf8').split('\n').slice(-25).join('\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const ended = once(this.#process, 'exit');
      this.#process.kill('SIGKILL'); // it holds nothing
      await ended;
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
