// What neither schema nor CEL can say about a ProcessGroup or Migration that is well-formed: that the rank
// sets cover every rank exactly once, that what is referred to is there, that a process can be given what
// it is to be given. Pure: looks at nothing but the object. Run at admission, and by the controller, which
// shows what it finds as Stalled, reason InvalidSpec.
import type { FieldError } from './field-error.ts';
import { quantityOf } from './quantity.ts';
import { overlapOf, RankSet, RankSetError, type RankRange } from './rank-set.ts';
import type { Migration, ProcessGroup, ProcessGroupProcess, ProcessGroupSpec } from './types.gen.ts';

/** What all arguments and variables of one rank may take; the kernel's own limit begins at 2 MiB. */
export const argumentBytesLimit = 1024 * 1024;

const invalid = (field: string, message: string, expected?: string): FieldError => ({
  field,
  message,
  reason: 'FieldValueInvalid',
  ...(expected === undefined ? {} : { expected }),
});

export function checkSpec(group: Pick<ProcessGroup, 'spec' | 'metadata'>): FieldError[] {
  const { spec } = group;
  return [
    ...checkCoverage(spec),
    ...(spec.processes ?? []).flatMap((entry, index) => checkProcess(entry, `spec.processes[${index}]`)),
    ...checkPlacement(spec),
    ...checkAmounts(spec),
    ...checkReferences(group),
  ];
}

export function checkMigration(migration: Pick<Migration, 'spec'>): FieldError[] {
  const { ranks } = migration.spec;
  return ranks === undefined ? [] : readRanks(ranks, 'spec.ranks').errors;
}

function readRanks(text: string, field: string): { set?: RankSet; errors: FieldError[] } {
  try {
    return { set: RankSet.parse(text), errors: [] };
  } catch (error) {
    if (!(error instanceof RankSetError)) throw error;
    return { errors: [invalid(field, error.message)] };
  }
}

/** Every rank from 0 to size-1 in exactly one entry. */
function checkCoverage(spec: ProcessGroupSpec): FieldError[] {
  const { size, processes } = spec;
  if (size === undefined || processes === undefined) return [];
  const errors: FieldError[] = [];
  const ranges: RankRange[] = [];
  const owners: number[] = [];
  let named = 0;
  for (const [index, entry] of processes.entries()) {
    const field = `spec.processes[${index}].ranks`;
    const read = readRanks(entry.ranks, field);
    errors.push(...read.errors);
    if (!read.set) continue;
    const last = read.set.last ?? -1;
    if (last >= size)
      errors.push(
        invalid(
          field,
          `names rank ${last}, but with size ${size} the last rank is ${size - 1}; correct the ranks or set spec.size to ${last + 1}`,
        ),
      );
    for (const range of read.set.ranges) {
      ranges.push(range);
      owners.push(index);
    }
    named += read.set.size;
    // More ranks named than there are: two entries overlap already, and the rest need not be read.
    if (named > size) break;
  }
  if (errors.length > 0) return errors;
  const overlap = overlapOf(ranges);
  if (overlap) {
    const [first, second] = [owners[overlap.a]!, owners[overlap.b]!].sort((a, b) => a - b);
    const [left, right] = [RankSet.parse(processes[first!]!.ranks), RankSet.parse(processes[second!]!.ranks)];
    const simple = left.ranges.length * right.ranges.length <= 1024;
    const shared = simple ? left.intersect(right) : RankSet.from([overlap.rank]);
    return [
      invalid(
        `spec.processes[${second}].ranks`,
        `${ranksText(shared)} also in "${processes[first!]!.name}" (spec.processes[${first}]); each rank runs one program`,
      ),
    ];
  }
  if (named === size) return [];
  const gap = missingRanks(ranges, size);
  return [
    invalid(
      'spec.processes',
      `${ranksText(gap)} in no entry; give ${gap.size === 1 ? 'it' : 'them'} to one, or set spec.size to the number of ranks`,
      `every rank from 0 to ${size - 1} exactly once`,
    ),
  ];
}

function missingRanks(ranges: readonly RankRange[], size: number): RankSet {
  const seen = new Uint8Array(size);
  for (const { first, last, stride } of ranges) {
    if (stride === 1) seen.fill(1, first, last + 1);
    else for (let rank = first; rank <= last; rank += stride) seen[rank] = 1;
  }
  const missing: number[] = [];
  for (let rank = seen.indexOf(0); rank >= 0; rank = seen.indexOf(0, rank + 1)) missing.push(rank);
  return RankSet.from(missing);
}

function ranksText(set: RankSet): string {
  const text = set.toString();
  const shown = text.length > 100 ? `${text.slice(0, text.lastIndexOf(',', 100))}, ...` : text;
  return set.size === 1 ? `rank ${shown} is` : `ranks ${shown} are`;
}

const reserved = /^(MUSTER_.*|PMI_FD|PMI_RANK|PMI_SIZE|PMI_PORT|PMI_SPAWNED)$/;

function checkProcess(entry: ProcessGroupProcess, at: string): FieldError[] {
  const errors: FieldError[] = [];
  const zero = (text: string | undefined, field: string) => {
    if (text?.includes('\0'))
      errors.push(invalid(field, 'contains a zero byte, which no program can be given'));
  };
  for (const list of ['command', 'args'] as const) {
    for (const [index, word] of (entry[list] ?? []).entries()) zero(word, `${at}.${list}[${index}]`);
  }
  for (const [index, word] of (entry.coProcess?.command ?? []).entries())
    zero(word, `${at}.coProcess.command[${index}]`);
  zero(entry.workingDir, `${at}.workingDir`);
  zero(entry.path, `${at}.path`);
  let bytes = [...entry.command, ...(entry.args ?? [])].reduce(
    (sum, word) => sum + Buffer.byteLength(word) + 9,
    0,
  );
  for (const [index, variable] of (entry.env ?? []).entries()) {
    zero(variable.value, `${at}.env[${index}].value`);
    bytes += variable.name.length + Buffer.byteLength(variable.value ?? '') + 10;
    if (reserved.test(variable.name))
      errors.push({
        field: `${at}.env[${index}].name`,
        message: `cannot be ${variable.name}, which Muster itself sets for every rank; choose another name`,
        reason: 'FieldValueForbidden',
      });
  }
  if (bytes > argumentBytesLimit)
    errors.push({
      field: at,
      message: `its arguments and environment take ${bytes} bytes; at most ${argumentBytesLimit} are allowed: hand larger input over in a file`,
      reason: 'FieldValueTooLong',
    });
  return errors;
}

function checkPlacement(spec: ProcessGroupSpec): FieldError[] {
  const { size, placement } = spec;
  if (size === undefined || !placement?.nodes || placement.ranksPerNode === undefined) return [];
  const room = placement.nodes.length * placement.ranksPerNode;
  if (room >= size) return [];
  return [
    invalid(
      'spec.placement',
      `${placement.nodes.length} nodes with ranksPerNode ${placement.ranksPerNode} hold ${room} ranks, fewer than size ${size}; name more nodes or raise ranksPerNode`,
    ),
  ];
}

function checkAmounts(spec: ProcessGroupSpec): FieldError[] {
  const errors: FieldError[] = [];
  const { requests = {}, limits = {} } = spec.resources ?? {};
  for (const [part, amounts] of Object.entries({ requests, limits })) {
    for (const [name, amount] of Object.entries(amounts))
      if (quantityOf(amount) < 0)
        errors.push(invalid(`spec.resources.${part}[${name}]`, `cannot be negative: ${amount}`));
  }
  for (const [name, amount] of Object.entries(requests)) {
    const limit = limits[name];
    if (limit !== undefined && quantityOf(amount) > quantityOf(limit))
      errors.push(invalid(`spec.resources.requests[${name}]`, `${amount} is more than the limit, ${limit}`));
  }
  for (const [index, { soft, hard }] of (spec.rlimits ?? []).entries()) {
    const value = (limit: number | string) => (limit === 'Unlimited' ? Infinity : Number(limit));
    for (const [name, limit] of Object.entries({ soft, hard }))
      if (limit !== undefined && value(limit) < 0)
        errors.push(
          invalid(
            `spec.rlimits[${index}].${name}`,
            `cannot be negative: ${limit}; write Unlimited for no limit`,
          ),
        );
    if (soft !== undefined && hard !== undefined && value(soft) > value(hard))
      errors.push(invalid(`spec.rlimits[${index}].soft`, `${soft} is more than the hard limit, ${hard}`));
  }
  const { interval } = spec.checkpointPolicy ?? {};
  if (typeof interval === 'number' && interval < 1)
    errors.push(invalid('spec.checkpointPolicy.interval', `must be at least 1 second, not ${interval}`));
  return errors;
}

function checkReferences(group: Pick<ProcessGroup, 'spec' | 'metadata'>): FieldError[] {
  const errors: FieldError[] = [];
  const { template, dependsOn } = group.spec;
  const volumes = (template?.spec?.volumes ?? []).map((volume) => volume.name);
  for (const [index, mount] of (template?.spec?.volumeMounts ?? []).entries()) {
    if (!volumes.includes(mount.name))
      errors.push(
        invalid(
          `spec.template.spec.volumeMounts[${index}].name`,
          `there is no volume "${mount.name}"`,
          volumes.length > 0 ? `one of ${volumes.join(', ')}` : 'a volume in spec.template.spec.volumes',
        ),
      );
  }
  for (const [index, { name }] of (dependsOn ?? []).entries()) {
    if (name === group.metadata.name)
      errors.push(
        invalid(`spec.dependsOn[${index}].name`, 'is the group itself, which would wait for ever; remove it'),
      );
  }
  return errors;
}
