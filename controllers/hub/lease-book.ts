/**
 * Leases of sandboxes whose group may be started elsewhere: granted with the acknowledgement of a heartbeat, and counted from here on.
 * What an earlier controller granted is not known: until the contrary is certain, all of it counts as granted when this one started.
 * A sandbox that is to be killed is granted none, so that what is over stays over.
 */
import type { SandboxId } from '../../wire/agent-types.ts';
import type { Clock } from '../runtime/clock.ts';
import type { DesiredBook, Want } from './desired-book.ts';
import { sandboxKey } from './sandbox-key.ts';

const granting: ReadonlySet<Want> = new Set<Want>(['Run', 'Freeze', 'End']);

export class LeaseBook {
  readonly #clock: Clock;
  readonly #desired: DesiredBook;
  readonly #startedMs: number;
  /** Asked at each grant: a leader that was paused may be none any more. */
  readonly #mayGrant: () => boolean;
  readonly #grantedMs = new Map<string, number>();

  constructor(clock: Clock, desired: DesiredBook, mayGrant: () => boolean) {
    this.#clock = clock;
    this.#desired = desired;
    this.#startedMs = clock.steady();
    this.#mayGrant = mayGrant;
  }

  /** A heartbeat of the node has just come: what its acknowledgement grants. */
  grant(node: string): SandboxId[] {
    const leased = [...this.#desired.ofNode(node).values()].filter(
      ({ spec, want }) => spec.lease !== undefined && granting.has(want),
    );
    if (leased.length === 0 || !this.#mayGrant()) return [];
    for (const { spec } of leased) this.#grantedMs.set(sandboxKey(spec.id), this.#clock.steady());
    return leased.map(({ spec }) => spec.id);
  }

  /** A sandbox that is placed has as long to show itself as one whose lease was just renewed. */
  begin(id: SandboxId): void {
    this.#grantedMs.set(sandboxKey(id), this.#clock.steady());
  }

  /** Since the last grant that there may have been. */
  sinceGrantMs(id: SandboxId): number {
    return this.#clock.steady() - (this.#grantedMs.get(sandboxKey(id)) ?? this.#startedMs);
  }

  drop(id: SandboxId): void {
    this.#grantedMs.delete(sandboxKey(id));
  }
}
