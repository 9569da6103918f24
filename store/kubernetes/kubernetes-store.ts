/**
 * ObjectStore on the Kubernetes API. What the API server does by itself (versions, generations, finalizers, validation) is left
 * to it; what it lacks of the contract is added here: unconditional updates of custom resources, lists of any length in pages,
 * watches that outlive their connections, repetition of what was refused for being too much. Owners' garbage is collected by
 * the cluster.
 */
import type { IncomingMessage } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type ApiRequest, HttpStore, type HttpStoreOptions } from '../client/http-store.ts';
import type {
  AnyObject,
  KubernetesObject,
  ListOptions,
  ObjectList,
  WatchEvent,
  WatchOptions,
} from '../object-store.ts';
import { apiVersionOf, type ResourceType } from '../resource.ts';
import { isStoreError, StoreError } from '../store-error.ts';
import { retryAfterMs } from './retry.ts';
import { followList, type WatchTimes } from './watch.ts';

export interface KubernetesStoreOptions {
  readonly server: HttpStoreOptions;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
  /** Objects a request of a list. */
  readonly pageSize?: number;
  /** An answer must have begun by then. */
  readonly answerWithinMs?: number;
  readonly watchTimes?: Partial<WatchTimes>;
  /** The cluster's database was put back to an older state. */
  readonly wentBack?: (message: string) => void;
}

const defaultPageSize = 500;
const defaultAnswerMs = 30_000;
/** `299 - "TEXT"` of RFC 7234, as many as there are, in one header. */
const unknownField = /unknown field \\?"([\w.[\]]+)\\?"/g;

/** An update without a version competes with other writers no more often than this. */
const mostConflicts = 20;

export class KubernetesStore extends HttpStore {
  readonly #options: KubernetesStoreOptions;
  readonly #unknownFields = new Set<string>();

  constructor(options: KubernetesStoreOptions) {
    super(options.server);
    this.#options = options;
  }

  /** Page by page: an answer with thousands of objects would hold up everything else while it is read. */
  override async list<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    options: ListOptions = {},
    signal?: AbortSignal,
  ): Promise<ObjectList<T>> {
    if (options.limit !== undefined || options.continue !== undefined)
      return super.list<T>(type, options, signal);
    const limit = this.#options.pageSize ?? defaultPageSize;
    for (let tries = 1; ; tries++) {
      try {
        let page = await super.list<T>(type, { ...options, limit }, signal);
        const items = [...page.items];
        while (page.continue !== undefined) {
          page = await super.list<T>(type, { ...options, limit, continue: page.continue }, signal);
          items.push(...page.items);
        }
        return { items, resourceVersion: page.resourceVersion };
      } catch (error) {
        // The snapshot was compacted while it was read.
        if (!isStoreError(error, 'Expired') || tries >= 3) throw error;
      }
    }
  }

  override watch<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    options: WatchOptions = {},
    signal?: AbortSignal,
  ): AsyncGenerator<WatchEvent<T>, void, undefined> {
    const { logger, watchTimes, wentBack } = this.#options;
    const source = {
      list: () => this.list<T>(type, options, signal),
      newest: async () => {
        const { namespace } = options;
        return (await super.list(type, { namespace, limit: 1 }, signal)).resourceVersion;
      },
      lines: (request: ApiRequest, ending: AbortSignal) => this.requestLines(request, ending),
    };
    return followList<T>(
      source,
      { type, select: options, logger, times: watchTimes ?? {}, wentBack },
      signal,
    );
  }

  override create<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    object: T,
    signal?: AbortSignal,
  ): Promise<T> {
    // The API server refuses this as an internal error.
    if (object.metadata.resourceVersion)
      return Promise.reject(
        new StoreError('BadRequest', 'resourceVersion should not be set on objects to be created'),
      );
    return super.create(type, withKind(type, object), signal);
  }

  override update<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    object: T,
    signal?: AbortSignal,
  ): Promise<T> {
    return this.#atVersion(type, object, (known) => super.update(type, known, signal), signal);
  }

  override updateStatus<T extends KubernetesObject = AnyObject>(
    type: ResourceType,
    object: T,
    signal?: AbortSignal,
  ): Promise<T> {
    return this.#atVersion(type, object, (known) => super.updateStatus(type, known, signal), signal);
  }

  override async request(request: ApiRequest, signal?: AbortSignal): Promise<IncomingMessage> {
    for (let tries = 1; ; tries++) {
      try {
        const response = await this.#answered(request, signal);
        this.#tellUnknown(response.headers.warning ?? '', request);
        return response;
      } catch (error) {
        if (!isStoreError(error)) throw error;
        const afterMs = retryAfterMs(error, tries, request, Math.random());
        if (afterMs === undefined) throw error;
        await pause(afterMs, undefined, signal === undefined ? {} : { signal });
      }
    }
  }

  /** Once each, by kind. */
  #tellUnknown(warning: string, { path }: ApiRequest): void {
    const [, kind = path] = /^\/apis\/[^/]+\/[^/]+\/namespaces\/[^/]+\/([^/]+)/.exec(path) ?? [];
    for (const [, at = ''] of warning.matchAll(unknownField)) {
      const field = at.replaceAll(/\[\d+\]/g, '[]');
      const known = `${kind} ${field}`;
      if (this.#unknownFields.has(known)) continue;
      this.#unknownFields.add(known);
      this.#options.logger.warn(
        { kind, field },
        'the definition of a kind is older than this program: apply those of this release (crds/)',
      );
    }
  }

  async #answered(request: ApiRequest, signal: AbortSignal | undefined): Promise<IncomingMessage> {
    const limitMs = this.#options.answerWithinMs ?? defaultAnswerMs;
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), limitMs);
    try {
      const either = signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]);
      return await super.request(request, either);
    } catch (error) {
      if (!late.signal.aborted) throw error;
      const text = `The API server did not answer ${request.method} ${request.path} within ${limitMs / 1000} s; whether a write was carried out is unknown`;
      throw new StoreError('Unavailable', text, {}, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  /** The API server takes no update of a custom resource without a version; the contract does. */
  async #atVersion<T extends KubernetesObject>(
    type: ResourceType,
    object: T,
    write: (object: T) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const whole = withKind(type, object);
    const { name, namespace, resourceVersion } = object.metadata;
    if ((resourceVersion !== undefined && resourceVersion !== '') || name === undefined) return write(whole);
    for (let tries = 1; ; tries++) {
      const now = await this.get(type, { name, namespace }, signal);
      const metadata = { ...object.metadata, resourceVersion: now.metadata.resourceVersion! };
      try {
        return await write({ ...whole, metadata });
      } catch (error) {
        const otherUid = metadata.uid !== undefined && metadata.uid !== now.metadata.uid;
        if (!isStoreError(error, 'Conflict') || otherUid || tries >= mostConflicts) throw error;
      }
    }
  }
}

/** The API server wants to be told what the address says already. */
function withKind<T extends KubernetesObject>(type: ResourceType, object: T): T {
  return { apiVersion: apiVersionOf(type), kind: type.kind, ...object };
}
