// What of a node's sandboxes goes to Prometheus: each of the first 256 by its name, all others summed up, so that a node of a
// thousand small jobs makes no thousand series a metric. Pure.

export interface SandboxFigures {
  readonly namespace: string;
  readonly group: string;
  readonly ordinal: string;
  readonly userSeconds: number;
  readonly systemSeconds: number;
  readonly memoryBytes: number;
  readonly memoryPeakBytes: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly logBytes: number;
  readonly oomKills: number;
  readonly ranks: number;
  /** Processors in use, of each rank. */
  readonly cores: readonly number[];
}

export const mostSandboxes = 256;

/** In the order given; the last one may be of all that are left. */
export function bounded(figures: readonly SandboxFigures[], most = mostSandboxes): SandboxFigures[] {
  if (figures.length <= most) return [...figures];
  const left = figures.slice(most - 1);
  const sum = (of: (each: SandboxFigures) => number) => left.reduce((total, each) => total + of(each), 0);
  return [
    ...figures.slice(0, most - 1),
    {
      namespace: '',
      group: 'other',
      ordinal: '',
      userSeconds: sum((each) => each.userSeconds),
      systemSeconds: sum((each) => each.systemSeconds),
      memoryBytes: sum((each) => each.memoryBytes),
      memoryPeakBytes: sum((each) => each.memoryPeakBytes),
      readBytes: sum((each) => each.readBytes),
      writtenBytes: sum((each) => each.writtenBytes),
      logBytes: sum((each) => each.logBytes),
      oomKills: sum((each) => each.oomKills),
      ranks: sum((each) => each.ranks),
      cores: left.flatMap(({ cores }) => cores),
    },
  ];
}
