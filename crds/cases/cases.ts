// The table of valid and invalid objects (the YAML files beside this one), made whole: what every store has
// to accept, and what it has to refuse with which fields. Run on `admit` here, and on whatever else stores
// our objects in its own tests.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { load } from 'js-yaml';
import { stepsOf } from '../field-error.ts';
import type { KubernetesObject } from '../objects.ts';

export interface Case {
  name: string;
  object: KubernetesObject;
  /** What is there before; then the case is an update. */
  oldObject?: KubernetesObject;
  /** Every refused field with a part of the message; empty for what is accepted. */
  errors: Record<string, string>;
  /** Whether an API server of Kubernetes with our definitions decides the same by itself. */
  byServer: boolean;
}

interface CaseFile {
  base: KubernetesObject;
  cases: {
    name: string;
    set?: Record<string, unknown>;
    remove?: string[];
    old?: Record<string, unknown>;
    oldStatus?: object;
    errors?: Record<string, string>;
    server?: boolean;
  }[];
}

function change(
  base: KubernetesObject,
  set: Record<string, unknown> = {},
  remove: string[] = [],
): KubernetesObject {
  const object = structuredClone(base);
  for (const [path, value] of [...Object.entries(set), ...remove.map((name) => [name, undefined] as const)]) {
    const steps = stepsOf(path);
    const last = steps.pop()!;
    const parent = steps.reduce<Record<string, unknown>>(
      (part, step) => (part[step] ??= {}) as Record<string, unknown>,
      object as unknown as Record<string, unknown>,
    );
    if (value === undefined) delete parent[last];
    else parent[last] = structuredClone(value);
  }
  return object;
}

export function readCases(): Case[] {
  return ['processgroup', 'checkpoint', 'migration', 'nodemonitor'].flatMap((kind) => {
    const { base, cases } = load(readFileSync(join(import.meta.dirname, `${kind}.yaml`), 'utf8')) as CaseFile;
    return cases.map(({ name, set, remove, old, oldStatus, errors = {}, server = true }) => {
      const whole: Case = {
        name: `${base.kind}: ${name}`,
        object: change(base, set, remove),
        errors,
        byServer: server,
      };
      if (old) whole.oldObject = { ...change(base, old), ...(oldStatus ? { status: oldStatus } : {}) };
      if (oldStatus) whole.object.status = oldStatus;
      return whole;
    });
  });
}
