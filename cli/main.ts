/**
 * The `muster` command. Each subcommand is a module of its own, loaded only when it is called, so that `muster get` does
 * not pay for the agent. This file knows names, options and how an error is shown; nothing else.
 */
import { constants } from 'node:os';
import { Command, CommanderError, Option } from 'commander';
import {
  networkEncryptionOption,
  networkFamiliesOption,
  networkOption,
  networkPoolOption,
  reservedRangesOption,
} from './network-options.ts';
import { carrierTimeoutOption, nodeLeaseOption } from './node-lease.ts';
import { configOf, type Config } from './config.ts';
import { exitCodeOf, showError } from './errors.ts';
import { helpExamples } from './help-examples.ts';

interface GlobalOptions {
  home?: string;
  namespace?: string;
  kubeconfig?: string;
  context?: string;
}

const program = new Command('muster');
program
  .description('Start, watch, suspend, checkpoint, restart and migrate parallel (MPI) jobs.')
  .option('--home <dir>', 'the cluster of this machine to use (default: $MUSTER_HOME, else ~/.muster)')
  .option('--kubeconfig <file>', 'use the cluster that this kubeconfig names instead')
  .option('--context <name>', 'and this context of the kubeconfig')
  .showHelpAfterError('(see muster --help)')
  .exitOverride()
  .enablePositionalOptions()
  .addHelpText(
    'after',
    `
Examples:
  muster up --detach                 a control plane and one agent on this machine
  muster run -n 4 ./cpi              as mpiexec
  muster apply -f job.yaml           declaratively
  muster get pg,nm                   what there is
  muster logs -f cpi                 its output
  muster down                        stop everything`,
  );

const configFor = (command: Command): Promise<Config> => {
  const { home, namespace, kubeconfig, context } = command.optsWithGlobals<GlobalOptions>();
  return configOf({ home, namespace, kubeconfig, context });
};

/** Exit codes come back as numbers; a command that returns nothing succeeded. */
type Action<O> = (config: Config, args: string[], options: O) => Promise<number | undefined>;

function handler<O>(load: () => Promise<Action<O>>, kind: 'command' | 'daemon' = 'command') {
  return async (...given: unknown[]): Promise<void> => {
    const command = given.at(-1) as Command;
    const action = await load();
    const code = await action(await configFor(command), command.args, command.opts<O & object>());
    process.exitCode = code ?? 0;
    // A daemon has let go of what it held; connections that others keep open to it must not keep it.
    if (kind === 'daemon') process.exit();
  };
}

program
  .command('up')
  .description('start a control plane and agents on this machine')
  .option('-d, --detach', 'return when everything is ready')
  .option('--agents <n>', 'number of agents (node1, node2, ...)', '1')
  .option('--bind <dir...>', 'directories under /tmp or /run that jobs may see too')
  .option('--allow-uids <set>', 'user ids that ranks may run as (default: 1000-65534)')
  .option('--node-config <file>', 'what jobs may see and use here, as in examples/node.yaml')
  .option('--listen <address>', 'address for agents of other machines', '127.0.0.1')
  .addOption(networkOption())
  .addOption(networkPoolOption())
  .addOption(reservedRangesOption())
  .addOption(networkEncryptionOption())
  .addOption(networkFamiliesOption())
  .addOption(nodeLeaseOption())
  .action(handler(async () => (await import('./commands/up.ts')).up));

program
  .command('down')
  .description('stop everything of this home; nothing is left running or mounted')
  .action(handler(async () => (await import('./commands/down.ts')).down));

program
  .command('controller', { hidden: false })
  .description("run a control plane in the foreground; with --kubeconfig a replica of that cluster's")
  .option(
    '--listen <address>',
    'address for agents (default: 127.0.0.1; on Kubernetes HOST:PORT, default 127.0.0.1:7360)',
  )
  .addOption(networkOption())
  .addOption(networkPoolOption())
  .addOption(reservedRangesOption())
  .addOption(networkEncryptionOption())
  .addOption(networkFamiliesOption())
  .addOption(nodeLeaseOption())
  .option('--in-cluster', 'on the Kubernetes cluster in whose Pod this runs')
  .option('-n, --namespace <ns>', 'on Kubernetes: where lease and secrets are (default: muster-system)')
  .option('--join-listen <host:port>', 'on Kubernetes: address for nodes that join', '127.0.0.1:0')
  .option(
    '--advertise <host:port,...>',
    'on Kubernetes: where agents reach the replicas, this one first (default: --listen)',
  )
  .option('--verbs-listen <host:port>', 'on Kubernetes: serve the aggregated API of log, attach, ... here')
  .option('--verbs-advertise <host:port>', 'on Kubernetes: where other replicas reach that')
  .option('--metrics-listen <host:port>', 'on Kubernetes: serve /metrics, /healthz and /readyz here')
  .option('--agent-service-account <namespace/name>', 'on Kubernetes: whose tokens let agents in Pods join')
  .option(
    '--carrier-image <image>',
    "on Kubernetes: this build's image, for the carrier Pods of groups with a template",
  )
  .option('--carrier-pull-policy <policy>', 'on Kubernetes: when that is pulled')
  .addOption(carrierTimeoutOption())
  .action(handler(async () => (await import('./commands/controller.ts')).controller, 'daemon'));

program
  .command('agent')
  .description('run an agent in the foreground; --join makes this machine a node of another control plane')
  .option('--node <name>', 'name of this node (default: the host name)')
  .option('--join <host:port>', 'the control plane to join')
  .option('--token <token>', 'a token of `muster token create`, or @FILE')
  .option('--ca-hash <hash>', "the control plane's CA, as `muster token create` printed it")
  .option('--service-account-token <file>', 'join with the token of this Pod, again and again')
  .option('--ca-file <file>', "the control plane's CAs, with --service-account-token")
  .option(
    '--hub <host:port...>',
    'where the control plane is, instead of where it said when this node joined',
  )
  .option('--address <address>', 'address at which other nodes reach this one')
  .option('--metrics-listen <host:port>', 'serve /metrics over TLS here, to certificates of the cluster')
  .option('--metrics-token <file>', 'and to whoever has the bearer token in this file')
  .option('--bind <dir...>', 'directories under /tmp or /run that jobs may see too')
  .option('--allow-uids <set>', 'user ids that ranks may run as (default: 1000-65534)')
  .option('--node-config <file>', 'what jobs may see and use here, as in examples/node.yaml')
  .action(handler(async () => (await import('./commands/agent.ts')).agent, 'daemon'));

program
  .command('run')
  .description('run a parallel job in the foreground, as mpiexec')
  .allowUnknownOption()
  .allowExcessArguments()
  .helpOption(false)
  .passThroughOptions()
  .argument('[words...]')
  .action(handler(async () => (await import('./commands/run.ts')).run));

program
  .command('apply')
  .description('create or update the objects of a manifest')
  .requiredOption('-f, --filename <file>', 'a file, a directory, or - for standard input')
  .option('-n, --namespace <ns>', 'namespace of objects that name none')
  .option('--dry-run', 'check only')
  .action(handler(async () => (await import('./commands/apply.ts')).apply));

program
  .command('get')
  .description('show objects: pg, ckpt, mig, nm, events (several with commas)')
  .argument('<kinds>')
  .argument('[names...]')
  .option('-o, --output <format>', 'json, yaml, wide or name')
  .option('-l, --selector <labels>', 'only objects with these labels')
  .option('-A, --all-namespaces', 'of all namespaces')
  .option('-n, --namespace <ns>')
  .option('-w, --watch', 'and go on showing changes')
  .option('--no-headers')
  .action(handler(async () => (await import('./commands/get.ts')).get));

program
  .command('describe')
  .description('show one object with its conditions and events')
  .argument('<kind>')
  .argument('<names...>')
  .option('-n, --namespace <ns>')
  .action(handler(async () => (await import('./commands/describe.ts')).describe));

program
  .command('delete')
  .description('delete objects; a running job is ended')
  .argument('[kind]')
  .argument('[names...]')
  .option('-f, --filename <file>', 'the objects of a manifest')
  .option('-n, --namespace <ns>')
  .option('--all', 'all of the kind in the namespace')
  .option('--no-wait', 'do not wait until they are gone')
  .option('--ignore-not-found')
  .action(handler(async () => (await import('./commands/delete.ts')).deleteObjects));

program
  .command('logs')
  .description("show a job's output")
  .argument('<group>')
  .option('-f, --follow', 'until the job has ended')
  .option('-r, --ranks <set>', 'only these ranks, such as 0-3,7')
  .option('--stdout', 'only standard output')
  .option('--stderr', 'only standard error')
  .option('--tail <lines>', 'only the last lines of each rank')
  .option('--no-label', 'do not begin lines with their rank')
  .option('-n, --namespace <ns>')
  .action(handler(async () => (await import('./commands/logs.ts')).logs));

program
  .command('ps')
  .description('list the ranks of a job, or all sandboxes')
  .argument('[group]')
  .option('--unknown', 'sandboxes of groups that the store has lost; they run until `kill --unknown`')
  .option('-n, --namespace <ns>')
  .option('-o, --output <format>', 'json, yaml or wide (with what each waits for, I/O, threads, processors)')
  .action(handler(async () => (await import('./commands/ps.ts')).ps));

program
  .command('attach')
  .description("a running job's output here, and its input from here with -i")
  .argument('<group>')
  .option('-i, --stdin', 'what is typed or piped in here is read by the job')
  .option('-r, --ranks <set>', 'only the output of these ranks')
  .option('--tail <lines>', 'begin with the last lines of each rank', '0')
  .option('--no-label', 'do not begin lines with their rank')
  .option('-n, --namespace <ns>')
  .addHelpText('after', '\nCtrl-P Ctrl-Q (on a terminal of the job) or Ctrl-C leaves it; the job runs on.')
  .action(handler(async () => (await import('./commands/attach.ts')).attach));

program
  .command('exec')
  .description('run a program beside a rank of a running job, as its user: muster exec GROUP -- PROGRAM ...')
  .argument('<group>')
  .argument('<command...>')
  .option('-r, --rank <rank>', 'beside this rank', '0')
  .option('-i, --stdin', 'what is typed or piped in here is its input')
  .option('-t, --tty', 'give it a terminal')
  .option('-n, --namespace <ns>')
  .action(handler(async () => (await import('./commands/exec.ts')).exec));

program
  .command('shell')
  .description('a shell beside a rank of a running job, as its user')
  .argument('<group>')
  .argument('[command...]', 'another program than /bin/sh')
  .option('-r, --rank <rank>', 'beside this rank', '0')
  .option('-n, --namespace <ns>')
  .action(handler(async () => (await import('./commands/exec.ts')).shell));

program
  .command('top')
  .description('what nodes, jobs or ranks do now, live on a terminal (q leaves it)')
  .argument('[view]', 'nodes, jobs or ranks (default: jobs)')
  .argument('[names...]', 'only these nodes or jobs')
  .option('--once', 'say it once; so it is when the output is no terminal')
  .option('--sort <column>', 'by this column')
  .option('--reverse', 'the other way round')
  .option('--interval <seconds>', 'how often it is drawn anew', '2')
  .option('-n, --namespace <ns>')
  .option('-o, --output <format>', 'json')
  .action(handler(async () => (await import('./commands/top.ts')).top));

program
  .command('signal')
  .description('send a signal to a job or to some of its ranks, at most once')
  .argument('<signal>')
  .argument('<group>')
  .option('-r, --ranks <set>', 'only these ranks')
  .option('-n, --namespace <ns>')
  .action(handler(async () => (await import('./commands/signal.ts')).signal));

program
  .command('kill')
  .description('end jobs: SIGTERM, then SIGKILL after the grace period; the objects stay')
  .argument('[groups...]')
  .option('--now', 'SIGKILL at once')
  .option('--unknown', 'groups that the store has lost, by uid; needs an administrator')
  .option('--all', 'with --unknown: all of them, now and later; the store is trusted again')
  .option('-n, --namespace <ns>')
  .action(handler(async () => (await import('./commands/kill.ts')).kill));

for (const [name, suspended] of [
  ['suspend', true],
  ['resume', false],
] as const) {
  program
    .command(name)
    .description(suspended ? 'suspend jobs: every rank on every node stops' : 'let suspended jobs go on')
    .argument('<groups...>')
    .option('--no-wait', 'do not wait until it is done')
    .addOption(
      suspended
        ? new Option('--policy <policy>', 'Freeze keeps memory and nodes, Checkpoint and Stop give them back')
        : new Option('--policy <policy>').hideHelp(),
    )
    .option('-n, --namespace <ns>')
    .action(handler(async () => (await import('./commands/suspend.ts'))[name]));
}

program
  .command('checkpoint')
  .description('save a running job: all its ranks at one moment; it runs on')
  .argument('<group>')
  .option('--name <name>', 'of the Checkpoint (default: one made from the name of the job)')
  .option('--stop', 'end the job once it is saved')
  .option('--copies <n>', 'nodes that are to have each image (default: 2)')
  .option(
    '--storage <name>',
    "where images are to be kept, by the name an administrator gave it (default: the group's)",
  )
  .option('--deadline <seconds>', 'give up after this time, the job runs on')
  .option('--no-wait', 'do not wait until it is restorable')
  .option('-n, --namespace <ns>')
  .action(handler(async () => (await import('./commands/checkpoint.ts')).checkpoint));

program
  .command('checkpoints')
  .description('list what is saved: of which job, how large, where')
  .argument('[names...]')
  .option('-A, --all-namespaces', 'of all namespaces')
  .option('-w, --watch', 'go on with what changes')
  .option('-o, --output <format>', 'json, yaml, wide or name')
  .option('-n, --namespace <ns>')
  .action(handler(async () => (await import('./commands/checkpoints.ts')).checkpoints));

program
  .command('migrate')
  .description("move a running job's ranks to another node; the others run on")
  .argument('<group>')
  .option('--from <node>', 'node that they leave')
  .option('--to <node>', 'node that they go to (default: the one with most room)')
  .option('--ranks <set>', 'only these, such as 4-7: whole sandboxes')
  .option('--strategy <strategy>', 'Auto, StopAndCopy, PreCopy or PostCopy (default: Auto)')
  .option('--name <name>', 'of the Migration (default: one made from the name of the job)')
  .option(
    '--no-copy-files',
    'refuse where ranks use files that the new node lacks, rather than take them along',
  )
  .option('--deadline <seconds>', 'give up after this time, the ranks go on where they were')
  .option('--no-wait', 'do not wait until they have moved')
  .option('-n, --namespace <ns>')
  .action(handler(async () => (await import('./commands/migrate.ts')).migrate));

program
  .command('restart')
  .description('make a job that goes on from a checkpoint')
  .argument('<checkpoint>')
  .option('--name <name>', 'of the job (default: one made from the name of the checkpoint)')
  .option('--nodes <list>', 'run on these nodes, such as node[1-4]; fewer than before are enough')
  .option('--no-wait', 'do not wait until its ranks run')
  .option('-n, --namespace <ns>')
  .action(handler(async () => (await import('./commands/restart.ts')).restart));

program
  .command('wait')
  .description('wait until a job has ended (exit code: 0 if it succeeded) or has a condition')
  .argument('<group>')
  .option('--for <condition>', 'such as Running, Suspended, Succeeded or Finished', 'Finished')
  .option('--timeout <seconds>', 'give up after this time', '0')
  .option('-n, --namespace <ns>')
  .action(handler(async () => (await import('./commands/wait.ts')).wait));

program
  .command('nodes')
  .description('list the nodes and how they fare')
  .option('-o, --output <format>', 'json, yaml, wide or name')
  .action(handler(async () => (await import('./commands/nodes.ts')).nodes));

program
  .command('drain')
  .description('have every job leave nodes, for repair or for good; nothing new is placed there')
  .argument('<nodes...>')
  .option(
    '--policy <policy>',
    'Migrate while they run (default), Checkpoint and go on elsewhere, Suspend until uncordon, or Kill',
  )
  .option('--no-wait', 'do not wait until they are empty')
  .action(handler(async () => (await import('./commands/drain.ts')).drain));

for (const [name, description] of [
  ['cordon', 'place nothing new on nodes; what runs there stays'],
  ['uncordon', 'let nodes be used again; takes back a drain too'],
] as const) {
  program
    .command(name)
    .description(description)
    .argument('<nodes...>')
    .option('--no-wait', 'do not wait until it is so')
    .action(handler(async () => (await import('./commands/drain.ts'))[name]));
}

program
  .command('token')
  .description('make a one-time token with which another machine joins')
  .argument('<verb>', 'create')
  .option('--ttl <seconds>', 'how long it may be used', '3600')
  .option('--node <name>', 'only for this node')
  .option('-n, --namespace <ns>', 'on Kubernetes: where the controllers are (default: muster-system)')
  .action(handler(async () => (await import('./commands/token.ts')).token));

program
  .command('kubeconfig')
  .description('print how kubectl reaches this cluster: as its administrator, or as a user with a role')
  .option('--user <name>', 'for this user, with a client certificate of his own')
  .option('--role <role>', 'what he may do: view, edit or admin', 'view')
  .option('-n, --namespace <ns>', 'only in this namespace')
  .option('--run-as <uid:gid>', 'user and group id of the jobs he makes (default: 65534:65534)')
  .option('--ttl <seconds>', 'how long it serves', '31536000')
  .option('--token', 'with a bearer token in place of a certificate; it can be revoked')
  .option('--revoke <name>', 'end all tokens of this user')
  .action(handler(async () => (await import('./commands/kubeconfig.ts')).kubeconfig));

program
  .command('dashboard')
  .description('the cluster on a web page: prints an address that signs in a browser, once; read-only')
  .option('--port <port>', 'of 127.0.0.1; 0 takes a free one', '0')
  .option('--open', 'open it in the browser of this desktop')
  .action(handler(async () => (await import('./commands/dashboard.ts')).dashboard));

program
  .command('doctor')
  .description('check what this machine can do, and why not')
  .option('-o, --output <format>', 'json')
  .option('--remove-finalizers', 'on Kubernetes, when Muster is gone: free the objects that wait for it')
  .option('--force', 'with --remove-finalizers: also while a controller leads')
  .action(handler(async () => (await import('./commands/doctor.ts')).doctor));

program
  .command('uninstall-check')
  .description(
    'on Kubernetes, before Muster is uninstalled: let no group run, no sandbox be left, no object wait',
  )
  .option('--in-cluster', 'on the Kubernetes cluster in whose Pod this runs')
  .option('--policy <policy>', 'when groups run: Refuse, Kill or Checkpoint', 'Refuse')
  .option('--timeout <duration>', 'how long to wait for them', '300s')
  .action(handler(async () => (await import('./commands/uninstall-check.ts')).uninstallCheck, 'daemon'));

program
  .command('self-test')
  .description('on Kubernetes: run a group of two ranks and remove it')
  .option('--in-cluster', 'on the Kubernetes cluster in whose Pod this runs')
  .option('--timeout <duration>', 'how long that may take', '120s')
  .action(handler(async () => (await import('./commands/self-test.ts')).selfTest, 'daemon'));

program
  .command('completion')
  .description('print shell completion: source <(muster completion bash)')
  .argument('<shell>', 'bash, zsh or fish')
  .action(handler(async () => (await import('./commands/completion.ts')).completionFor(program)));

program
  .command('version')
  .description('show versions')
  .option('-o, --output <format>', 'json')
  .action(handler(async () => (await import('./commands/version.ts')).version));

for (const command of program.commands) {
  command.exitOverride();
  const examples = helpExamples[command.name()];
  if (examples)
    command.addHelpText('after', `\nExamples:\n${examples.map((line) => `  ${line}`).join('\n')}`);
  // kubectl's users write these anywhere; the words after `run` belong to the program.
  if (command.name() !== 'run') {
    command.addOption(new Option('--kubeconfig <file>').hideHelp());
    command.addOption(new Option('--context <name>').hideHelp());
  }
}

// Who read has enough, as `| head`: end as SIGPIPE would, which Node ignores.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(128 + constants.signals.SIGPIPE);
  throw error;
});

try {
  await program.parseAsync(process.argv);
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
  else {
    showError(error);
    process.exitCode = exitCodeOf(error);
  }
}
