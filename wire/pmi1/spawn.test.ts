import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { SpawnRequest } from './spawn.ts';
import { TestSandbox, shapeOf } from './test-sandbox.ts';

const seen =
  'mcmd=spawn\nnprocs=2\nexecname=./sing\ntotspawns=1\nspawnssofar=1\narg1=a b\narg2=c=d\nargcnt=2\npreput_num=1\n' +
  'preput_key_0=PARENT_ROOT_PORT_NAME\npreput_val_0=tag#0$port#48411$description#vm$ifname#192.0.2.2$\ninfo_num=0\nendcmd\n';
const asked: SpawnRequest = {
  blocks: [{ processes: 2, command: './sing', args: ['a b', 'c=d'], info: new Map() }],
  preputs: new Map([['PARENT_ROOT_PORT_NAME', 'tag#0$port#48411$description#vm$ifname#192.0.2.2$']]),
};
const block = (so: number, of: number): string =>
  `mcmd=spawn\nnprocs=${String(so)}\nexecname=prog${String(so)}\ntotspawns=${String(of)}\nspawnssofar=${String(so)}\nargcnt=0\n` +
  `preput_num=0\ninfo_num=1\ninfo_key_0=wdir\ninfo_val_0=/tmp/a b\nendcmd\n`;
const enabled = { spawnEnabled: true };

describe('spawn', () => {
  it('as seen from MPICH is asked for and answered once', () => {
    const sandbox = new TestSandbox(shapeOf([0], enabled));
    sandbox.write(0, seen);
    expect(sandbox.other).toEqual([
      { kind: 'ask', rank: 0, token: 0, question: { kind: 'spawn', spawn: asked } },
    ]);
    expect(sandbox.read(0)).toBe('');
    sandbox.perform(sandbox.engine.answered(0, { ok: true, value: '0,0' }));
    expect(sandbox.read(0)).toBe('cmd=spawn_result rc=0 errcodes=0,0\n');
    expect(sandbox.ask(0, 'cmd=get_appnum')).toBe('cmd=appnum appnum=0\n');
  });

  it('is answered rc=0 without error codes, or with the message of the failure', () => {
    const sandbox = new TestSandbox(shapeOf([0], enabled));
    sandbox.write(0, seen);
    sandbox.perform(sandbox.engine.answered(0, { ok: true }));
    sandbox.write(0, seen);
    sandbox.perform(sandbox.engine.answered(1, { ok: false, message: 'no room on any node' }));
    expect(sandbox.read(0)).toBe('cmd=spawn_result rc=0\ncmd=spawn_result rc=-1 msg=no_room_on_any_node\n');
  });

  it('cut anywhere, its engine lost at any moment, is the same request', () => {
    const message =
      seen.replace('totspawns=1', 'totspawns=2') +
      seen.replace('totspawns=1', 'totspawns=2').replace('sofar=1', 'sofar=2');
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 80 }), fc.boolean())), (cuts) => {
        const sandbox = new TestSandbox(shapeOf([0], enabled));
        let at = 0;
        for (const [length, restart] of cuts) {
          if (at + length >= message.length) break;
          sandbox.write(0, message.slice(at, at + length));
          at += length;
          if (restart) sandbox.restart();
        }
        sandbox.write(0, message.slice(at));
        const question = {
          kind: 'spawn',
          spawn: { blocks: [...asked.blocks, ...asked.blocks], preputs: asked.preputs },
        };
        expect(sandbox.other).toEqual([{ kind: 'ask', rank: 0, token: 0, question }]);
        sandbox.restart();
        expect(sandbox.other.at(-1)).toEqual({ kind: 'ask', rank: 0, token: 0, question });
        expect(sandbox.bad).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });

  it('of several executables keeps their order and info', () => {
    const sandbox = new TestSandbox(shapeOf([0], enabled));
    sandbox.write(0, block(1, 3) + block(2, 3));
    expect(sandbox.other).toEqual([]);
    sandbox.write(0, block(3, 3));
    expect(sandbox.other).toMatchObject([
      {
        question: {
          spawn: {
            blocks: [
              { processes: 1 },
              { processes: 2 },
              { command: 'prog3', info: new Map([['wdir', '/tmp/a b']]) },
            ],
          },
        },
      },
    ]);
  });

  it('longer than a socket holds is consumed as it comes', () => {
    const sandbox = new TestSandbox(shapeOf([0], enabled));
    const args = Array.from({ length: 2000 }, (_, i) => `arg${String(i + 1)}=${'x'.repeat(200)}\n`);
    sandbox.write(0, 'mcmd=spawn\nnprocs=1\nexecname=a\ntotspawns=1\n');
    for (const arg of args) {
      sandbox.write(0, arg);
      expect(sandbox.unread(0).length).toBe(0);
    }
    sandbox.restart();
    sandbox.write(0, 'argcnt=2000\nendcmd\n');
    const [action] = sandbox.other;
    const spawn = action?.kind === 'ask' && action.question.kind === 'spawn' ? action.question.spawn : null;
    expect(spawn?.blocks[0]?.args).toHaveLength(2000);
  });

  it.each([
    ['nprocs=0', seen.replace('nprocs=2', 'nprocs=0'), 'spawn_nprocs_is_not_a_valid_number'],
    [
      'nprocs beyond bounds',
      seen.replace('nprocs=2', 'nprocs=10000000'),
      'spawn_nprocs_is_not_a_valid_number',
    ],
    ['no program', seen.replace('execname=./sing\n', ''), 'spawn_execname_is_missing'],
    ['a missing argument', seen.replace('arg2=c=d\n', ''), 'spawn_arguments_do_not_match_argcnt'],
    ['a missing preput', seen.replace(/preput_val_0.*\n/, ''), 'spawn_preputs_do_not_match_preput_num'],
    ['a wrong info count', seen.replace('info_num=0', 'info_num=9'), 'spawn_info_does_not_match_info_num'],
    ['no totspawns', seen.replace('totspawns=1\n', ''), 'spawn_totspawns_is_not_a_valid_number'],
    ['a wrong place', seen.replace('sofar=1', 'sofar=2'), 'spawn_blocks_are_out_of_order'],
    ['a line without =', seen.replace('argcnt=2', 'argcnt'), 'spawn_line_without_='],
    [
      'a request in the midst',
      block(1, 2) + 'cmd=get_appnum\n',
      'spawn_block_does_not_begin_with_mcmd=spawn',
    ],
    [
      'too many blocks',
      Array.from({ length: 2000 }, (_, i) => block(i + 1, 2000)).join(''),
      'spawn_totspawns_is_not_a_valid_number',
    ],
    [
      'two megabytes',
      seen.replace('arg1=a b\n', 'foo=bar\n'.repeat(262144)),
      'spawn_message_is_longer_than_1048576_bytes',
    ],
    ['a line of a megabyte', seen.replace('a b', 'a'.repeat(1 << 20)), 'spawn_line_too_long'],
  ])('with %s is refused in one reply, and the rank stays in step', (_what, message, reason) => {
    for (const restart of [false, true]) {
      const sandbox = new TestSandbox(shapeOf([0], enabled));
      for (let at = 0; at < message.length; at += 50_000) {
        sandbox.write(0, message.slice(at, at + 50_000));
        if (restart && at < message.length - 50_000) sandbox.restart();
      }
      expect(sandbox.read(0)).toBe(`cmd=spawn_result rc=-1 msg=${reason}\n`);
      expect(sandbox.journal.length).toBeLessThan(3 << 20);
      expect(sandbox.ask(0, 'cmd=get_appnum')).toBe('cmd=appnum appnum=0\n');
      expect(sandbox.other).toEqual([]);
    }
  });

  it('where it is not enabled is followed to its end and refused, keeping none of it', () => {
    const sandbox = new TestSandbox(shapeOf([0]));
    for (const line of (block(1, 2) + block(2, 2)).split(/(?<=\n)/)) sandbox.write(0, line);
    expect(sandbox.read(0)).toBe('cmd=spawn_result rc=-1 msg=spawn_is_not_enabled_for_this_group\n');
    expect(sandbox.bad).toEqual([]);
    expect(sandbox.ask(0, 'cmd=get_appnum')).toBe('cmd=appnum appnum=0\n');
  });
});
