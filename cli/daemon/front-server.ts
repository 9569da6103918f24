/**
 * The control plane's end of `muster run`: takes fronts' requests on a unix socket, asks the kernel who calls, makes the
 * ProcessGroup, tells the front where output is to be had, and how it ended. Output of this machine's nodes never passes
 * here: the front gets it from their agents. Nothing is kept but connections: after a restart fronts attach again.
 */
import { annotations, finalizers } from '../../crds/names.ts';
import type { ProcessGroup } from '../../crds/types.gen.ts';
import { native, type Packet, type PacketServer, type PacketSocket } from '../../native/addon/index.ts';
import type { ObjectStore } from '../../store/object-store.ts';
import { mpiexecTimeoutOf } from '../config.ts';
import { textOfError } from '../errors.ts';
import { groupOfRun, inheritedEnvironment, parseHostFile, stemOf } from '../run-group.ts';
import { parseRun, runHelp, type RunRequest, UsageError } from '../run-options.ts';
import { processGroupType } from '../client.ts';
import {
  decodeAttach,
  decodeFrontRequest,
  decodeSubmission,
  encodeDone,
  encodeJob,
  encodeText,
  frontTypes,
  requestLimitBytes,
} from './front-request.ts';
import { isOwnClient, tokenHash } from '../../controllers/subresources/input-desk.ts';
import type { GroupBook } from '../../controllers/subresources/group-book.ts';
import { mappedIds } from './local-access.ts';
import type { PrivateRecords } from './private-records.ts';
import { waitsForReaders } from '../../controllers/subresources/shown.ts';
import { RunSession, type RunPorts } from './run-session.ts';
import { dump } from 'js-yaml';

export interface FrontServerOptions {
  readonly store: ObjectStore;
  readonly groups: GroupBook;
  readonly records: PrivateRecords;
  readonly socketPath: string;
  readonly ports: RunPorts;
  /** The user of this home: may ask for other users than himself. */
  readonly ownerUid: number;
  readonly log: { error(facts: object, message: string): void };
}

export class FrontServer {
  readonly #options: FrontServerOptions;
  readonly #server: PacketServer;
  readonly #open = new Set<PacketSocket>();

  constructor(options: FrontServerOptions) {
    this.#options = options;
    this.#server = native().listenPacket(options.socketPath, 0o666);
    this.#server.onConnection = (socket) => this.#accept(socket);
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#open) socket.close();
    this.#open.clear();
  }

  #accept(socket: PacketSocket): void {
    let session: RunSession | undefined;
    this.#open.add(socket);
    socket.onClose = () => {
      this.#open.delete(socket);
      session?.disconnected();
    };
    socket.onPacket = (packet) => {
      if (session) return session.receive(packet);
      // The first packet decides what this connection is; further ones wait for it.
      const early: Packet[] = [];
      socket.onPacket = (next) => void early.push(next);
      void this.#begin(socket, packet).then((begun) => {
        if (!begun) return;
        session = begun;
        socket.onPacket = (next) => begun.receive(next);
        for (const next of early) begun.receive(next);
        if (!this.#open.has(socket)) begun.disconnected();
      });
    };
  }

  async #begin(socket: PacketSocket, packet: Packet): Promise<RunSession | undefined> {
    try {
      const type = packet.bytes.length >= 4 ? packet.bytes.readUInt32LE(0) : 0;
      if (type === frontTypes.run) return await this.#run(socket, packet);
      if (type === frontTypes.attach) return this.#attach(socket, decodeAttach(packet.bytes));
      throw new Error('expected a request to run or to attach');
    } catch (error) {
      for (const text of encodeText(2, `muster: ${textOfError(error)}\n`)) socket.send(text);
      socket.send(encodeDone(2, 0, ''));
      return undefined;
    } finally {
      for (const fd of packet.fds) native().close(fd);
    }
  }

  async #run(socket: PacketSocket, packet: Packet): Promise<RunSession | undefined> {
    const [fd] = packet.fds;
    if (fd === undefined) throw new Error('the request came without its memory file');
    const { key: token, again } = decodeSubmission(packet.bytes);
    const { argv, caller } = decodeFrontRequest(native().readAll(fd, requestLimitBytes));
    const peer = socket.peerCredentials();
    const asked = parseRun(argv);
    if (asked.help) return answer(socket, runHelp());
    const request = withHostFile(asked, caller.environment);
    const timeout = request.wallTimeSeconds ?? mpiexecTimeoutOf(caller.environment);
    const draft = groupOfRun(
      timeout === undefined ? request : { ...request, wallTimeSeconds: timeout },
      caller,
      stemOf(request.programs[0]?.argv[0] ?? 'job'),
    );
    if (request.dryRun) return answer(socket, dump(draft, { lineWidth: 120, noRefs: true }));
    const environment = inheritedEnvironment(request, caller.environment);
    const group =
      (again ? await this.#made(token) : undefined) ??
      (await this.#create(draft, request, peer, environment, caller.rlimits, token));
    const { uid = '', name } = group.metadata;
    if (request.detach) return answer(socket, `${name}\n`);
    socket.send(encodeJob(uid, name, token, { labels: request.labels, tells: waitsForReaders(group) }));
    return new RunSession(socket, group, this.#options.groups, this.#options.ports);
  }

  /** What this request has made before: its client lost the control plane before it had heard of it. */
  async #made(token: string): Promise<ProcessGroup | undefined> {
    const hash = tokenHash(token);
    const { items } = await this.#options.store.list<ProcessGroup>(processGroupType);
    return items.find(({ metadata }) => metadata.annotations?.[annotations.submission.name] === hash);
  }

  async #create(
    draft: ProcessGroup,
    request: RunRequest,
    peer: { uid: number; gid: number },
    environment: Record<string, string>,
    rlimits: readonly { name: string; soft: number | 'Unlimited'; hard: number | 'Unlimited' }[],
    token: string,
  ): Promise<ProcessGroup> {
    const { store, records, ownerUid } = this.#options;
    const account = native().user(peer.uid);
    const runAs = request.user === undefined ? undefined : native().user(request.user);
    if (request.user !== undefined && !runAs)
      throw new Error(`--user ${request.user}: no such user on this machine`);
    if (runAs && runAs.uid !== peer.uid && peer.uid !== 0 && peer.uid !== ownerUid) {
      throw new Error(`--user ${request.user}: only an administrator may run jobs as somebody else`);
    }
    const { id: record, durable } = records.put({ environment, frontToken: token });
    const { name, ...metadata } = draft.metadata;
    const object = {
      ...draft,
      metadata: {
        ...metadata,
        ...(request.name === undefined ? { generateName: `${name}-` } : { name: request.name }),
        finalizers: [finalizers.ranks.name], // the controller would add it, with a write of its own
        annotations: {
          [annotations.submittedBy.name]: account?.name ?? `uid:${peer.uid}`,
          [annotations.submittedUid.name]: mappedIds(peer.uid, peer.gid),
          [annotations.environmentSecret.name]: record,
          [annotations.submission.name]: tokenHash(token),
          ...(request.detach ? {} : { [annotations.clientLease.name]: tokenHash(token) }),
        },
      },
      spec: {
        ...draft.spec,
        ...(rlimits.length === 0 ? {} : { rlimits }),
        ...(runAs
          ? {
              securityContext: { ...draft.spec.securityContext, runAsUser: runAs.uid, runAsGroup: runAs.gid },
            }
          : {}),
      },
    } as unknown as ProcessGroup;
    // Both are on their way to the disk at once; the client hears of neither before both are there.
    const [kept, made] = await Promise.allSettled([
      durable,
      store.create<ProcessGroup>(processGroupType, object),
    ]);
    if (kept.status === 'fulfilled' && made.status === 'fulfilled') return made.value;
    if (made.status === 'fulfilled') {
      const { namespace, name } = made.value.metadata;
      await store.delete(processGroupType, { namespace, name });
    } else records.remove(record);
    throw made.status === 'rejected' ? made.reason : (kept as PromiseRejectedResult).reason;
  }

  #attach(socket: PacketSocket, { uid, token }: { uid: string; token: string }): RunSession | undefined {
    const group = this.#options.groups.get(uid);
    if (!group) {
      socket.send(encodeDone(1, 0, 'muster: the job is gone'));
      return undefined;
    }
    if (!isOwnClient(group, token)) throw new Error('this job belongs to another client');
    return new RunSession(socket, group, this.#options.groups, this.#options.ports);
  }
}

function answer(socket: PacketSocket, text: string): undefined {
  for (const packet of encodeText(1, text)) socket.send(packet);
  socket.send(encodeDone(0, 0, ''));
  return undefined;
}

/** The front reads a host file as its own user and hands its text over in this variable of the request. */
const hostFileVariable = 'MUSTER_HOSTFILE_TEXT';

function withHostFile(request: RunRequest, environment: Readonly<Record<string, string>>): RunRequest {
  if (request.hostFile === undefined) return request;
  const text = environment[hostFileVariable];
  if (text === undefined) throw new UsageError(`--hostfile ${request.hostFile}: cannot be read`);
  if (request.nodes.length > 0) throw new UsageError('--nodes and --hostfile cannot be given together');
  return { ...request, nodes: parseHostFile(text, request.hostFile) };
}
