// How a spawn message leaves a rank's request stream: whole lines are consumed as they come, each time with a note for
// the journal; only the lines of its last part stay until the answer is known.
import { noteOf, spawnNote } from './journal.ts';
import type { SpawnReader, SpawnRequest } from './spawn.ts';

export type SpawnStep =
  | { kind: 'wait' }
  /** Part of the message; with `skipping`, the rest of its last line is to be thrown away. */
  | { kind: 'part'; consume: number; note: Buffer; skipping: boolean }
  | { kind: 'whole'; consume: number; spawn: SpawnRequest }
  | { kind: 'refused'; consume: number; reason: string };

/** A line holds one argument. */
const lineBytesMax = 64 << 10;
const newline = 10;

export function spawnStepOf(reader: SpawnReader, rank: number, bytes: Buffer): SpawnStep {
  let kept = '';
  let consume = 0;
  for (let end = bytes.indexOf(newline); end >= 0; end = bytes.indexOf(newline, consume)) {
    const line = bytes.toString('latin1', consume, end);
    consume = end + 1;
    const progress = reader.feed(line);
    if (progress.kind === 'done') return { kind: 'whole', consume, spawn: progress.spawn };
    if (progress.kind === 'refused') return { kind: 'refused', consume, reason: progress.reason };
    if (reader.refusal === null || isFrame(line)) kept += `${line}\n`;
  }
  const skipping = bytes.length - consume > lineBytesMax;
  if (skipping) {
    reader.refuse('spawn line too long');
    consume = bytes.length;
  }
  if (consume === 0) return { kind: 'wait' };
  const notes = [spawnNote('spawn', rank, kept)];
  if (reader.refusal !== null) notes.push(spawnNote('spawnRefused', rank, reader.refusal));
  if (skipping) notes.push(noteOf('skip', rank));
  return { kind: 'part', consume, note: Buffer.concat(notes), skipping };
}

/** Feeds what the journal kept of a message. */
export function replaySpawn(reader: SpawnReader, text: string): void {
  for (const line of text.split('\n').slice(0, -1)) reader.feed(line);
}

/** Lines that mark the blocks of a message: kept even of one that is refused, so that its end is found. */
function isFrame(line: string): boolean {
  return line === 'mcmd=spawn' || line === 'endcmd' || line.startsWith('totspawns=');
}
