/** Cores in use over the time that the page has seen, the last hour at most. */
import { useRef } from 'preact/hooks';
import { ageText, coresText } from './text.ts';
import type { Sample } from './usage-history.ts';
import { useSize } from './use-size.ts';

const height = 44;
const hourMs = 3_600_000;

export function UseChart({ samples }: { readonly samples: readonly Sample[] }) {
  const outer = useRef<HTMLDivElement>(null);
  const { width: outerWidth } = useSize(outer);
  const width = Math.max(0, outerWidth - 28);
  const first = samples[0];
  const last = samples.at(-1);
  return (
    <div class="use-panel" ref={outer}>
      {first && last && samples.length > 1 && (
        <Chart samples={samples} width={width} firstMs={first.atMs} lastMs={last.atMs} />
      )}
    </div>
  );
}

interface ChartProps {
  readonly samples: readonly Sample[];
  readonly width: number;
  readonly firstMs: number;
  readonly lastMs: number;
}

function Chart({ samples, width, firstMs, lastMs }: ChartProps) {
  const most = Math.max(1, ...samples.map(({ cores }) => cores));
  const spanMs = Math.max(60_000, Math.min(hourMs, lastMs - firstMs));
  const x = (ms: number): number => width - ((lastMs - ms) / spanMs) * width;
  const y = (cores: number): number => height - 2 - (cores / most) * (height - 16);
  const line = samples.map(({ atMs, cores }) => `${x(atMs).toFixed(1)},${y(cores).toFixed(1)}`);
  return (
    <svg width={width} height={height} role="img" aria-label={`Cores in use, at most ${coresText(most)}`}>
      <polygon class="use-ground" points={`${x(firstMs)},${height} ${line.join(' ')} ${width},${height}`} />
      <polyline class="use" points={line.join(' ')} />
      <text x={0} y={10}>{`cores, at most ${coresText(most)}`}</text>
      <text x={width} y={10} text-anchor="end">{`last ${ageText(spanMs)}`}</text>
    </svg>
  );
}
