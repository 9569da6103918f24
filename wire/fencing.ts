/**
 * How it is made certain that a group never runs twice, as three tables: the guard is rank-init, which needs nobody to stop its ranks;
 * the keeper is the agent's part for one sandbox; the warden is the controller's for one group. The running code goes by them, and
 * `make generate` writes them as C for rank-init, as a model for SPIN and into the documentation.
 *
 * A lease runs from the sending of a heartbeat whose acknowledgement grants it, by a clock that also counts while the machine
 * sleeps. It expires first: the ranks are stopped, and a renewal lets them go on. Then comes its hard end: they are killed, and no
 * renewal counts any more. Only after that, counted from the last grant, may the controller start a copy.
 */
import type { StateTable } from './state-table.ts';

/** Of one sandbox, as it is on record with its group: what was promised, whatever a later controller is configured for. */
export interface LeaseTimes {
  /** From the sending of the heartbeat until the ranks are stopped. */
  readonly expiresAfterMs: number;
  /** From the sending of the heartbeat until they are killed. */
  readonly endsAfterMs: number;
}

/** Longer than a takeover by another controller, and than an API server is away for an upgrade. */
export const defaultNodeLeaseSeconds = 120;

/** Between expiry and hard end lies a quarter of the lease, for a connection that comes back. */
export function leaseTimesOf(seconds: number): LeaseTimes {
  return { expiresAfterMs: seconds * 1000, endsAfterMs: seconds * 1250 };
}

/** From the last grant, or from the start of a controller that cannot know of it, until no rank runs under the lease any more:
 *  clocks differ in their pace, and a kill takes its time. */
export function copyAfterMs({ endsAfterMs }: LeaseTimes): number {
  return endsAfterMs * 1.05 + 2_000;
}

export type GuardState = 'Unleased' | 'Running' | 'Stopped' | 'Ended';
export type GuardEvent = 'Renewed' | 'Expired' | 'HardEnd' | 'Restored';
export type GuardAction = 'Stop' | 'Continue' | 'Kill';

export const guard: StateTable<GuardState, GuardEvent, GuardAction> = {
  role: 'Guard',
  first: 'Unleased',
  events: {
    Renewed: 'the agent hands on a grant; its times replace earlier ones',
    Expired: 'the lease has expired',
    HardEnd: "the lease's hard end is there; looked for before any renewal",
    Restored:
      'it is found, once a time is due, that the sandbox was brought back from an image: its times are of another life',
  },
  rows: {
    Unleased: { Renewed: ['Running'] },
    Running: {
      Renewed: ['Running'],
      Expired: ['Stopped', 'Stop'],
      HardEnd: ['Ended', 'Kill'],
      // The keeper lets what was brought back run only under a lease of its own, and fences it until it has handed that on.
      Restored: ['Unleased'],
    },
    Stopped: {
      Renewed: ['Running', 'Continue'],
      HardEnd: ['Ended', 'Kill'],
      Restored: ['Unleased', 'Continue'],
    },
    Ended: {},
  },
};

export type KeeperState = 'Unsure' | 'Holding' | 'Fenced' | 'Over';
export type KeeperEvent = 'Granted' | 'Expired' | 'HardEnd' | 'Superseded';
export type KeeperAction = 'Renew' | 'Plug' | 'Thaw' | 'Start' | 'Freeze' | 'Unplug' | 'Kill';

export const keeper: StateTable<KeeperState, KeeperEvent, KeeperAction> = {
  role: 'Keeper',
  first: 'Unsure',
  events: {
    Granted:
      'a heartbeat was acknowledged with a grant for this sandbox, and the lease from its sending has not expired',
    Expired: 'the lease that the guard holds has expired',
    HardEnd: 'its hard end is there',
    Superseded: 'the hub wants this incarnation gone',
  },
  rows: {
    // An agent that was started anew may find its sandbox as its predecessor left it, fenced too.
    Unsure: {
      Granted: ['Holding', 'Renew', 'Plug', 'Thaw', 'Start'],
      Expired: ['Fenced', 'Freeze', 'Unplug'],
      HardEnd: ['Over', 'Kill'],
      Superseded: ['Over', 'Kill'],
    },
    Holding: {
      Granted: ['Holding', 'Renew'],
      Expired: ['Fenced', 'Freeze', 'Unplug'],
      HardEnd: ['Over', 'Kill'],
      Superseded: ['Over', 'Kill'],
    },
    Fenced: {
      Granted: ['Holding', 'Renew', 'Plug', 'Thaw'],
      HardEnd: ['Over', 'Kill'],
      Superseded: ['Over', 'Kill'],
    },
    Over: {},
  },
};

export type WardenState = 'Settled' | 'Doubting' | 'Clearing';
export type WardenEvent = 'Silent' | 'Heard' | 'Fenced' | 'Lost' | 'AllOver';
export type WardenAction = 'Hold' | 'Release' | 'EndAll' | 'StartCopy';

export const warden: StateTable<WardenState, WardenEvent, WardenAction> = {
  role: 'Warden',
  first: 'Settled',
  events: {
    Silent: 'a lease that was granted to a sandbox has expired, and nothing is heard of its node',
    Heard: 'every node of the group is heard of',
    Fenced: 'a hard end has passed, counted from the last grant, or from the start of this controller',
    Lost: 'an agent tells that a sandbox is gone, or was ended with its lease',
    AllOver:
      'each sandbox has ended by the word of its agent, or its hard end has passed since the last grant',
  },
  rows: {
    Settled: { Silent: ['Doubting', 'Hold'], Lost: ['Clearing', 'EndAll'] },
    Doubting: {
      Heard: ['Settled', 'Release'],
      Fenced: ['Clearing', 'Release', 'EndAll'],
      Lost: ['Clearing', 'Release', 'EndAll'],
    },
    // On record before it is acted upon. Nothing is granted any more, so what is over stays over.
    Clearing: { AllOver: ['Settled', 'StartCopy'] },
  },
};
