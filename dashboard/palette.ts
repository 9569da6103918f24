/** The colours of the canvas, taken from the style sheet so that dark and light are decided in one place. Mixing is pure. */
import { marks } from './grid-plan.ts';

export interface Palette {
  readonly paper: string;
  readonly ink: string;
  readonly faint: string;
  readonly line: string;
  readonly warn: string;
  readonly focus: string;
  /** By mark, as pixels of a canvas; `dimmed` is for what is not selected. */
  readonly cells: Uint32Array;
  readonly dimmed: Uint32Array;
  /** On cells that are told apart by more than colour. */
  readonly glyph: number;
}

export type Colour = readonly [red: number, green: number, blue: number];

export function colourOf(text: string): Colour {
  const match = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(text.trim());
  if (!match) throw new Error(`MUSTER_PAGE_COLOUR: "${text}": expected #rrggbb`);
  return [parseInt(match[1]!, 16), parseInt(match[2]!, 16), parseInt(match[3]!, 16)];
}

export const mixed = (a: Colour, b: Colour, share: number): Colour => [
  Math.round(a[0] + (b[0] - a[0]) * share),
  Math.round(a[1] + (b[1] - a[1]) * share),
  Math.round(a[2] + (b[2] - a[2]) * share),
];

/** As canvases keep it on little-endian machines, which all are that run browsers. */
export const pixelOf = ([red, green, blue]: Colour): number =>
  ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;

export function paletteOf(variable: (name: string) => string): Palette {
  const colour = (name: string): Colour => colourOf(variable(name));
  const paper = colour('--panel');
  const idle = colour('--idle');
  const busy = colour('--busy');
  const colours: Colour[] = Array.from({ length: 10 }, (_, digit) => mixed(idle, busy, digit / 9));
  colours[marks.free] = colour('--free');
  colours[marks.pending] = colour('--pending');
  colours[marks.frozen] = colour('--frozen');
  colours[marks.saving] = colour('--saving');
  colours[marks.ended] = colour('--ended');
  colours[marks.failed] = colour('--failed');
  colours[marks.unknown] = colour('--unknown');
  return {
    paper: variable('--panel').trim(),
    ink: variable('--ink').trim(),
    faint: variable('--faint').trim(),
    line: variable('--line').trim(),
    warn: variable('--failed').trim(),
    focus: variable('--focus').trim(),
    cells: Uint32Array.from(colours, pixelOf),
    dimmed: Uint32Array.from(colours, (one) => pixelOf(mixed(one, paper, 0.72))),
    glyph: pixelOf(paper),
  };
}
