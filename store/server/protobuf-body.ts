/**
 * Request bodies in Kubernetes' protobuf envelope, which kubectl and other Go clients send for the kinds that are compiled into
 * them, whatever the server would like: read into what they would be in JSON. Answers are always JSON. Pure; the field
 * numbers are those that Kubernetes has published and never changes.
 */
import { StoreError } from '../store-error.ts';

export const protobufMedia = 'application/vnd.kubernetes.protobuf';

type Scalar = 'string' | 'bytes' | 'integer' | 'boolean' | 'time' | 'microtime';
type Kind = Scalar | Message;
interface Field {
  readonly name: string;
  readonly kind: Kind;
  readonly many?: 'list' | 'map';
}
interface Message {
  readonly [number: number]: Field;
}

const one = (name: string, kind: Kind = 'string'): Field => ({ name, kind });
const list = (name: string, kind: Kind = 'string'): Field => ({ name, kind, many: 'list' });
const map = (name: string, kind: Kind = 'string'): Field => ({ name, kind, many: 'map' });

const ownerReference: Message = {
  1: one('kind'),
  3: one('name'),
  4: one('uid'),
  5: one('apiVersion'),
  6: one('controller', 'boolean'),
  7: one('blockOwnerDeletion', 'boolean'),
};
/** Without managedFields, which no client of these kinds sends on purpose. */
const metadata: Message = {
  1: one('name'),
  2: one('generateName'),
  3: one('namespace'),
  5: one('uid'),
  6: one('resourceVersion'),
  7: one('generation', 'integer'),
  8: one('creationTimestamp', 'time'),
  9: one('deletionTimestamp', 'time'),
  10: one('deletionGracePeriodSeconds', 'integer'),
  11: map('labels'),
  12: map('annotations'),
  13: list('ownerReferences', ownerReference),
  14: list('finalizers'),
};
const withMetadata = (fields: Message): Message => ({ 1: one('metadata', metadata), ...fields });

const objectReference: Message = {
  1: one('kind'),
  2: one('namespace'),
  3: one('name'),
  4: one('uid'),
  5: one('apiVersion'),
  6: one('resourceVersion'),
  7: one('fieldPath'),
};
const eventSource: Message = { 1: one('component'), 2: one('host') };
const eventSeries: Message = { 1: one('count', 'integer'), 2: one('lastObservedTime', 'microtime') };
const resourceAttributes: Message = {
  1: one('namespace'),
  2: one('verb'),
  3: one('group'),
  4: one('version'),
  5: one('resource'),
  6: one('subresource'),
  7: one('name'),
};
const nonResourceAttributes: Message = { 1: one('path'), 2: one('verb') };
const accessSpec: Message = {
  1: one('resourceAttributes', resourceAttributes),
  2: one('nonResourceAttributes', nonResourceAttributes),
};
const subjectAccessReview = withMetadata({
  2: one('spec', { ...accessSpec, 3: one('user'), 4: list('groups'), 6: one('uid') }),
});

const messages: Readonly<Record<string, Message>> = {
  'v1 Namespace': withMetadata({
    2: one('spec', { 1: list('finalizers') }),
    3: one('status', { 1: one('phase') }),
  }),
  'v1 ConfigMap': withMetadata({
    2: map('data'),
    3: map('binaryData', 'bytes'),
    4: one('immutable', 'boolean'),
  }),
  'v1 Secret': withMetadata({
    2: map('data', 'bytes'),
    3: one('type'),
    4: map('stringData'),
    5: one('immutable', 'boolean'),
  }),
  'v1 Event': withMetadata({
    2: one('involvedObject', objectReference),
    3: one('reason'),
    4: one('message'),
    5: one('source', eventSource),
    6: one('firstTimestamp', 'time'),
    7: one('lastTimestamp', 'time'),
    8: one('count', 'integer'),
    9: one('type'),
    10: one('eventTime', 'microtime'),
    11: one('series', eventSeries),
    12: one('action'),
    13: one('related', objectReference),
    14: one('reportingComponent'),
    15: one('reportingInstance'),
  }),
  'events.k8s.io/v1 Event': withMetadata({
    2: one('eventTime', 'microtime'),
    3: one('series', eventSeries),
    4: one('reportingController'),
    5: one('reportingInstance'),
    6: one('action'),
    7: one('reason'),
    8: one('regarding', objectReference),
    9: one('related', objectReference),
    10: one('note'),
    11: one('type'),
    12: one('deprecatedSource', eventSource),
    13: one('deprecatedFirstTimestamp', 'time'),
    14: one('deprecatedLastTimestamp', 'time'),
    15: one('deprecatedCount', 'integer'),
  }),
  'coordination.k8s.io/v1 Lease': withMetadata({
    2: one('spec', {
      1: one('holderIdentity'),
      2: one('leaseDurationSeconds', 'integer'),
      3: one('acquireTime', 'microtime'),
      4: one('renewTime', 'microtime'),
      5: one('leaseTransitions', 'integer'),
      6: one('strategy'),
      7: one('preferredHolder'),
    }),
  }),
  DeleteOptions: {
    1: one('gracePeriodSeconds', 'integer'),
    2: one('preconditions', { 1: one('uid'), 2: one('resourceVersion') }),
    3: one('orphanDependents', 'boolean'),
    4: one('propagationPolicy'),
    5: list('dryRun'),
  },
  'authorization.k8s.io/v1 SelfSubjectAccessReview': withMetadata({ 2: one('spec', accessSpec) }),
  'authorization.k8s.io/v1 SelfSubjectRulesReview': withMetadata({ 2: one('spec', { 1: one('namespace') }) }),
  'authorization.k8s.io/v1 SubjectAccessReview': subjectAccessReview,
  'authorization.k8s.io/v1 LocalSubjectAccessReview': subjectAccessReview,
  'authentication.k8s.io/v1 SelfSubjectReview': withMetadata({}),
};

const envelope: Message = {
  1: one('typeMeta', { 1: one('apiVersion'), 2: one('kind') }),
  2: one('raw', 'bytes'),
};
const magic = Buffer.from('k8s\0');

type Json = Record<string, unknown>;

/** The body as the JSON it stands for; UnsupportedMediaType for kinds that are not read here. */
export function parseProtobuf(body: Buffer): unknown {
  if (!body.subarray(0, magic.length).equals(magic)) throw broken('it does not begin with k8s and a zero');
  const { typeMeta, raw } = decode(body.subarray(magic.length), envelope) as {
    typeMeta?: { apiVersion?: string; kind?: string };
    raw?: string;
  };
  const { apiVersion = '', kind = '' } = typeMeta ?? {};
  const message = messages[`${apiVersion} ${kind}`] ?? messages[kind];
  if (message === undefined) {
    throw new StoreError(
      'UnsupportedMediaType',
      `the body of the request was in an unknown format - accepted media types include: application/json, application/yaml (${apiVersion} ${kind} is not read from ${protobufMedia})`,
    );
  }
  return { apiVersion, kind, ...decode(Buffer.from(raw ?? '', 'base64'), message) };
}

const broken = (why: string): StoreError =>
  new StoreError('BadRequest', `The request body is not ${protobufMedia}: ${why}`);

function decode(bytes: Buffer, message: Message): Json {
  const result: Json = {};
  const reader = new Reader(bytes);
  while (!reader.done) {
    const tag = reader.varint();
    const field = message[Number(tag >> 3n)];
    const wire = Number(tag & 7n);
    if (field === undefined) reader.skip(wire);
    else take(result, field, wire, reader);
  }
  return result;
}

function take(into: Json, { name, kind, many }: Field, wire: number, reader: Reader): void {
  if (many === 'map') {
    const entry = decode(reader.bytes(wire), { 1: one('key'), 2: one('value', kind) });
    const values = (into[name] ??= {}) as Json;
    const key = (entry['key'] as string | undefined) ?? '';
    if (key === '__proto__') throw broken('a key is __proto__');
    values[key] = entry['value'] ?? '';
    return;
  }
  const value = valueOf(kind, wire, reader);
  if (many === 'list') ((into[name] ??= []) as unknown[]).push(value ?? '');
  else if (value !== undefined) into[name] = value;
}

/** Undefined for what JSON would leave out: empty texts, zeros and the time zero. */
function valueOf(kind: Kind, wire: number, reader: Reader): unknown {
  switch (kind) {
    case 'string':
      return reader.bytes(wire).toString('utf8') || undefined;
    case 'bytes':
      return reader.bytes(wire).toString('base64') || undefined;
    case 'integer':
      return Number(BigInt.asIntN(64, reader.number(wire))) || undefined;
    case 'boolean':
      return reader.number(wire) !== 0n;
    case 'time':
    case 'microtime':
      return timeText(
        decode(reader.bytes(wire), { 1: one('seconds', 'integer'), 2: one('nanos', 'integer') }),
        kind,
      );
    default: {
      const value = decode(reader.bytes(wire), kind);
      return Object.keys(value).length === 0 ? undefined : value;
    }
  }
}

function timeText({ seconds, nanos }: Json, kind: 'time' | 'microtime'): string | undefined {
  // Of year 1, which is the zero of Go.
  if (typeof seconds !== 'number' || seconds < -62_135_596_799) return undefined;
  const text = new Date(seconds * 1000).toISOString().slice(0, 19);
  const micros = Math.floor(((nanos as number | undefined) ?? 0) / 1000);
  return kind === 'time' ? `${text}Z` : `${text}.${String(micros).padStart(6, '0')}Z`;
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  varint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#bytes[this.#at];
      if (byte === undefined) break;
      this.#at += 1;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw broken('a number in it is cut off or too long');
  }

  number(wire: number): bigint {
    if (wire !== 0) throw broken('a number is expected where there is none');
    return this.varint();
  }

  bytes(wire: number): Buffer {
    if (wire !== 2) throw broken('a text or message is expected where there is none');
    return this.#take(Number(this.varint()));
  }

  skip(wire: number): void {
    if (wire === 0) this.varint();
    else if (wire === 1) this.#take(8);
    else if (wire === 2) this.bytes(2);
    else if (wire === 5) this.#take(4);
    else throw broken('a field of an unknown form');
  }

  #take(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw broken('it is cut off');
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }
}
