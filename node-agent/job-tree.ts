// The tree of one job's sandboxes, agent to agent: connections up and down, over which the fence engine's messages and
// questions about names travel. Whatever a lost connection swallowed is said again by the next one; what must not be
// forgotten is in journals, not here. A peer is believed only as far as its certificate's node fits the tree.
import { Server, ServerCredentials, type ClientDuplexStream, type ServerOptions } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { endpointOf } from '../wire/endpoint.ts';
import type { NameReply, NameRequest, SandboxId, Sent, TreeMessage, Tree } from '../wire/agent-types.ts';
import { FenceNode, type FenceEffect, type FenceOutcome } from '../wire/fence.ts';
import {
  channelOptions,
  type PeerClient,
  type PeerHandlers,
  type TreeCall,
  type Wire,
} from '../wire/load.ts';
import { messageOf } from './agent-error.ts';
import { backoff } from './backoff.ts';
import { Names } from './names.ts';
import { peerClient, peerCredentials } from './peer-client.ts';
import { certificateNode } from './peer-identity.ts';
import { slotOf } from './sandbox-id.ts';
import type { TlsMaterial } from './tls.ts';

const treeVersion = 2;
const absentAfterMs = 250;

export interface TreeEvents {
  fence: (outcome: FenceOutcome) => void;
  name: (reply: NameReply) => void;
}

interface ChildLink {
  readonly ordinal: number;
  readonly send: (message: Sent<TreeMessage>) => void;
  readonly close: () => void;
}

/** One sandbox's place in its job's tree. */
export class TreeMember {
  readonly id: SandboxId;
  readonly #kvsName: string;
  readonly #events: TreeEvents;
  readonly #fences: FenceNode;
  readonly #names: Names | null;
  readonly #reach: (peer: { node: string; address: string }) => PeerClient;
  readonly #log: Logger;
  readonly #children = new Map<number, ChildLink>();
  /** Requests on their way up, by who asked. */
  readonly #asked = new Map<string, NameRequest>();
  /** By which child a sandbox further down is reached: learnt from its requests. */
  readonly #routes = new Map<number, number>();
  #tree: Tree;
  #client: PeerClient | null = null;
  #parent: ClientDuplexStream<Sent<TreeMessage>, TreeMessage> | null = null;
  #attempt = 0;
  #retry: NodeJS.Timeout | null = null;
  #closed = false;
  /** Past contributions are told. */
  #isReady = false;
  /** Something has to go up, or is waited for: most programs that are no MPI programs need no tree at all. */
  #isNeeded = false;
  #needing: NodeJS.Timeout | null = null;

  constructor(options: {
    id: SandboxId;
    kvsName: string;
    tree: Tree;
    namesPath: string;
    events: TreeEvents;
    /** A client of the agent there. */
    reach: (peer: { node: string; address: string }) => PeerClient;
    log: Logger;
  }) {
    this.id = options.id;
    this.#kvsName = options.kvsName;
    this.#tree = options.tree;
    this.#events = options.events;
    this.#reach = options.reach;
    this.#log = options.log;
    this.#fences = new FenceNode({
      children: options.tree.children.map((child) => child.ordinal),
      isRoot: this.isRoot,
    });
    this.#names = this.isRoot ? new Names(options.namesPath) : null;
  }

  get isRoot(): boolean {
    return this.#tree.parent === this.id.ordinal;
  }

  get waitsFor(): string {
    const { have, waitingForChildren, waitingForLocal } = this.#fences.snapshot();
    return `fence ${String(have + 1)}: ${waitingForLocal ? 'local ranks ' : ''}${waitingForChildren.length > 0 ? `children ${waitingForChildren.join(',')}` : ''}`;
  }

  /** To be called once the local ranks' past contributions are told. */
  connect(): void {
    this.#isReady = true;
    this.#dial();
  }

  /** A rank speaks PMI: the way up will be needed in a moment. */
  need(): void {
    if (this.#isNeeded) return;
    this.#isNeeded = true;
    this.#dial();
  }

  /** The parent may have another address now. */
  update(tree: Tree): void {
    const moved =
      tree.parentAddress !== this.#tree.parentAddress || tree.parentNode !== this.#tree.parentNode;
    this.#tree = tree;
    if (!moved) return;
    this.#attempt = 0;
    this.#dropParent();
    this.#dial();
  }

  contribute(fence: number, delta: Buffer): void {
    this.need();
    this.#perform(this.#fences.localContribution(fence, delta));
  }

  fail(fence: number, message: string): void {
    this.need();
    this.#perform(this.#fences.localFailed(fence, message));
  }

  /** Of a sandbox that never spoke PMI it is told in time, should others wait for it. */
  absent(fence: number): void {
    this.#needing ??= setTimeout(() => this.need(), absentAfterMs);
    this.#perform(this.#fences.localAbsent(fence));
  }

  ask(request: NameRequest): void {
    if (this.#names) {
      const reply = this.#names.answer(request);
      if (request.ordinal === this.id.ordinal) this.#events.name(reply);
      else this.#children.get(this.#routeTo(request.ordinal))?.send({ nameReply: reply });
      return;
    }
    this.need();
    this.#asked.set(`${String(request.ordinal)}/${String(request.token)}`, request);
    this.#parent?.write({ nameRequest: request });
  }

  /** Takes over a child's connection once its hello fits; says why it does not. */
  accept(call: TreeCall, hello: { id: SandboxId; have: number; kvsName: string }): string {
    const { ordinal } = hello.id;
    const child = this.#tree.children.find((each) => each.ordinal === ordinal);
    if (!child) return `sandbox ${String(ordinal)} is no child of sandbox ${String(this.id.ordinal)}`;
    if (certificateNode(call) !== child.node)
      return `sandbox ${String(ordinal)} is on node ${child.node}, the certificate names ${certificateNode(call)}`;
    if (hello.kvsName !== this.#kvsName) return 'the key-value space is another';
    this.need();
    this.#children.get(ordinal)?.close();
    const link: ChildLink = {
      ordinal,
      send: (message) => {
        call.write(message);
      },
      close: () => {
        call.end();
      },
    };
    this.#children.set(ordinal, link);
    call.on('data', (message: TreeMessage) => {
      if (this.#children.get(ordinal) === link) this.#fromChild(ordinal, message);
    });
    const lost = () => {
      if (this.#children.get(ordinal) !== link) return;
      this.#children.delete(ordinal);
      this.#fences.childLost(ordinal);
    };
    call.on('end', lost);
    call.on('cancelled', lost);
    call.on('error', lost);
    this.#perform(this.#fences.childHello(ordinal, hello.have));
    return '';
  }

  close(): void {
    this.#closed = true;
    if (this.#needing) clearTimeout(this.#needing);
    this.#dropParent();
    for (const child of this.#children.values()) child.close();
    this.#children.clear();
  }

  #fromChild(ordinal: number, message: TreeMessage): void {
    if (message.contribution) {
      this.#perform(
        this.#fences.childContribution(ordinal, message.contribution.fence, message.contribution.delta),
      );
    } else if (message.failed) {
      this.#perform(this.#fences.childFailed(ordinal, message.failed.fence, message.failed.message));
    } else if (message.absent) {
      this.#perform(this.#fences.childAbsent(ordinal, message.absent.fence));
    } else if (message.hello) {
      this.#perform(this.#fences.childHello(ordinal, message.hello.have));
    } else if (message.nameRequest) {
      this.#routes.set(message.nameRequest.ordinal, ordinal);
      this.ask(message.nameRequest);
    }
  }

  #routeTo(ordinal: number): number {
    return this.#routes.get(ordinal) ?? ordinal;
  }

  #fromParent(message: TreeMessage): void {
    if (message.welcome) {
      this.#attempt = 0;
      this.#perform(this.#fences.parentWelcome(message.welcome.need));
    } else if (message.result) {
      this.#perform(this.#fences.parentResult(message.result.fence, message.result.delta));
    } else if (message.failed) {
      this.#perform(this.#fences.parentFailed(message.failed.fence, message.failed.message));
    } else if (message.nameReply) {
      const reply = message.nameReply;
      this.#asked.delete(`${String(reply.ordinal)}/${String(reply.token)}`);
      if (reply.ordinal === this.id.ordinal) this.#events.name(reply);
      else this.#children.get(this.#routeTo(reply.ordinal))?.send({ nameReply: reply });
    }
  }

  #perform(effects: readonly FenceEffect[]): void {
    for (const effect of effects) {
      switch (effect.to) {
        case 'local':
          this.#events.fence(effect.outcome);
          break;
        case 'child':
          this.#children.get(effect.child)?.send(downMessage(effect.message));
          break;
        case 'parent':
          this.#parent?.write(this.#upMessage(effect.message));
      }
    }
  }

  #upMessage(message: Extract<FenceEffect, { to: 'parent' }>['message']): Sent<TreeMessage> {
    switch (message.kind) {
      case 'hello':
        return {
          hello: {
            id: this.id,
            parent: this.#tree.parent,
            kvsName: this.#kvsName,
            have: message.have,
            version: treeVersion,
          },
        };
      case 'contribution':
        return { contribution: { fence: message.fence, delta: message.delta } };
      case 'failed':
        return { failed: { fence: message.fence, message: message.message } };
      case 'absent':
        return { absent: { fence: message.fence } };
    }
  }

  #dial(): void {
    if (this.isRoot || this.#closed || this.#parent !== null || !this.#isReady || !this.#isNeeded) return;
    const { parentAddress, parentNode } = this.#tree;
    if (parentAddress === '') return; // told when it is known
    const client = this.#reach({ node: parentNode, address: parentAddress });
    const call = client.tree();
    this.#client = client;
    this.#parent = call;
    call.on('data', (message: TreeMessage) => {
      if (this.#parent === call) this.#fromParent(message);
    });
    const lost = (error?: unknown) => {
      if (this.#parent !== call) return;
      this.#log.debug(
        { sandbox: this.id, parentNode, error: error === undefined ? '' : messageOf(error) },
        'parent in the job tree lost',
      );
      this.#dropParent();
      this.#fences.parentLost();
      if (this.#closed) return;
      this.#retry = setTimeout(
        () => {
          this.#dial();
        },
        backoff(this.#attempt++, 50, 2000),
      );
    };
    call.on('error', lost);
    call.on('end', lost);
    this.#perform(this.#fences.parentConnected());
    for (const request of this.#asked.values()) call.write({ nameRequest: request });
  }

  #dropParent(): void {
    const [call, client] = [this.#parent, this.#client];
    this.#parent = null;
    this.#client = null;
    call?.cancel();
    client?.close();
    if (this.#retry) clearTimeout(this.#retry);
    this.#retry = null;
  }
}

function downMessage(message: Extract<FenceEffect, { to: 'child' }>['message']): Sent<TreeMessage> {
  switch (message.kind) {
    case 'welcome':
      return { welcome: { need: message.need, version: treeVersion } };
    case 'result':
      return { result: { fence: message.fence, delta: message.delta } };
    case 'failed':
      return { failed: { fence: message.fence, message: message.message } };
  }
}

/** The service Peer of this agent and the members that others reach through it. */
export class JobTree {
  readonly #members = new Map<string, TreeMember>();
  readonly #server: Server;
  readonly #tls: TlsMaterial;
  readonly #log: Logger;
  #port = 0;
  /** How members reach those of other agents. */
  readonly reach: (peer: { node: string; address: string }) => PeerClient;

  /** `others`: what answers other agents that ask for images, or for sandboxes that leave. */
  constructor(wire: Wire, tls: TlsMaterial, log: Logger, others: Omit<PeerHandlers, 'tree'>) {
    this.#tls = tls;
    this.#log = log;
    const secure = peerCredentials(tls);
    this.reach = (peer) => peerClient(wire, secure, peer);
    this.#server = new Server(channelOptions as unknown as ServerOptions);
    this.#server.addService(wire.peerService, {
      tree: (call: TreeCall) => {
        this.#accept(call);
      },
      ...others,
    });
  }

  get port(): number {
    return this.#port;
  }

  async listen(host: string, port: number): Promise<void> {
    const tls = this.#tls;
    const secure = ServerCredentials.createSsl(
      tls.ca,
      [{ cert_chain: tls.cert, private_key: tls.key }],
      true,
    );
    this.#port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(endpointOf(host, port), secure, (error, bound) => {
        if (error) reject(error);
        else resolve(bound);
      });
    });
  }

  add(member: TreeMember): void {
    this.#members.set(slotOf(member.id), member);
  }

  remove(member: TreeMember): void {
    if (this.#members.get(slotOf(member.id)) === member) this.#members.delete(slotOf(member.id));
    member.close();
  }

  close(): void {
    for (const member of this.#members.values()) member.close();
    this.#server.forceShutdown();
  }

  #accept(call: TreeCall): void {
    call.on('error', () => undefined);
    call.once('data', (message: TreeMessage) => {
      const { hello } = message;
      const member = hello?.id
        ? this.#members.get(`${hello.id.groupUid}-${String(hello.parent)}`)
        : undefined;
      const why =
        hello?.id === undefined || hello.id === null
          ? 'the first message is no hello'
          : hello.version !== treeVersion
            ? `it speaks version ${String(hello.version)}, this agent ${String(treeVersion)}`
            : member === undefined
              ? 'its parent is not on this node'
              : member.accept(call, { id: hello.id, have: hello.have, kvsName: hello.kvsName });
      if (why === '') return;
      this.#log.debug({ sandbox: hello?.id, why }, 'child in the job tree refused');
      call.end();
    });
  }
}
