/** How numbers stand on the page: short, of a steady width, with units. Pure. */
const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

export function bytesText(bytes: number): string {
  if (!(bytes > 0)) return '0 B';
  const power = Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${value < 10 && power > 0 ? value.toFixed(1) : Math.round(value)} ${units[power]}`;
}

/** `840 ms`, `3.2 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`. */
export function durationText(ms: number): string {
  if (!(ms > 0)) return '0 s';
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return seconds % 60 === 0 ? `${minutes} min` : `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  const days = Math.floor(hours / 24);
  return hours % 24 === 0 ? `${days} d` : `${days} d ${hours % 24} h`;
}

/** Only the larger of the two units: for columns. */
export function ageText(ms: number): string {
  if (ms < 1000) return '0 s';
  const [number = '0', unit = 's'] = durationText(Math.floor(ms / 1000) * 1000).split(' ');
  return `${Number(number) === Math.trunc(Number(number)) ? Math.trunc(Number(number)) : number} ${unit}`;
}

const two = (value: number): string => String(value).padStart(2, '0');

/** Of the reader's own clock: `14:03:07`. */
export function clockText(ms: number): string {
  const date = new Date(ms);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

export const coresText = (cores: number): string =>
  cores < 10 ? cores.toFixed(1) : String(Math.round(cores));

export const countText = (count: number, one: string, many = `${one}s`): string =>
  `${count.toLocaleString('en')} ${count === 1 ? one : many}`;
