/**
 * The arguments of `muster run`, in mpiexec's own spelling (single dash) and in kubectl's (double dash), with `:` between
 * programs. Pure: strings in, a plain description out, or a UsageError that names the argument. It knows no object.
 */
import { quantityOf } from '../crds/quantity.ts';

export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export interface RunProgram {
  readonly count: number;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly workingDir?: string;
  readonly path?: string;
}

export interface RunRequest {
  readonly programs: readonly RunProgram[];
  readonly name?: string;
  readonly namespace: string;
  readonly nodes: readonly string[];
  readonly hostFile?: string;
  readonly ranksPerNode?: number;
  readonly policy: 'Block' | 'Cyclic';
  readonly env: Readonly<Record<string, string>>;
  /** All of the caller's environment, none of it, or only these. */
  readonly inherit: 'All' | 'None' | readonly string[];
  readonly labels: boolean;
  readonly detach: boolean;
  readonly tty: boolean;
  readonly stdin: 'Rank0' | 'All' | 'None';
  readonly whenFull: 'Rotate' | 'Block';
  /** A quantity: of the job's log on one node. */
  readonly logQuota?: string;
  readonly wallTimeSeconds?: number;
  readonly binding: 'None' | 'Core' | 'Socket';
  readonly user?: string;
  readonly graceSeconds?: number;
  /** Undefined: as the cluster has it. */
  readonly network?: 'Isolated' | 'Host';
  readonly egress?: 'Allow' | 'Deny';
  readonly pmi: 'Auto' | 'PMI1' | 'None';
  readonly continueOnFailure: boolean;
  readonly dryRun: boolean;
  readonly help: boolean;
}

type Draft = { -readonly [K in keyof RunRequest]: RunRequest[K] };

interface ProgramDraft {
  count: number;
  env: Record<string, string>;
  workingDir?: string;
  path?: string;
}

interface Option {
  readonly names: readonly string[];
  readonly values: number;
  readonly placeholder?: string;
  readonly help: string;
  readonly apply: (draft: Draft, program: ProgramDraft, values: readonly string[]) => void;
}

const options: readonly Option[] = [
  {
    names: ['-n', '-np', '--ranks'],
    values: 1,
    placeholder: 'N',
    help: 'ranks of this program (default 1)',
    apply: (_draft, program, [value]) => {
      program.count = wholeNumber('-n', value, 1, 1_048_576);
    },
  },
  {
    names: ['-l', '--label', '-prepend-rank'],
    values: 0,
    help: 'begin each line of output with the rank that wrote it',
    apply: (draft) => {
      draft.labels = true;
    },
  },
  {
    names: ['--nodes', '--host', '-host', '-hosts', '--hosts'],
    values: 1,
    placeholder: 'A,B',
    help: 'run on these nodes, in this order (a node named twice takes two shares)',
    apply: (draft, _program, [value]) => {
      draft.nodes = (value ?? '').split(',').filter((node) => node !== '');
    },
  },
  {
    names: ['-f', '--hostfile', '-hostfile', '-machinefile'],
    values: 1,
    placeholder: 'FILE',
    help: 'nodes from a host file (one a line, "node" or "node:ranks")',
    apply: (draft, _program, [value]) => {
      draft.hostFile = value ?? '';
    },
  },
  {
    names: ['--ppn', '-ppn', '-perhost', '--ranks-per-node'],
    values: 1,
    placeholder: 'N',
    help: 'ranks for each node',
    apply: (draft, _program, [value]) => {
      draft.ranksPerNode = wholeNumber('--ppn', value, 1, 1_048_576);
    },
  },
  {
    names: ['--policy'],
    values: 1,
    placeholder: 'block|cyclic',
    help: 'fill one node before the next, or deal ranks out one at a time',
    apply: (draft, _program, [value]) => {
      draft.policy = choice('--policy', value, { block: 'Block', cyclic: 'Cyclic' } as const);
    },
  },
  {
    names: ['--network'],
    values: 1,
    placeholder: 'isolated|host',
    help: "a network of the job's own, or the nodes' (default: as the cluster has it)",
    apply: (draft, _program, [value]) => {
      draft.network = choice('--network', value, { isolated: 'Isolated', host: 'Host' } as const);
    },
  },
  {
    names: ['--no-egress'],
    values: 0,
    help: 'ranks reach only one another; needs --network isolated',
    apply: (draft) => {
      draft.egress = 'Deny';
    },
  },
  {
    names: ['--env'],
    values: 1,
    placeholder: 'K=V',
    help: 'set a variable for this program',
    apply: (_draft, program, [value]) => {
      const at = (value ?? '').indexOf('=');
      if (at < 1) throw new UsageError(`--env ${value}: expected NAME=VALUE`);
      program.env[value!.slice(0, at)] = value!.slice(at + 1);
    },
  },
  {
    names: ['-env'],
    values: 2,
    placeholder: 'K V',
    help: 'the same, as mpiexec spells it',
    apply: (_draft, program, [name, value]) => {
      program.env[name ?? ''] = value ?? '';
    },
  },
  {
    names: ['-genv'],
    values: 2,
    placeholder: 'K V',
    help: 'set a variable for all programs',
    apply: (draft, _program, [name, value]) => {
      draft.env = { ...draft.env, [name ?? '']: value ?? '' };
    },
  },
  {
    names: ['-genvnone', '--clean-env'],
    values: 0,
    help: "do not pass the caller's environment on",
    apply: (draft) => {
      draft.inherit = 'None';
    },
  },
  {
    names: ['-genvall'],
    values: 0,
    help: "pass the caller's environment on (the default)",
    apply: (draft) => {
      draft.inherit = 'All';
    },
  },
  {
    names: ['-genvlist'],
    values: 1,
    placeholder: 'A,B',
    help: 'pass only these variables on',
    apply: (draft, _program, [value]) => {
      draft.inherit = (value ?? '').split(',').filter((name) => name !== '');
    },
  },
  {
    names: ['-wdir', '--wdir', '-w', '--workdir'],
    values: 1,
    placeholder: 'DIR',
    help: 'working directory (default: this one)',
    apply: (_draft, program, [value]) => {
      program.workingDir = value ?? '';
    },
  },
  {
    names: ['-path', '--path'],
    values: 1,
    placeholder: 'A:B',
    help: 'where to look for the program (default: PATH)',
    apply: (_draft, program, [value]) => {
      program.path = value ?? '';
    },
  },
  {
    names: ['--name'],
    values: 1,
    placeholder: 'NAME',
    help: 'name of the job (default: made from the program)',
    apply: (draft, _program, [value]) => {
      draft.name = value ?? '';
    },
  },
  {
    names: ['--namespace'],
    values: 1,
    placeholder: 'NS',
    help: 'namespace of the job (default: default)',
    apply: (draft, _program, [value]) => {
      draft.namespace = value ?? '';
    },
  },
  {
    names: ['-d', '--detach'],
    values: 0,
    help: 'return at once; the job runs on without this terminal',
    apply: (draft) => {
      draft.detach = true;
    },
  },
  {
    names: ['-t', '--tty'],
    values: 0,
    help: 'give the ranks a terminal',
    apply: (draft) => {
      draft.tty = true;
    },
  },
  {
    names: ['--stdin', '-s'],
    values: 1,
    placeholder: 'rank0|all|none',
    help: 'who reads the standard input (default rank 0)',
    apply: (draft, _program, [value]) => {
      draft.stdin = choice('--stdin', value, {
        rank0: 'Rank0',
        '0': 'Rank0',
        all: 'All',
        none: 'None',
      } as const);
    },
  },
  {
    names: ['--when-full'],
    values: 1,
    placeholder: 'rotate|block',
    help: 'a full log loses its oldest output, or lets the ranks wait',
    apply: (draft, _program, [value]) => {
      draft.whenFull = choice('--when-full', value, { rotate: 'Rotate', block: 'Block' } as const);
    },
  },
  {
    names: ['--log-quota'],
    values: 1,
    placeholder: 'SIZE',
    help: 'output that is kept on one node, as 64Mi (default: as the node says)',
    apply: (draft, _program, [value]) => {
      if (!(quantityOf(value ?? '') >= 1))
        throw new UsageError(`--log-quota ${value}: expected a size such as 64Mi or 1Gi`);
      draft.logQuota = value!;
    },
  },
  {
    names: ['--time', '-timeout', '--timeout'],
    values: 1,
    placeholder: 'SECONDS',
    help: 'end the job after this time (default: MPIEXEC_TIMEOUT, else never)',
    apply: (draft, _program, [value]) => {
      draft.wallTimeSeconds = wholeNumber('--time', value, 1, 2_147_483_647);
    },
  },
  {
    names: ['--bind-to', '-bind-to'],
    values: 1,
    placeholder: 'none|core|socket',
    help: 'bind each rank',
    apply: (draft, _program, [value]) => {
      draft.binding = choice('--bind-to', value, { none: 'None', core: 'Core', socket: 'Socket' } as const);
    },
  },
  {
    names: ['--user'],
    values: 1,
    placeholder: 'NAME',
    help: 'run as this user (an administrator may)',
    apply: (draft, _program, [value]) => {
      draft.user = value ?? '';
    },
  },
  {
    names: ['--grace'],
    values: 1,
    placeholder: 'SECONDS',
    help: 'between SIGTERM and SIGKILL when the job is ended',
    apply: (draft, _program, [value]) => {
      draft.graceSeconds = wholeNumber('--grace', value, 0, 86_400);
    },
  },
  {
    names: ['--pmi'],
    values: 1,
    placeholder: 'auto|pmi1|none',
    help: 'how ranks find one another',
    apply: (draft, _program, [value]) => {
      draft.pmi = choice('--pmi', value, { auto: 'Auto', pmi1: 'PMI1', none: 'None' } as const);
    },
  },
  {
    names: ['--keep-going', '-disable-auto-cleanup'],
    values: 0,
    help: 'a rank that fails does not end the others',
    apply: (draft) => {
      draft.continueOnFailure = true;
    },
  },
  {
    names: ['--dry-run'],
    values: 0,
    help: 'print the ProcessGroup as YAML and run nothing',
    apply: (draft) => {
      draft.dryRun = true;
    },
  },
  {
    names: ['-h', '--help', '-help'],
    values: 0,
    help: 'show this help',
    apply: (draft) => {
      draft.help = true;
    },
  },
];

const byName = new Map(options.flatMap((option) => option.names.map((name) => [name, option] as const)));

/** Parses what follows `muster run`. Throws UsageError. */
export function parseRun(argv: readonly string[]): RunRequest {
  const draft: Draft = {
    programs: [],
    namespace: 'default',
    nodes: [],
    policy: 'Block',
    env: {},
    inherit: 'All',
    labels: false,
    detach: false,
    tty: false,
    stdin: 'Rank0',
    whenFull: 'Rotate',
    binding: 'None',
    pmi: 'Auto',
    continueOnFailure: false,
    dryRun: false,
    help: false,
  };
  const programs: RunProgram[] = [];
  let position = 0;
  for (;;) {
    const program: ProgramDraft = { count: 1, env: {} };
    position = parseOptions(argv, position, draft, program);
    if (draft.help) return draft;
    const end = separatorAfter(argv, position);
    const command = argv.slice(position, end);
    if (command.length === 0) {
      throw new UsageError(
        programs.length === 0
          ? 'no program given: muster run -n 4 PROGRAM [ARGUMENT...]'
          : 'no program given after ":"',
      );
    }
    programs.push({ ...program, argv: command });
    if (end === argv.length) break;
    position = end + 1;
  }
  const total = programs.reduce((sum, program) => sum + program.count, 0);
  if (total > 1_048_576) throw new UsageError(`${total} ranks: at most 1048576 are possible`);
  return { ...draft, programs };
}

function parseOptions(argv: readonly string[], from: number, draft: Draft, program: ProgramDraft): number {
  let position = from;
  for (;;) {
    const word = argv[position];
    if (word === undefined || !word.startsWith('-') || word === '-') return position;
    if (word === '--') return position + 1;
    const equals = word.startsWith('--') ? word.indexOf('=') : -1;
    const name = equals > 0 ? word.slice(0, equals) : word;
    const option = byName.get(name);
    if (!option) throw new UsageError(`unknown option ${name}${suggestionFor(name)}; see muster run --help`);
    const inline = equals > 0 ? [word.slice(equals + 1)] : [];
    if (inline.length > option.values) throw new UsageError(`${name} takes no value`);
    const values = [...inline, ...argv.slice(position + 1, position + 1 + option.values - inline.length)];
    if (values.length < option.values)
      throw new UsageError(`${name} needs ${option.placeholder ?? 'a value'}`);
    option.apply(draft, program, values);
    position += 1 + option.values - inline.length;
  }
}

function separatorAfter(argv: readonly string[], from: number): number {
  const at = argv.indexOf(':', from);
  return at < 0 ? argv.length : at;
}

function wholeNumber(name: string, text: string | undefined, least: number, most: number): number {
  const value = /^[0-9]{1,10}$/.test(text ?? '') ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) {
    throw new UsageError(`${name} ${text}: expected a whole number from ${least} to ${most}`);
  }
  return value;
}

function choice<T extends string>(
  name: string,
  text: string | undefined,
  choices: Readonly<Record<string, T>>,
): T {
  const found = Object.hasOwn(choices, (text ?? '').toLowerCase())
    ? choices[(text ?? '').toLowerCase()]
    : undefined;
  if (found === undefined)
    throw new UsageError(`${name} ${text}: expected one of ${Object.keys(choices).join(', ')}`);
  return found;
}

function suggestionFor(name: string): string {
  const bare = name.replace(/^-+/, '');
  const near = [...byName.keys()].find((known) => known.replace(/^-+/, '') === bare);
  return near === undefined ? '' : ` (did you mean ${near}?)`;
}

export function runHelp(): string {
  const rows = options.map((option) => {
    const names = option.names.filter((name, index) => index < 2 || name.startsWith('--')).slice(0, 2);
    return [
      `  ${names.join(', ')}${option.placeholder === undefined ? '' : ` ${option.placeholder}`}`,
      option.help,
    ];
  });
  const width = Math.max(...rows.map(([left]) => left!.length)) + 2;
  return [
    'Run a parallel job in the foreground, as mpiexec does: its output here, its exit code, Ctrl-C ends it.',
    '',
    'Usage: muster run [OPTION...] PROGRAM [ARGUMENT...] [: [OPTION...] PROGRAM [ARGUMENT...]]...',
    '',
    ...rows.map(([left, right]) => `${left!.padEnd(width)}${right}`),
    '',
    'Examples:',
    '  muster run -n 4 ./cpi                    four ranks, wherever there is room',
    '  muster run -n 4 -l --nodes node1,node2 hostname',
    '  muster run -n 1 ./ocean : -n 3 ./atmosphere',
    '  muster run -n 2 --detach --name night ./long && muster logs -f night',
    '',
  ].join('\n');
}
