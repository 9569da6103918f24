// Reads multi-document YAML (and so JSON) into objects that remember where each field stood, so that errors
// can name file and line. Bounded against hostile text: size, depth, what aliases expand to, keys given
// twice. It does not know our kinds: what the objects mean is admission's question. A text that is broken
// anywhere yields no objects at all, so that half a file is never taken for the whole.
import {
  constructFromEvents,
  CORE_SCHEMA,
  EVENT_ID,
  getScalarValue,
  mergeTag,
  parseEvents,
  YAMLException,
  type Event,
} from 'js-yaml';
import { stepsOf, type FieldError } from './field-error.ts';
import type { KubernetesObject } from './objects.ts';

/** Files beyond this are refused unread. */
export const manifestBytesLimit = 4 * 1024 * 1024;
const depthLimit = 64;
/** What all aliases of a text may expand to together, in characters, one more for each node. */
const expansionLimit = 1024 * 1024;

export interface ParsedObject {
  object: KubernetesObject;
  /** Line that the object begins in, from 1. */
  line: number;
  /** Line of a field such as `spec.processes[0].ranks`, or of what is nearest above it. */
  lineOf(field: string): number;
}

export interface ManifestError {
  file: string;
  line: number;
  message: string;
}

export interface ParsedManifests {
  objects: ParsedObject[];
  errors: ManifestError[];
}

interface PositionNode {
  offset: number;
  /** Characters and nodes below, aliases expanded. */
  weight: number;
  fields?: Map<string, PositionNode>;
  items?: PositionNode[];
}

export function parseManifests(text: string, file: string): ParsedManifests {
  const refuse = (line: number, message: string): ParsedManifests => ({
    objects: [],
    errors: [{ file, line, message }],
  });
  const bytes = text.length > manifestBytesLimit ? text.length : Buffer.byteLength(text);
  if (bytes > manifestBytesLimit)
    return refuse(
      1,
      `the file has more than ${manifestBytesLimit} bytes (${bytes}); split it, or hand data over in files of its own`,
    );
  const lines = new LineIndex(text);
  let positions: PositionNode[];
  let values: unknown[];
  try {
    const events = parseEvents(text, { filename: file, maxDepth: depthLimit });
    positions = positionsOf(text, events);
    values = constructFromEvents(events, {
      source: text,
      filename: file,
      schema: CORE_SCHEMA.withTags(mergeTag),
    });
  } catch (error) {
    if (error instanceof PositionError) return refuse(lines.lineAt(error.offset), error.message);
    if (error instanceof YAMLException)
      return refuse((error.mark?.line ?? 0) + 1, `is no valid YAML: ${error.reason}`);
    throw error;
  }
  const parsed: ParsedManifests = { objects: [], errors: [] };
  for (const [index, value] of values.entries()) collect(value, positions[index]!, file, lines, parsed);
  return parsed.errors.length > 0 ? { objects: [], errors: parsed.errors } : parsed;
}

/** The errors with file and line of the fields they speak of. */
export function placeErrors(errors: readonly FieldError[], parsed: ParsedObject, file: string): FieldError[] {
  return errors.map((error) => ({ ...error, file, line: parsed.lineOf(error.field) }));
}

function collect(
  value: unknown,
  position: PositionNode,
  file: string,
  lines: LineIndex,
  parsed: ParsedManifests,
): void {
  if (value === null || value === undefined) return;
  const line = lines.lineAt(position.offset);
  if (typeof value !== 'object' || Array.isArray(value)) {
    const what = Array.isArray(value)
      ? 'a list'
      : `the ${typeof value} ${JSON.stringify(value).slice(0, 60)}`;
    parsed.errors.push({
      file,
      line,
      message: `is ${what}, not an object; separate objects by lines of "---"`,
    });
    return;
  }
  const object = value as KubernetesObject & { items?: unknown };
  if (object.kind === 'List' && Array.isArray(object.items)) {
    for (const [index, item] of object.items.entries())
      collect(item, position.fields?.get('items')?.items?.[index] ?? position, file, lines, parsed);
    return;
  }
  parsed.objects.push({ object, line, lineOf: (field) => lines.lineAt(offsetOf(position, field)) });
}

function offsetOf(root: PositionNode, field: string): number {
  let node = root;
  for (const step of stepsOf(field)) {
    const next = typeof step === 'number' ? node.items?.[step] : node.fields?.get(step);
    if (!next) break;
    node = next;
  }
  return node.offset;
}

class PositionError extends Error {
  readonly offset: number;
  constructor(offset: number, message: string) {
    super(message);
    this.offset = offset;
  }
}

/** One tree of offsets for each document; in the order of the events, without recursion. */
function positionsOf(text: string, events: readonly Event[]): PositionNode[] {
  const documents: PositionNode[] = [];
  const stack: {
    node: PositionNode;
    key?: string | undefined;
    keyOffset: number;
    anchor?: string | undefined;
  }[] = [];
  let anchors = new Map<string, PositionNode | 'open'>();
  let expanded = 0;
  let document: PositionNode | undefined;

  function add(node: PositionNode, scalar?: string): void {
    const top = stack.at(-1);
    if (!top) {
      document = node;
      return;
    }
    if (top.node.items) top.node.items.push(node);
    else if (top.key === undefined) {
      // A key that is no scalar cannot be spoken of in a path.
      top.key = scalar ?? '';
      top.keyOffset = node.offset;
    } else {
      const placed = { ...node, offset: top.keyOffset };
      if (top.key === '<<') for (const [name, part] of node.fields ?? []) top.node.fields!.set(name, part);
      else top.node.fields!.set(top.key, placed);
      top.key = undefined;
    }
  }

  for (const event of events) {
    switch (event.type) {
      case EVENT_ID.DOCUMENT:
        document = undefined;
        anchors = new Map();
        break;
      case EVENT_ID.MAPPING:
      case EVENT_ID.SEQUENCE: {
        const node: PositionNode = { offset: event.start, weight: 1 };
        if (event.type === EVENT_ID.MAPPING) node.fields = new Map();
        else node.items = [];
        const anchor = event.anchorStart < 0 ? undefined : text.slice(event.anchorStart, event.anchorEnd);
        if (anchor !== undefined) anchors.set(anchor, 'open');
        stack.push({ node, anchor, keyOffset: 0 });
        break;
      }
      case EVENT_ID.SCALAR: {
        const length = Math.max(0, event.valueEnd - event.valueStart);
        const node: PositionNode = { offset: Math.max(0, event.valueStart), weight: 1 + length };
        if (event.anchorStart >= 0) anchors.set(text.slice(event.anchorStart, event.anchorEnd), node);
        const top = stack.at(-1);
        const isKey = top?.node.fields !== undefined && top.key === undefined;
        if (top) top.node.weight += node.weight;
        add(node, isKey ? getScalarValue(text, event) : undefined);
        break;
      }
      case EVENT_ID.ALIAS: {
        const name = text.slice(event.anchorStart, event.anchorEnd);
        const target = anchors.get(name);
        if (target === 'open') throw new PositionError(event.anchorStart, `alias *${name} contains itself`);
        if (!target)
          throw new PositionError(event.anchorStart, `alias *${name} has no anchor &${name} before it`);
        expanded += target.weight;
        if (expanded > expansionLimit)
          throw new PositionError(
            event.anchorStart,
            `aliases expand to more than ${expansionLimit} characters; write the values out`,
          );
        const top = stack.at(-1);
        if (top) top.node.weight += target.weight;
        add({ ...target, offset: event.anchorStart });
        break;
      }
      case EVENT_ID.POP: {
        const closed = stack.pop();
        if (!closed) {
          documents.push(document ?? { offset: 0, weight: 0 });
          break;
        }
        if (closed.anchor !== undefined) anchors.set(closed.anchor, closed.node);
        const parent = stack.at(-1);
        if (parent) parent.node.weight += closed.node.weight;
        add(closed.node);
        break;
      }
    }
  }
  return documents;
}

class LineIndex {
  readonly #starts: number[] = [0];
  constructor(text: string) {
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) this.#starts.push(at + 1);
  }

  lineAt(offset: number): number {
    let low = 0;
    let high = this.#starts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.#starts[middle]! <= offset) low = middle;
      else high = middle;
    }
    return low + 1;
  }
}
