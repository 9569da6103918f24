/**
 * What `apply` has to change in an object: from the manifest applied last time, the manifest applied now and the object as it is, a
 * JSON merge patch (RFC 7386) that sets what the new manifest says and removes what only the old one said. Lists are
 * replaced whole. As kubectl's client-side apply, with its annotation, so both can be used on one object. Pure.
 */
export const lastAppliedAnnotation = 'kubectl.kubernetes.io/last-applied-configuration';

type Json = unknown;
type JsonObject = Record<string, Json>;

const isObject = (value: Json): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The patch, or undefined when nothing has to change. */
export function mergePatchOf(last: Json, wanted: Json, current: Json): JsonObject | undefined {
  const patch = difference(
    isObject(last) ? last : {},
    isObject(wanted) ? wanted : {},
    isObject(current) ? current : {},
  );
  return Object.keys(patch).length === 0 ? undefined : patch;
}

function difference(last: JsonObject, wanted: JsonObject, current: JsonObject): JsonObject {
  const patch: JsonObject = {};
  for (const [name, value] of Object.entries(wanted)) {
    const now = current[name];
    if (isObject(value)) {
      if (!isObject(now)) patch[name] = value;
      else {
        const before = last[name];
        const inner = difference(isObject(before) ? before : {}, value, now);
        if (Object.keys(inner).length > 0) patch[name] = inner;
      }
    } else if (!sameJson(value, now)) patch[name] = value;
  }
  for (const name of Object.keys(last)) {
    if (!(name in wanted) && name in current) patch[name] = null;
  }
  return patch;
}

export function sameJson(one: Json, other: Json): boolean {
  if (one === other) return true;
  if (Array.isArray(one) && Array.isArray(other)) {
    return one.length === other.length && one.every((value, index) => sameJson(value, other[index]));
  }
  if (!isObject(one) || !isObject(other)) return false;
  const names = Object.keys(one);
  return (
    names.length === Object.keys(other).length &&
    names.every((name) => Object.hasOwn(other, name) && sameJson(one[name], other[name]))
  );
}
