/**
 * Who calls on the local socket and what they may do. The kernel says who (SO_PEERCRED); the owner of the home and root may
 * everything, other users of the machine may look, make jobs of their own and change only those. Secrets are the owner's.
 */
import type { IncomingMessage } from 'node:http';
import { annotations } from '../../crds/names.ts';
import { native } from '../../native/addon/index.ts';
import { type AnyObject, isStoreError, type ObjectStore, StoreError } from '../../store/object-store.ts';
import type { Verdict } from '../../store/server/api-server.ts';
import type { AccessRequest, User } from '../../store/server/routes.ts';
import { processGroupType } from '../client.ts';
import { isRecordId } from './private-records.ts';
import { administrators, hasRoles, isAdministrator, roleAllows } from './roles.ts';

/** Who called on the local socket, whom the kernel knows. */
const localUsers = 'muster:local';

/** The socket of node:http keeps its descriptor in its handle, which Node documents nowhere but has had since its beginning. */
interface SocketHandle {
  readonly _handle?: { readonly fd?: number } | null;
}

export function localUser(request: IncomingMessage, ownerUid: number): User | undefined {
  const fd = (request.socket as unknown as SocketHandle)._handle?.fd;
  if (fd === undefined || fd < 0) return undefined;
  const { uid, gid } = native().peerCredentials(fd);
  const account = native().user(uid);
  return {
    name: account?.name ?? `uid:${uid}`,
    uid: `${uid}:${gid}`,
    groups: [...(uid === 0 || uid === ownerUid ? [administrators] : []), localUsers, 'system:authenticated'],
  };
}

const reading = new Set(['get', 'list', 'watch']);
const readable = new Set([
  ...['processgroups', 'checkpoints', 'migrations', 'nodemonitors'],
  ...['events', 'leases', 'namespaces'],
]);

/** What a user of the socket or of TLS may do. */
export async function verdictOn(store: ObjectStore, access: AccessRequest): Promise<Verdict> {
  if (isAdministrator(access.user) || roleAllows(access)) return { allowed: true };
  const { user } = access;
  if (user.groups.includes(localUsers)) return localVerdict(store, access);
  return no(hasRoles(user) ? 'no role of his allows it' : 'he has no role');
}

async function localVerdict(store: ObjectStore, access: AccessRequest): Promise<Verdict> {
  const { resource, verb, subresource } = access;
  if (resource === undefined) return reading.has(verb) ? { allowed: true } : no('only an administrator may');
  if (access.group === 'subresources.muster.dev') {
    if (['nodemonitors', 'dashboard', 'dashboardfeed'].includes(resource)) return { allowed: true };
    if (resource !== 'processgroups') return no('only an administrator may');
    return subresource === 'ps' || subresource === 'top' ? { allowed: true } : ownVerdict(store, access);
  }
  if (!readable.has(resource)) return no(`only an administrator may see ${resource}`);
  if (reading.has(verb)) return { allowed: true };
  if (resource !== 'processgroups' || subresource !== undefined)
    return no(`only an administrator may change ${resource}`);
  return verb === 'create' ? { allowed: true } : ownVerdict(store, access);
}

async function ownVerdict(store: ObjectStore, access: AccessRequest): Promise<Verdict> {
  if (access.name === undefined) return no('only an administrator may change many objects at once');
  try {
    const group = await store.get(processGroupType, { namespace: access.namespace, name: access.name });
    const owner = group.metadata.annotations?.[annotations.submittedBy.name];
    return owner === access.user.name
      ? { allowed: true }
      : no(`it belongs to ${owner ?? 'an administrator'}`);
  } catch (error) {
    // The call itself will say that there is none.
    if (isStoreError(error, 'NotFound')) return { allowed: true };
    throw error;
  }
}

const no = (reason: string): Verdict => ({ allowed: false, reason });

/** Annotations that only the control plane writes: whom a job belongs to, where its environment lies, what was asked of it. */
const ownAnnotations = [
  annotations.submittedBy.name,
  annotations.submittedUid.name,
  annotations.environmentSecret.name,
  annotations.clientLease.name,
  annotations.end.name,
  annotations.submission.name,
];

/** A new ProcessGroup of the API, marked with who made it; one that asks for another user needs an administrator. */
export function submittedGroup(user: User, object: AnyObject): AnyObject {
  const given = { ...object.metadata.annotations };
  for (const name of ownAnnotations) {
    if (!isClientsOwn(name, given[name] ?? '')) delete given[name];
  }
  const wanted = (
    object.spec as { securityContext?: { runAsUser?: number; runAsGroup?: number } } | undefined
  )?.securityContext;
  const [uid, gid] = idsOf(user);
  if (!isAdministrator(user)) {
    const foreign = (wanted?.runAsUser ?? uid) !== uid || (wanted?.runAsGroup ?? gid) !== gid;
    if (foreign) {
      throw new StoreError(
        'Forbidden',
        `spec.securityContext: ${user.name} may run jobs only as himself (${uid}:${gid})`,
      );
    }
  }
  return {
    ...object,
    metadata: {
      ...object.metadata,
      annotations: {
        ...given,
        [annotations.submittedBy.name]: user.name,
        [annotations.submittedUid.name]: mappedIds(uid, gid),
      },
    },
  };
}

/** A client in the foreground says itself by what it is known again, and in which Secret of its own the environment is. */
function isClientsOwn(name: string, value: string): boolean {
  if (name === annotations.clientLease.name) return /^[0-9a-f]{64}$/.test(value);
  return name === annotations.environmentSecret.name && !isRecordId(value);
}

const nobody = 65_534;

/** Of the caller's process, else as his credentials say, else nobody's. */
function idsOf(user: User): [uid: number, gid: number] {
  const mapped = user.groups
    .find((group) => group.startsWith('muster:run-as:'))
    ?.slice('muster:run-as:'.length);
  const ids = /^(\d{1,10}):(\d{1,10})$/.exec(user.uid ?? mapped ?? '');
  return ids === null ? [nobody, nobody] : [Number(ids[1]), Number(ids[2])];
}

/** `UID:GID` that a user's jobs run as unless told otherwise: himself, but root's run as nobody. */
export const mappedIds = (uid: number, gid: number): string =>
  uid === 0 ? `${nobody}:${nobody}` : `${uid}:${gid}`;

/** They stay as they were, but for the client's lease, which goes when a job is detached, and the order to end, which only grows. */
export function keepOwnAnnotations(object: AnyObject, old: AnyObject): AnyObject {
  const kept = { ...object.metadata.annotations };
  for (const name of ownAnnotations) {
    const before = old.metadata.annotations?.[name];
    if (name === annotations.clientLease.name && kept[name] === undefined) continue;
    if (name === annotations.end.name && isMore(kept[name], before)) continue;
    if (before === undefined) delete kept[name];
    else kept[name] = before;
  }
  return { ...object, metadata: { ...object.metadata, annotations: kept } };
}

const isMore = (word: string | undefined, before: string | undefined): boolean =>
  ((word === 'End' || word === 'Drain') && before === undefined) || (word === 'Kill' && before !== 'Kill');
