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
        suspendPolicy: 'Checkpoint',
        checkpointPolicy: { interval: 'Auto', keep: 3, copies: 2, openFiles: 'Truncate' },
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
      'spec.queueName',
      'spec.dependsOn',
      'spec.processes[].coProcess',
    ]);
  });

  it.each([
    [
      { pmi: 'PMIx' },
      'pmi PMIx is not supported by this build: ranks are served PMI-1; use PMI1, Auto or None',
    ],
    [{ template: {} }, 'template is not supported'],
  ] as [ProcessGroupSpec, string][])('says of %j what to do', (spec, message) => {
    const found = unsupported(group(spec));
    expect(found).toHaveLength(1);
    expect(found[0]!.message).toContain(message);
  });

  it('has nothing against a template where there are carrier Pods, and brings ranks back into them', () => {
    const spec: ProcessGroupSpec = {
      template: {},
      restoreFrom: { checkpointName: 'a' },
      suspendPolicy: 'Checkpoint',
      failurePolicy: { node: 'RestoreLatestCheckpoint' },
    };
    expect(unsupported(group(spec), { carriers: true })).toEqual([]);
  });
});
