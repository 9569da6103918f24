// A sandbox that moves between two real agents, told step by step as the controllers would.
import type { MoveFact, MoveOrder, SandboxFact, Sent } from '../../wire/agent-types.ts';
import type { TestHub } from '../agent/hub.ts';
import { Job } from '../checkpoint/scene.ts';

let moves = 0;
const givenUp = ['Stayed', 'Refused', 'Lost'];

export interface MoveOptions {
  /** It runs before most of its memory is there. */
  readonly pagesFollow?: boolean;
  /** Most of its memory goes before it stands still. */
  readonly pagesAhead?: boolean;
  /** How the node that it goes to reaches the other's agent. */
  readonly through?: string;
}

/** What both nodes have told of one that is over. */
export interface Moved {
  readonly left: MoveFact;
  readonly placed: MoveFact;
  readonly running: MoveFact;
}

/** Of one sandbox from its node to another. */
export class Move {
  readonly leaver: Job;
  readonly comer: Job;
  readonly #hub: TestHub;
  readonly #uid = `m${String(process.pid)}-${String(++moves)}`;
  readonly #options: MoveOptions;

  constructor(hub: TestHub, leaver: Job, target: string, options: MoveOptions = {}) {
    const { id } = leaver.spec;
    this.#hub = hub;
    this.leaver = leaver;
    const spec = { ...leaver.spec, move: undefined, id: { ...id, incarnation: id.incarnation + 1 } };
    this.comer = new Job(hub, target, spec);
    this.#options = options;
  }

  tell(who: Job, step: string): void {
    const { leaver, comer } = this;
    const { pagesFollow = false, pagesAhead = false, through } = this.#options;
    const peer = who === leaver ? comer.node : leaver.node;
    const address = this.#hub.nodes.get(peer)?.hello.peerAddress ?? '';
    const move: Sent<MoveOrder> = {
      ...{ step, migrationUid: this.#uid, name: `default/${this.#uid}`, peerNode: peer },
      peerAddress: who === comer ? (through ?? address) : address,
      incarnation: leaver.spec.id.incarnation,
      neededBytes: leaver.fact()?.memoryBytes ?? 0,
      openFiles: 'Refuse',
      externalConnections: 'Refuse',
      copyFiles: true,
      pagesFollow,
      pagesAhead,
    };
    who.want({ move: step === 'Stay' ? { step } : move });
  }

  /** What is told of the move once it is that far. Throws what is told when either side gives up. */
  async reached(who: Job, state: string): Promise<MoveFact> {
    const failed = (): MoveFact | undefined =>
      [this.leaver, this.comer]
        .map((each) => this.#told(each))
        .find((move) => givenUp.includes(move?.state ?? ''));
    const isThere = (): boolean => this.#told(who)?.state === state;
    await this.#hub.until(() => isThere() || failed() !== undefined, state, 120_000);
    const why = failed();
    if (why && !isThere()) throw new Error(`${why.reason}: ${why.message}`);
    return this.#told(who)!;
  }

  #told(who: Job): MoveFact | undefined {
    const move = who.fact()?.move;
    return move?.migrationUid === this.#uid ? move : undefined;
  }

  /** Until both stand still; gives what who left and who came have told. */
  async place(): Promise<[left: MoveFact, placed: MoveFact]> {
    const { leaver, comer } = this;
    this.tell(leaver, 'Prepare');
    this.tell(comer, 'Prepare');
    await Promise.all([this.reached(leaver, 'Prepared'), this.reached(comer, 'Prepared')]);
    this.tell(leaver, 'Leave');
    this.tell(comer, 'Place');
    return [await this.reached(leaver, 'Left'), await this.reached(comer, 'Placed')];
  }

  /** The record has it where it came to. Gives what is told once it runs there; its pages may be where it left. */
  async commit(): Promise<MoveFact> {
    if (this.#options.pagesFollow === true) {
      this.tell(this.comer, 'Follow');
      this.tell(this.leaver, 'Hold');
      await this.#hub.until(() => (this.#told(this.comer)?.thawedNs ?? 0) > 0, 'it to run');
      return this.#told(this.comer)!;
    }
    this.tell(this.comer, 'Stay');
    this.#hub.remove(this.leaver.node, this.leaver.spec.id);
    return this.reached(this.comer, 'Running');
  }

  /** All of it is where it came to. */
  async settle(): Promise<void> {
    if (this.#options.pagesFollow === true) {
      await this.reached(this.comer, 'Running');
      this.#hub.remove(this.leaver.node, this.leaver.spec.id);
      this.tell(this.comer, 'Stay');
    }
    await this.#hub.until(() => this.leaver.fact() === undefined, 'the other to be gone');
  }

  /** All steps. One that fails is called off: the sandbox is told to stay, and what came is gone when this throws. */
  async whole(): Promise<Moved> {
    const { leaver, comer } = this;
    try {
      const [left, placed] = await this.place();
      const running = await this.commit();
      await this.settle();
      return { left, placed, running };
    } catch (error) {
      this.tell(leaver, 'Stay');
      this.#hub.remove(comer.node, comer.spec.id);
      await this.#hub.until(() => this.#told(leaver)?.state === 'Stayed', 'it to stay');
      await this.#hub.until(() => comer.fact() === undefined, 'what came to be gone');
      throw error;
    }
  }

  /** Once its sandbox has failed. */
  async lost(): Promise<SandboxFact> {
    this.#hub.remove(this.leaver.node, this.leaver.spec.id);
    this.tell(this.comer, 'Stay');
    await this.#hub.until(() => this.comer.fact()?.state === 'Failed', 'it to fail');
    return this.comer.fact()!;
  }
}
