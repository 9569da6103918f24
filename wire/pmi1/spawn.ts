// The one PMI-1 message of many lines: `mcmd=spawn` blocks, one an executable, each ended by `endcmd`.
//
// Lines are fed one by one, as they are consumed: a message may be longer than what a socket holds, so it cannot wait
// unconsumed for its end. A message that is refused (too large, malformed, or spawning is off) is still followed to
// its last line, keeping nothing, so that the rank gets its error reply in place and stays in step.

export type SpawnBlock = {
  readonly processes: number;
  readonly command: string;
  readonly args: readonly string[];
  readonly info: ReadonlyMap<string, string>;
};

export type SpawnRequest = {
  readonly blocks: readonly SpawnBlock[];
  /** Put into the new group's key-value space before its ranks start. */
  readonly preputs: ReadonlyMap<string, string>;
};

export type SpawnLimits = { readonly bytes: number; readonly blocks: number; readonly processes: number };

export const defaultSpawnLimits: SpawnLimits = { bytes: 1 << 20, blocks: 1024, processes: 1 << 20 };

type Progress =
  { kind: 'more' } | { kind: 'done'; spawn: SpawnRequest } | { kind: 'refused'; reason: string };

const more: Progress = { kind: 'more' };

export class SpawnReader {
  readonly #limits: SpawnLimits;
  #refusal: string | null;
  #bytes = 0;
  #fields: Map<string, string> | null = null; // of the block being read
  #total = 0;
  #ended = 0;
  readonly #blocks: SpawnBlock[] = [];
  #preputs: ReadonlyMap<string, string> = new Map();

  /** With a refusal given, the message is followed only to find its end. */
  constructor(limits: SpawnLimits, refusal: string | null) {
    this.#limits = limits;
    this.#refusal = refusal;
  }

  get refusal(): string | null {
    return this.#refusal;
  }

  /** From here on keep nothing. */
  refuse(reason: string): void {
    this.#refusal ??= reason;
    this.#blocks.length = 0;
  }

  /** One line without its newline. */
  feed(line: string): Progress {
    this.#bytes += line.length + 1;
    if (this.#bytes > this.#limits.bytes)
      this.refuse(`spawn message is longer than ${String(this.#limits.bytes)} bytes`);
    if (this.#fields === null) {
      if (line !== 'mcmd=spawn') {
        this.refuse('spawn block does not begin with mcmd=spawn');
        return this.#end();
      }
      this.#fields = new Map();
      return more;
    }
    if (line === 'endcmd') {
      this.#ended++;
      const fields = this.#fields;
      this.#fields = null;
      const total = numberOf(fields.get('totspawns'), 1, 999_999_999);
      if (total === null || total > this.#limits.blocks) this.refuse('spawn totspawns is not a valid number');
      if (this.#total === 0) this.#total = total ?? 1;
      if (this.#refusal === null) this.#keep(fields);
      return this.#ended >= this.#total ? this.#end() : more;
    }
    const equals = line.indexOf('=');
    const name = equals < 0 ? line : line.slice(0, equals);
    // Of a refused message only the count of its blocks matters.
    if (equals < 0) this.refuse('spawn line without =');
    else if (name === 'totspawns' || (this.#refusal === null && !this.#fields.has(name))) {
      this.#fields.set(name, line.slice(equals + 1));
    }
    return more;
  }

  #end(): Progress {
    if (this.#refusal !== null) return { kind: 'refused', reason: this.#refusal };
    return { kind: 'done', spawn: { blocks: this.#blocks, preputs: this.#preputs } };
  }

  #keep(fields: ReadonlyMap<string, string>): void {
    const processes = numberOf(fields.get('nprocs'), 1, this.#limits.processes);
    const command = fields.get('execname');
    const args = listOf(fields, 'argcnt', (index) => `arg${String(index + 1)}`);
    const preputs = pairsOf(fields, 'preput');
    const info = pairsOf(fields, 'info');
    const soFar = fields.get('spawnssofar');
    if (processes === null) this.refuse('spawn nprocs is not a valid number');
    else if (command === undefined || command === '') this.refuse('spawn execname is missing');
    else if (args === null) this.refuse('spawn arguments do not match argcnt');
    else if (preputs === null) this.refuse('spawn preputs do not match preput_num');
    else if (info === null) this.refuse('spawn info does not match info_num');
    else if (soFar !== undefined && soFar !== String(this.#ended))
      this.refuse('spawn blocks are out of order');
    else {
      if (this.#blocks.length === 0) this.#preputs = preputs; // repeated in every block
      this.#blocks.push({ processes, command, args, info });
    }
  }
}

function numberOf(text: string | undefined, min: number, max: number): number | null {
  if (text === undefined || !/^\d{1,9}$/.test(text)) return null;
  const n = Number(text);
  return n < min || n > max ? null : n;
}

function listOf(
  fields: ReadonlyMap<string, string>,
  countName: string,
  nameOf: (index: number) => string,
): string[] | null {
  const count = numberOf(fields.get(countName) ?? '0', 0, fields.size);
  if (count === null) return null;
  const list: string[] = [];
  for (let index = 0; index < count; index++) {
    const value = fields.get(nameOf(index));
    if (value === undefined) return null;
    list.push(value);
  }
  return list;
}

function pairsOf(fields: ReadonlyMap<string, string>, what: 'preput' | 'info'): Map<string, string> | null {
  const keys = listOf(fields, `${what}_num`, (index) => `${what}_key_${String(index)}`);
  const values = listOf(fields, `${what}_num`, (index) => `${what}_val_${String(index)}`);
  if (keys === null || values === null) return null;
  return new Map(keys.map((key, index) => [key, values[index] ?? '']));
}
