// What is to be started in a sandbox, made of its spec once and kept until it is: for many ranks that takes as long as starting them,
// and while launch builds the sandbox there is time for it. It knows neither launch nor rank-init.
import type { SandboxSpec } from '../wire/agent-types.ts';
import type { Backend } from './backend.ts';
import { networkAddressOf } from './network/group-network.ts';
import { planFor, startFileOf } from './preparation.ts';
import type { Binding } from './processors.ts';
import type { StartPlan } from './ranks.ts';

interface Kept {
  readonly plan: StartPlan;
  readonly address: string | null;
  file: Buffer | null;
}

export class PlannedStart {
  readonly #backend: Backend;
  #kept: Kept | null = null;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /** Of ranks that are not bound to processors. Throws AgentError when they can never be started here. */
  planOf(spec: SandboxSpec): StartPlan {
    return this.#of(spec).plan;
  }

  /** The bytes of rank-init's START. */
  fileOf(spec: SandboxSpec, binding: Binding | null): Buffer {
    if (binding) return startFileOf(planFor(spec, this.#backend, binding), this.#backend.agentUid);
    const kept = this.#of(spec);
    return (kept.file ??= startFileOf(kept.plan, this.#backend.agentUid));
  }

  /** While there is time for it; trouble is told when it is to be started. */
  prepare(spec: SandboxSpec): void {
    if (spec.binding !== '' && spec.binding !== 'None') return;
    try {
      this.fileOf(spec, null);
    } catch {
      this.drop();
    }
  }

  /** It has been started. */
  drop(): void {
    this.#kept = null;
  }

  /** Of what a spec says while it is here, only the network may come to be another one. */
  #of(spec: SandboxSpec): Kept {
    const address = networkAddressOf(spec);
    if (this.#kept?.address !== address) this.#kept = null;
    return (this.#kept ??= { plan: planFor(spec, this.#backend), address, file: null });
  }
}
