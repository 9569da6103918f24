import { describe, expect, it } from 'vitest';
import { readCases } from './cases/cases.ts';
import { unsupported } from './supported.ts';
import type { ProcessGroup, ProcessGroupSpec } from './types.gen.ts';

const group = (spec: ProcessGroupSpec) => ({ spec: { size: 1, ...spec } });
const fieldsOf = (spec: ProcessGroupSpec) => unsupported(group(spec)).map((each) => each.field);

describe('unsupported', () => {
  it('has nothing against what this build does', () => {
    expect(
      fieldsOf({
        network: 'Isolated',
        egress: 'Deny',
        suspendPolicy: 'Freeze',
        pmi: 'PMI1',
        root: '/srv/root',
        dependsOn: [],
        failurePolicy: { rank: 'Continue', node: 'Fail' },
        managedBy: 'muster.dev/processgroup-controller',
        processes: [{ name: 'a', ranks: '0', command: ['x'] }],
      }),
    ).toEqual([]);
  });

  it('names every field of a group that asks for everything', () => {
    const whole = readCases().find((each) => each.name.endsWith('everything there is'))!
      .object as ProcessGroup;
    expect(unsupported(whole).map((each) => each.field)).toEqual([
      'spec.externalConnections',
      'spec.checkpointPolicy',
      'spec.failurePolicy.node',
      'spec.queueName',
      'spec.dependsOn',
      'spec.processes[].coProcess',
    ]);
  });

  it.each([
    [
      { suspendPolicy: 'Checkpoint' },
      'suspendPolicy Checkpoint is not supported by this build: there are no',
    ],
    [
      { failurePolicy: { node: 'RestoreLatestCheckpoint' } },
      'failurePolicy.node RestoreLatestCheckpoint is not',
    ],
    [
      { pmi: 'PMIx' },
      'pmi PMIx is not supported by this build: ranks are served PMI-1; use PMI1, Auto or None',
    ],
    [{ template: {} }, 'template is not supported'],
    [{ restoreFrom: { checkpointName: 'a' } }, 'restoreFrom is not supported'],
  ] as [ProcessGroupSpec, string][])('says of %j what to do', (spec, message) => {
    const found = unsupported(group(spec));
    expect(found).toHaveLength(1);
    expect(found[0]!.message).toContain(message);
  });

  it('has nothing against a template where there are carrier Pods', () => {
    expect(unsupported(group({ template: {} }), { carriers: true })).toEqual([]);
  });
});
