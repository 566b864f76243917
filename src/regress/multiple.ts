// Many metrics at once: of the shifts called, at most a stated share may be false (Benjamini and Hochberg).
import { compare, type Comparison } from './compare.js';
import { normalQuantile } from './distributions.js';
import type { CompareInput } from './input.js';
import { fewestBlocks } from './signedrank.js';

export interface FamilyComparison extends Comparison {
  /** The p-value adjusted for all metrics: the smallest false discovery rate at which this shift would be called. */
  q: number | null;
}

/** Adjusted p-values in the order given; null, for what is no test, stays null and does not count. */
export function benjaminiHochberg(p: readonly (number | null)[]): (number | null)[] {
  const tested = p.flatMap((value, index) => (value === null ? [] : [{ value, index }]));
  tested.sort((x, y) => y.value - x.value);
  const adjusted: (number | null)[] = p.map(() => null);
  let least = 1;
  tested.forEach(({ value, index }, i) => {
    least = Math.min(least, (value * tested.length) / (tested.length - i));
    adjusted[index] = least;
  });
  return adjusted;
}

/**
 * Compares all metrics of one pair of kernels. A shift that its own interval shows, but that does not stand among so
 * many metrics, is inconclusive. Exact results are no matter of chance and take no part.
 */
export function compareAll(inputs: readonly CompareInput[], falseDiscoveryRate = 0.01): FamilyComparison[] {
  return adjust(inputs.map(compare), falseDiscoveryRate);
}

/** The same for comparisons already made. */
export function adjust(comparisons: readonly Comparison[], falseDiscoveryRate = 0.01): FamilyComparison[] {
  const adjusted = benjaminiHochberg(comparisons.map(({ p }) => p));
  return comparisons.map((comparison, i) => {
    const q = adjusted[i]!;
    const { verdict } = comparison;
    const called = verdict === 'regressed' || verdict === 'improved';
    if (!called || q === null || q <= falseDiscoveryRate) return { ...comparison, q };
    const level = (comparison.p! * falseDiscoveryRate) / q;
    return { ...comparison, q, verdict: 'inconclusive', moreBlocks: blocksToReach(level, comparison) };
  });
}

/** Further blocks after which the same shift in the same noise would have a p-value of `level`. */
function blocksToReach(level: number, { p, blocks }: Comparison): number {
  const growth = normalQuantile(1 - level / 2) / normalQuantile(1 - p! / 2);
  return Math.max(fewestBlocks(1 - level), Math.ceil(blocks * growth ** 2) + 1) - blocks;
}
