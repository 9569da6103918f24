// A sandbox that moves between two real agents, told step by step as the controllers would.
import type { MoveFact, MoveOrder, SandboxFact, Sent } from '../../wire/agent-types.ts';
import type { TestHub } from '../agent/hub.ts';
import { Job } from '../checkpoint/scene.ts';

let moves = 0;
const givenUp = ['Stayed', 'Refused', 'Lost'];

/** Of one sandbox from its node to another. */
export class Move {
  readonly leaver: Job;
  readonly comer: Job;
  readonly #hub: TestHub;
  readonly #uid = `m${String(process.pid)}-${String(++moves)}`;
  readonly #pagesFollow: boolean;

  constructor(hub: TestHub, leaver: Job, target: string, pagesFollow: boolean) {
    const { id } = leaver.spec;
    this.#hub = hub;
    this.leaver = leaver;
    const spec = { ...leaver.spec, move: undefined, id: { ...id, incarnation: id.incarnation + 1 } };
    this.comer = new Job(hub, target, spec);
    this.#pagesFollow = pagesFollow;
  }

  tell(who: Job, step: string): void {
    const { leaver, comer } = this;
    const peer = who === leaver ? comer.node : leaver.node;
    const move: Sent<MoveOrder> = {
      ...{ step, migrationUid: this.#uid, name: `default/${this.#uid}`, peerNode: peer },
      peerAddress: this.#hub.nodes.get(peer)?.hello.peerAddress ?? '',
      incarnation: leaver.spec.id.incarnation,
      neededBytes: leaver.fact()?.memoryBytes ?? 0,
      openFiles: 'Refuse',
      externalConnections: 'Refuse',
      pagesFollow: this.#pagesFollow,
    };
    who.want({ move: step === 'Stay' ? { step } : move });
  }

  /** What is told of the move once it is that far. */
  async reached(who: Job, state: string): Promise<MoveFact> {
    const now = (): MoveFact | null => who.fact()?.move ?? null;
    await this.#hub.until(() => [state, ...givenUp].includes(now()?.state ?? ''), state, 120_000);
    const fact = now();
    if (fact?.state !== state) throw new Error(`${state}: ${fact?.message ?? 'nothing is told'}`);
    return fact;
  }

  /** Until both stand still; gives what who left and who came have told. */
  async place(): Promise<[left: MoveFact, placed: MoveFact]> {
    const { leaver, comer } = this;
    this.tell(leaver, 'Prepare');
    this.tell(comer, 'Prepare');
    await Promise.all([this.reached(leaver, 'Prepared'), this.reached(comer, 'Prepared')]);
    this.tell(leaver, 'Leave');
    const left = await this.reached(leaver, 'Left');
    this.tell(comer, 'Place');
    return [left, await this.reached(comer, 'Placed')];
  }

  /** The record has it where it came to. Gives what is told once it runs there; its pages may be where it left. */
  async commit(): Promise<MoveFact> {
    if (this.#pagesFollow) {
      this.tell(this.comer, 'Follow');
      this.tell(this.leaver, 'Hold');
      const following = (): MoveFact | undefined => this.comer.fact()?.move ?? undefined;
      await this.#hub.until(() => (following()?.thawedNs ?? 0) > 0, 'it to run');
      return following()!;
    }
    this.tell(this.comer, 'Stay');
    return this.reached(this.comer, 'Running');
  }

  /** All of it is where it came to. */
  async settle(): Promise<void> {
    await this.reached(this.comer, 'Running');
    this.#hub.remove(this.leaver.node, this.leaver.spec.id);
    this.tell(this.comer, 'Stay');
    await this.#hub.until(() => this.leaver.fact() === undefined, 'the other to be gone');
  }

  /** Once its sandbox has failed. */
  async lost(): Promise<SandboxFact> {
    this.#hub.remove(this.leaver.node, this.leaver.spec.id);
    this.tell(this.comer, 'Stay');
    await this.#hub.until(() => this.comer.fact()?.state === 'Failed', 'it to fail');
    return this.comer.fact()!;
  }
}
