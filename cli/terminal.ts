/**
 * This process's terminal as somebody attached uses it: raw, so that every key reaches the far side, its size and the changes of it,
 * and as it was before on every way out. Where there is none, everything here does nothing.
 */
import { Transform } from 'node:stream';
import type { TerminalSize } from './attach-client.ts';
import { DetachKeys } from './detach-keys.ts';

export const hasTerminal = (): boolean => process.stdin.isTTY && process.stdout.isTTY;

export const terminalSize = {
  now: (): TerminalSize => ({ rows: process.stdout.rows || 24, columns: process.stdout.columns || 80 }),
  onChange: (listener: () => void): Disposable => {
    process.stdout.on('resize', listener);
    return { [Symbol.dispose]: () => void process.stdout.off('resize', listener) };
  },
};

/** Every key as it is typed, until disposed of; `detach` is called when the keys that detach are typed. */
export function rawKeys(detach: () => void): { readonly input: Transform } & Disposable {
  const keys = new DetachKeys();
  const input = new Transform({
    transform: (typed: Buffer, _encoding, done) => {
      const answer = keys.type(typed);
      if (answer.detach) detach();
      done(null, answer.pass);
    },
  });
  const restore = (): void => void process.stdin.setRawMode(false);
  process.stdin.setRawMode(true);
  process.once('exit', restore);
  process.stdin.pipe(input);
  return {
    input,
    [Symbol.dispose]: () => {
      process.off('exit', restore);
      process.stdin.unpipe(input);
      restore();
      process.stdin.pause();
    },
  };
}
