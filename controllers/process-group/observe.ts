/**
 * Gathers a snapshot of one ProcessGroup from what is in memory: its object, facts, standings, leases. It decides
 * nothing; where the group has no placement it asks where it could go.
 */
import { checkSpec } from '../../crds/check-spec.ts';
import { isTrue, type Reason } from '../../crds/conditions.ts';
import { errorText } from '../../crds/field-error.ts';
import { annotations, labels } from '../../crds/names.ts';
import { unsupported } from '../../crds/supported.ts';
import type { Checkpoint, ProcessGroup } from '../../crds/types.gen.ts';
import type { ClientLeaseBook } from '../client-lease.ts';
import type { Hub } from '../hub/hub.ts';
import { place, type NodeOffer, type Placing } from '../placement/place.ts';
import { expandPlacement, type Assignment } from '../placement/placement-status.ts';
import type { Clock } from '../runtime/clock.ts';
import { carrierLossOf, gangOf, type Gang } from '../carrier/gang.ts';
import type { CarrierBook } from '../carrier/book.ts';
import { restoredSharesOf, sharesOf } from '../carrier/split.ts';
import { encryptingFeature } from '../../wire/encryption.ts';
import { defaultNodeLeaseSeconds } from '../../wire/fencing.ts';
import type { Saves } from '../checkpoint/saves.ts';
import { drainOf, type DrainPorts } from './drain.ts';
import { endRequestOf, savedRequestOf } from './end-request.ts';
import { finalNameOf, finalRequestOf } from './final-checkpoint.ts';
import { placingOfRestore, restorableOf, restoreNameOf, type RestoreSeen } from './restore.ts';
import { newFailures, type Retry } from './restore-retry.ts';
import { suspensionNameOf } from './suspension.ts';
import { startsElsewhere } from './warden.ts';
import { suspendPolicyTrouble } from './suspend-policy.ts';
import { sandboxStateOf, type SandboxView, type Seen } from './seen.ts';

export interface ObservePorts {
  readonly hub: Pick<Hub, 'facts' | 'nodes' | 'desired' | 'leases'>;
  readonly clock: Clock;
  readonly leases: ClientLeaseBook;
  readonly offers: (exceptUid: string) => NodeOffer[];
  /** Why a group without a place must not get one now, whatever nodes offer. */
  readonly reasonToWait?: (group: ProcessGroup) => string | undefined;
  readonly removedForMs: (uid: string) => number | undefined;
  /** Of groups that do not say. */
  readonly defaultNetwork?: 'Isolated' | 'Host';
  /** Of the tunnels between nodes; absent: none. */
  readonly networkEncryption?: 'WireGuard';
  /** In which addresses sandboxes have; default IPv4. */
  readonly networkFamilies?: 'IPv4' | 'DualStack';
  readonly saves?: Saves;
  /** Leases of groups that may be started elsewhere. */
  readonly nodeLeaseSeconds?: number;
  /** On Kubernetes. */
  readonly carriers?: CarrierBook;
  readonly drains?: DrainPorts;
}

/** `restoreName`: of the checkpoint that it goes on from, which stands in a restored group's spec no more. */
export function observe(group: ProcessGroup, ports: ObservePorts, restoreName = restoreNameOf(group)): Seen {
  const { clock, leases } = ports;
  const { metadata, spec, status } = group;
  const uid = metadata.uid ?? '';
  const hasRun = status?.runningTime !== undefined;
  const assignments = assignmentsOf(group);
  const sandboxes = assignments.map((assignment) => viewOf(group, assignment, hasRun, ports));
  const done = status?.finishTime !== undefined || metadata.deletionTimestamp !== undefined;
  const unplaced = sandboxes.length === 0 && !done;
  const trouble = suspendPolicyTrouble(group);
  const invalid = unplaced ? [...checkSpec(group).map(errorText), ...(trouble ? [trouble] : [])] : [];
  const refused = unplaced ? unsupportedOf(group, ports) : [];
  const saving = ownOf(group, suspensionNameOf, assignments, ports);
  const drain = ports.drains && drainOf(group, sandboxes, savedImagesOf(saving, ports), ports.drains);
  const isHeld = spec.suspend === true || drain !== undefined;
  const placeable = unplaced && invalid.length === 0 && refused.length === 0 && !isHeld;
  const carriers = spec.template === undefined ? undefined : ports.carriers;
  const restore = restoreOf(group, restoreName, ports);
  const gang = placeable && carriers ? gangOfGroup(group, carriers, restore, ports) : undefined;
  const final = ownOf(group, finalNameOf, assignments, ports);
  const placing = placeable ? (gang?.placing ?? placingOf(group, restore, ports)) : undefined;
  const isForeground = metadata.annotations?.[annotations.clientLease.name] !== undefined && !done;
  return Object.freeze({
    nowMs: clock.now(),
    group,
    sandboxes,
    network: networkOf(group, placing, restore, ports),
    networkClaim: undefined,
    networkEncryption: ports.networkEncryption,
    networkFamilies: ports.networkFamilies,
    nodeLeaseSeconds: nodeLeaseOf(group, ports),
    carriers: carriers && { views: carriers.of(uid), gang },
    placing,
    invalid,
    unsupported: refused,
    clientLeaseLeftMs: isForeground ? leases.leftMs(uid) : undefined,
    endRequest:
      endRequestOf(group) ??
      (done ? undefined : (savedRequestOf(ports.saves?.stopOf(group)) ?? finalRequestOf(final))),
    restore,
    retry: restore && !done ? retryOf(group, sandboxes, restore, ports) : undefined,
    lastCheckpoint: ports.saves?.latestOf(group),
    fallback:
      spec.failurePolicy?.node === 'RestoreLatestCheckpoint' ? ports.saves?.fallbackOf(group) : undefined,
    policyCheckpoints: ports.saves?.madeFor(group) ?? [],
    saving,
    drain,
    final,
    removedForMs: ports.removedForMs(uid),
  });
}

function retryOf(
  group: ProcessGroup,
  sandboxes: readonly SandboxView[],
  restore: RestoreSeen,
  ports: ObservePorts,
): Retry | undefined {
  const failures = newFailures(group, sandboxes);
  return failures.length === 0
    ? undefined
    : { failures, placing: placingOf(group, restore, ports, failures) };
}

function placingOf(
  group: ProcessGroup,
  restore: RestoreSeen | undefined,
  ports: ObservePorts,
  failures: Retry['failures'] = [],
): Placing {
  const { spec, metadata } = group;
  const message = ports.reasonToWait?.(group);
  if (message !== undefined) return { kind: 'waiting', reason: 'StoreDamaged', message };
  const wish = { size: spec.size ?? 0, placement: spec.placement ?? {}, resources: spec.resources };
  const all = ports.offers(metadata.uid ?? '');
  const offers = all.map((offer) => ableFor(group, offer, ports));
  if (restore) {
    const fit = offers.map((offer) => networkedFor(restore, offer, ports));
    return placingOfRestore(group, restore, fit, (node) => ports.hub.nodes.get(node), failures);
  }
  return place(wish, offers);
}

function restoreOf(
  group: ProcessGroup,
  name: string | undefined,
  { saves }: ObservePorts,
): RestoreSeen | undefined {
  if (name === undefined) return undefined;
  const found = saves?.named(group.metadata, name);
  const uid = group.status?.restore?.checkpointUid;
  const checkpoint = uid === undefined || found?.metadata.uid === uid ? found : undefined;
  return { name, checkpoint, images: checkpoint && saves?.imagesOf(checkpoint) };
}

/** The one that has the name of this run's. */
function ownOf(
  group: ProcessGroup,
  nameOf: (group: ProcessGroup, incarnation: number) => string,
  assignments: readonly Assignment[],
  { saves }: ObservePorts,
): Checkpoint | undefined {
  if (!saves || assignments.length === 0) return undefined;
  const incarnation = Math.max(...assignments.map((each) => each.incarnation));
  const found = saves.named(group.metadata, nameOf(group, incarnation));
  return found?.metadata.labels?.[labels.groupUid.name] === group.metadata.uid ? found : undefined;
}

function savedImagesOf(
  saving: Checkpoint | undefined,
  { saves }: ObservePorts,
): ReturnType<Saves['imagesOf']> {
  return saving && isTrue(saving.status?.conditions, 'Ready') ? saves?.imagesOf(saving) : undefined;
}

/** With the network that its ranks had. */
const networkedFor = ({ checkpoint }: RestoreSeen, offer: NodeOffer, ports: ObservePorts): NodeOffer =>
  checkpoint?.status?.network === undefined ? offer : isolating(offer, ports);

/** The scheduler places Pods, and the ranks go where those are. */
function gangOfGroup(
  group: ProcessGroup,
  carriers: CarrierBook,
  restore: RestoreSeen | undefined,
  ports: ObservePorts,
): Gang {
  const { spec, metadata, status } = group;
  const uid = metadata.uid ?? '';
  const damaged = ports.reasonToWait?.(group);
  const wait = (reason: Reason, message: string): Gang => ({
    placing: { kind: 'waiting', reason, message },
    make: [],
    release: [],
  });
  if (damaged !== undefined) return wait('StoreDamaged', damaged);
  if (!carriers.isKnown)
    return wait('WaitingForCarriers', 'the carrier Pods of the cluster are being listed');
  const offers = new Map(
    ports
      .offers(uid)
      .map((offer) => ableFor(group, restore ? networkedFor(restore, offer, ports) : offer, ports))
      .map((offer) => [offer.name, offer]),
  );
  const found = restore && restorableOf(group, restore, (node) => ports.hub.nodes.get(node));
  if (found?.kind === 'waiting') return wait(found.reason, found.message);
  const shares = found
    ? restoredSharesOf(found.sandboxes, spec.placement ?? {}, { ...found, offers: [...offers.keys()] })
    : sharesOf(spec.size ?? 0, spec.placement ?? {});
  const cordoned = shares.flatMap(({ node }) => offers.get(node ?? '') ?? []).find((offer) => offer.cordoned);
  if (cordoned && carriers.of(uid).length === 0) {
    const message = `spec.placement.nodes: ${cordoned.name} ${cordoned.cordonedBecause ?? 'is cordoned'}`;
    return wait('NodeCordoned', message);
  }
  return gangOf(
    {
      shares,
      incarnation: (status?.incarnation ?? 0) + 1,
      views: carriers.of(uid),
      nowMs: ports.clock.now(),
      avoided: carriers.avoided,
      released: carriers.released(uid),
      nodeTrouble: (node, ordinal) => {
        const offer = offers.get(node);
        if (!offer) return 'has no agent; see that the agents run there (kubectl get ds)';
        return offer.ready ? found?.trouble(node, ordinal) : (offer.notReadyBecause ?? 'is not ready');
      },
    },
    carriers.policy,
  );
}

/** A node that cannot do what the group asks of it is not ready for the group. */
function ableFor({ spec }: ProcessGroup, offer: NodeOffer, ports: ObservePorts): NodeOffer {
  const networked = isIsolated(spec, ports) ? isolating(offer, ports) : offer;
  const able =
    spec.template?.spec?.securityContext?.seccompProfile?.type === 'Localhost'
      ? having('pod-profile', "cannot put ranks under the Pod's seccomp profile", networked, ports)
      : networked;
  return startsElsewhere(spec)
    ? having('leases', 'cannot hold a lease for failurePolicy.node', able, ports)
    : able;
}

/** Where tunnels are to be encrypted, a group that does not say does not get the nodes' network, which is not. */
const isIsolated = (
  { network }: ProcessGroup['spec'],
  { defaultNetwork, networkEncryption }: ObservePorts,
): boolean =>
  network === 'Isolated' ||
  (network === undefined && defaultNetwork !== 'Host' && networkEncryption !== undefined);

const feature = 'network-isolated';

function isolating(offer: NodeOffer, ports: ObservePorts): NodeOffer {
  const able = having(feature, 'cannot have network Isolated', offer, ports);
  return ports.networkEncryption === undefined
    ? able
    : having(encryptingFeature, 'cannot encrypt tunnels of network Isolated', able, ports);
}

function having(name: string, cannot: string, offer: NodeOffer, { hub }: ObservePorts): NodeOffer {
  const hello = hub.nodes.get(offer.name)?.hello;
  if (!offer.ready || hello?.features.includes(name)) return offer;
  const why = hello?.missing.find((text) => text.startsWith(`${name}: `))?.slice(name.length + 2);
  return { ...offer, ready: false, notReadyBecause: `${cannot}: ${why ?? 'update its agent'}` };
}

/** Groups that may be started elsewhere while nothing is known of a node run under a lease, as it was when they were placed. */
function nodeLeaseOf({ spec, status }: ProcessGroup, ports: ObservePorts): number | undefined {
  if (status?.placement !== undefined) return status.nodeLeaseSeconds;
  return startsElsewhere(spec) ? (ports.nodeLeaseSeconds ?? defaultNodeLeaseSeconds) : undefined;
}

/** As the cluster offers it to a group that does not say: where some node of it cannot have a network, the nodes' own. */
function networkOf(
  { spec, status }: ProcessGroup,
  placing: Placing | undefined,
  restore: RestoreSeen | undefined,
  ports: ObservePorts,
): Seen['network'] {
  const { hub, defaultNetwork = 'Isolated' } = ports;
  if (status?.placement !== undefined) return status.resolved?.network ?? 'Host';
  if (restore?.checkpoint) return restore.checkpoint.status?.network ? 'Isolated' : 'Host';
  if (isIsolated(spec, ports)) return 'Isolated';
  if (spec.network !== undefined || defaultNetwork === 'Host') return spec.network ?? 'Host';
  const nodes = placing?.kind === 'placed' ? placing.sandboxes.map(({ node }) => node) : [];
  return nodes.every((node) => hub.nodes.get(node)?.hello?.features.includes(feature)) ? 'Isolated' : 'Host';
}

/** What the schema can say and this build does not carry out, by field. */
function unsupportedOf(group: ProcessGroup, { carriers }: ObservePorts): string[] {
  return unsupported(group, { carriers: carriers !== undefined }).map(
    ({ field, message }) => `${field}: ${message}`,
  );
}

const expanded = new WeakMap<object, Assignment[]>();

/** Expanded once for each version of the placement in status. */
export function assignmentsOf(group: ProcessGroup): readonly Assignment[] {
  const entries = group.status?.placement;
  if (!entries) return [];
  let assignments = expanded.get(entries);
  if (!assignments) expanded.set(entries, (assignments = expandPlacement(entries)));
  return assignments;
}

function viewOf(
  group: ProcessGroup,
  assignment: Assignment,
  hasRun: boolean,
  ports: ObservePorts,
): SandboxView {
  const { hub, carriers } = ports;
  const uid = group.metadata.uid ?? '';
  const { node, ordinal, incarnation } = assignment;
  const id = { groupUid: uid, ordinal, incarnation };
  const standing = hub.nodes.standing(node);
  const known = hub.facts.get(node, id);
  const loss = hub.facts.loss(node, id);
  const removedAt = hub.desired.removedAt(uid);
  const heard = removedAt !== undefined && (hub.nodes.get(node)?.desiredRevision ?? 0) >= removedAt;
  const forgotten = hub.facts.wasForgotten(node, id) || (standing === 'Connected' && !known && heard);
  return {
    ...assignment,
    standing,
    known,
    loss,
    forgotten,
    state: sandboxStateOf(standing, known, loss, hasRun),
    leaseSilentMs: group.status?.nodeLeaseSeconds === undefined ? undefined : hub.leases.sinceGrantMs(id),
    want: hub.desired.sandboxesOf(uid)[ordinal]?.want,
    ...(group.spec.template !== undefined && carriers?.isKnown === true
      ? carrierLossOf(ordinal, incarnation, carriers.of(uid))
      : {}),
  };
}
