/**
 * Carries out what plan.ts asks for, each action idempotent: done twice it changes nothing more. The only file of this
 * folder that writes to the store's objects (but not their status) and to the desired book.
 */
import type { Logger } from 'pino';
import { annotations, finalizers, labels } from '../../crds/names.ts';
import type { Checkpoint, ProcessGroup } from '../../crds/types.gen.ts';
import { isStoreError, type ObjectStore } from '../../store/object-store.ts';
import type { Carrier, SandboxId } from '../../wire/agent-types.ts';
import type { CarrierBook } from '../carrier/book.ts';
import { scratchOf } from '../carrier/pod.ts';
import { carrierRefOf } from '../carrier/view.ts';
import type { ClientLeaseBook } from '../client-lease.ts';
import type { Entry, PagesHolder } from '../hub/desired-book.ts';
import type { Hub } from '../hub/hub.ts';
import { sandboxKey } from '../hub/sandbox-key.ts';
import type { EventRecorder } from '../runtime/event-recorder.ts';
import type { NetworkClaims } from '../network/claims.ts';
import { checkpointType, processGroupType } from '../resource-types.ts';
import { cutStateOf, isDone } from '../checkpoint/seen.ts';
import { finalCheckpointOf, finalNameOf } from './final-checkpoint.ts';
import { policyCheckpointOf } from './checkpoint-policy.ts';
import { suspensionNameOf, suspensionOf } from './suspension.ts';
import { keptSpecsOf, specsOf, warningSignalOf, type GroupSecret } from '../spec-of.ts';
import type { Action } from './plan.ts';
import type { SandboxView, Seen } from './seen.ts';
import { newAssignments } from './status.ts';

/** Private records of groups, kept out of their objects. */
export interface GroupSecrets {
  get(group: ProcessGroup, signal?: AbortSignal): Promise<GroupSecret | undefined>;
  /** The group is gone. */
  forget?(uid: string): void | Promise<void>;
}

export interface PerformPorts {
  readonly store: ObjectStore;
  readonly hub: Hub;
  readonly secrets: GroupSecrets;
  readonly leases: ClientLeaseBook;
  readonly events: EventRecorder;
  readonly clusterId: string;
  readonly networks: NetworkClaims;
  readonly carriers?: CarrierBook;
  readonly logger: Logger;
  readonly removed: (uid: string) => void;
  readonly gone: (uid: string) => void;
}

/** Gives back the object as it stands afterwards. */
export async function perform(
  action: Action,
  seen: Seen,
  group: ProcessGroup,
  ports: PerformPorts,
  signal: AbortSignal,
): Promise<ProcessGroup> {
  const { store, hub } = ports;
  const { uid = '', name, namespace } = group.metadata;
  const key = { namespace, name };
  switch (action.kind) {
    case 'addFinalizer':
      return store.patch<ProcessGroup>(processGroupType, key, finalizerPatch(group, true), undefined, signal);
    case 'want':
      await want(action.wishOf, seen, group, ports, signal);
      return group;
    case 'vacate':
      for (const { node, spec } of hub.desired.sandboxesOf(uid)) {
        hub.facts.drop(node, spec.id);
        hub.leases.drop(spec.id);
      }
      hub.desired.forget(uid);
      if (!action.keepNetwork) await ports.networks.release(uid, signal);
      return group;
    case 'save':
      await save(seen, group, ports, signal);
      return group;
    case 'dropSaving':
      await dropSaving(seen, ports, signal);
      return group;
    case 'takeCheckpoint':
      await takeCheckpoint(group, ports, signal);
      return group;
    case 'takeFinal':
      await takeFinal(seen, group, ports, signal);
      return group;
    case 'dropCheckpoints':
      for (const checkpoint of action.checkpoints) await drop(checkpoint, ports, signal);
      return group;
    case 'noteCheckpoint': {
      const noted = { [annotations.lastCheckpoint.name]: action.time ?? null };
      const patch = { metadata: { uid, annotations: noted } };
      return store.patch<ProcessGroup>(processGroupType, key, { type: 'merge', patch }, undefined, signal);
    }
    case 'releaseNetwork':
      await ports.networks.release(uid, signal);
      return group;
    case 'remove':
      if (!hub.desired.has(uid))
        await want(() => ({ want: 'Kill', graceSeconds: 0, mayStart: false }), seen, group, ports, signal);
      hub.desired.remove(uid);
      ports.removed(uid);
      return group;
    case 'dropFinalizer':
      for (const node of action.lostNodes.slice(0, 8)) {
        const message = `deleted while nothing was heard of node ${node}; what ran there is ended when its agent comes back`;
        ports.events.record(group, { type: 'Warning', reason: 'NodeLost', message });
      }
      await ports.networks.release(uid, signal);
      await store.patch<ProcessGroup>(processGroupType, key, finalizerPatch(group, false), undefined, signal);
      ports.gone(uid);
      return group;
    case 'carriers': {
      const { carriers } = ports;
      await carriers?.release(uid, action.release, action.why, signal);
      const whole = { ...group, spec: seen.group.spec };
      await carriers?.make(whole, (group.status?.incarnation ?? 0) + 1, action.make, signal);
      if (action.why !== undefined)
        ports.events.record(group, { type: 'Warning', reason: 'CarriersReleased', message: action.why });
      return group;
    }
    case 'deleteObject':
      try {
        await store.delete(processGroupType, key, { preconditions: { uid } }, signal);
      } catch (error) {
        if (!isStoreError(error, 'NotFound')) throw error;
      }
      return group;
    case 'warn': {
      const number = warningSignalOf(group.spec);
      void hub.signal(uid, number).then(
        (outcome) =>
          ports.logger.info({ uid, signal: number, ...outcome }, 'warned of the end of the wall time'),
        (error: unknown) =>
          ports.logger.warn({ err: error, uid }, 'warning before the end of the wall time failed'),
      );
      return group;
    }
  }
}

async function save(
  seen: Seen,
  group: ProcessGroup,
  { store }: PerformPorts,
  signal: AbortSignal,
): Promise<void> {
  const name = suspensionNameOf(group, incarnationOf(seen));
  await create(suspensionOf(group, name, seen.drain !== undefined), store, signal);
}

async function takeFinal(
  seen: Seen,
  group: ProcessGroup,
  { store }: PerformPorts,
  signal: AbortSignal,
): Promise<void> {
  await create(finalCheckpointOf(group, finalNameOf(group, incarnationOf(seen))), store, signal);
}

const incarnationOf = ({ sandboxes }: Seen): number =>
  Math.max(...sandboxes.map(({ incarnation }) => incarnation));

async function create(checkpoint: Checkpoint, store: ObjectStore, signal: AbortSignal): Promise<void> {
  try {
    await store.create(checkpointType, checkpoint, signal);
  } catch (error) {
    // The watch has not told of it yet.
    if (!isStoreError(error, 'AlreadyExists')) throw error;
  }
}

/** One that the watch has not told of yet is found by asking. */
async function takeCheckpoint(
  group: ProcessGroup,
  { store }: PerformPorts,
  signal: AbortSignal,
): Promise<void> {
  const { namespace, uid = '' } = group.metadata;
  const labelSelector = `${labels.groupUid.name}=${uid}`;
  const { items } = await store.list<Checkpoint>(checkpointType, { namespace, labelSelector }, signal);
  if (items.some((checkpoint) => !isDone(cutStateOf({ checkpoint })))) return;
  await store.create(checkpointType, policyCheckpointOf(group), signal);
}

async function dropSaving({ saving }: Seen, ports: PerformPorts, signal: AbortSignal): Promise<void> {
  if (saving) await drop(saving, ports, signal);
}

async function drop({ metadata }: Checkpoint, { store }: PerformPorts, signal: AbortSignal): Promise<void> {
  if (metadata.deletionTimestamp !== undefined) return;
  const { namespace, name, uid } = metadata;
  try {
    await store.delete(checkpointType, { namespace, name }, { preconditions: { uid } }, signal);
  } catch (error) {
    if (!isStoreError(error, 'NotFound')) throw error;
  }
}

async function want(
  wishOf: Extract<Action, { kind: 'want' }>['wishOf'],
  seen: Seen,
  group: ProcessGroup,
  ports: PerformPorts,
  signal: AbortSignal,
): Promise<void> {
  const { desired } = ports.hub;
  const { uid = '' } = group.metadata;
  const views = seen.sandboxes.length > 0 ? seen.sandboxes : newAssignments(seen).map(newView);
  if (views.length === 0) return;
  const wish = (ordinal: number): ReturnType<typeof wishOf> => wishOf(views[ordinal]!);
  if (desired.removedAt(uid) !== undefined) return;
  const isSettled = group.status?.migration === undefined;
  const holders = holdersOf(group);
  const follow = (): void => {
    for (const { node, spec } of desired.follow(uid, holders)) letGo(node, spec.id, ports);
  };
  const before = desired.sandboxesOf(uid);
  const isMoved = before.some((entry, i) => !isAt(entry, views[i]!));
  if (desired.has(uid) && !isMoved) {
    follow();
    desired.settle(uid, isSettled);
    return desired.want(uid, wish);
  }
  const hasEnded = group.status?.finishTime !== undefined;
  const secret = hasEnded ? undefined : await ports.secrets.get(group, signal);
  const carrierOf = ({
    ordinal,
    incarnation,
  }: {
    ordinal: number;
    incarnation: number;
  }): Carrier | undefined => carrierRefOf(seen.carriers?.views ?? [], ordinal, incarnation, scratch);
  const whole = { ...group, spec: seen.group.spec };
  const scratch = scratchOf(whole.spec);
  const specs = hasEnded
    ? keptSpecsOf(whole, views)
    : specsOf(whole, views, secret, ports.clusterId, ports.networks.pool.port, carrierOf);
  if (isMoved) desired.reassign(uid, specs, wish);
  else desired.assign(uid, specs, wish);
  follow();
  desired.settle(uid, isSettled);
  const known = new Set(before.map(({ spec }) => sandboxKey(spec.id)));
  for (const { spec } of specs)
    if (spec.lease !== undefined && !known.has(sandboxKey(spec.id))) ports.hub.leases.begin(spec.id);
  before.forEach((entry, i) => {
    if (!isAt(entry, views[i]!) && !desired.isHeld(entry.node, entry.spec.id))
      letGo(entry.node, entry.spec.id, ports);
  });
}

function letGo(node: string, id: SandboxId, { hub }: PerformPorts): void {
  hub.facts.drop(node, id);
  hub.leases.drop(id);
}

/** Where pages of its sandboxes are that run elsewhere, by the group's record. */
function holdersOf({ metadata, status }: ProcessGroup): PagesHolder[] {
  const { uid = '', name = '', pages = [] } = status?.migration ?? {};
  const full = `${metadata.namespace ?? 'default'}/${name}`;
  return pages.map(({ ordinal, node }) => ({ ordinal, node, migrationUid: uid, name: full }));
}

/** The agents are told what the record says. */
function isAt({ node, spec }: Entry, view: SandboxView): boolean {
  return node === view.node && spec.id.incarnation === view.incarnation;
}

function newView(assignment: ReturnType<typeof newAssignments>[number]): SandboxView {
  return {
    ...assignment,
    standing: 'Connected',
    state: 'Waiting',
    known: undefined,
    loss: undefined,
    forgotten: false,
  };
}

function finalizerPatch(group: ProcessGroup, present: boolean): { type: 'merge'; patch: object } {
  const { name } = finalizers.ranks;
  const others = (group.metadata.finalizers ?? []).filter((other) => other !== name);
  const { resourceVersion } = group.metadata;
  return {
    type: 'merge',
    patch: { metadata: { resourceVersion, finalizers: present ? [...others, name] : others } },
  };
}
