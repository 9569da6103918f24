/**
 * Three sets of tests. `unit` lies beside the code and runs in parallel; `system` is test/: it starts processes, makes network
 * namespaces and measures time, so its files run one after another, after the others. `kube` is what of it needs a Kubernetes
 * API server, which takes minutes to build where it is not cached: last, so that it can be built meanwhile.
 */
import { defineConfig } from 'vitest/config';

const code = ['crds', 'store', 'wire', 'controllers', 'node-agent', 'native', 'cli', 'bench', 'scripts'];

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
          exclude: ['test/kube/**'],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'kube',
          include: ['test/kube/**/*.test.ts'],
          setupFiles: ['test/kube/await-server.ts'],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
