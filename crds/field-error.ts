// What is wrong with a field, in the words of Kubernetes: the path as its API server prints it, a reason of
// its closed list, a message that says what to do. Every layer of validation returns these, all at once.

export type FieldReason =
  | 'FieldValueRequired'
  | 'FieldValueInvalid'
  | 'FieldValueTypeInvalid'
  | 'FieldValueNotSupported'
  | 'FieldValueForbidden'
  | 'FieldValueDuplicate'
  | 'FieldValueTooLong'
  | 'FieldValueTooMany'
  /** Not of Kubernetes, whose API server answers with a plain text: a field that the schema does not have. */
  | 'FieldUnknown';

export interface FieldError {
  /** Such as `spec.processes[0].ranks`. */
  field: string;
  message: string;
  reason: FieldReason;
  /** What would have been right, where that can be said in a few words. */
  expected?: string;
  /** Where the field stands in the text it came from. */
  file?: string;
  line?: number;
}

/** No answer lists more errors than this; the last entry then says how many there were. */
export const errorLimit = 50;

export function limitErrors(errors: FieldError[]): FieldError[] {
  if (errors.length <= errorLimit) return errors;
  const left = errors.length - errorLimit + 1;
  const rest: FieldError = { field: '', message: `and ${left} more errors`, reason: 'FieldValueInvalid' };
  return [...errors.slice(0, errorLimit - 1), rest];
}

/** One line for people: `job.yaml:12: spec.size: must be at least 1`. */
export function errorText(error: FieldError): string {
  const place =
    error.line === undefined ? '' : `${error.file ?? 'line '}${error.file ? ':' : ''}${error.line}: `;
  const field = error.field === '' ? '' : `${error.field}: `;
  return `${place}${field}${error.message}${error.expected ? ` (expected ${error.expected})` : ''}`;
}

export type PathStep = string | number;

/** `spec.processes[0].env[1].name`, and `metadata.labels[a.b/c]` for keys that are no plain words. */
export function fieldPath(steps: readonly PathStep[]): string {
  let text = '';
  for (const step of steps) {
    if (typeof step === 'number') text += `[${step}]`;
    else if (/^[A-Za-z_][A-Za-z0-9_-]*$/.test(step)) text += text === '' ? step : `.${step}`;
    else text += `[${step}]`;
  }
  return text;
}

/** The steps of a path as fieldPath writes it. */
export function stepsOf(path: string): PathStep[] {
  const steps: PathStep[] = [];
  for (const match of path.matchAll(/\[([^\]]*)\]|([^.[\]]+)/g)) {
    const key = match[1] ?? match[2]!;
    steps.push(match[1] !== undefined && /^\d+$/.test(key) ? Number(key) : key);
  }
  return steps;
}
