import { expect, it } from 'vitest';
import type { Checkpoint, ProcessGroup, ProcessGroupSpec } from '../../crds/types.gen.ts';
import { restorableOf, restoredGroup } from './restore.ts';

const template = { spec: { image: 'user:1' } };
const own = { spec: { image: 'user:2' } };

const groupOf = (spec: Partial<ProcessGroupSpec>): ProcessGroup =>
  ({
    metadata: { name: 'g', uid: 'u' },
    spec: { restoreFrom: { checkpointName: 'c' }, ...spec },
  }) as ProcessGroup;
const savedOf = (spec: Partial<ProcessGroupSpec>): Checkpoint =>
  ({
    metadata: { name: 'c', uid: 'cu' },
    status: { processGroupUid: 'u', processGroupSpec: JSON.stringify({ size: 2, ...spec }) },
  }) as unknown as Checkpoint;

it.each([
  ['that of the checkpoint where it says none', {}, { template }, template],
  ['its own where it says one', { template: own }, { template }, own],
  ['none where there was none', {}, {}, undefined],
])('a group that is made from a checkpoint has %s, as template', (_what, spec, saved, expected) => {
  expect(restoredGroup(groupOf(spec), savedOf(saved)).spec.template).toEqual(expected);
});

it('says that ranks of a node’s own root are not brought back in Pods', () => {
  const whole = restoredGroup(groupOf({ template: own }), savedOf({}));
  const found = restorableOf(whole, { name: 'c', checkpoint: savedOf({}), images: [] }, () => undefined);
  expect(found).toMatchObject({ kind: 'waiting', reason: 'CheckpointNotReady' });
  expect(found).toHaveProperty('message', expect.stringContaining('leave template out'));
});
