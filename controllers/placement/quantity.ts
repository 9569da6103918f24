/**
 * Kubernetes quantities ("1500m", "2Gi", 3) as plain numbers, for comparing and for handing to agents. Knows nothing
 * of what they measure; a text that is no quantity is undefined.
 */
const factors: Readonly<Record<string, number>> = {
  '': 1, n: 1e-9, u: 1e-6, m: 1e-3, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18,
  Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50, Ei: 2 ** 60,
}; // prettier-ignore

export function parseQuantity(quantity: string | number): number | undefined {
  if (typeof quantity === 'number') return quantity;
  const match = /^([+-]?(?:\d+\.?\d*|\.\d+))(?:([KMGTPE]i|[numkMGTPE]?)|[eE]([+-]?\d+))$/.exec(quantity);
  if (!match) return undefined;
  if (match[3] !== undefined) return Number(match[1]) * 10 ** Number(match[3]);
  return Number(match[1]) * factors[match[2] ?? '']!;
}
