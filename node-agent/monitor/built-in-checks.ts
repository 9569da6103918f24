// What every agent looks at by itself, from what is measured anyway: room and health of file systems, the clock, memory errors, the
// engine of checkpoints, its own age. Pure but for the figures that are handed in; whether a run comes to something is verdict.ts.
import type { DiskFigures } from '../../wire/agent-types.ts';
import type { ErrorCounts } from './node-sampler.ts';
import type { Run } from './verdict.ts';

export interface Figures {
  readonly disks: readonly DiskFigures[];
  /** The file system of the agent's state, without which no job starts and no output is kept. */
  readonly stateDir: string;
  readonly clockOffsetMs: number | null;
  readonly memoryErrors: ErrorCounts | null;
  /** Of CRIU, where it is installed; null: it works, or is not there. */
  readonly engineTrouble: string | null;
  readonly hasEngine: boolean;
  readonly build: string;
  /** Of the controllers; empty: not known. */
  readonly hubBuild: string;
}

const leastFreePercent = 3;
const leastFreeBytes = 256 * 2 ** 20;
const clockOffByMs = 2_000;

const good: Run = { ok: true, message: '' };
const bad = (message: string): Run => ({ ok: false, message });

export const builtInChecks = {
  'disk-full': ({ disks, stateDir }: Figures): Run | null => {
    const disk = disks.find(({ path }) => path === stateDir);
    if (!disk || disk.totalBytes === 0) return null;
    const percent = (disk.availableBytes / disk.totalBytes) * 100;
    const filesPercent = disk.filesTotal === 0 ? 100 : (disk.filesFree / disk.filesTotal) * 100;
    if (disk.availableBytes < leastFreeBytes || percent < leastFreePercent)
      return bad(
        `${disk.path} has ${String(Math.floor(disk.availableBytes / 2 ** 20))} MiB left (${percent.toFixed(1)} %)`,
      );
    return filesPercent < leastFreePercent
      ? bad(`${disk.path} can take only ${String(disk.filesFree)} more files`)
      : good;
  },
  'disk-read-only': ({ disks, stateDir }: Figures): Run | null => {
    const disk = disks.find(({ path }) => path === stateDir);
    if (!disk) return null;
    return disk.readOnly
      ? bad(`${disk.path} cannot be written: its file system is read-only, as after an error of its disk`)
      : good;
  },
  'file-systems': ({ disks }: Figures): Run | null => {
    if (disks.length === 0) return null;
    const troubled = disks.filter(({ trouble }) => trouble !== '');
    return troubled.length === 0
      ? good
      : bad(troubled.map(({ path, trouble }) => `${path} ${trouble}`).join('; '));
  },
  clock: ({ clockOffsetMs }: Figures): Run | null => {
    if (clockOffsetMs === null) return null;
    const seconds = (Math.abs(clockOffsetMs) / 1000).toFixed(1);
    return Math.abs(clockOffsetMs) > clockOffByMs
      ? bad(
          `the clock is ${seconds} s ${clockOffsetMs > 0 ? 'ahead of' : 'behind'} the controllers': see to time synchronisation`,
        )
      : good;
  },
  'memory-errors': ({ memoryErrors }: Figures): Run | null => {
    if (memoryErrors === null) return null;
    return memoryErrors.uncorrected > 0
      ? bad(
          `${String(memoryErrors.uncorrected)} errors of memory that could not be corrected since the node was started`,
        )
      : good;
  },
  checkpoints: ({ hasEngine, engineTrouble }: Figures): Run | null => {
    if (!hasEngine) return null;
    return engineTrouble === null ? good : bad(`CRIU does not work: ${engineTrouble}`);
  },
  'agent-version': ({ build, hubBuild }: Figures): Run | null => {
    const [own, hub] = [versionOf(build), versionOf(hubBuild)];
    if (!own || !hub) return null;
    const isOld = own.major < hub.major || (own.major === hub.major && own.minor + 1 < hub.minor);
    return isOld
      ? bad(`the agent is of version ${build}, the controllers of ${hubBuild}: update the agent`)
      : good;
  },
} as const satisfies Record<string, (figures: Figures) => Run | null>;

function versionOf(build: string): { major: number; minor: number } | null {
  const match = /^v?(\d+)\.(\d+)\b/.exec(build);
  return match && { major: Number(match[1]), minor: Number(match[2]) };
}
