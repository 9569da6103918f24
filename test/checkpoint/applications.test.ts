// Applications that others wrote, and that know nothing of checkpoints: GROMACS, whose results show whether it was harmed (-reprod:
// the same to the last digit as of a run that nobody disturbed), over two nodes and brought back on others; and the examples of PVM
// with their daemon, as CoCheck saved them. Both are unpacked by scripts/applications.sh.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../contract/eventually.ts';
import { applications, Argon, bringApplications } from './gromacs.ts';
import { isolated, Scene } from './scene.ts';

let scene: Scene;

beforeAll(async () => {
  bringApplications();
  scene = await Scene.start(3);
}, 240_000);

afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
});

test('GROMACS comes to the same, to the last digit, saved twice and brought back on other nodes', async () => {
  using argon = new Argon(10_000);
  let group = await scene.runGroup(argon.command('saved'), 1, ['node1', 'node2']);
  const alone = await scene.run({ argv: argon.command('alone'), size: 2, overrides: isolated() }, 'node3');
  for (const nodes of [
    ['node2', 'node3'],
    ['node3', 'node3'],
  ]) {
    const sofar = argon.told('saved');
    await eventually(() => expect(argon.told('saved')).toBeGreaterThan(sofar + 1), 30_000);
    const saved = await group.save({ hold: true });
    expect(argon.isOver('saved')).toBe(false);
    await group.vacate();
    group = await group.restore(saved, nodes);
  }
  expect(await scene.hub.ended(alone.spec.id)).toMatchObject({ succeeded: '0-1', message: '' });
  const ended = (await group.ended()).map(({ succeeded, message }) => ({ succeeded, message }));
  expect(ended).toEqual(['0', '1'].map((succeeded) => ({ succeeded, message: '' })));
  argon.expectSame('saved', 'alone');
});

test('PVM, its daemon and its examples, go on on another node as if nothing had been', async () => {
  const pvm = `${applications}/pvm/usr`;
  const rounds = 12;
  const script = `
    export PVM_ROOT=${pvm}/lib/pvm3 PVM_ARCH=LINUX64 PVM_PATH=${pvm}/bin PVM_TMP=/tmp HOME=/tmp
    export LD_LIBRARY_PATH=${pvm}/lib/x86_64-linux-gnu PVMDPATH=${pvm}/bin/pvmd
    cd /tmp; printf '* ep=${pvm}/bin\\nlocalhost\\n' >hosts
    ${pvm}/bin/pvmd -nlocalhost hosts </dev/null >/tmp/pvmd 2>&1 & daemon=$!
    until [ -e /tmp/pvmd.$(id -u) ]; do sleep 0.05; done
    for round in $(seq ${String(rounds)}); do
      echo 4 | ${pvm}/bin/master1; ${pvm}/bin/timing >/tmp/timing; echo "timing $round $(tail -n 1 /tmp/timing)"
    done
    kill $daemon; wait $daemon; echo over`;
  let job = await scene.run({ argv: ['/bin/bash', '-c', script], overrides: { ...isolated(), pmi: 'None' } });
  const said = async (): Promise<string> => job.output(0, false);
  for (const [after, node] of [
    [2, 'node2'],
    [6, 'node3'],
  ] as const) {
    await eventually(async () => expect(await said()).toContain(`timing ${String(after)} `), 30_000);
    const saved = await job.save({ hold: true });
    await job.vacate();
    job = await job.restore(saved, node);
    expect(job.fact()).toMatchObject({ state: 'Running', message: '' });
  }
  expect(await scene.hub.ended(job.spec.id)).toMatchObject({ succeeded: '0', message: '' });
  const text = await job.output();
  const timings = text.split('\n').filter((line) => line.startsWith('timing '));
  expect(timings).toEqual(Array.from({ length: rounds }, (_, at) => `timing ${String(at + 1)} done`));
  const results = [...text.matchAll(/I got (\S+) from \d; \(expecting (\S+)\)/g)];
  expect(results.map(([, got]) => got)).toEqual(results.map(([, , expected]) => expected));
  expect(results.length).toBe(rounds * Number(/Spawning (\d+) worker/.exec(text)?.[1]));
  expect(text.trimEnd().endsWith('over')).toBe(true);
});
