// From an interval on the logarithmic shift to what is reported: verdict, fractions, and what it would take to see more.
import { normalQuantile } from './distributions.js';
import type { Verdict } from './input.js';
import { SAME } from './signedrank.js';

/**
 * Stands for "no upper bound" where JSON has no infinity: the largest number there is. The lower end of an unbounded
 * interval is -1 exactly, as nothing can take less than no time.
 */
export const UNBOUNDED = Number.MAX_VALUE;

/** With this probability a true shift of `minimumDetectable` is called. */
export const POWER = 0.9;

/** An interval for the shift of logarithms; positive is slower. */
export interface LogInterval {
  estimate: number;
  lower: number;
  upper: number;
}

/** A shift of logarithms as a fraction: 0.05 is 5% slower. */
export function fraction(log: number): number {
  return Math.min(UNBOUNDED, Math.expm1(log));
}

/**
 * Regressed or improved: zero is outside the interval and the interval reaches beyond delta. Unchanged: all of it lies
 * within delta. The margin is the same factor both ways, so that swapping A and B mirrors the verdict.
 */
export function verdictOf({ lower, upper }: LogInterval, delta: number): Verdict {
  const margin = Math.log1p(delta) + SAME;
  if (lower >= -margin && upper <= margin) return 'unchanged';
  if (lower > 0) return 'regressed';
  return upper < 0 ? 'improved' : 'inconclusive';
}

/**
 * The smallest slowdown that POWER of such comparisons would call regressed: an estimate that falls short of it by its
 * usual error must still clear zero by half the interval's width, which itself varies the more the fewer its degrees of
 * freedom, and the interval must reach beyond delta.
 */
export function detectable(halfWidth: number, standardError: number, freedom: number, delta: number): number {
  if (halfWidth === Infinity) return UNBOUNDED;
  const unlucky = normalQuantile(POWER) * Math.sqrt(standardError ** 2 + halfWidth ** 2 / (2 * freedom));
  return fraction(Math.max(halfWidth + unlucky, Math.log1p(delta) - halfWidth + unlucky));
}
