// From a sandbox's spec to what it takes to build and start it on this node: account and groups looked up, allow-lists
// checked, the tables of mounts, cgroups and processes made. All refusals are made here, before anything is touched.
import { readFileSync } from 'node:fs';
import { encodeStartFile, unlimited, type StartEntry } from '../native/addon/abi.ts';
import { isIPv6 } from 'node:net';
import { encrypted } from '../wire/encryption.ts';
import type { SandboxSpec } from '../wire/agent-types.ts';
import { refused, startFailed } from './agent-error.ts';
import type { Backend } from './backend.ts';
import type { SandboxLimits } from './cgroups.ts';
import { carrierMounts, type CarrierRecord } from './carrier.ts';
import type { AgentConfig, Bind } from './config.ts';
import { checkUid, unnamedAccount } from './credentials.ts';
import { topologyPath } from './hwloc.ts';
import { savesOf, savesTarget } from './checkpoint/own-saves.ts';
import type { LaunchRequest } from './launch.ts';
import { networkAddressOf } from './network/group-network.ts';
import { resolverFor, upstreamPath } from './network/resolver.ts';
import { generatedFiles, isPrivatePath, mountTableOf, parseMountinfo, type Account } from './mounts.ts';
import type { Binding } from './processors.ts';
import { startPlanOf, type ProcessStart, type StartPlan } from './ranks.ts';

/** For programs that are run beside the ranks; a slot is used once. */
const spareSlots = 1024;

export function preparationOf(
  spec: SandboxSpec,
  key: string,
  backend: Backend,
  carrier: CarrierRecord | null = null,
  plan: () => StartPlan = () => planFor(spec, backend),
): LaunchRequest {
  const { config, native, agentUid } = backend;
  checkUid(spec.uid, config.nodeConfig.allowedUids, config.node, agentUid);
  const { processes } = plan();
  const root = carrier ? '/' : rootOf(spec, backend);
  checkNetwork(spec, backend);
  const devices = new Set(spec.devices.flatMap((name) => devicesOf(name, config)));
  const account = accountOf(spec, backend);
  const binds = [...config.nodeConfig.binds, ...savesBinds(spec, key, config)];
  const groups = [...new Set([account.gid, spec.gid, ...spec.groups])].map((gid) => ({
    gid,
    name: native.group(gid)?.name ?? `group${String(gid)}`,
  }));
  const hostname = spec.hostname !== '' ? spec.hostname : config.node;
  const generated = generatedFiles({
    hostname,
    address: addressOf(spec, backend),
    hosts: spec.hosts,
    account,
    groups,
    resolvConf: spec.network
      ? resolverFor(read('/etc/resolv.conf'), read(upstreamPath))
      : read('/etc/resolv.conf'),
  });
  const limits = {
    memoryBytes: spec.memoryLimitBytes,
    cpuMilli: spec.cpuLimitMilli,
    processes: processes.length + config.nodeConfig.processesPerSandbox,
  };
  if (backend.hwloc.xml !== null) generated.push({ path: topologyPath, content: backend.hwloc.xml });
  checkLimits(limits, backend);
  return {
    nativeDir: config.nativeDir,
    slots: processes.length + spareSlots,
    hostname,
    mounts: mountTableOf({
      root,
      hostMounts: carrier ? [] : parseMountinfo(hostMountinfo()),
      // An image has places for its own volumes, not for what the node has elsewhere.
      binds: carrier ? binds.filter(isPrivate) : binds,
      files: carrier ? generated.filter(({ path }) => !imagesOwn.includes(path)) : generated,
    }),
    ...(carrier
      ? { carrierBinds: carrierMounts(carrier), carrierProfile: (spec.carrier?.profile ?? '') !== '' }
      : {}),
    cgroups: backend.cgroups?.requestsFor(key, limits, carrier?.cgroups) ?? [],
    devices: [...devices],
    userNamespace: agentUid === 0 ? null : { uid: spec.uid, gid: spec.gid },
    keepNamespaces: config.keepNamespaces ?? false,
  };
}

/** Where ranks save themselves. */
const savesBinds = ({ savesItself }: SandboxSpec, key: string, { stateDir }: AgentConfig): Bind[] =>
  savesItself ? [{ source: savesOf(`${stateDir}/sandboxes/${key}`), target: savesTarget }] : [];

/** Who users are, and how names are looked up, is the image's to say; resolv.conf is a mount of the Pod. */
const imagesOwn = ['/etc/passwd', '/etc/group', '/etc/nsswitch.conf', '/etc/resolv.conf'];

const isPrivate = ({ source, target = source }: Bind): boolean => isPrivatePath(target);

export function planFor(spec: SandboxSpec, backend: Backend, binding: Binding | null = null): StartPlan {
  const { config } = backend;
  return startPlanOf(spec, {
    node: config.node,
    address: addressOf(spec, backend),
    account: accountOf(spec, backend),
    groupsOfNode: groupsOfNode(spec, backend),
    hasTopology: backend.hwloc.xml !== null,
    binding,
  });
}

/** Those that its user has here, where the group is to have them. */
export function groupsOfNode(spec: SandboxSpec, backend: Backend): readonly number[] {
  const { native, agentUid } = backend;
  if (!spec.groupsFromNode || agentUid !== 0) return [];
  return native.groupsOf(accountOf(spec, backend).name, spec.gid);
}

/** At which the other ranks of the group reach those of the sandbox. */
const addressOf = (spec: SandboxSpec, backend: Backend): string =>
  networkAddressOf(spec) ?? (spec.carrier?.address || backend.address);

/** The bytes of rank-init's START. */
export function startFileOf(plan: StartPlan, agentUid: number): Buffer {
  return encodeStartFile(
    plan.sharedEnv,
    plan.processes.map((process) => entryOf(process, agentUid)),
  );
}

function entryOf(start: ProcessStart, agentUid: number): StartEntry {
  return {
    rank: start.rank,
    startId: start.startId,
    argv: start.argv,
    env: start.env,
    workingDirectory: start.workingDir,
    searchPath: start.searchPath,
    // In a user namespace there is one user only, and it is rank-init's already.
    uid: agentUid === 0 ? start.uid : null,
    gid: agentUid === 0 ? start.gid : null,
    groups: agentUid === 0 ? start.groups : [],
    umask: start.umask,
    stdin: start.stdin,
    stdout: start.stdout,
    stderr: start.stderr,
    stdoutFile: start.stdoutFile,
    stderrFile: start.stderrFile,
    rlimits: start.rlimits.map(({ resource, soft, hard }) => ({
      resource,
      soft: limitOf(soft),
      hard: limitOf(hard),
    })),
    cpuMask: start.cpuMask,
    pmi: start.pmi,
    rows: start.rows,
    columns: start.columns,
  };
}

/** Numbers that do not fit a double exactly can only mean: no limit. */
function limitOf(value: number): bigint {
  return value > Number.MAX_SAFE_INTEGER ? unlimited : BigInt(value);
}

function accountOf(spec: SandboxSpec, backend: Backend): Account {
  if (spec.carrier) return unnamedAccount(spec.uid, spec.gid);
  const known = backend.native.user(spec.uid);
  if (known)
    return {
      name: known.name,
      uid: spec.uid,
      gid: spec.gid,
      home: known.home,
      shell: known.shell === '' ? '/bin/sh' : known.shell,
    };
  if (spec.groupsFromNode && spec.environment === 'Login') {
    throw startFailed(
      `node ${backend.config.node}: there is no user with uid ${String(spec.uid)}; make it known to the node or use environment Clean`,
    );
  }
  return unnamedAccount(spec.uid, spec.gid);
}

function devicesOf(name: string, { node, nodeConfig }: AgentConfig): readonly string[] {
  const offered = nodeConfig.devices;
  const found = Object.hasOwn(offered, name) ? offered[name] : undefined;
  if (found) return found;
  throw refused(
    `node ${node}: device ${name} is not offered; this node offers ${Object.keys(offered).join(', ') || 'none'}`,
  );
}

function rootOf(spec: SandboxSpec, backend: Backend): string {
  if (spec.root === '' || spec.root === 'Host') return '/';
  const { allowedRoots } = backend.config.nodeConfig;
  if (allowedRoots.includes(spec.root)) return spec.root;
  throw refused(
    `node ${backend.config.node}: root ${spec.root} is not allowed; this node allows ${allowedRoots.join(', ') || 'Host only'}`,
  );
}

function checkNetwork({ network }: SandboxSpec, { network: here, networkTroubles, config }: Backend): void {
  if (!network) return;
  if (!here)
    throw refused(
      `node ${config.node}: network Isolated cannot be had here: ${networkTroubles.isolated ?? ''}`,
    );
  const { encryption } = network;
  const trouble = encryption === encrypted ? networkTroubles.encryption : 'update the agent';
  if (encryption !== '' && trouble !== null)
    throw refused(
      `MUSTER_NETWORK_ENCRYPTION: node ${config.node}: tunnels of jobs are to be encrypted by ${encryption}, which cannot be had here: ${trouble}`,
    );
  if (new Set(network.members.map(({ address }) => isIPv6(address))).size > 1)
    throw refused(
      `MUSTER_NETWORK_FAMILY: node ${config.node}: some nodes of the group are known by IPv4 addresses, some by IPv6: give their agents --address of one kind, or use network Host`,
    );
  if (network.mtu > 0) return;
  throw refused(
    `MUSTER_NETWORK_MTU: node ${config.node}: the links between the nodes of the group carry too little for a job network: raise their MTU to ${encryption === '' ? 1280 : 1360} or more, or use network Host`,
  );
}

/** A limit that nothing would hold is not taken. The node's own limit of processes is for where it can be. */
function checkLimits(limits: SandboxLimits, { cgroups, config }: Backend): void {
  const asked = [
    ['memory', limits.memoryBytes, 'limits.memory or resources.limits.memory'],
    ['cpu', limits.cpuMilli, 'resources.limits.cpu'],
  ] as const;
  for (const [controller, value, fields] of asked) {
    if (value === 0 || cgroups?.canLimit(controller) === true) continue;
    throw refused(
      `node ${config.node}: ${fields} cannot be held here, the agent has no ${controller} controller ("muster doctor" says why); leave it out or use other nodes`,
    );
  }
}

/** What of a sandbox's mounts its directory keeps. */
export const bindsOf = ({ mounts, carrierBinds = [] }: LaunchRequest): { source: string; target: string }[] =>
  [...mounts.binds, ...carrierBinds].map(({ source, target }) => ({ source, target }));

/** The mounts as the machine's first process sees them, where that can be seen. */
function hostMountinfo(): string {
  return read('/proc/1/mountinfo') || read('/proc/self/mountinfo');
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
