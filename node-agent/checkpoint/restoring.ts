// Brings a sandbox back from an image, as a new incarnation of its own: what the image says of ranks, programs, user and
// mounts holds, what the order says of name, tree and limits does too. Its logs and unread input are put in place first, then
// the engine restores the processes into the cgroups of the new incarnation. All of it may be done again after a crash, until
// the processes have been let run.
import {
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import type { SandboxSpec } from '../../wire/agent-types.ts';
import { AgentError } from '../agent-error.ts';
import type { Backend } from '../backend.ts';
import type { CarrierRecord } from '../carrier.ts';
import { credentialsOf } from '../credentials.ts';
import type { LaunchRequest } from '../launch.ts';
import { groupsOfNode } from '../preparation.ts';
import { bootId, pidNamespaceOf, startTimeOf } from '../process-table.ts';
import type { Identity, SandboxDirectory } from '../sandbox-directory.ts';
import type { EarlierUse } from '../sandbox-limits.ts';
import { putTrees } from './carried-restore.ts';
import { inputFileName, logFileName } from './cut.ts';
import type { CheckpointEngine, OuterMount, RestoreRequest } from './engine.ts';
import type { Image, Manifest } from './image.ts';
import { checkOwners, deviceNumber, type Rights } from './image-rights.ts';
import { makeSaves, savesOf } from './own-saves.ts';
import { rollBack } from './rollback.ts';

const impossible = (code: string, message: string): AgentError =>
  new AgentError('refused', 'RestoreFailed', code, message);

/** The spec of a restored incarnation. */
export function restoredSpecOf(
  ordered: SandboxSpec,
  { spec }: Manifest,
  { savesProcesses }: Pick<CheckpointEngine, 'savesProcesses'>,
): SandboxSpec {
  return {
    ...ordered,
    size: spec.size,
    sandboxes: spec.sandboxes,
    ranks: spec.ranks,
    hostname: spec.hostname,
    processMapping: spec.processMapping,
    kvsName: spec.kvsName,
    pmi: spec.pmi,
    programs: spec.programs,
    umask: spec.umask,
    rlimits: spec.rlimits,
    environment: spec.environment,
    env: spec.env,
    // Who starts anew has read what it had read: there is nothing to go on from.
    stdin: savesProcesses ? spec.stdin : 'None',
    savesItself: spec.savesItself,
    stdout: spec.stdout,
    stderr: spec.stderr,
    stdoutPattern: spec.stdoutPattern,
    stderrPattern: spec.stderrPattern,
    tty: spec.tty,
  };
}

/** Throws AgentError unless the root that the ranks had is of the kind that there is for them now. */
export function checkRoot({ spec }: Manifest, isCarried: boolean, node: string): void {
  if ((spec.root === 'Carrier') === isCarried) return;
  throw impossible(
    'MUSTER_OTHER_ROOT',
    isCarried
      ? `node ${node}: the image was taken of ranks on a node's own root, which are not brought back in a carrier Pod: leave template out`
      : `node ${node}: the image was taken of ranks in a carrier Pod, and there is none for them: give the group the same template`,
  );
}

/** Processor time of the ranks until they were saved. */
export function usedBefore({ cpuUs, userUs = 0, systemUs = 0 }: Manifest): EarlierUse {
  return { cpuUs, userUs, systemUs };
}

/** Throws AgentError unless this node can run what was saved elsewhere. */
export function checkFits(
  manifest: Manifest,
  { architecture, features }: { architecture: string; features: readonly string[] },
  node: string,
): void {
  if (manifest.architecture !== architecture)
    throw impossible(
      'MUSTER_WRONG_ARCHITECTURE',
      `node ${node} is ${architecture}, the image was taken on ${manifest.architecture}: restore it on such a node`,
    );
  const missing = manifest.cpuFeatures.filter((feature) => !features.includes(feature));
  if (missing.length > 0)
    throw impossible(
      'MUSTER_WRONG_PROCESSOR',
      `the processors of node ${node} lack what those of ${manifest.node} had when the image was taken: ${missing.slice(0, 8).join(', ')}; restore it on a node that has them`,
    );
}

/** Puts logs and input where the incarnation has them. Done again, it comes to the same. */
export function placeFiles(image: Image, { streams, input }: Manifest, directory: SandboxDirectory): void {
  directory.create();
  for (const { rank, stream, segments } of streams) {
    for (const segment of segments) {
      const name = logFileName(rank, stream, segment);
      copyFileSync(
        image.pathOf(name),
        `${directory.logs}/${name.slice('log.'.length)}`,
        constants.COPYFILE_FICLONE,
      );
    }
  }
  placeInput(image, { input }, directory);
}

export function placeInput(
  image: Image,
  { input }: Pick<Manifest, 'input'>,
  directory: SandboxDirectory,
): void {
  if (input === null) return;
  mkdirSync(directory.input, { recursive: true, mode: 0o700 });
  const path = `${directory.input}/spool`;
  writeFileSync(path, '', { mode: 0o600 });
  truncateSync(path, input.length);
  if (existsSync(image.pathOf(inputFileName))) copyInto(path, image.pathOf(inputFileName), input.from);
  if (input.ended) writeFileSync(`${directory.input}/end`, '');
}

function copyInto(path: string, from: string, offset: number): void {
  const to = openSync(path, 'r+');
  try {
    const bytes = readFileSync(from);
    for (let done = 0; done < bytes.length;)
      done += writeSync(to, bytes, done, bytes.length - done, offset + done);
  } finally {
    closeSync(to);
  }
}

/**
 * Mounts of the host's that the image needs, where this node has them. One that is missing is named, unless no process used it:
 * then `standIn`, an empty directory that no rank may write, takes its place.
 */
export function mountsOn(
  manifest: Manifest,
  { mounts, carrierBinds = [] }: LaunchRequest,
  node: string,
  { standIn, stageOf }: { standIn: string; stageOf: (target: string) => string },
): OuterMount[] {
  return manifest.mounts.map(({ target, used }) => {
    const own = mounts.binds.find((bind) => bind.target === target);
    if (own) return { source: own.source, target };
    if (carrierBinds.some((bind) => bind.target === target)) return { source: stageOf(target), target };
    if (!used) return { source: standIn, target };
    throw impossible(
      'MUSTER_MOUNT_MISSING',
      `node ${node} has nothing mounted at ${target}, which the ranks used on ${manifest.node}: mount it, or restore on another node`,
    );
  });
}

/** Null: its ranks are to be started anew. */
export async function restoreProcesses(options: {
  backend: Backend;
  manifest: Manifest;
  image: Image;
  directory: SandboxDirectory;
  /** As the hub has ordered it: who runs it stands there, whatever the image says. */
  spec: SandboxSpec;
  launch: LaunchRequest;
  netns: number | null;
  joined?: RestoreRequest['joined'];
  openFiles: string;
  /** The process in whose root and mounts it is to be, and its pidfd. */
  carrier?: { readonly record: CarrierRecord; readonly pidfd: number } | null;
  /** It is not to run yet. */
  standStill?: RestoreRequest['standStill'];
  pagesFollow?: boolean;
  whole?: RestoreRequest['whole'];
  onPlaced: (identity: Identity) => void;
  onReachable: () => Promise<void>;
  signal: AbortSignal;
}): Promise<Identity | null> {
  const { backend, manifest, image, directory, spec, launch, netns, openFiles, carrier = null } = options;
  const { onPlaced, onReachable, signal } = options;
  const { checkpoints, config, native } = backend;
  const engine = checkpoints.engineOf(manifest);
  await checkpoints.engineVersion(engine);
  const rights = rightsOf(spec, launch, backend);
  checkOwners(manifest, rights);
  const saves = { path: savesOf(directory.path), owner: spec };
  if (spec.savesItself) makeSaves(saves.path, saves.owner);
  const [at, standIn] = [`${directory.path}/root`, `${directory.path}/absent`];
  mkdirSync(at, { recursive: true, mode: 0o700 });
  mkdirSync(standIn, { recursive: true, mode: 0o555 });
  const stage = carrier ? stageCarried(carrier.record, launch, directory.path) : new Map<string, string>();
  const stageOf = (target: string): string => stage.get(target) ?? standIn;
  const mounts = mountsOn(manifest, launch, config.node, { standIn, stageOf });
  // What it will have, which is what it had: nothing else is a mount of its own making when it is looked at next.
  if (engine.savesProcesses && !carrier)
    directory.write('mounts', { root: launch.mounts.root, binds: mounts });
  const record = carrier?.record ?? null;
  if (record) await putTrees(record, image, signal);
  const nodes = carrier ? mounts.filter(({ target }) => !stage.has(target)) : mounts;
  await rollBack(manifest, { image, policy: openFiles, mounts: nodes, carrier: record }, signal);
  const files = manifest.outerFiles.map((key) => ({ key, fd: openSync(`${directory.input}/spool`, 'r') }));
  try {
    const pid = await engine.restore(
      {
        directory: image.path,
        saves,
        cgroups: launch.cgroups,
        root: { path: launch.mounts.root, at },
        mounts,
        ...(carrier ? { carrier: { pidfd: carrier.pidfd, stage } } : {}),
        files,
        netns,
        joined: options.joined,
        rights,
        ...(options.standStill === undefined ? {} : { standStill: options.standStill }),
        ...(options.whole === undefined ? {} : { whole: options.whole }),
        ...(options.pagesFollow === true ? { pagesFollow: true } : {}),
        onPlaced: (each) => {
          onPlaced(identityOf(each));
        },
        onReachable,
      },
      signal,
    );
    return pid === null ? null : identityOf(pid);
  } finally {
    for (const { fd } of files) native.close(fd);
  }
}

function rightsOf(spec: SandboxSpec, { devices }: LaunchRequest, backend: Backend): Rights {
  const { uid, gid, groups } = credentialsOf(spec, groupsOfNode(spec, backend));
  const { node } = backend.config;
  return { node, uid, gid, groups, devices: devices.map(deviceNumber), filtered: spec.root === 'Carrier' };
}

/** A place for each mount of the carrier's, by where the sandbox has it: the engine puts them there. */
function stageCarried(
  { pid }: CarrierRecord,
  { carrierBinds = [] }: LaunchRequest,
  directory: string,
): Map<string, string> {
  const stage = new Map<string, string>();
  mkdirSync(`${directory}/carried`, { recursive: true, mode: 0o700 });
  for (const [number, { source, target }] of carrierBinds.entries()) {
    const place = `${directory}/carried/${String(number)}`;
    rmSync(place, { recursive: true, force: true });
    if (statSync(`/proc/${String(pid)}/root${source}`).isDirectory()) mkdirSync(place);
    else writeFileSync(place, '');
    stage.set(target, place);
  }
  return stage;
}

function identityOf(pid: number): Identity {
  const [startTime, pidns] = [startTimeOf(pid), pidNamespaceOf(pid)];
  if (startTime === null || pidns === null)
    throw new AgentError(
      'failed',
      'RestoreFailed',
      'MUSTER_RESTORE_LOST',
      `the restored process ${String(pid)} has ended at once`,
    );
  return { bootId: bootId(), pid, startTime, pidns };
}
