/**
 * Ranks that move to and fro between hosts while their peers send to them without a pause, for MUSTER_SOAK_MINUTES; without it for ten
 * seconds, so that it is known to work. Every iteration of every rank is there once and in order; the program checks what it passes on.
 */
import { expect, it } from 'vitest';
import { criuProgram } from '../criu/criu.ts';
import { Cluster, programs } from '../hosts/cluster.ts';
import { eventually } from '../hosts/processes.ts';

const seconds = Number(process.env['MUSTER_SOAK_MINUTES'] ?? 1 / 6) * 60;
const reportEvery = 10;

it(
  'nothing is lost or doubled while ranks move to and fro',
  { timeout: (seconds + 300) * 1000 },
  async () => {
    criuProgram();
    await using cluster = await Cluster.make([{}, {}, {}]);
    const size = ['-n', '4', '--ppn', '2', '--nodes', 'node2,node3'];
    const many = ['--seconds', '86400', '--report-every', String(reportEvery), '--bytes', '65536'];
    await cluster.succeed(['run', '--detach', '--name', 'ring', ...size, `${programs}/ring`, ...many]);
    await eventually(
      async () => (await cluster.ringLines('ring', 0)).length > 2,
      'the ring to say something',
    );
    const until = performance.now() + seconds * 1000;
    let moves = 0;
    while (performance.now() < until) {
      const [from, to] = moves % 2 === 0 ? ['node2', 'node1'] : ['node1', 'node2'];
      await cluster.succeed(['migrate', 'ring', '--from', from, '--to', to]);
      moves++;
    }
    await cluster.succeed(['signal', 'USR1', 'ring', '-r', '0']);
    const waited = await cluster.muster(['wait', 'ring', '--timeout', '240']);
    expect({ code: waited.code, stderr: waited.stderr }).toEqual({ code: 0, stderr: '' });
    for (let rank = 0; rank < 4; rank++)
      (await cluster.ringLines('ring', rank)).forEach((line, at) =>
        expect(line).toContain(`rank ${rank} iteration ${at * reportEvery} `),
      );
    process.stdout.write(`soak: ${moves} moves\n`);
    expect(moves).toBeGreaterThan(0);
  },
);
