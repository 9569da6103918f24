// Node lists such as "node[1-4,7],big1": many names in little text, in order, repeats allowed. Only the last
// number of a name is folded, and its leading zeros are kept ("node[08-11]"). Pure; it does not know whether
// such nodes exist.

export class NodeListError extends Error {
  readonly code = 'MUSTER_NODE_LIST';
}

/** No list stands for more names than this, however it is written. */
export const nodeListLimit = 65_536;

interface Parts {
  prefix: string;
  digits: string;
  suffix: string;
}

/** The last run of at most nine digits, with what is around it. */
function partsOf(name: string): Parts | undefined {
  const match = /^(.*?)(\d{1,9})(\D*)$/s.exec(name);
  return match ? { prefix: match[1]!, digits: match[2]!, suffix: match[3]! } : undefined;
}

function pad(value: number, width: number): string {
  return String(value).padStart(width, '0');
}

/** The names as one text; parseNodeList gives them back in the same order. */
export function nodeListText(names: readonly string[]): string {
  const out: string[] = [];
  for (let i = 0; i < names.length;) {
    const start = partsOf(names[i]!);
    if (!start) {
      out.push(names[i]!);
      i++;
      continue;
    }
    const ranges: string[] = [];
    let end = i;
    while (end < names.length) {
      const first = partsOf(names[end]!);
      if (!first || first.prefix !== start.prefix || first.suffix !== start.suffix) break;
      const from = Number(first.digits);
      const width = first.digits.length;
      let count = 1;
      while (names[end + count] === `${start.prefix}${pad(from + count, width)}${start.suffix}`) count++;
      ranges.push(count === 1 ? first.digits : `${first.digits}-${pad(from + count - 1, width)}`);
      end += count;
    }
    out.push(end - i === 1 ? names[i]! : `${start.prefix}[${ranges.join(',')}]${start.suffix}`);
    i = end;
  }
  return out.join(',');
}

/** The names that a node list stands for, in order. */
export function parseNodeList(text: string): string[] {
  const names: string[] = [];
  const add = (name: string) => {
    if (names.length >= nodeListLimit)
      throw new NodeListError(`a node list stands for at most ${nodeListLimit} names`);
    names.push(name);
  };
  if (text === '') return names;
  for (const word of text.match(/(?:[^,[\]]|\[[^[\]]*\])+|./gs)?.filter((part) => part !== ',') ?? []) {
    const match = /^([^[\]]*)\[([^[\]]+)\]([^[\]]*)$/s.exec(word);
    if (!match) {
      if (/[[\]]/.test(word)) throw new NodeListError(`"${word}" is no name and no list such as node[1-4,7]`);
      add(word);
      continue;
    }
    for (const part of match[2]!.split(',')) {
      const range = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(part);
      if (!range) throw new NodeListError(`"${part}" in "${word}" is no number and no range such as 1-4`);
      const first = Number(range[1]);
      const last = range[2] === undefined ? first : Number(range[2]);
      if (last < first) throw new NodeListError(`range ${part} in "${word}" ends before it begins`);
      for (let value = first; value <= last; value++)
        add(`${match[1]!}${pad(value, range[1]!.length)}${match[3]!}`);
    }
  }
  return names;
}
