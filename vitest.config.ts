/**
 * Six sets of tests. `unit` lies beside the code and runs in parallel; `system` is test/: it starts processes, makes network
 * namespaces and measures time, so its files run one after another, after the others. `kube` is what of it needs a Kubernetes
 * cluster, `pods` what needs a kubelet besides, which takes longest to build, and `model` what SPIN checks; scripts/test.sh runs
 * these three beside the others, since they mostly wait. `guest` is what `make guest` runs: nodes in virtual machines.
 */
import { defineConfig } from 'vitest/config';

const pods = ['test/kube/carrier-node.test.ts'];
const kube = [
  'test/{kube,chart}/**/*.test.ts',
  'test/verbs/aggregated.test.ts',
  'test/kubectl/{kubernetes,same-answers}.test.ts',
];
const code = [
  'crds',
  'store',
  'wire',
  'controllers',
  'node-agent',
  'native',
  'cli',
  'dashboard',
  'bench',
  'scripts',
];

export default defineConfig({
  test: {
    // fast-check runs name their seed when they fail, so the order of tests need not be shuffled.
    projects: [
      {
        test: {
          name: 'unit',
          include: [`{${code.join(',')}}/**/*.test.ts`],
          testTimeout: 60_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'system',
          include: ['test/**/*.test.ts'],
          exclude: [...kube, 'test/{model,guest}/**'],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'model',
          include: ['test/model/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 300_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'kube',
          include: kube,
          exclude: pods,
          setupFiles: ['test/kube/await-server.ts'],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          name: 'guest',
          include: ['test/guest/**/*.test.ts'],
          fileParallelism: false,
          sequence: { groupOrder: 4 },
        },
      },
      {
        test: {
          name: 'pods',
          include: pods,
          setupFiles: ['test/kube/await-server.ts'],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
