// The exact Wilcoxon signed-rank test of "the centre of symmetry is zero" and the interval that inverts it.
import { signedRankNull } from './distributions.js';
import { PairwiseSums, sorted } from './order.js';

/** Logarithms closer than this are the same measurement: far below one instruction, far above rounding. */
export const SAME = 1e-12;

export interface SignedRank {
  /** Hodges-Lehmann estimate: the median of the Walsh averages. */
  estimate: number;
  /** Closed interval with at least the confidence asked for; infinite where n values cannot reach it. */
  lower: number;
  upper: number;
  /** Two-sided p-value of centre zero; it is below 1 - confidence exactly when zero lies outside the interval. */
  p: number;
}

/**
 * Values must be independent and symmetric about a common centre; they need not be identically distributed. Ties and
 * zeros make test and interval conservative, never wrong: a Walsh average of zero is counted against every rejection,
 * which is what the least favourable way to break the ties would give.
 */
export function signedRank(values: ArrayLike<number>, confidence: number): SignedRank {
  const n = values.length;
  const walsh = PairwiseSums.walsh(sorted(values));
  const nothing = signedRankNull(n);
  const cut = nothing.critical((1 - confidence) / 2);
  const notAbove = walsh.countBelow(2 * SAME, true);
  const notBelow = walsh.count - walsh.countBelow(-2 * SAME, false);
  return {
    estimate: snap(walsh.median() / 2),
    lower: cut < 0 ? -Infinity : snap(walsh.select(cut) / 2),
    upper: cut < 0 ? Infinity : snap(walsh.select(walsh.count - 1 - cut) / 2),
    p: Math.min(1, 2 * nothing.cdf(Math.min(notAbove, notBelow))),
  };
}

/** The fewest values with which the test can reach the confidence: 2 / 2^n must not exceed 1 - confidence. */
export function fewestBlocks(confidence: number): number {
  return Math.ceil(1 - Math.log2(1 - confidence) - 1e-9);
}

/** Zero, where rounding left a little more or less. */
export function snap(value: number): number {
  return Math.abs(value) <= SAME ? 0 : value;
}
