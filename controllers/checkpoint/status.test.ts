import { expect, test } from 'vitest';
import { annotations } from '../../crds/names.ts';
import { apiVersion } from '../../crds/objects.ts';
import type { Checkpoint, ProcessGroup } from '../../crds/types.gen.ts';
import { restoredGroup } from '../process-group/restore.ts';
import { identityOf } from '../spec-of.ts';
import { observe, type ObservePorts } from './observe.ts';
import { statusOf } from './status.ts';

const groupOf = (name: string, user: string, spec: ProcessGroup['spec']): ProcessGroup => ({
  apiVersion,
  kind: 'ProcessGroup',
  metadata: {
    name,
    namespace: 'default',
    uid: `uid-${name}`,
    annotations: { [annotations.submittedUid.name]: user },
  },
  spec,
});

/** Of a group, as its controller makes it when it begins. */
function begunOf(name: string, group: ProcessGroup, ...earlier: Checkpoint[]): Checkpoint {
  const asked: Checkpoint = {
    apiVersion,
    kind: 'Checkpoint',
    metadata: { name, namespace: 'default', uid: `uid-${name}` },
    spec: { processGroupName: group.metadata.name },
  };
  const ports = {
    hub: { facts: { imagesOf: () => [] }, nodes: { all: () => [], standing: () => 'Gone' } },
    clock: { now: () => 0 },
    groups: new Map([[`default/${group.metadata.name}`, group]]),
    checkpoints: new Map([...earlier, asked].map((each) => [`default/${each.metadata.name}`, each])),
  } as unknown as ObservePorts;
  const seen = observe(asked, ports);
  return {
    ...asked,
    status: statusOf(seen, { from: 'Waiting', to: 'Preparing' }),
  };
}

test('ranks are brought back as whom they ran, whoever brings them back, and from a checkpoint of what was brought back too', () => {
  const processes = [{ name: 'main', ranks: '0-1', command: ['./job'] }];
  const first = begunOf('first', groupOf('night', '1000:100', { size: 2, processes }));
  const again = groupOf('again', '0:0', { restoreFrom: { checkpointName: 'first' } });
  const user = { uid: 1000, gid: 100, groups: [], groupsFromNode: true };
  expect(identityOf(restoredGroup(again, first))).toEqual(user);
  const second = begunOf('second', again, first);
  const third = restoredGroup(groupOf('third', '0:0', { restoreFrom: { checkpointName: 'second' } }), second);
  expect(third.spec).toMatchObject({ size: 2, processes });
  expect(identityOf(third)).toEqual(user);
});
