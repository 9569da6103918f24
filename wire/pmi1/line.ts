// One line of PMI-1: reading fields of a request, building replies a client can read.
//
// Fields are found by searching, never by a regular expression or a table of all pairs: this runs for every request.
import { maxReplyBytes } from './maxes.ts';

/** The value of ` name=` in a request line; `prefix` is the name with the blank before and the equals sign behind it. */
export function fieldOf(line: string, prefix: ` ${string}=`): string | undefined {
  const at = line.indexOf(prefix);
  if (at < 0) return undefined;
  const from = at + prefix.length;
  const to = line.indexOf(' ', from);
  return to < 0 ? line.slice(from) : line.slice(from, to);
}

/** `cmd=NAME` of a request line, or null where there is none. */
export function commandOf(line: string): string | null {
  if (!line.startsWith('cmd=')) return null;
  const to = line.indexOf(' ', 4);
  const command = to < 0 ? line.slice(4) : line.slice(4, to);
  return command === '' ? null : command;
}

/** An error reply. The message becomes one word, short enough for the client's line. */
export function refusalOf(reply: string, message: string, rest = ''): string {
  return `cmd=${reply} rc=-1 msg=${wordOf(message)}${rest}\n`;
}

/** Text as one value of a reply: printable, without blanks, cut to a length that always fits. */
export function wordOf(text: string): string {
  return text.slice(0, 200).replace(/[^!-~]/g, '_');
}

export function fits(reply: string): boolean {
  return reply.length <= maxReplyBytes;
}

/** An integer field of a request, or null. */
export function integerOf(text: string | undefined): number | null {
  if (text === undefined || text.length === 0 || text.length > 15) return null;
  const n = Number(text);
  return Number.isSafeInteger(n) ? n : null;
}
