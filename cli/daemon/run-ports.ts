/**
 * What a foreground session may ask of the control plane, made of hub, store and lease book. A client that is connected keeps its
 * group's lease by being connected.
 */
import { existsSync, readFileSync } from 'node:fs';
import { requestEnd } from '../../controllers/process-group/end-request.ts';
import type { ControlPlane } from '../../controllers/control-plane.ts';
import { clientLeaseSeconds } from '../../crds/names.ts';
import type { ObjectStore } from '../../store/object-store.ts';
import { processGroupType } from '../client.ts';
import type { RunPorts } from './run-session.ts';

const renewAtMostEveryMs = 5_000;

export interface ClientPresence extends Disposable {
  set(uid: string, present: boolean): void;
}

/** Renews the leases of all groups whose client is connected. */
export function clientPresence(plane: ControlPlane, leaseMs = clientLeaseSeconds * 1000): ClientPresence {
  const connected = new Map<string, number>();
  const timer = setInterval(
    () => {
      for (const uid of connected.keys()) plane.clientLeases.renew(uid);
    },
    Math.min(renewAtMostEveryMs, leaseMs / 4),
  );
  return {
    set: (uid, present) => {
      plane.clientLeases.renew(uid);
      const count = (connected.get(uid) ?? 0) + (present ? 1 : -1);
      if (count > 0) connected.set(uid, count);
      else connected.delete(uid);
    },
    [Symbol.dispose]: () => clearInterval(timer),
  };
}

export function runPorts(
  plane: ControlPlane,
  store: ObjectStore,
  presence: ClientPresence,
  failed: RunPorts['failed'],
): RunPorts {
  const ownBootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return {
    localSocketOf: (node) => {
      const hello = plane.hub.nodes.get(node)?.hello;
      if (!hello || hello.bootId !== ownBootId || hello.localSocket === '') return undefined;
      return existsSync(hello.localSocket) ? hello.localSocket : undefined;
    },
    isKnown: (node) => plane.hub.nodes.get(node)?.hello !== undefined,
    nodeChange: (node, signal) => plane.hub.nodeChange(node, signal),
    untilKnown: (uid, signal) => plane.hub.desired.untilKnown(uid, signal),
    logs: (uid, options, signal) => plane.hub.openLogs(uid, options, signal),
    shown: (uid, positions) => plane.hub.shown(uid, positions),
    stdin: (uid, signal) => plane.hub.openStdin(uid, signal),
    signal: (uid, number) => plane.hub.signal(uid, number),
    suspend: async (group, suspended) => {
      const { namespace, name } = group.metadata;
      await store.patch(
        processGroupType,
        { namespace, name },
        {
          type: 'merge',
          patch: { spec: { suspend: suspended } },
        },
      );
    },

    end: (group, now) => requestEnd(store, group, now ? 'Kill' : 'End'),
    windowSize: (uid, rows, columns) => plane.hub.order(uid, { kind: 'Window', rows, columns }),
    lease: (uid, present) => presence.set(uid, present),
    failed,
  };
}
