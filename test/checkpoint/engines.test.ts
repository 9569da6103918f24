// What every engine of checkpoints has to do, by one program that knows nothing of which it is: saved while it runs on, again, and
// ended; brought back here, and on a node that has to fetch the image; its files taken back; refused when the image is damaged; and
// unharmed by what fails. Behind it what only ranks that save themselves are asked: by a file, by a signal, by callbacks.
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AgentProcess, programs } from '../agent/harness.ts';
import { eventually } from '../contract/eventually.ts';
import { isolated, Scene, type Job, type OrderOptions } from './scene.ts';

let scene: Scene;
let directory: string;

beforeAll(async () => {
  scene = await Scene.start(2);
  directory = mkdtempSync('/var/tmp/muster-engines-');
  chmodSync(directory, 0o777);
});

afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

let runs = 0;
const ranks = 2;
const mask = (1n << 64n) - 1n;

/** Sums after each step, as the program comes to them. */
function sumsOf(steps: number): string[] {
  let sum = 1n;
  return Array.from({ length: steps }, () => {
    let parts = 0n;
    for (let rank = 0n; rank < ranks; rank++) parts += (sum ^ rank) * 0x9e3779b97f4a7c15n;
    sum = (sum * 31n + parts) & mask;
    return sum.toString(16).padStart(16, '0');
  });
}

/** The program, what it writes, and what it is told. */
class Run {
  readonly file = `${directory}/run-${String(++runs)}`;
  readonly #control = `${this.file}.control`;

  get argv(): string[] {
    this.say('');
    return [`${programs}/saver`, this.file, this.#control];
  }

  start(): Promise<Job> {
    return scene.run({ argv: this.argv, size: ranks, overrides: { ...isolated(), savesItself: true } });
  }

  say(word: '' | 'silent' | 'refuse'): void {
    writeFileSync(this.#control, word);
  }

  get steps(): number {
    const path = `${this.file}.0`;
    return existsSync(path) ? readFileSync(path, 'utf8').split('\n').length - 1 : 0;
  }

  /** It comes further than it is. */
  async goesOn(by = 5): Promise<void> {
    const { steps } = this;
    await eventually(() => expect(this.steps).toBeGreaterThan(steps + by), 30_000);
  }

  /** To its end: every step of every rank once, in order, in its output and in its file. */
  async ends(...jobs: readonly Job[]): Promise<void> {
    rmSync(this.#control);
    for (const job of jobs) {
      const { state, failures, message } = await scene.hub.ended(job.spec.id);
      expect({ state, failures, message }).toEqual({ state: 'Ended', failures: [], message: '' });
    }
    const { steps } = this;
    const sums = sumsOf(steps);
    for (let rank = 0; rank < ranks; rank++) {
      const job = jobs[jobs.length === 1 ? 0 : rank]!;
      const lines = sums.map((sum, step) => `rank ${String(rank)} step ${String(step)} sum ${sum}`);
      expect((await job.output(rank)).trimEnd().split('\n')).toEqual(lines);
      const written = readFileSync(`${this.file}.${String(rank)}`, 'utf8');
      expect(written).toBe(lines.map((_, step) => `${String(step)}\n`).join(''));
    }
  }
}

/** Changes a byte of the largest file of an image; gives what puts it back. */
function damage(image: string): () => void {
  const size = (name: string): number => statSync(`${image}/${name}`).size;
  const [name = ''] = readdirSync(image)
    .filter((each) => /^(?:pages-|save\.)/.test(each))
    .sort((a, b) => size(b) - size(a));
  const path = `${image}/${name}`;
  const whole = readFileSync(path);
  const other = Buffer.from(whole);
  other.writeUInt8(other.readUInt8(whole.length >> 1) ^ 1, whole.length >> 1);
  writeFileSync(path, other);
  return () => {
    writeFileSync(path, whole);
  };
}

const refusalOf = (job: Job, more: OrderOptions): Promise<string> =>
  job.save(more).then(
    () => 'it was saved',
    (error: unknown) => String(error),
  );

describe.each(['Criu', 'Application'] as const)('the engine %s', (engine) => {
  test('saves a job that runs on, twice, and leaves one alone that it may not save', async () => {
    const run = new Run();
    const job = await run.start();
    await run.goesOn();
    const { fact } = await job.save({ engine });
    expect(fact).toMatchObject({ state: 'Saved', held: false });
    expect(fact.engine.startsWith(engine.toLowerCase())).toBe(true);
    await run.goesOn();
    expect(await refusalOf(job, { engine, openFiles: 'Refuse' })).toMatch(
      /PreflightFailed: MUSTER_NOT_SAVABLE.*is open for writing/,
    );
    await run.goesOn();
    await job.save({ engine });
    await run.goesOn();
    await run.ends(job);
  });

  test('brings back what was saved, here and elsewhere, its files taken back, and nothing that is damaged', async () => {
    const run = new Run();
    let job = await run.start();
    await run.goesOn();
    const first = await job.save({ engine });
    await run.goesOn();
    await job.vacate();
    job = await job.restore(first);
    expect(job.fact()).toMatchObject({ state: 'Running', message: '' });
    expect(existsSync(`${run.file}.0.after-${first.checkpointUid}`)).toBe(true);
    await run.goesOn();

    const second = await job.save({ engine, hold: true });
    expect(second.fact.held).toBe(true);
    await job.vacate();
    const image = `${scene.agents[0]?.stateDir ?? ''}/images/${second.checkpointUid}-0`;
    const mend = damage(image);
    const refused = await job.restore(second);
    expect(refused.fact()).toMatchObject({ state: 'Failed', reason: 'ImageDamaged', ranksRunning: 0 });
    await refused.vacate();
    mend();
    job = await refused.restore(second, 'node2');
    expect(job.fact()).toMatchObject({ state: 'Running', message: '' });
    await run.goesOn();
    await run.ends(job);
  });
});

describe('ranks that save themselves', () => {
  const engine = 'Application';

  test('are not waited for longer than they may take, are heard when they cannot, and go on', async () => {
    const run = new Run();
    const job = await run.start();
    await run.goesOn();
    run.say('silent');
    expect(await refusalOf(job, { engine, holdAtMostMs: 2500 })).toMatch(
      /DeadlineExceeded: MUSTER_RANKS_SILENT: ranks 0-1 have not said within 2 s/,
    );
    run.say('refuse');
    await run.goesOn();
    expect(await refusalOf(job, { engine })).toContain(
      'MUSTER_SELF_SAVE: rank 0 could not save itself (error 28)',
    );
    run.say('');
    await run.goesOn();
    await job.save({ engine });
    await run.ends(job);
  });

  test('run on whenever the agent is killed, and are whole again when it is while they are brought back', async () => {
    const run = new Run();
    let job = await run.start();
    await run.goesOn();
    run.say('silent');
    job.order('asked', 'Prepare', { engine });
    const wanted = `${scene.agents[0]?.stateDir ?? ''}/sandboxes/${job.spec.id.groupUid}-0-1/saves/save/wanted`;
    await eventually(() => expect(existsSync(wanted)).toBe(true));
    await scene.killAgent();
    await scene.hub.until(() => job.fact()?.checkpoint?.state === 'Aborted', 'the attempt to be given up');
    expect(existsSync(wanted)).toBe(false);
    run.say('');
    for (const [state, end] of [
      ['Prepared', 'AgentRestarted'],
      ['Dumped', 'AgentRestarted'],
      ['Committed', 'Saved'],
    ] as const) {
      expect(await scene.killedWhen(job, state.toLowerCase(), state, { engine })).toBe(end);
      await run.goesOn();
    }
    const saved = await job.save({ engine, hold: true });
    await job.vacate();
    const restoring = job.restore(saved);
    await scene.begun(job.spec.id.groupUid, 2);
    await scene.killAgent();
    job = await restoring;
    await run.goesOn();
    await run.ends(job);
  });

  test('are a job of several sandboxes, started anew on other nodes', async () => {
    const run = new Run();
    const group = await scene.runGroup(run.argv, 1, ['node1', 'node2'], { savesItself: true });
    await run.goesOn();
    const saved = await group.save({ engine, hold: true });
    await group.vacate();
    const moved = await group.restore(saved, ['node2', 'node1']);
    await run.goesOn();
    await run.ends(...moved.jobs);
  });

  test('may be told by a signal or by callbacks, need no CRIU, and have to have a place for it', async () => {
    await using bare = await AgentProcess.start(scene.hub, 'node3');
    const script = `
      n=$(cat "$MUSTER_RESTART_DIR/n" || echo 0); cd "$MUSTER_CHECKPOINT_DIR"
      trap save=1 USR2; trap end=1 USR1
      while [ -z "$end" ]; do
        n=$((n + 1)); echo $n; sleep 0.05
        if [ -n "$save" ]; then
          save=; echo $n >n; cp wanted done.$MUSTER_RANK
          while [ -e wanted ]; do sleep 0.01; done
        fi
      done`;
    const argv = ['/bin/bash', '-c', script];
    let job = await scene.run({ argv, overrides: { pmi: 'None', savesItself: true } }, bare.node);
    const said = async (): Promise<string[]> => (await job.output(0, false)).trimEnd().split('\n');
    await eventually(async () => expect((await said()).length).toBeGreaterThan(3));
    const saved = await job.save({ engine, signal: 12, hold: true });
    const before = (await said()).length;
    await job.vacate();
    job = await job.restore(saved, 'node2');
    await eventually(async () => expect((await said()).length).toBeGreaterThan(before + 3));
    await scene.hub.verb('node2', { id: job.spec.id, kind: 'Signal', signal: 10, signalId: 1 });
    expect(await scene.hub.ended(job.spec.id)).toMatchObject({ succeeded: '0' });
    const numbers = await said();
    expect(numbers).toEqual(numbers.map((_, at) => String(at + 1)));

    const callbacks = { argv: [`${programs}/callbacks`, `${directory}/none`, '60'] };
    const listens = await scene.run({ ...callbacks, overrides: { savesItself: true } });
    await eventually(async () => expect(await listens.output(0, false)).toBe('ready\n'));
    await listens.save({ engine });
    await eventually(async () => expect(await listens.output(0, false)).toContain('first continue'));
    await listens.vacate();

    const homeless = await scene.run(callbacks);
    expect(await refusalOf(homeless, { engine })).toContain('the ranks have nowhere to save themselves');
    await homeless.vacate();
  });
});
