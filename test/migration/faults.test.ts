/**
 * What goes wrong between two nodes while a sandbox moves harms no rank: no engine where it goes to, or one that fails; the way between
 * the two cut, while both are heard of by the hub. The ring's output is whole in the end, and it has moved when it could.
 */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { programs } from '../agent/harness.ts';
import { isolated, Scene, type Job } from '../checkpoint/scene.ts';
import { eventually } from '../contract/eventually.ts';
import { criuProgram } from '../criu/criu.ts';
import { Move } from './move.ts';

const directory = mkdtempSync(join(tmpdir(), 'muster-faults-'));
const targetsCriu = join(directory, 'criu');
const fails = join(directory, 'fails');
let scene: Scene;
let job: Job;

beforeAll(async () => {
  const criu = criuProgram();
  scene = await Scene.start(2, criu, targetsCriu);
  const argv = [`${programs}/ring`, '--seconds', '3600', '--report-every', '1', '--bytes', String(4 << 20)];
  job = await scene.run({ argv, size: 2, overrides: isolated() });
  await goesOn();
});
afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

const toNode2 = (through?: string): Move =>
  new Move(scene.hub, job, 'node2', through === undefined ? {} : { through });

const lines = async (): Promise<string[]> =>
  (await job.output(0, false)).split('\n').filter((line) => line.startsWith('rank 0 '));

/** Every iteration so far once and in order; and there are more of them. */
async function goesOn(): Promise<void> {
  const before = (await lines()).length;
  await eventually(async () => expect((await lines()).length).toBeGreaterThan(before + 2), 30_000);
  (await lines())
    .slice(0, -1)
    .forEach((line, at) => expect(line).toContain(`rank 0 iteration ${String(at)} `));
}

test('a node without CRIU is found out before anything stops', async () => {
  await expect(toNode2().whole()).rejects.toThrow(
    /^EngineMissing: MUSTER_CRIU_MISSING: node node2: there is no CRIU on this node/,
  );
  expect(job.fact()?.move?.frozenNs).toBe(0);
  await goesOn();
});

test('a CRIU that fails where they go to leaves them where they were', async () => {
  writeFileSync(targetsCriu, `#!/bin/sh\n[ ! -e ${fails} ] || exit 1\nexec ${criuProgram()} "$@"\n`);
  chmodSync(targetsCriu, 0o755);
  // It is looked at before that, and found to be good.
  const leaving = eventually(() => {
    expect(job.fact()?.move?.state).toBe('Leaving');
    writeFileSync(fails, '');
  }, 60_000);
  await expect(Promise.all([toNode2().whole(), leaving])).rejects.toThrow(
    /^RestoreFailed: MUSTER_CRIU_RESTORE_FAILED: /,
  );
  rmSync(fails);
  await goesOn();
});

/** Between the agent that they leave and the one that they go to; nobody else passes. */
class Road implements Disposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #isSilent = false;
  /** What has passed towards the one that they go to. */
  bytes = 0;

  static async to(address: string): Promise<Road> {
    const road = new Road(address);
    await new Promise<void>((resolve) => road.#server.listen(0, '127.0.0.2', resolve));
    return road;
  }

  private constructor(address: string) {
    const [host = '', port = ''] = address.split(':');
    this.#server = createServer((near) => {
      const far = connect(Number(port), host);
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(from);
        from.on('error', () => undefined);
        from.on('close', () => to.destroy());
        from.on('data', (data: Buffer) => {
          if (from === far) this.bytes += data.length;
          if (!this.#isSilent) to.write(data);
        });
      }
    });
  }

  get address(): string {
    return `127.0.0.2:${String((this.#server.address() as AddressInfo).port)}`;
  }

  /** From now on nothing passes; nobody is told. */
  fallSilent(): void {
    this.#isSilent = true;
  }

  /** Ends what is connected. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
  }

  [Symbol.dispose](): void {
    this.#server.close();
    this.cut();
  }
}

const roadToSource = (): Promise<Road> => Road.to(scene.hub.nodes.get(job.node)?.hello.peerAddress ?? '');

/** Some of the memory has passed. */
const passed = (road: Road): Promise<void> =>
  eventually(() => expect(road.bytes).toBeGreaterThan(2 << 20), 60_000);

test('a node that cannot be reached from the other is found out before anything stops', async () => {
  using road = await roadToSource();
  const { address } = road;
  road[Symbol.dispose]();
  await expect(toNode2(address).whole()).rejects.toThrow(
    /^TransferFailed: MUSTER_PEER_UNREACHABLE: the agent of node node1 cannot be reached at 127\.0\.0\.2:\d+: /,
  );
  expect(job.fact()?.move?.frozenNs).toBe(0);
  await goesOn();
});

test('the way between both falls silent in the middle: they are let go on soon', async () => {
  using road = await roadToSource();
  const silent = passed(road).then(() => road.fallSilent());
  await expect(Promise.all([toNode2(road.address).whole(), silent])).rejects.toThrow(
    /^TransferFailed: MUSTER_TRANSFER_FAILED: from node node1 at 127\.0\.0\.2:\d+: nothing is heard of it any more/,
  );
  await goesOn();
});

test('the way between both is cut in the middle and there again: they move all the same', async () => {
  using road = await roadToSource();
  const cut = passed(road).then(() => road.cut());
  const move = toNode2(road.address);
  await Promise.all([move.whole(), cut]);
  job = move.comer;
  await goesOn();
});
