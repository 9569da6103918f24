/** Figures as a table of a few columns shows them: short, of one unit each, aligned by who prints them. Pure. */

const units = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi'];

export function bytesText(bytes: number): string {
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${value < 10 && power > 0 ? value.toFixed(1) : Math.round(value)}${units[power]}`;
}

export function secondsText(seconds: number): string {
  if (seconds < 100) return `${seconds.toFixed(1)}s`;
  if (seconds < 6000)
    return `${Math.floor(seconds / 60)}m${String(Math.floor(seconds % 60)).padStart(2, '0')}s`;
  return `${Math.floor(seconds / 3600)}h${String(Math.floor((seconds % 3600) / 60)).padStart(2, '0')}m`;
}

const eighths = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/** One character a value, or a mean of neighbours where there are more values than room; the highest is full. */
export function sparkline(values: readonly number[], width: number): string {
  if (values.length === 0) return '';
  const cells = Math.min(width, values.length);
  const means = Array.from({ length: cells }, (_, cell) => {
    const part = values.slice(
      Math.floor((cell * values.length) / cells),
      Math.floor(((cell + 1) * values.length) / cells),
    );
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
  const highest = Math.max(...means, Number.MIN_VALUE);
  return means.map((mean) => eighths[Math.min(7, Math.floor((mean / highest) * 7.999))]).join('');
}

/** How far the one that works most is above the mean, in percent; 0: all work alike. */
export function imbalancePercent(values: readonly number[]): number {
  if (values.length === 0) return 0;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return mean === 0 ? 0 : Math.round((Math.max(...values) / mean - 1) * 100);
}
