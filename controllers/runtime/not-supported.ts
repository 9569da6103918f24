/**
 * The reconciler of a kind that this build accepts but does not carry out: it says so in the object's conditions on the
 * first visit, and does nothing else.
 */
import { setCondition, type ConditionInput } from '../../crds/conditions.ts';
import type { Condition } from '../../crds/objects.ts';
import {
  isStoreError,
  type KubernetesObject,
  type ObjectStore,
  type ResourceType,
} from '../../store/object-store.ts';
import type { Clock } from './clock.ts';
import { nameOf, settled, type Key, type Outcome, type Reconciler } from './reconciler.ts';

interface Conditioned extends KubernetesObject {
  status?: { conditions?: Condition[]; observedGeneration?: number };
}

export interface NotSupportedOptions {
  readonly name: string;
  readonly type: ResourceType;
  readonly message: string;
  readonly store: ObjectStore;
  readonly clock: Clock;
}

export class NotSupportedReconciler implements Reconciler {
  readonly name: string;
  readonly #options: NotSupportedOptions;

  constructor(options: NotSupportedOptions) {
    this.name = options.name;
    this.#options = options;
  }

  async reconcile(key: Key, signal: AbortSignal): Promise<Outcome> {
    const { store, type, message, clock } = this.#options;
    try {
      const object = await store.get<Conditioned>(type, nameOf(key), signal);
      const { generation } = object.metadata;
      const observed = generation === undefined ? {} : { observedGeneration: generation };
      const inputs: ConditionInput[] = [
        { type: 'Reconciling', status: 'False', reason: 'Settled', message: 'nothing is done', ...observed },
        { type: 'Stalled', status: 'True', reason: 'NotSupported', message, ...observed },
      ];
      const before = object.status?.conditions;
      let conditions: readonly Condition[] | undefined = before;
      for (const input of inputs) conditions = setCondition(conditions, input, new Date(clock.now()));
      if (conditions === before) return settled;
      const status = { ...object.status, ...observed, conditions: [...(conditions ?? [])] };
      await store.updateStatus<Conditioned>(type, { ...object, status }, signal);
    } catch (error) {
      if (!isStoreError(error, 'NotFound')) throw error;
    }
    return settled;
  }
}
