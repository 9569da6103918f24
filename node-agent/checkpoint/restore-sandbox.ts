// As a launch, but from an image: what of it must be kept is on disk before the processes are let run. Then its readers of standard
// input each get a description of the new spool, where theirs stood. An agent that comes after a crash goes on, or begins anew.
// Ranks that had saved themselves are launched like any others, once what is theirs is in place.
import { arch } from 'node:os';
import { encodeHold } from '../../native/addon/abi.ts';
import type { Native } from '../../native/addon/index.ts';
import type { RestoreOrder, SandboxSpec } from '../../wire/agent-types.ts';
import type { AdoptedSandbox } from '../adopted-sandbox.ts';
import type { Backend } from '../backend.ts';
import type { InputSpool } from '../input.ts';
import type { SandboxNetwork } from '../network/sandbox-network.ts';
import type { SandboxLogs } from '../output.ts';
import { bindsOf, preparationOf } from '../preparation.ts';
import type { SandboxCarrier } from '../sandbox-carrier.ts';
import type { Identity, SandboxDirectory } from '../sandbox-directory.ts';
import type { SandboxLimits } from '../sandbox-limits.ts';
import { isDamage } from './checkpoints.ts';
import { cpuFeatures } from './cut.ts';
import {
  checkFits,
  checkRoot,
  placeFiles,
  restoreProcesses,
  restoredSpecOf,
  usedBefore,
} from './restoring.ts';

export interface RestoringSandbox {
  readonly key: string;
  /** Becomes what the image says of it. */
  spec: SandboxSpec;
  readonly directory: SandboxDirectory;
  readonly logs: SandboxLogs;
  readonly limits: SandboxLimits;
  readonly network: SandboxNetwork;
  /** Found before, where it has one. */
  readonly carrier: SandboxCarrier;
  /** Its ranks run: each gets its processors. */
  bindAgain(): Promise<void>;
  /** From here on something of it may be left on the node. */
  onBegun(): void;
  /** It is there, and not let run yet. */
  onPlaced(identity: Identity): void;
  /** It may be reached, and run. */
  onReachable(signal: AbortSignal): Promise<void>;
}

/** False: its ranks are to be launched. Throws AgentError, also when `signal` is aborted before the processes were let run. */
export async function restoreSandbox(
  order: RestoreOrder,
  sandbox: RestoringSandbox,
  backend: Backend,
  signal: AbortSignal,
): Promise<boolean> {
  const { key, network } = sandbox;
  const first = await restoreOnce(order, sandbox, backend, signal);
  if (first !== 'Damaged') return first;
  // Known by now, so that it is mended first. What the engine has left in the network goes with that.
  backend.log.warn({ sandbox: key, image: order.image }, 'memory of an image is damaged');
  await network.end();
  const second = await restoreOnce(order, sandbox, backend, signal);
  if (second === 'Damaged') throw new Error('MUSTER_BUG: an image that was looked at is damaged');
  return second;
}

/** `Damaged`: its memory, which was looked at while the engine was at work; nothing has run. */
async function restoreOnce(
  order: RestoreOrder,
  sandbox: RestoringSandbox,
  backend: Backend,
  signal: AbortSignal,
): Promise<boolean | 'Damaged'> {
  const { checkpoints, config } = backend;
  const { directory, network, carrier } = sandbox;
  using unpacked = await checkpoints.imageFor(order, signal);
  const { image, manifest, whole } = unpacked;
  checkRoot(manifest, carrier.record !== null, config.node);
  const engine = checkpoints.engineOf(manifest);
  if (engine.savesProcesses)
    checkFits(manifest, { architecture: arch(), features: cpuFeatures() }, config.node);
  sandbox.spec = restoredSpecOf(sandbox.spec, manifest, engine);
  const launch = preparationOf(sandbox.spec, sandbox.key, backend, carrier.record);
  placeFiles(image, manifest, directory);
  sandbox.logs.rescan();
  directory.write('spec', sandbox.spec);
  directory.write('mounts', { root: launch.mounts.root, binds: bindsOf(launch) });
  directory.keepRoom();
  sandbox.limits.countFrom(usedBefore(manifest));
  if (engine.savesProcesses) directory.write('restoring', { readers: manifest.input?.readers ?? [] });
  sandbox.onBegun();
  const netns = engine.savesProcesses ? network.begin(sandbox.spec, false) : null;
  const joined = engine.savesProcesses ? network.begun() : undefined;
  joined?.catch(() => undefined); // waited for before anything is started
  try {
    const identity = await carrier.held((held) =>
      restoreProcesses({
        backend,
        manifest,
        image,
        directory,
        spec: sandbox.spec,
        launch,
        netns: netns ?? held?.netns ?? null,
        joined,
        carrier: held,
        openFiles: order.openFiles,
        whole,
        onPlaced: (placed) => {
          sandbox.onPlaced(placed);
        },
        onReachable: () => sandbox.onReachable(signal),
        signal,
      }),
    );
    if (identity !== null) sandbox.onPlaced(identity);
    return identity !== null;
  } catch (error) {
    const cause: unknown = await whole.then(
      () => error,
      (damage: unknown) => damage,
    );
    if (isDamage(cause)) return 'Damaged';
    throw error;
  }
}

/** Once rank-init can be spoken with. Done again, it finds nothing to do. */
export async function handInput(
  adopted: AdoptedSandbox,
  { directory, openInput }: { directory: SandboxDirectory; openInput: () => InputSpool | null },
  native: Native,
): Promise<void> {
  const restoring = directory.read('restoring');
  if (restoring === null) return;
  for (const { slot, position } of restoring.readers) {
    const fd = openInput()?.openDescription();
    if (fd === undefined) break;
    try {
      native.seek(fd, BigInt(position));
      await adopted.request('hold', encodeHold(slot), [fd]);
    } finally {
      native.close(fd);
    }
  }
  directory.unlink('restoring');
}
