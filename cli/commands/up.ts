/**
 * `muster up`: a control plane and agents of one home on this machine, supervised. In the foreground until Ctrl-C; with
 * --detach it returns when everything is ready.
 */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { connect } from '../client.ts';
import { type Config, selfCommand } from '../config.ts';
import { checkNetworkRanges } from '../network-pool.ts';
import { nodeLeaseArguments, type NodeLeaseOptions } from '../node-lease.ts';
import { superviseDaemon, stopLeftOver } from '../daemon/supervisor.ts';
import { sweepNodes } from '../daemon/sweep.ts';
import { CommandError } from '../errors.ts';
import { apiSocketOf, type Home, makeHome, processFileOf } from '../home.ts';
import { livingProcess, removeProcessRecord, writeProcessRecord } from '../process-record.ts';

export interface UpOptions extends NodeLeaseOptions {
  detach?: boolean;
  agents: string;
  bind?: string[];
  allowUids?: string;
  nodeConfig?: string;
  listen: string;
  network?: 'Isolated' | 'Host';
  networkPool?: string;
  reservedRanges?: string;
  networkEncryption?: 'None' | 'WireGuard';
  networkFamilies?: 'IPv4' | 'DualStack';
}

const readyWithinMs = 30_000;
/**
 * A small young generation: an agent that has served a large job would keep 30 MiB more for nothing. Without its last compiler, which
 * is 3 MiB: the one before it does as well for what an agent does (without any, PMI costs a quarter more).
 */
const agentNodeOptions = [
  '--max-semi-space-size=1',
  '--v8-pool-size=1',
  '--no-turbofan',
  '--optimize-for-size',
];
/** mallopt(3): memory goes back at once, and threads share it. 2 MiB. */
const agentEnvironment = { MALLOC_ARENA_MAX: '1', MALLOC_TRIM_THRESHOLD_: '65536', MALLOC_TOP_PAD_: '0' };

export async function up(config: Config, _args: string[], options: UpOptions): Promise<number> {
  const agents = Number(options.agents);
  if (!Number.isSafeInteger(agents) || agents < 0 || agents > 256) {
    throw new CommandError(`--agents ${options.agents}: expected a number from 0 to 256`, 2);
  }
  const { home } = config;
  checkNetworkRanges(options);
  if (options.nodeConfig !== undefined)
    (await import('../node-config.ts')).readNodeConfig(options.nodeConfig);
  makeHome(home);
  const running = livingProcess(processFileOf(home, 'supervisor'));
  if (running) {
    throw new CommandError(`${home.root} is up already (process ${running.pid}); stop it with: muster down`);
  }
  return options.detach === true ? upDetached(home, agents, options) : upForeground(home, agents, options);
}

/** Options that are handed on to the agents; daemons run in /, so a file is named in full. */
function agentArguments({ bind = [], allowUids, nodeConfig }: UpOptions): string[] {
  return [
    ...bind.flatMap((directory) => ['--bind', directory]),
    ...(allowUids === undefined ? [] : ['--allow-uids', allowUids]),
    ...(nodeConfig === undefined ? [] : ['--node-config', resolve(nodeConfig)]),
  ];
}

const networkArguments = ({
  network,
  networkPool,
  reservedRanges,
  networkEncryption,
  networkFamilies,
}: UpOptions): string[] => [
  ...(network === undefined ? [] : ['--network', network]),
  ...(networkPool === undefined ? [] : ['--network-pool', networkPool]),
  ...(reservedRanges === undefined ? [] : ['--reserved-ranges', reservedRanges]),
  ...(networkEncryption === undefined ? [] : ['--network-encryption', networkEncryption]),
  ...(networkFamilies === undefined ? [] : ['--network-families', networkFamilies]),
];

const nodeNames = (agents: number): string[] =>
  Array.from({ length: agents }, (_, index) => `node${index + 1}`);

async function upForeground(home: Home, agents: number, options: UpOptions): Promise<number> {
  const stopping = new AbortController();
  const controllerStopping = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => stopping.abort());
  const record = processFileOf(home, 'supervisor');
  writeProcessRecord(record);
  for (const name of ['controller', ...nodeNames(agents)]) await stopLeftOver(home, name);
  const say = (text: string): void => void process.stdout.write(`${text}\n`);
  const restarted = (name: string, how: string): void => say(`${name} ended (${how}); starting it again`);
  const controller = superviseDaemon(
    home,
    {
      name: 'controller',
      args: [
        'controller',
        '--listen',
        options.listen,
        ...networkArguments(options),
        ...nodeLeaseArguments(options),
      ],
    },
    restarted,
    controllerStopping.signal,
  );
  const nodes = nodeNames(agents).map((name) =>
    superviseDaemon(
      home,
      {
        name,
        args: ['agent', '--node', name, ...agentArguments(options)],
        nodeOptions: agentNodeOptions,
        environment: agentEnvironment,
      },
      restarted,
      stopping.signal,
    ),
  );
  const startedAt = Date.now();
  const ready = await untilReady(home, nodeNames(agents), stopping.signal);
  if (ready) {
    const seconds = ((Date.now() - startedAt) / 1000).toFixed(1);
    say(
      `ready: control plane and ${agents} agent${agents === 1 ? '' : 's'} in ${seconds} s (home ${home.root})`,
    );
    await new Promise<void>((resolve) => {
      if (stopping.signal.aborted) resolve();
      else stopping.signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }
  stopping.abort();
  await Promise.all(nodes);
  controllerStopping.abort();
  await controller;
  await sweepNodes(home);
  removeProcessRecord(record);
  return 0;
}

async function upDetached(home: Home, agents: number, options: UpOptions): Promise<number> {
  const logFile = join(home.logs, 'up.log');
  const log = openSync(logFile, 'w', 0o600);
  const self = selfCommand([
    '--home',
    home.root,
    'up',
    '--agents',
    String(agents),
    '--listen',
    options.listen,
    ...networkArguments(options),
    ...nodeLeaseArguments(options),
    ...agentArguments(options),
  ]);
  const child = spawn(self.file, self.args, { stdio: ['ignore', log, log], detached: true, cwd: '/' });
  closeSync(log);
  const ended = new AbortController();
  child.once('exit', () => ended.abort());
  child.once('error', () => ended.abort());
  const startedAt = Date.now();
  const ready = await untilReady(home, nodeNames(agents), ended.signal);
  if (!ready) {
    if (!ended.signal.aborted) child.kill('SIGTERM');
    const text = readFileSync(logFile, 'utf8').trimEnd();
    throw new CommandError(
      `the control plane and ${agents} agents were not ready within ${readyWithinMs / 1000} s; logs in ${home.logs}\n${text}`,
    );
  }
  child.unref();
  const seconds = ((Date.now() - startedAt) / 1000).toFixed(1);
  process.stdout.write(
    `Muster is up: control plane and ${agents} agent${agents === 1 ? '' : 's'} in ${seconds} s (home ${home.root})\n`,
  );
  return 0;
}

/** True when the API answers and the agent of every one of the nodes is connected; false when the signal aborted or time ran out. */
async function untilReady(home: Home, nodes: readonly string[], signal: AbortSignal): Promise<boolean> {
  const client = connect({ socketPath: apiSocketOf(home) });
  const deadline = Date.now() + readyWithinMs;
  while (!signal.aborted && Date.now() < deadline) {
    try {
      const path = '/apis/subresources.muster.dev/v1alpha1/connectednodes';
      const connected = (await client.request('GET', path)) as { nodes: string[] };
      const ready = new Set(connected.nodes);
      if (nodes.every((node) => ready.has(node))) return true;
    } catch {
      // not there yet
    }
    await pause(20, undefined, { signal }).catch(() => undefined);
  }
  return false;
}
