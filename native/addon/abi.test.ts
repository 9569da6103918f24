import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import * as abi from './abi.ts';

/** What the C compiler makes of protocol.h: constants by name, sizes as "struct", offsets as "struct.field". */
function measure(expressions: Record<string, string>): Record<string, number> {
  const directory = mkdtempSync(join(tmpdir(), 'muster-abi-'));
  try {
    const header = new URL('../rank-init/protocol.h', import.meta.url).pathname;
    const guard = new URL('../rank-init/guard.gen.h', import.meta.url).pathname;
    const lines = Object.entries(expressions).map(
      ([name, c]) => `printf("${name} %lld\\n", (long long)(${c}));`,
    );
    writeFileSync(
      join(directory, 'abi.c'),
      `#include <stdio.h>\n#include <stddef.h>\n#include "${header}"\n#include "${guard}"\nint main(void) { ${lines.join('\n')} return 0; }\n`,
    );
    execFileSync('cc', ['-o', join(directory, 'abi'), join(directory, 'abi.c')]);
    const out = execFileSync(join(directory, 'abi'), { encoding: 'utf8' });
    return Object.fromEntries(
      out
        .trim()
        .split('\n')
        .map((line) => [line.split(' ')[0]!, Number(line.split(' ')[1])]),
    );
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const layouts = {
  state_table: abi.tableLayout,
  slot: abi.slotLayout,
  message: abi.messageLayout,
  answer: abi.answerLayout,
  signal_order: abi.signalLayout,
  renewal: abi.renewalLayout,
  start_file: abi.startFileLayout,
  start_entry: abi.startEntryLayout,
};

const constant = (prefix: string, name: string): string =>
  `${prefix}_${name.replaceAll('-', '_').toUpperCase()}`;

describe('the layout shared with rank-init', () => {
  it('is the one the C compiler makes', () => {
    const expressions: Record<string, string> = {};
    const expected: Record<string, number> = {};
    const want = (name: string, c: string, value: number): void => {
      expressions[name] = c;
      expected[name] = value;
    };
    for (const [struct, layout] of Object.entries(layouts)) {
      for (const [field, offset] of Object.entries(layout)) {
        if (field === 'size') want(struct, `sizeof(struct ${struct})`, offset);
        else want(`${struct}.${field}`, `offsetof(struct ${struct}, ${field})`, offset);
      }
    }
    want('start_rlimit', 'sizeof(struct start_rlimit)', abi.startRlimitBytes);
    want('MUSTER_ABI', 'MUSTER_ABI', abi.MUSTER_ABI);
    want('MUSTER_MAGIC', 'MUSTER_MAGIC', abi.MUSTER_MAGIC);
    for (const [name, value] of Object.entries(abi.messageTypes)) {
      want(`MSG.${name}`, constant('MSG', name), value);
    }
    for (const [name, value] of Object.entries(abi.closeWhich))
      want(`C.${name}`, constant('CLOSE', name), value);
    for (const [name, value] of Object.entries(abi.stdioKinds))
      want(`S.${name}`, constant('STDIO', name), value);
    abi.slotStates.forEach((name, value) => want(`state.${name}`, constant('SLOT', name), value));
    abi.startStages.forEach((name, value) => want(`stage.${name}`, constant('STAGE', name), value));
    abi.leaseStates.forEach((name, value) => want(`lease.${name}`, constant('GUARD', name), value));
    for (const [name, value] of Object.entries(abi.fds)) {
      want(
        `fd.${name}`,
        constant(
          'FD',
          name.replaceAll(/[A-Z]/g, (letter) => `_${letter}`),
        ),
        value,
      );
    }
    want('START_PMI', 'START_PMI', abi.startFlags.pmi);
    want('START_NO_SHARED_ENV', 'START_NO_SHARED_ENV', abi.startFlags.noSharedEnv);
    expect(measure(expressions)).toEqual(expected);
  });
});

describe('StateTable', () => {
  const memory = (slots: number): { buffer: ArrayBuffer; view: DataView } => {
    const buffer = new ArrayBuffer(abi.tableBytes(slots));
    const view = new DataView(buffer);
    view.setUint32(abi.tableLayout.magic, abi.MUSTER_MAGIC, true);
    view.setUint32(abi.tableLayout.abi, 1, true);
    view.setUint32(abi.tableLayout.slots_max, slots, true);
    return { buffer, view };
  };

  it('reads slots', () => {
    const { buffer, view } = memory(3);
    view.setUint32(abi.tableLayout.slots_used, 2, true);
    const at = abi.tableLayout.size + abi.slotLayout.size;
    view.setUint32(at + abi.slotLayout.rank, 7, true);
    view.setUint32(at + abi.slotLayout.state, 2, true);
    view.setInt32(at + abi.slotLayout.wait_status, 3 << 8, true);
    view.setInt32(at + abi.slotLayout.fd_stdin, -1, true);
    view.setInt32(at + abi.slotLayout.fd_stdout, 21, true);
    view.setBigUint64(at + abi.slotLayout.pmi_orders, 5n, true);
    view.setUint32(abi.tableLayout.size + abi.slotLayout.rank, 0xffffffff, true);
    const table = new abi.StateTable(buffer);
    const slots = [...table.slots()];
    expect(slots).toHaveLength(2);
    expect(slots[0]).toMatchObject({ rank: null, state: 'empty' });
    expect(slots[1]).toMatchObject({ rank: 7, state: 'exited', stdin: null, stdout: 21, pmiOrders: 5n });
    expect(abi.endingOf(slots[1]!.waitStatus)).toEqual({ code: 3, signal: null, coreDumped: false });
  });

  it('refuses what is no table, and slots that are not there', () => {
    expect(() => new abi.StateTable(new ArrayBuffer(64))).toThrow('MUSTER_STATE_TABLE_SHORT');
    expect(() => new abi.StateTable(new ArrayBuffer(1024))).toThrow('MUSTER_STATE_TABLE_MAGIC');
    const { buffer, view } = memory(1);
    expect(() => new abi.StateTable(buffer).slot(1)).toThrow(RangeError);
    view.setUint32(abi.tableLayout.slots_max, 1000, true);
    expect(() => new abi.StateTable(buffer)).toThrow('MUSTER_STATE_TABLE_SHORT');
  });
});

describe('messages', () => {
  it('come back from a reply', () => {
    const bytes = abi.encodeMessage('hello', 11n, 22n, abi.encodeHello(1));
    expect(abi.decodeReply(bytes)).toBeNull();
    bytes.writeUInt32LE(0x80000001, abi.messageLayout.type);
    expect(abi.decodeReply(bytes)).toMatchObject({ type: 'hello', session: 11n, id: 22n, result: 0 });
    expect(abi.decodeReply(bytes.subarray(0, 33))).toBeNull();
    expect(abi.decodeReply(Buffer.alloc(8))).toBeNull();
  });

  it('pack answers in order, padded, within the bound', () => {
    const answers = Array.from({ length: 100 }, (_, index) => ({
      slot: index,
      consume: 10,
      order: BigInt(index + 1),
      reply: Buffer.from('x'.repeat(index)),
      note: Buffer.from('n'),
    }));
    const bodies = abi.encodeAnswers(answers, 1000);
    const seen: number[] = [];
    for (const body of bodies) {
      expect(body.length).toBeLessThanOrEqual(1000);
      for (let at = 0; at < body.length;) {
        const replyLength = body.readUInt32LE(at + abi.answerLayout.reply_length);
        seen.push(body.readUInt32LE(at));
        expect(replyLength).toBe(body.readUInt32LE(at));
        at += (24 + replyLength + body.readUInt32LE(at + abi.answerLayout.note_length) + 7) & ~7;
      }
    }
    expect(seen).toEqual(answers.map((answer) => answer.slot));
  });
});

describe('encodeStartFile', () => {
  const entry: abi.StartEntry = {
    rank: 3,
    startId: 1,
    argv: ['/bin/echo', 'ä'],
    env: ['A=1'],
    workingDirectory: '/tmp',
    searchPath: '/bin',
    uid: 65534,
    gid: null,
    groups: [1, 2, 3],
    umask: 0o22,
    stdin: 'null',
    stdout: 'pipe',
    stderr: 'file',
    stderrFile: 'err',
    rlimits: [{ resource: 7, soft: 10n, hard: abi.unlimited }],
    cpuMask: Uint8Array.of(3),
    pmi: true,
  };

  it('lays out header, shared environment and entries', () => {
    const file = abi.encodeStartFile(['X=1', 'Y=2'], [entry, { ...entry, rank: 4 }]);
    expect(file.readBigUInt64LE(abi.startFileLayout.length)).toBe(BigInt(file.length));
    const first = file.readUInt32LE(abi.startFileLayout.entries_offset);
    expect(first % 8).toBe(0);
    const length = file.readUInt32LE(first);
    expect(length % 8).toBe(0);
    expect(file.readUInt32LE(first + length + 4)).toBe(4);
    expect(first + 2 * length).toBe(file.length);
    expect(file.readUInt32LE(first + abi.startEntryLayout.gid)).toBe(0xffffffff);
    const text = file.subarray(first + 64 + 24 + 12 + 1, first + length).toString('utf8');
    expect(text.replace(/\0+$/, '').split('\0')).toEqual([
      '/tmp',
      '/bin',
      '',
      'err',
      '/bin/echo',
      'ä',
      'A=1',
    ]);
  });

  it('refuses NUL bytes and an empty argv, naming the rank', () => {
    expect(() => abi.encodeStartFile([], [{ ...entry, argv: ['a\0b'] }])).toThrow(/MUSTER_START_NUL.*rank 3/);
    expect(() => abi.encodeStartFile([], [{ ...entry, argv: [] }])).toThrow(/MUSTER_START_EMPTY.*rank 3/);
  });
});
