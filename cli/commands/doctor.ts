/** `muster doctor`: what this machine can do as a node, and why not; each line one thing. Exit code 1 when jobs cannot run. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Cgroups, parseHierarchies } from '../../node-agent/cgroups.ts';
import { defaultNodeConfig } from '../../node-agent/config.ts';
import { CriuEngine } from '../../node-agent/checkpoint/criu-engine.ts';
import { CriuPrograms } from '../../node-agent/checkpoint/criu-programs.ts';
import type { Probe } from '../../node-agent/checkpoint/engine.ts';
import { trackerTrouble } from '../../node-agent/migration/copier.ts';
import { pagerTrouble } from '../../node-agent/migration/pager.ts';
import { networkTroubles } from '../../node-agent/network/troubles.ts';
import { native as loadNative } from '../../native/addon/index.ts';
import { featuresOf } from '../../node-agent/features.ts';
import { type Config, criuPrograms, nativeDirectory } from '../config.ts';
import { connect } from '../client.ts';
import { CommandError } from '../errors.ts';
import type { AnyObject } from '../../store/object-store.ts';
import { builtinTypes } from '../../store/resource.ts';
import { apiSocketOf, nodeStateOf } from '../home.ts';
import { readUnknown } from '../unknown.ts';

const probeWithinMs = 10_000;

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly message: string;
  /** Without it no job can run here. */
  readonly needed: boolean;
}

export interface DoctorOptions {
  output?: string;
  removeFinalizers?: boolean;
  force?: boolean;
}

export async function doctor(config: Config, _args: string[], options: DoctorOptions): Promise<number> {
  if (options.removeFinalizers) return freeObjects(config, options.force ?? false);
  const native = nativeDirectory();
  const built = ['rank-init', 'launch', 'engine', 'pager', 'tracker', 'muster.node', 'front'].filter(
    (name) => !existsSync(join(native, name)),
  );
  const checks: Check[] = [
    {
      name: 'native programs',
      ok: built.length === 0,
      message: built.length === 0 ? native : `missing ${built.join(', ')}: run "make build"`,
      needed: true,
    },
  ];
  const hierarchies = parseHierarchies(readFileSync('/proc/self/mountinfo', 'utf8'));
  const cgroups = new Cgroups(
    hierarchies,
    defaultNodeConfig.cgroupParent,
    nodeStateOf(config.home, 'doctor'),
    'doctor',
  );
  const uid = process.getuid?.() ?? 0;
  const noNetwork =
    built.length > 0
      ? { isolated: 'native programs are missing', tunnels: null, encryption: null }
      : await networkTroubles(loadNative(), uid, '127.0.0.1', null);
  const { features, missing } = featuresOf(
    uid,
    cgroups,
    noNetwork,
    await engineProbe(native, nodeStateOf(config.home, 'doctor'), built.length > 0),
    { pagerTrouble: pagerTrouble(native), trackerTrouble: trackerTrouble(native) },
  );
  cgroups.close();
  for (const feature of features) checks.push({ name: feature, ok: true, message: '', needed: false });
  for (const text of missing) {
    const at = text.indexOf(':');
    checks.push({ name: text.slice(0, at), ok: false, message: text.slice(at + 1).trim(), needed: false });
  }
  const store = await storeCheck(config);
  if (store) checks.push(store);
  if (options.output === 'json') process.stdout.write(`${JSON.stringify(checks, null, 2)}\n`);
  else {
    const width = Math.max(...checks.map(({ name }) => name.length));
    for (const { name, ok, message } of checks) {
      process.stdout.write(`${ok ? 'yes' : 'no '}  ${name.padEnd(width)}  ${message}`.trimEnd() + '\n');
    }
  }
  return checks.every(({ ok, needed }) => ok || !needed) ? 0 : 1;
}

/** Of the control plane of this home, where one runs and the user may ask it. */
async function storeCheck(config: Config): Promise<Check | undefined> {
  const socket = apiSocketOf(config.home);
  if (!existsSync(socket)) return undefined;
  let unknown;
  try {
    unknown = await readUnknown(connect({ socketPath: socket }));
  } catch {
    return undefined;
  }
  const { doubt, sandboxes } = unknown;
  const check = { name: 'store', needed: false };
  if (!doubt) return { ...check, ok: true, message: '' };
  const running =
    sandboxes.length === 0
      ? 'no sandbox that it does not know has been found; "muster kill --unknown --all" trusts it again'
      : `${sandboxes.length} that it does not know run on: see "muster ps --unknown", end them with "muster kill --unknown"`;
  const what = `objects may be missing since ${doubt.since} (${doubt.messages.join('; ')})`;
  return { ...check, ok: false, message: `${what}; ${running}` };
}

/** When controllers are gone for good: objects that are deleted would wait for them. While one leads, that is its work. */
async function freeObjects(config: Config, force: boolean): Promise<number> {
  const { clusterStoreOf } = await import('../daemon/cluster-store.ts');
  const { removeFinalizers } = await import('./uninstall-check.ts');
  using cluster = clusterStoreOf(config, false);
  const { store } = cluster;
  const { items } = await store.list<Lease>(builtinTypes.lease);
  const leads = items.find(
    (lease) => lease.metadata.name === 'muster-controller' && isFresh(lease, Date.now()),
  );
  if (leads && !force) {
    const where = `${leads.metadata.namespace}/${leads.metadata.name}`;
    throw new CommandError(
      `MUSTER_CONTROLLER_LEADS: ${leads.spec?.holderIdentity} leads (Lease ${where}) and removes finalizers itself once ranks are gone; stop it first, or give --force`,
    );
  }
  const freed = await removeFinalizers(store, { onlyEnded: false });
  process.stdout.write(`finalizers removed from ${freed} objects\n`);
  return 0;
}

interface Lease extends AnyObject {
  spec?: { holderIdentity?: string; renewTime?: string; leaseDurationSeconds?: number };
}

function isFresh({ spec }: Lease, nowMs: number): boolean {
  if (!spec?.holderIdentity) return false;
  return Date.parse(spec.renewTime ?? '') + (spec.leaseDurationSeconds ?? 0) * 1000 > nowMs;
}

/** What CRIU says of itself here. */
function engineProbe(nativeDir: string, stateDir: string, isBroken: boolean): Promise<Probe> {
  if (isBroken) return Promise.resolve({ version: null, why: 'native programs are missing' });
  const programs = new CriuPrograms(criuPrograms(), `${stateDir}/criu`);
  const host = { native: loadNative(), nativeDir, programs, keepNamespaces: false };
  return new CriuEngine(host).probe(AbortSignal.timeout(probeWithinMs));
}
