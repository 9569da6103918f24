/**
 * A control plane in a process of its own, for tests that kill it. Takes a store directory and a directory of keys;
 * reads names of groups to create on standard input; prints its port and every group's phase as JSON lines.
 */
import { flushCompileCache } from 'node:module';
import { createInterface } from 'node:readline';
import pino from 'pino';
import { runControlPlane } from '../../controllers/control-plane.ts';
import { openAuthority, openCertificate } from '../../controllers/pki/key-files.ts';
import {
  checkpointType,
  migrationType,
  nodeMonitorType,
  processGroupType,
} from '../../controllers/resource-types.ts';
import { admit } from '../../crds/admission.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { FileStore } from '../../store/file/file-store.ts';
import { isStoreError } from '../../store/object-store.ts';
import { builtinTypes } from '../../store/resource.ts';

flushCompileCache();
const [directory = '', keys = ''] = process.argv.slice(2);
const types = [processGroupType, nodeMonitorType, checkpointType, migrationType, builtinTypes.event];
const store = await FileStore.open({ directory, types, admit: admit as never });
const authority = await openAuthority(keys, 'test');
const server = await openCertificate(keys, 'server', authority, { kind: 'server', names: ['127.0.0.1'] });
const stop = new AbortController();
const plane = await runControlPlane(
  {
    store,
    hubListen: '127.0.0.1:0',
    tls: { ca: authority.cert, ...server },
    clusterId: 'c1',
    secrets: { get: () => Promise.resolve(undefined) },
    logger: pino({ level: 'error' }, pino.destination(2)),
  },
  stop.signal,
);
say({ port: plane.hub.port });

createInterface({ input: process.stdin }).on('line', (name) => {
  const spec = {
    size: 4,
    placement: { ranksPerNode: 2 },
    processes: [{ name: 'main', ranks: '0-3', command: ['/bin/true'] }],
  };
  const metadata = { name, namespace: 'default' };
  store
    .create<ProcessGroup>(processGroupType, {
      apiVersion: 'muster.dev/v1alpha1',
      kind: 'ProcessGroup',
      metadata,
      spec,
    })
    .catch((error: unknown) => {
      if (!isStoreError(error, 'AlreadyExists')) throw error;
    });
});

for await (const { object } of store.watch<ProcessGroup>(processGroupType, {}, stop.signal)) {
  say({ name: object.metadata.name, uid: object.metadata.uid, phase: object.status?.phase });
}

function say(fields: object): void {
  process.stdout.write(`${JSON.stringify(fields)}\n`);
}
