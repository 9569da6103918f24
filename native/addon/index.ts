/**
 * The native module as TypeScript sees it: plain numbers and Buffers, nothing that knows of groups or ranks.
 * Every call either succeeds or throws an Error with `code` (errno name), `syscall` and `errno`; nothing ever changes the
 * namespaces or credentials of the Node process. Callbacks run on the main loop. The binary is loaded on first use.
 */
import { createRequire } from 'node:module';

export interface PeerCredentials {
  pid: number;
  uid: number;
  gid: number;
}

/** Bytes and descriptors of one SOCK_SEQPACKET message; the receiver owns the descriptors. */
export interface Packet {
  bytes: Buffer;
  fds: number[];
}

/**
 * A SOCK_SEQPACKET unix socket on the loop. `send` is false when the peer's queue is full (nothing was sent: wait for onDrain)
 * and throws EPIPE when the peer has gone. onClose comes once, after the descriptor was closed, when the peer has gone (null)
 * or the socket broke; not after close(). Packets that arrive while onPacket is null are dropped, their descriptors closed.
 */
export interface PacketSocket {
  readonly fd: number;
  send(bytes: Uint8Array, fds?: readonly number[]): boolean;
  onPacket: ((packet: Packet) => void) | null;
  onDrain: (() => void) | null;
  onClose: ((error: NodeJS.ErrnoException | null) => void) | null;
  peerCredentials(): PeerCredentials;
  close(): void;
}

export interface PacketServer {
  onConnection: ((socket: PacketSocket) => void) | null;
  close(): void;
}

/** Calls `onReady` while the descriptor is readable (level triggered, until stopped). For eventfds and pidfds. It watches a duplicate. */
export interface FdWatch {
  stop(): void;
}

/**
 * Peeks PMI sockets (edge triggered, SO_PEEK_OFF): each byte of a request is delivered once per adoption, consumed by
 * rank-init later. One callback a wake-up: records of u32 key, u32 length, bytes, padded to 4; length 0xffffffff = peer closed.
 * The poller owns a descriptor from `add` (which peeks from the first unconsumed byte again) to `remove` or `close`.
 */
export interface PmiPoller {
  add(key: number, fd: number): void;
  remove(key: number): void;
  onData: ((records: Buffer) => void) | null;
  close(): void;
}

/**
 * A thread that moves output from pipes into spool files with splice(2) at explicit offsets: the file's length is the
 * truth, so a killed agent loses and doubles nothing. Files are `<directory>/<name>.<first offset>` made on first byte.
 */
export interface OutputPump {
  /** `offset` = bytes already spooled. The pump owns `fd` from here on (not when this throws). */
  add(
    id: number,
    fd: number,
    directory: string,
    name: string,
    offset: bigint,
    segmentBytes: number,
    limit?: bigint,
  ): void;
  /** Nothing is moved beyond this offset (the rank blocks once its pipe is full). Once it returns, no byte is. */
  limit(id: number, offset: bigint): void;
  /** Closes the descriptor; once it returns no byte is moved. The bytes spooled in all, null when there is no such stream. */
  remove(id: number): bigint | null;
  /** Tells a front (a PacketSocket's descriptor, duplicated) of growth of these streams directly from the thread: packet of
   * u32 FRONT_GREW (see native/front/protocol.h), then {u32 id, u32 flags (1 = end), u64 length} records. */
  subscribe(socketFd: number, ids: readonly number[]): number;
  unsubscribe(subscription: number): void;
  /** Records of u32 id, u32 flags (1 end of file, 2 error), u64 length, i32 errno, u32 0: the newest a stream, coalesced. */
  onProgress: ((records: Buffer) => void) | null;
  close(): void;
}

/** Moves input from a spool file (its description's own position) into a pipe or pty; closes the pipe's duplicate at the end. */
export interface InputPump {
  add(id: number, spoolFd: number, pipeFd: number): void;
  /** Spool bytes up to `length` may be delivered; `end`: there will be no more. */
  advance(id: number, length: bigint, end: boolean): void;
  /** Closes both descriptors; once it returns no byte is moved. The position reached, null when there is no such stream. */
  remove(id: number): bigint | null;
  /** u32 id, u32 flags (1 all delivered, 2 error/reader gone), u64 position, i32 errno, u32 0. */
  onProgress: ((records: Buffer) => void) | null;
  close(): void;
}

/**
 * Ranges of files over one connection of mutual TLS 1.3, moved by a thread of its own; what is asked for is done in that order, and told
 * by its number with an errno (0: done) and words. After a failure all fails. Descriptors are duplicated at once.
 */
export interface Link {
  /** On a port of this address that is free; gives it. */
  listen(host: string): number;
  /** Takes the first connection of whose certificate this is the common name. */
  accept(id: number, name: string): void;
  /** Believes only a certificate for this name. */
  connect(id: number, host: string, port: number, name: string): void;
  send(id: number, fd: number, offset: bigint, length: bigint): void;
  receive(id: number, fd: number, offset: bigint, length: bigint): void;
  /** Writes these bytes to a stream, and behind them so many that come over the link (none: it need not be connected). */
  relay(id: number, fd: number, first: Uint8Array, length: bigint): void;
  onDone: ((id: number, errno: number, words: string) => void) | null;
  /** What is not done is not told any more. */
  close(): void;
}

export interface Native {
  pidfdOpen(pid: number): number;
  pidfdGetfd(pidfd: number, fd: number): number;
  pidfdSignal(pidfd: number, signal: number): void;
  /** waitid(P_PIDFD, WEXITED|WNOHANG): wait status, or null when it has not ended or is not our child. */
  reap(pidfd: number): number | null;
  /** Starts a program with an empty environment, `fds` as its descriptors 0, 1, 2, ... and no others; gives its pidfd, to be reaped. */
  spawnProgram(path: string, args: readonly string[], fds: readonly number[]): number;
  /** From now on a process cannot write a file beyond so many bytes. */
  limitFileSize(pid: number, bytes: number): void;
  /** Takes a socket out of TCP's repair mode; false when it was not in it. */
  endTcpRepair(fd: number): boolean;
  setChildSubreaper(): void;
  close(fd: number): void;
  dup(fd: number): number;
  /** A memfd with these bytes, sealed against every change when `sealed`. */
  memfd(name: string, bytes: Uint8Array, sealed: boolean): number;
  /** Reads a whole memfd or file from offset 0. */
  readAll(fd: number, maxBytes: number): Buffer;
  /** Sets the position of a file's description. */
  seek(fd: number, offset: bigint): void;
  /** LOCK_EX|LOCK_NB; false when somebody else holds it. */
  flock(fd: number): boolean;
  /** A read-only shared mapping; unmapped when collected. */
  mapReadOnly(fd: number, length: number): ArrayBuffer;
  /** A new eventfd; `eventfdRead` gives what it counted since the last read, 0n when nothing. */
  eventfd(): number;
  eventfdRead(fd: number): bigint;
  /** A new pipe: [read end, write end]. */
  pipe(): [number, number];
  /** A new pair of unix sockets, SOCK_SEQPACKET or SOCK_STREAM. */
  socketPair(packets: boolean): [number, number];
  peerCredentials(fd: number): PeerCredentials;
  /** Groups of a user as initgroups(3), by the host's own name service. */
  groupsOf(user: string, gid: number): number[];
  user(
    nameOrUid: string | number,
  ): { name: string; uid: number; gid: number; home: string; shell: string } | null;
  group(nameOrGid: string | number): { name: string; gid: number } | null;
  connectPacket(path: string): PacketSocket;
  /** Takes over an existing SEQPACKET descriptor. */
  packetSocket(fd: number): PacketSocket;
  listenPacket(path: string, mode: number): PacketServer;
  watch(fd: number, onReady: () => void): FdWatch;
  pmiPoller(): PmiPoller;
  outputPump(): OutputPump;
  inputPump(): InputPump;
  /** Certificates and key as PEM; `silentMs`: the other side may be so for at most so long. Null: this Node has no OpenSSL to share. */
  link(ca: Uint8Array, cert: Uint8Array, key: Uint8Array, silentMs: number): Link | null;
  /**
   * A new network namespace, which lives as long as it is held or somebody is in it. Each line of the settings is a file of
   * /proc/sys/net, "=" and what is written there, where the kernel has it.
   */
  netnsNew(settings: string): number;
  /** The same, made beside the loop. */
  netnsMake(settings: string): Promise<number>;
  /** That of the process behind a pidfd. */
  netnsOf(pidfd: number): number;
  /** A netlink(7) socket of that network namespace (-1: this process's), wherever it is used later; protocol 0 is NETLINK_ROUTE. */
  netlinkOpen(netns: number, protocol: number): number;
  /**
   * Sends messages and gives all that the kernel answers; each asks for an acknowledgement or a dump, but for the marks of a batch. One call at a
   * time a socket; no more messages than its buffer has room for acknowledgements of (about 200). Then the same with another socket,
   * whose answers follow.
   */
  netlinkRequest(fd: number, messages: Uint8Array, then?: number, itsMessages?: Uint8Array): Promise<Buffer>;
  /** Moves a process by a file `cgroup.procs`, as the machine's first process sees control groups. */
  cgroupEnter(file: string, pid: number): void;
  /**
   * Gives back what malloc(3) holds free, and pages of programs and libraries that were touched, as most are by the start alone; says
   * how many bytes of the latter. Those that are touched again come back from the kernel's cache of the file.
   */
  giveBackMemory(): number;
  setWindowSize(ptyFd: number, rows: number, columns: number): void;
  fallocatePunchHole(fd: number, offset: bigint, length: bigint): void;
}

let loaded: Native | undefined;

/** The native module; throws with what to do when it has not been built. `build/native/muster.node` of the checkout. */
export function native(): Native {
  if (loaded) return loaded;
  const require = createRequire(import.meta.url);
  const path =
    process.env['MUSTER_NATIVE'] ?? new URL('../../build/native/muster.node', import.meta.url).pathname;
  try {
    loaded = require(path) as Native;
  } catch (cause) {
    throw new Error(`MUSTER_NATIVE_MISSING: cannot load ${path}: run "make build"`, { cause });
  }
  return loaded;
}
