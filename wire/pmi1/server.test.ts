import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { maxReplyBytes, maxesOf } from './maxes.ts';
import { PmiServer } from './server.ts';
import { TestSandbox, kvsname, shapeOf } from './test-sandbox.ts';

const success = 'cmd=put_result rc=0 msg=success\n';
const put = (key: string, value: string): string => `cmd=put kvsname=${kvsname} key=${key} value=${value}`;
const get = (key: string): string => `cmd=get kvsname=${kvsname} key=${key}`;
const got = (value: string): string => `cmd=get_result rc=0 msg=success value=${value}\n`;
const missing = (key: string): string => `cmd=get_result rc=-1 msg=key_${key}_not_found value=unknown\n`;

describe('every request has its reply', () => {
  it.each([
    ['cmd=initack pmiid=0', 'cmd=initack\ncmd=set size=2\ncmd=set rank=0\ncmd=set debug=0\n'],
    ['cmd=init pmi_version=1 pmi_subversion=1', 'cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0\n'],
    ['cmd=init pmi_version=1 pmi_subversion=2', 'cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0\n'],
    ['cmd=get_maxes', 'cmd=maxes kvsname_max=48 keylen_max=64 vallen_max=882\n'],
    ['cmd=get_appnum', 'cmd=appnum appnum=0\n'],
    ['cmd=get_my_kvsname', `cmd=my_kvsname kvsname=${kvsname}\n`],
    ['cmd=get_universe_size', 'cmd=universe_size size=-1\n'],
    [put('k', 'v=with=signs'), success],
    [`cmd=put key=k value=v kvsname=${kvsname}`, success],
    [put('', ''), success],
    [get('PMI_process_mapping'), got('(vector,(0,1,1))')],
    [get('nobody'), missing('nobody')],
    [`cmd=get key=PMI_process_mapping kvsname=${kvsname}`, got('(vector,(0,1,1))')],
    ['cmd=get kvsname=other key=k', 'cmd=get_result rc=-1 msg=kvsname_other_not_found value=unknown\n'],
    [get('universeSize'), missing('universeSize')],
    [get('PMI_dead_processes'), missing('PMI_dead_processes')],
    ['cmd=finalize', 'cmd=finalize_ack\n'],
    [
      'cmd=singinit pmi_version=1 pmi_subversion=1 stdio=yes authtype=none',
      `cmd=singinit_info versionok=yes stdio=no kvsname=${kvsname}\n`,
    ],
  ])('%s', (request, reply) => {
    const sandbox = new TestSandbox(shapeOf([0, 1]));
    expect(sandbox.ask(0, request)).toBe(reply);
    expect(sandbox.bad).toEqual([]);
  });

  it('universe size, application number and preputs are what the shape says', () => {
    const preputs = new Map([['PARENT_ROOT_PORT_NAME', 'tag#0$port#1$']]);
    const sandbox = new TestSandbox(
      shapeOf([3, 4], { universeSize: 64, appnumOf: (rank) => rank - 3, preputs }),
    );
    expect(sandbox.ask(3, 'cmd=get_universe_size')).toBe('cmd=universe_size size=64\n');
    expect(sandbox.ask(3, get('universeSize'))).toBe(got('64'));
    expect(sandbox.ask(4, 'cmd=get_appnum')).toBe('cmd=appnum appnum=1\n');
    expect(sandbox.ask(4, get('PARENT_ROOT_PORT_NAME'))).toBe(got('tag#0$port#1$'));
  });

  it('without a process mapping the rank is told so, never given an empty one', () => {
    const sandbox = new TestSandbox(shapeOf([0], { mapping: null }));
    expect(sandbox.ask(0, get('PMI_process_mapping'))).toBe(missing('PMI_process_mapping'));
  });

  it('the first of two puts of a key stands', () => {
    const sandbox = new TestSandbox(shapeOf([0]));
    expect(sandbox.ask(0, put('k', 'one')) + sandbox.ask(0, put('k', 'two'))).toBe(success + success);
    expect(sandbox.ask(0, get('k'))).toBe(got('one'));
    expect(sandbox.ask(0, 'cmd=barrier_in')).toBe('cmd=barrier_out\n');
    sandbox.ask(0, put('k', 'three'));
    sandbox.ask(0, 'cmd=barrier_in');
    expect(sandbox.ask(0, get('k'))).toBe(got('one'));
  });
});

describe('a bad request gets an error reply, is counted and harms nothing', () => {
  it.each([
    ['cmd=initack pmiid=7', 'cmd=initack rc=-1 msg=pmiid_is_not_the_rank_of_this_connection\n'],
    [
      'cmd=init pmi_version=2 pmi_subversion=0',
      'cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=-1\n',
    ],
    [`cmd=put kvsname=${kvsname} value=v`, 'cmd=put_result rc=-1 msg=key_is_missing\n'],
    [`cmd=put kvsname=${kvsname} key=k`, 'cmd=put_result rc=-1 msg=value_is_missing\n'],
    [put('', 'v'), 'cmd=put_result rc=-1 msg=key_length_is_not_1_to_64\n'],
    [put('k'.repeat(65), 'v'), 'cmd=put_result rc=-1 msg=key_length_is_not_1_to_64\n'],
    [put('k', 'v'.repeat(883)), 'cmd=put_result rc=-1 msg=value_is_longer_than_882\n'],
    ['cmd=put kvsname=other key=k value=v', 'cmd=put_result rc=-1 msg=kvsname_is_not_that_of_the_group\n'],
    [`cmd=get kvsname=${kvsname}`, 'cmd=get_result rc=-1 msg=key_is_missing value=unknown\n'],
    [get(''), 'cmd=get_result rc=-1 msg=key_is_missing value=unknown\n'],
    ['cmd=get key=k', 'cmd=get_result rc=-1 msg=kvsname_is_missing value=unknown\n'],
    [
      'cmd=barrier_in group=0,1 tag=3',
      'cmd=barrier_out rc=-1 msg=only_the_whole_group_can_enter_a_barrier\n',
    ],
    ['cmd=publish_name port=p', 'cmd=publish_result rc=-1 msg=service_is_missing\n'],
    ['cmd=publish_name service=s', 'cmd=publish_result rc=-1 msg=port_is_missing\n'],
    ['cmd=create_kvs', 'cmd=newkvs rc=-1 msg=create_kvs_is_not_supported\n'],
    ['cmd=destroy_kvs kvsname=x', 'cmd=kvs_destroyed rc=-1 msg=destroy_kvs_is_not_supported\n'],
    ['cmd=getbyidx kvsname=x idx=0', 'cmd=getbyidx_results rc=-1 msg=getbyidx_is_not_supported\n'],
    ['cmd=make_coffee', 'cmd=error rc=-1 msg=unknown_command_make_coffee\n'],
    ['cmd=', 'cmd=error rc=-1 msg=not_a_pmi_request\n'],
    ['', 'cmd=error rc=-1 msg=not_a_pmi_request\n'],
    ['hello, world', 'cmd=error rc=-1 msg=not_a_pmi_request\n'],
    ['\0\xff\x01', 'cmd=error rc=-1 msg=not_a_pmi_request\n'],
    ['mcmd=coffee', 'cmd=spawn_result rc=-1 msg=spawn_is_not_enabled_for_this_group\n'],
    ['x'.repeat(5000), 'cmd=error rc=-1 msg=line_too_long\n'],
  ])('%s', (request, reply) => {
    const sandbox = new TestSandbox(shapeOf([0]));
    expect(sandbox.ask(0, request)).toBe(reply);
    if (!request.startsWith('mcmd')) expect(sandbox.bad).toHaveLength(1);
    expect(sandbox.ask(0, put('k', 'v')) + sandbox.ask(0, get('k'))).toBe(success + got('v'));
  });

  it('a line of a megabyte is thrown away as it comes, answered once, also across a restart', () => {
    const sandbox = new TestSandbox(shapeOf([0]));
    for (let i = 0; i < 16; i++) {
      sandbox.write(0, 'y'.repeat(65536));
      if (i % 5 === 2) sandbox.restart();
      expect(sandbox.unread(0).length).toBe(0);
    }
    sandbox.write(0, 'cmd=finalize\n');
    expect(sandbox.read(0)).toBe('cmd=error rc=-1 msg=line_too_long\n');
    expect(sandbox.bad).toEqual(['line too long']);
    sandbox.restart();
    expect(sandbox.ask(0, 'cmd=get_appnum')).toBe('cmd=appnum appnum=0\n');
  });

  it('whatever bytes a rank writes: no throw, short printable replies, bounded journal, and the next rank is served', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(...words)), { maxLength: 30 }),
        (parts) => {
          const sandbox = new TestSandbox(shapeOf([0, 1], { spawnEnabled: true }));
          let bytes = 0;
          for (const part of parts) {
            const text = typeof part === 'string' ? Buffer.from(part, 'latin1') : Buffer.from(part);
            bytes += text.length;
            sandbox.write(0, text);
          }
          for (const reply of sandbox.read(0).split('\n')) {
            expect(reply.length).toBeLessThan(maxReplyBytes);
            expect(reply).toMatch(/^$|^cmd=[a-z_]+/);
          }
          expect(sandbox.journal.length).toBeLessThan(16 * bytes + 64);
          expect(sandbox.ask(1, 'cmd=get_appnum')).toBe('cmd=appnum appnum=0\n');
        },
      ),
      { numRuns: 500 },
    );
  });

  it('bounds what one rank and what the group puts', () => {
    const limits = { putBytesPerRank: 30, bytesPerGroup: 70 };
    const sandbox = new TestSandbox(shapeOf([0, 1, 2], { limits, mapping: null }));
    expect(sandbox.ask(0, put('a', 'v'.repeat(29)))).toBe(success);
    expect(sandbox.ask(0, put('b', 'v'))).toBe('cmd=put_result rc=-1 msg=the_rank_put_more_than_30_bytes\n');
    expect(sandbox.ask(1, put('c', 'v'.repeat(29)))).toBe(success);
    expect(sandbox.ask(2, put('d', 'v'.repeat(29)))).toBe(
      'cmd=put_result rc=-1 msg=the_group_put_more_than_70_bytes\n',
    );
    expect(sandbox.ask(2, put('d', 'v'))).toBe(success);
    sandbox.restart();
    expect(sandbox.ask(0, put('e', 'v'))).toBe('cmd=put_result rc=-1 msg=the_rank_put_more_than_30_bytes\n');
  });

  it('a rank of another sandbox is a bug of the owner', () => {
    expect(() => new PmiServer(shapeOf([0])).receive(1, Buffer.from('x'))).toThrow(/MUSTER_BUG: rank 1 /);
  });
});

const words = [
  'cmd=',
  'mcmd=spawn\n',
  'nprocs=2\n',
  'endcmd\n',
  'totspawns=2\n',
  'cmd=barrier_in\n',
  ' key=',
  ' value=',
  '\n',
  put('k', 'v'),
  get('k'),
  ' rc=0',
  'cmd=abort exitcode=',
];

describe('the sequence of MPICH 4.0.2, two ranks of one sandbox', () => {
  const card = (rank: number): string => 'ab'.repeat(214) + String(rank);
  const script = (rank: number): [string, string][] => [
    ['cmd=init pmi_version=1 pmi_subversion=1', 'cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0\n'],
    ['cmd=get_maxes', 'cmd=maxes kvsname_max=48 keylen_max=64 vallen_max=882\n'],
    ['cmd=get_appnum', 'cmd=appnum appnum=0\n'],
    ['cmd=get_my_kvsname', `cmd=my_kvsname kvsname=${kvsname}\n`],
    [get('PMI_process_mapping'), got('(vector,(0,1,1))')],
    ['cmd=barrier_in', 'cmd=barrier_out\n'],
    ...(rank === 0 ? [[put('-bcast-1-0', '2f6465762f73686d'), success] as [string, string]] : []),
    ['cmd=barrier_in', 'cmd=barrier_out\n'],
    ...(rank === 1 ? [[get('-bcast-1-0'), got('2f6465762f73686d')] as [string, string]] : []),
    [put(`-allgather-shm-1-${String(rank)}`, card(rank)), success],
    ['cmd=barrier_in', 'cmd=barrier_out\n'],
    [get('-allgather-shm-1-0'), got(card(0))],
    [get('-allgather-shm-1-1'), got(card(1))],
    ['cmd=barrier_in', 'cmd=barrier_out\n'],
    ['cmd=finalize', 'cmd=finalize_ack\n'],
  ];

  /** Plays both ranks as clients do: the next request only when the last reply is whole. */
  function play(sandbox: TestSandbox, choose: () => number, meddle: (step: number) => void): void {
    const scripts = [script(0), script(1)];
    const place = [0, 0];
    const partial = [0, 0];
    const replies = ['', ''];
    for (let step = 0; step < 20_000; step++) {
      meddle(step);
      const rank = choose() % 2;
      const [request, expected] = scripts[rank]?.[place[rank] ?? 0] ?? ['', ''];
      if (request === '') {
        if (scripts.every((lines, other) => (place[other] ?? 0) >= lines.length)) return;
        continue;
      }
      const line = `${request}\n`;
      const from = partial[rank] ?? 0;
      if (from < line.length) {
        const count = 1 + (choose() % line.length);
        partial[rank] = from + count;
        sandbox.write(rank, line.slice(from, from + count));
      }
      replies[rank] += sandbox.read(rank);
      if (replies[rank] === expected) {
        place[rank] = (place[rank] ?? 0) + 1;
        partial[rank] = 0;
        replies[rank] = '';
      } else
        expect(expected.startsWith(replies[rank] ?? ''), `${request} got ${replies[rank] ?? ''}`).toBe(true);
    }
    expect.unreachable('the sequence never ended');
  }

  it('is answered, however its bytes are cut', () => {
    fc.assert(
      fc.property(fc.infiniteStream(fc.nat(1000)), (picks) => {
        const sandbox = new TestSandbox(shapeOf([0, 1]));
        play(
          sandbox,
          () => picks.next().value as number,
          () => undefined,
        );
        expect(sandbox.other).toEqual([]);
        expect(sandbox.engine.snapshot()).toMatchObject({ known: 4, contributed: 4, waiting: [] });
      }),
      { numRuns: 200 },
    );
  });

  it('is answered the same when the engine is lost at any moments', () => {
    fc.assert(
      fc.property(fc.infiniteStream(fc.nat(1000)), (picks) => {
        const sandbox = new TestSandbox(shapeOf([0, 1]));
        play(
          sandbox,
          () => picks.next().value as number,
          () => {
            if ((picks.next().value as number) % 4 === 0) sandbox.restart();
          },
        );
        expect(sandbox.bad).toEqual([]);
      }),
      { numRuns: 200 },
    );
  });

  it('is bounded: peeking the same bytes again asks for nothing new', () => {
    const sandbox = new TestSandbox(shapeOf([0, 1]));
    sandbox.write(0, 'cmd=barrier_in\n');
    const { orders } = sandbox;
    for (let i = 0; i < 10; i++) sandbox.peek(0);
    expect(sandbox.orders).toBe(orders);
    expect(sandbox.waits.get(0)).toBe('fence');
    sandbox.write(1, 'cmd=barrier_in\n');
    expect(sandbox.read(0) + sandbox.read(1)).toBe('cmd=barrier_out\ncmd=barrier_out\n');
  });
});

describe('one request at a time', () => {
  it('nothing more is answered until the order was carried out', () => {
    const engine = new PmiServer(shapeOf([0]));
    const bytes = Buffer.from('cmd=get_appnum\ncmd=get_my_kvsname\n');
    expect(engine.receive(0, bytes)).toMatchObject([
      { kind: 'answer', consume: 15, reply: 'cmd=appnum appnum=0\n' },
    ]);
    expect(engine.receive(0, bytes)).toEqual([{ kind: 'wait', rank: 0, until: 'order' }]);
    engine.carriedOut(0);
    expect(engine.receive(0, bytes.subarray(15))).toMatchObject([
      { consume: 19, reply: `cmd=my_kvsname kvsname=${kvsname}\n` },
    ]);
  });

  it('a barrier released but still unread does not enter the next', () => {
    const engine = new PmiServer(shapeOf([0]));
    const bytes = Buffer.from('cmd=barrier_in\n');
    expect(engine.receive(0, bytes).at(-1)).toMatchObject({ kind: 'fence', fence: 1 });
    expect(engine.fenceDone(1, [])).toMatchObject([{ kind: 'answer', reply: 'cmd=barrier_out\n' }]);
    expect(engine.receive(0, bytes)).toEqual([{ kind: 'wait', rank: 0, until: 'order' }]);
    expect(engine.fenceDone(1, [])).toEqual([]);
  });
});

describe('after a restart', () => {
  it('the journal gives back puts by fence, what ranks passed, and who finalized', () => {
    const sandbox = new TestSandbox(shapeOf([0, 1]));
    for (const rank of [0, 1]) sandbox.ask(rank, 'cmd=init pmi_version=1 pmi_subversion=1');
    sandbox.ask(0, put('a', '1'));
    sandbox.ask(0, 'cmd=barrier_in');
    sandbox.ask(1, 'cmd=barrier_in');
    sandbox.ask(1, put('b', '2'));
    sandbox.ask(1, 'cmd=finalize');
    const engine = new PmiServer(sandbox.shape, sandbox.journal);
    expect(engine.start()).toEqual([{ kind: 'fence', fence: 1, puts: new Map([['a', '1']]) }]);
    expect(engine.stateOf(1)).toEqual({ initialized: true, finalized: true, fences: 1 });
    expect(engine.receive(0, Buffer.from('cmd=barrier_in\n')).at(-1)).toEqual({
      kind: 'fence',
      fence: 2,
      puts: new Map([['b', '2']]),
    });
  });

  it('a get waits until past fences are known again, then is answered or denied', () => {
    const sandbox = new TestSandbox(shapeOf([0]));
    sandbox.ask(0, 'cmd=barrier_in');
    for (const [key, reply] of [
      ['far', got('away')],
      ['nowhere', missing('nowhere')],
    ] as const) {
      const engine = new PmiServer(sandbox.shape, sandbox.journal);
      engine.start();
      expect(engine.receive(0, Buffer.from(`${get(key)}\n`))).toEqual([
        { kind: 'wait', rank: 0, until: 'restored' },
      ]);
      expect(engine.fenceDone(1, [new Map([['far', 'away']])])).toMatchObject([{ kind: 'answer', reply }]);
    }
  });

  it('a rank still inside a fence that others have passed is released when its result comes again', () => {
    const first = new PmiServer(shapeOf([0, 1]));
    const line = Buffer.from('cmd=barrier_in\n');
    first.receive(0, line);
    first.receive(1, line);
    const [released] = first.fenceDone(1, []);
    const note = released?.kind === 'answer' ? released.note : null;
    const second = new PmiServer(shapeOf([0, 1]), note ?? undefined);
    expect(second.start()).toMatchObject([{ kind: 'fence', fence: 1 }]);
    expect(second.receive(1, line)).toEqual([{ kind: 'wait', rank: 1, until: 'fence' }]);
    expect(second.fenceDone(1, [])).toMatchObject([{ kind: 'answer', rank: 1, reply: 'cmd=barrier_out\n' }]);
  });

  it('a journal cut in its last note is as if that order had never been', () => {
    const sandbox = new TestSandbox(shapeOf([0]));
    sandbox.ask(0, put('a', '1'));
    const before = sandbox.journal.length;
    sandbox.ask(0, put('b', '2'));
    for (let length = before; length < sandbox.journal.length; length++) {
      const engine = new PmiServer(sandbox.shape, sandbox.journal.subarray(0, length));
      expect(engine.receive(0, Buffer.from(`${get('b')}\n`))).toMatchObject([{ reply: missing('b') }]);
      engine.carriedOut(0);
      expect(engine.receive(0, Buffer.from(`${get('a')}\n`))).toMatchObject([{ reply: got('1') }]);
    }
  });

  it('a foreign journal is named as such', () => {
    expect(() => new PmiServer(shapeOf([0]), Buffer.from('\x03\0\0\0abcdef'))).toThrow(
      /MUSTER_PMI_JOURNAL_CORRUPT.*byte 0/,
    );
  });
});

describe('a rank that dies', () => {
  const failed = (fence: number): string =>
    `cmd=barrier_out rc=-1 msg=rank_1_died_in_or_before_fence_${String(fence)}\n`;

  it('before a fence frees those inside with an error, and the survivors go on without it', () => {
    const sandbox = new TestSandbox(shapeOf([0, 1, 2], { onRankDeath: 'Continue' }));
    sandbox.ask(0, put('kept', 'yes'));
    sandbox.write(0, 'cmd=barrier_in\n');
    expect(sandbox.read(0)).toBe('');
    sandbox.gone(1, false);
    expect(sandbox.read(0)).toBe(failed(1));
    expect(sandbox.ask(2, 'cmd=barrier_in')).toBe(failed(1));
    expect(sandbox.ask(2, get('PMI_dead_processes'))).toBe(got('1'));
    sandbox.restart();
    sandbox.write(0, 'cmd=barrier_in\n');
    expect(sandbox.ask(2, 'cmd=barrier_in')).toBe('cmd=barrier_out\n');
    expect(sandbox.ask(2, get('kept'))).toBe(got('yes'));
  });

  it('inside a fence frees the others too', () => {
    const sandbox = new TestSandbox(shapeOf([0, 1], { onRankDeath: 'Continue' }));
    sandbox.write(1, 'cmd=barrier_in\n');
    sandbox.gone(1, false);
    expect(sandbox.ask(0, 'cmd=barrier_in')).toBe(failed(1));
    expect(sandbox.ask(0, 'cmd=barrier_in')).toBe('cmd=barrier_out\n');
  });

  it('inside a fence that is contributed already fails the next', () => {
    const actions: string[] = [];
    const sandbox = new TestSandbox(shapeOf([0, 1], { onRankDeath: 'Continue' }), {
      contribute: (action) => actions.push(`${action.kind} ${'fence' in action ? String(action.fence) : ''}`),
    });
    sandbox.write(0, 'cmd=barrier_in\n');
    sandbox.write(1, 'cmd=barrier_in\n');
    sandbox.gone(1, false);
    expect(actions).toEqual(['fence 1', 'fenceFailed 2']);
    sandbox.perform(sandbox.engine.fenceDone(1, []));
    sandbox.perform(sandbox.engine.fenceFailed(2, 'rank 1 died in or before fence 2'));
    expect(sandbox.read(0)).toBe('cmd=barrier_out\n');
    expect(sandbox.ask(0, 'cmd=barrier_in')).toBe(failed(2));
  });

  it('as the last one leaves the fences to the other sandboxes', () => {
    const actions: string[] = [];
    const sandbox = new TestSandbox(shapeOf([0], { onRankDeath: 'Continue' }), {
      contribute: (action) => actions.push(`${action.kind} ${'fence' in action ? String(action.fence) : ''}`),
    });
    sandbox.gone(0, false);
    sandbox.gone(0, false);
    expect(actions).toEqual(['fenceFailed 1', 'absent 2']);
  });

  it('under Abort completes no fence: the owner ends the job', () => {
    const sandbox = new TestSandbox(shapeOf([0, 1]));
    sandbox.write(0, 'cmd=barrier_in\n');
    sandbox.gone(1, false);
    expect(sandbox.read(0)).toBe('');
    expect(sandbox.engine.snapshot()).toMatchObject({ contributed: 0, waiting: [0], dead: [1] });
  });

  it.each(['before', 'after'])(
    'with success under Abort ends the job of who entered the fence %s it',
    (when) => {
      const sandbox = new TestSandbox(shapeOf([0, 1]));
      const enter = (): void => sandbox.write(0, 'cmd=barrier_in\n');
      if (when === 'before') enter();
      sandbox.perform(sandbox.engine.rankGone(1, false, true));
      if (when === 'after') enter();
      expect(sandbox.read(0)).toBe('');
      const message = 'rank 1 died in or before fence 1';
      expect(sandbox.other).toEqual([{ kind: 'broken', rank: 0, fence: 1, dead: 1, message }]);
    },
  );

  it('with success under Abort harms nobody who speaks no PMI', () => {
    const sandbox = new TestSandbox(shapeOf([0, 1]));
    for (const rank of [0, 1]) sandbox.perform(sandbox.engine.rankGone(rank, false, true));
    expect(sandbox.other).toEqual([]);
  });

  it('after finalize is not missed', () => {
    const sandbox = new TestSandbox(shapeOf([0, 1]));
    sandbox.ask(1, 'cmd=finalize');
    expect(sandbox.ask(0, 'cmd=barrier_in')).toBe('cmd=barrier_out\n');
    sandbox.gone(1, true);
    expect(sandbox.ask(0, get('PMI_dead_processes'))).toBe(missing('PMI_dead_processes'));
  });

  it('elsewhere is listed, as many as a value can hold', () => {
    const sandbox = new TestSandbox(shapeOf([0]));
    sandbox.engine.noteDead([3, 2, 0]);
    expect(sandbox.ask(0, get('PMI_dead_processes'))).toBe(got('0,2,3'));
    sandbox.engine.noteDead(Array.from({ length: 1000 }, (_, rank) => rank));
    const reply = sandbox.ask(0, get('PMI_dead_processes'));
    expect(reply).toMatch(/value=0,1,2,[\d,]+\d\n$/);
    expect(reply.length).toBeLessThanOrEqual(maxReplyBytes);
  });
});

describe('abort', () => {
  it.each([
    ['cmd=abort exitcode=7', 7, ''],
    ['cmd=abort exitcode=300', 44, ''],
    ['cmd=abort exitcode=471423759', 15, ''],
    ['cmd=abort exitcode=-1', 255, ''],
    ['cmd=abort', 1, ''],
    ['cmd=abort exitcode=3 message=application called MPI_Abort(7)', 3, 'application called MPI_Abort(7)'],
  ])('%s', (request, exitCode, message) => {
    const sandbox = new TestSandbox(shapeOf([0]));
    expect(sandbox.ask(0, request)).toBe('');
    sandbox.peek(0);
    expect(sandbox.other).toEqual([{ kind: 'abort', rank: 0, exitCode, message }]);
    sandbox.restart();
    expect(sandbox.other).toHaveLength(2);
  });
});

describe('names', () => {
  it.each([
    [
      'publish_name service=S port=tag#0$port#1$',
      { kind: 'publish', service: 'S', port: 'tag#0$port#1$' },
      { ok: true },
      'cmd=publish_result info=ok rc=0 msg=success\n',
    ],
    [
      'publish_name service=S port=p',
      { kind: 'publish', service: 'S', port: 'p' },
      { ok: false, message: 'key already present' },
      'cmd=publish_result info=ok rc=1 msg=key_already_present\n',
    ],
    [
      'lookup_name service=S',
      { kind: 'lookup', service: 'S' },
      { ok: true, value: 'tag#0$' },
      'cmd=lookup_result port=tag#0$ info=ok rc=0 msg=success\n',
    ],
    [
      'lookup_name service=S',
      { kind: 'lookup', service: 'S' },
      { ok: false, message: 'service not found' },
      'cmd=lookup_result rc=1 msg=service_not_found\n',
    ],
    [
      'lookup_name service=S',
      { kind: 'lookup', service: 'S' },
      { ok: true, value: 'p'.repeat(1000) },
      'cmd=lookup_result rc=1 msg=answer_does_not_fit_in_a_line\n',
    ],
    [
      'unpublish_name service=S',
      { kind: 'unpublish', service: 'S' },
      { ok: true },
      'cmd=unpublish_result info=ok rc=0 msg=success\n',
    ],
    [
      'unpublish_name service=S',
      { kind: 'unpublish', service: 'S' },
      { ok: false, message: 'service not found' },
      'cmd=unpublish_result info=ok rc=1 msg=service_not_found\n',
    ],
  ] as const)('%s', (request, question, result, reply) => {
    const sandbox = new TestSandbox(shapeOf([0, 5]));
    expect(sandbox.ask(5, `cmd=${request}`)).toBe('');
    const token = 5 * 2 ** 32;
    expect(sandbox.other).toEqual([{ kind: 'ask', rank: 5, token, question }]);
    sandbox.peek(5);
    sandbox.restart(); // asks again under the same token
    expect(sandbox.other).toEqual([
      { kind: 'ask', rank: 5, token, question },
      { kind: 'ask', rank: 5, token, question },
    ]);
    sandbox.perform(sandbox.engine.answered(token, result));
    expect(sandbox.read(5)).toBe(reply);
    expect(sandbox.engine.answered(token, result)).toEqual([]);
    sandbox.restart();
    sandbox.ask(5, 'cmd=lookup_name service=T');
    expect(sandbox.other.at(-1)).toMatchObject({ token: token + 1 });
  });
});

describe('maxes', () => {
  it('are even, fit a line, and give values what names do not need', () => {
    for (const length of [1, 36, 47, 48, 61, 200]) {
      const { kvsname: name, key, value } = maxesOf('k'.repeat(length));
      expect(name).toBeGreaterThan(length);
      expect(name + key + value + 30).toBeLessThanOrEqual(1024);
      expect(value % 2).toBe(0);
      const longest = `cmd=put kvsname=${'k'.repeat(length)} key=${'k'.repeat(key - 1)} value=${'v'.repeat(value - 1)}\n`;
      expect(longest.length).toBeLessThanOrEqual(maxReplyBytes);
      expect(`cmd=get_result rc=0 msg=success value=${'v'.repeat(value)}\n`.length).toBeLessThanOrEqual(
        maxReplyBytes,
      );
    }
    for (const name of ['', 'with blank', 'a=b', 'k'.repeat(900)])
      expect(() => maxesOf(name)).toThrow(/MUSTER_KVSNAME_INVALID/);
  });
});
