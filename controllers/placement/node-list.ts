/**
 * Lists of node names as text: "node[1-4,7],big1". Order and repeats are kept; numbers keep their leading zeros.
 * Reading what was formatted gives the same list.
 */
interface Part {
  readonly prefix: string;
  readonly digits: string;
  readonly suffix: string;
}

export function formatNodeList(nodes: readonly string[]): string {
  const words: string[] = [];
  for (let i = 0; i < nodes.length;) {
    const first = split(nodes[i]!);
    let end = i + 1;
    while (first && end < nodes.length && alike(first, split(nodes[end]!))) end += 1;
    if (!first || end === i + 1) {
      words.push(nodes[i]!);
      i += 1;
      continue;
    }
    const numbers = nodes.slice(i, end).map((node) => split(node)!.digits);
    words.push(`${first.prefix}[${rangesOf(numbers)}]${first.suffix}`);
    i = end;
  }
  return words.join(',');
}

export function parseNodeList(text: string): string[] {
  const nodes: string[] = [];
  for (const match of text.matchAll(/([^,[\]]*)(?:\[([^\]]*)\]([^,[\]]*))?(?:,|$)/g)) {
    const [, prefix = '', ranges, suffix = ''] = match;
    if (match[0] === '') continue;
    if (ranges === undefined) {
      nodes.push(prefix);
      continue;
    }
    for (const range of ranges.split(',')) {
      const [low = '', high = low] = range.split('-');
      for (let n = Number(low); n <= Number(high); n++)
        nodes.push(prefix + String(n).padStart(low.length, '0') + suffix);
    }
  }
  return nodes;
}

function split(name: string): Part | undefined {
  const match = /^(.*?)(\d{1,9})(\D*)$/.exec(name);
  return match ? { prefix: match[1]!, digits: match[2]!, suffix: match[3]! } : undefined;
}

/** Numbers of different length are alike only when neither has leading zeros. */
function alike(a: Part, b: Part | undefined): boolean {
  if (!b || a.prefix !== b.prefix || a.suffix !== b.suffix) return false;
  if (a.digits.length === b.digits.length) return true;
  return !/^0\d/.test(a.digits) && !/^0\d/.test(b.digits) && a.digits !== '0' && b.digits !== '0';
}

function rangesOf(numbers: readonly string[]): string {
  const ranges: string[] = [];
  for (let i = 0; i < numbers.length;) {
    let end = i;
    while (end + 1 < numbers.length && Number(numbers[end + 1]) === Number(numbers[end]) + 1) end += 1;
    ranges.push(end === i ? numbers[i]! : `${numbers[i]!}-${numbers[end]!}`);
    i = end + 1;
  }
  return ranges.join(',');
}
