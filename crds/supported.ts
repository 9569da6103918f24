// What this build does not carry out yet, one row a field with the reason. The controller shows what
// `unsupported` finds as Stalled, reason NotSupported, before anything starts; nothing is ever ignored.
// A feature that is built removes its row. Pure.
import type { ProcessGroup, ProcessGroupSpec } from './types.gen.ts';

export interface Unsupported {
  field: string;
  message: string;
}

interface Row {
  field: string;
  /** The value in question where this spec asks for it. */
  asks: (spec: ProcessGroupSpec) => unknown;
  why: string;
  /** Carried out where there are carrier Pods. */
  withCarriers?: boolean;
}

const when = <T>(value: T | undefined, ...values: T[]) =>
  value !== undefined && values.includes(value) ? value : undefined;

const rows: readonly Row[] = [
  {
    field: 'template',
    asks: (spec) => spec.template,
    why: 'there are no carrier Pods without Kubernetes; leave it out',
    withCarriers: true,
  },
  { field: 'queueName', asks: (spec) => spec.queueName, why: 'there are no queues; leave it out' },
  {
    field: 'dependsOn',
    asks: (spec) => (spec.dependsOn?.length ? spec.dependsOn : undefined),
    why: 'groups do not wait for one another; leave it out',
  },
  {
    field: 'pmi',
    asks: (spec) => when(spec.pmi, 'PMI2', 'PMIx'),
    why: 'ranks are served PMI-1; use PMI1, Auto or None',
  },
  {
    field: 'processes[].coProcess',
    asks: (spec) => spec.processes?.find((entry) => entry.coProcess)?.name,
    why: 'co-processes are not started; leave it out',
  },
];

/** What of this group cannot be carried out; empty when all of it can. */
export function unsupported(
  group: Pick<ProcessGroup, 'spec'>,
  { carriers = false }: { carriers?: boolean } = {},
): Unsupported[] {
  return rows.flatMap(({ field, asks, why, withCarriers }) => {
    const value = asks(group.spec);
    if (value === undefined || (carriers && withCarriers === true)) return [];
    const shown = typeof value === 'string' ? ` ${value}` : '';
    return [{ field: `spec.${field}`, message: `${field}${shown} is not supported by this build: ${why}` }];
  });
}
