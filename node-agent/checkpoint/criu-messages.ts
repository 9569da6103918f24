// The messages of CRIU's RPC (rpc.proto of CRIU 4.2) as far as they are used here: a request with options, a response, and
// notifications on the way. Bytes in, plain objects out; what the options mean is the engine's business.
import protobuf from 'protobufjs/light.js';

export const requestTypes = { dump: 1, restore: 2, check: 3, notify: 6, features: 9, version: 10 } as const;
export type RequestType = keyof typeof requestTypes;

/** An open descriptor of CRIU's own process, in place of a resource of the image. */
export interface InheritedFd {
  readonly key: string;
  readonly fd: number;
}

export interface CriuOptions {
  /** Descriptor of the process that made the socket, not of CRIU. */
  readonly imagesDirFd: number;
  readonly pid?: number;
  readonly leaveRunning?: boolean;
  readonly tcpEstablished?: boolean;
  readonly fileLocks?: boolean;
  readonly logLevel?: number;
  readonly logFile?: string;
  readonly notifyScripts?: boolean;
  readonly root?: string;
  readonly inheritFd?: readonly InheritedFd[];
  readonly manageCgroups?: boolean;
  readonly manageCgroupsMode?: number;
  readonly ghostLimit?: number;
  readonly external?: readonly string[];
  readonly freezeCgroup?: string;
  /** Seconds after which CRIU gives up stopping processes. */
  readonly timeout?: number;
  readonly networkLock?: number;
  /** Restore: kinds of namespaces (CLONE_ flags of clone(2)) that hold no rules of CRIU's yet. */
  readonly emptyNs?: number;
  /** Restore: pages that are not in the image come later, from whoever listens in the image's directory. */
  readonly lazyPages?: boolean;
  /** Path of a file with more options, which the messages do not have. */
  readonly configFile?: string;
}

export const manageCgroupsIgnore = 0;
export const cloneNewNet = 0x4000_0000;
export const networkLocks = { iptables: 1, nftables: 2, skip: 3 } as const;

export interface CriuResponse {
  readonly type: number;
  readonly success: boolean;
  readonly restore: { readonly pid: number } | null;
  readonly notify: { readonly script: string; readonly pid: number } | null;
  readonly errno: number;
  readonly errorMessage: string;
  readonly version: { readonly major: number; readonly minor: number; readonly sublevel: number } | null;
}

const field = (id: number, type: string, rule?: 'repeated') => (rule ? { id, type, rule } : { id, type });

const root = protobuf.Root.fromJSON({
  nested: {
    InheritedFd: { fields: { key: field(1, 'string'), fd: field(2, 'int32') } },
    Options: {
      fields: {
        imagesDirFd: field(1, 'int32'),
        pid: field(2, 'int32'),
        leaveRunning: field(3, 'bool'),
        tcpEstablished: field(5, 'bool'),
        fileLocks: field(8, 'bool'),
        logLevel: field(9, 'int32'),
        logFile: field(10, 'string'),
        notifyScripts: field(12, 'bool'),
        root: field(13, 'string'),
        manageCgroups: field(24, 'bool'),
        inheritFd: field(27, 'InheritedFd', 'repeated'),
        manageCgroupsMode: field(34, 'int32'),
        ghostLimit: field(35, 'uint32'),
        external: field(37, 'string', 'repeated'),
        emptyNs: field(38, 'uint32'),
        freezeCgroup: field(44, 'string'),
        timeout: field(45, 'uint32'),
        lazyPages: field(48, 'bool'),
        configFile: field(51, 'string'),
        networkLock: field(64, 'int32'),
      },
    },
    Features: { fields: { lazyPages: field(2, 'bool') } },
    Request: {
      fields: {
        type: field(1, 'int32'),
        opts: field(2, 'Options'),
        notifySuccess: field(3, 'bool'),
        features: field(5, 'Features'),
      },
    },
    Restored: { fields: { pid: field(1, 'int32') } },
    Notification: { fields: { script: field(1, 'string'), pid: field(2, 'int32') } },
    Version: {
      fields: { major: field(1, 'int32'), minor: field(2, 'int32'), sublevel: field(4, 'int32') },
    },
    Response: {
      fields: {
        type: field(1, 'int32'),
        success: field(2, 'bool'),
        restore: field(4, 'Restored'),
        notify: field(5, 'Notification'),
        errno: field(7, 'int32'),
        errorMessage: field(9, 'string'),
        version: field(10, 'Version'),
      },
    },
  },
});
const requestMessage = root.lookupType('Request');
const responseMessage = root.lookupType('Response');

export function encodeRequest(type: RequestType, opts: CriuOptions | null): Buffer {
  const content = {
    type: requestTypes[type],
    ...(opts === null ? {} : { opts }),
    ...(type === 'features' ? { features: { lazyPages: true } } : {}),
  };
  return Buffer.from(requestMessage.encode(content).finish());
}

/** What a notification is answered with: CRIU goes on, or gives up. */
export function encodeNotified(goOn: boolean): Buffer {
  return Buffer.from(requestMessage.encode({ type: requestTypes.notify, notifySuccess: goOn }).finish());
}

/** Throws on bytes that are no response. */
export function decodeResponse(bytes: Uint8Array): CriuResponse {
  return responseMessage.toObject(responseMessage.decode(bytes), { defaults: true }) as CriuResponse;
}
