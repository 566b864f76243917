// Is B slower than A? Blocks that ran beside each other give one shift each; the shifts together give an interval, and the
// interval the verdict. docs/statistics.md says why these tests, and what was measured of them.
import { normalQuantile, rankSumNull, studentQuantile } from './distributions.js';
import { type Clock, type CompareInput, DEFAULT_CONFIDENCE, DEFAULT_DELTA, logsOf, type Verdict } from './input.js';
import { differences, hodgesLehmannShift, median, medianOfSorted, sorted } from './order.js';
import { fewestBlocks, SAME, signedRank, snap } from './signedrank.js';
import { detectable, fraction, type LogInterval, verdictOf } from './verdict.js';

/** What the interval rests on. */
export type Method =
  /** icount: every boot of a kernel repeated the same values; the shift is a fact, not an estimate. */
  | 'exact'
  /** The signed-rank test over the blocks; too few of them leave its interval unbounded. */
  | 'signed-rank'
  /** icount, too few boots for the signed-rank test: Student's t on the boots' medians. */
  | 'repeated-boots'
  /** icount, one boot per kernel: a test on its samples, with a margin for what one boot cannot show. */
  | 'single-boot';

export interface Comparison {
  id: string | number;
  clock: Clock;
  /** Typical values: the median of the blocks' medians. */
  a: number;
  b: number;
  /** Fraction: 0.05 means that B is 5% slower. */
  shift: number;
  ci: [lower: number, upper: number];
  verdict: Verdict;
  /** The smallest slowdown that nine in ten such comparisons would call regressed; UNBOUNDED where none could. */
  minimumDetectable: number;
  delta: number;
  confidence: number;
  blocks: number;
  samples: [a: number, b: number];
  method: Method;
  exact: boolean;
  /** Two-sided p-value of "no shift"; null where the method is no test. */
  p: number | null;
  /** Only where inconclusive: an estimate of how many further blocks would settle it. */
  moreBlocks?: number;
  /**
   * Only where a block's shift follows the one before it more than chance allows (one in a hundred): then blocks did not run beside
   * each other as they should, and the interval is too narrow. The correlation of the ranks of neighbours.
   */
  serialCorrelation?: number;
  /** Samples that were zero, below what the clock resolves. */
  zeros?: number;
  /** Pairs of blocks left out because one of the two held no sample. */
  leftOut?: number;
}

/**
 * Under icount two boots of one kernel differ by no more than this (as a logarithm) even where they do not repeat exactly:
 * a few instructions of timer work more or less. No interval from fewer than eight boots claims to be narrower.
 */
export const BOOT_SPREAD = Math.log1p(0.002);

/** One boot cannot show that it repeats at all, so from a single pair only shifts well beyond this are called. */
const SINGLE_BOOT_SPREAD = Math.log1p(0.005);

/** Power that `moreBlocks` plans for. */
const PLANNED_POWER = 0.8;
const PLAN_LIMIT = 1_000_000;
/** What the signed-rank test needs more blocks than a t-test if the noise is normal. */
const EFFICIENCY = 3 / Math.PI;

/** What a comparison rests on, made ready: pairs of blocks that both hold samples. */
export interface Blocks {
  id: string | number;
  clock: Clock;
  confidence: number;
  delta: number;
  /** Ascending logarithms per block. */
  a: Float64Array[];
  b: Float64Array[];
  /** Shift of each block; positive is slower. */
  shifts: number[];
  /** 1, or -1 for a metric of which more is better. */
  sign: number;
  /** The shift of each sample of a single pair of blocks, if both have as many. */
  byPosition: number[] | undefined;
  typical: [a: number, b: number];
  samples: [a: number, b: number];
  zeros: number;
  leftOut: number;
}

export interface Finding extends LogInterval {
  method: Method;
  p: number | null;
  /** Standard error of the estimate, NaN if the blocks tell nothing about it. */
  error: number;
  /** Degrees of freedom that the width of the interval rests on; infinite where it does not vary. */
  freedom: number;
}

/** Throws nothing for input that passed checkCompareInput(). */
export function compare(input: CompareInput): Comparison {
  const blocks = blocksOf(input);
  return report(blocks, find(blocks));
}

export function blocksOf(input: CompareInput): Blocks {
  const { id, clock = 'wall', confidence = DEFAULT_CONFIDENCE } = input;
  const kept = input.a.flatMap((block, i) => (block.length > 0 && input.b[i]!.length > 0 ? [i] : []));
  const rawA = kept.map((i) => input.a[i]!);
  const rawB = kept.map((i) => input.b[i]!);
  const { lists, zeros } = logsOf([...rawA, ...rawB]);
  const sign = input.direction === 'higher' ? -1 : 1;
  const byPosition = kept.length === 1 ? shiftsByPosition(lists[0]!, lists[1]!, sign) : undefined;
  for (const list of lists) list.sort();
  const a = lists.slice(0, kept.length);
  const b = lists.slice(kept.length);
  return {
    id,
    clock,
    confidence,
    delta: input.delta ?? DEFAULT_DELTA[clock],
    a,
    b,
    shifts: a.map((block, i) => snap(sign * hodgesLehmannShift(block, b[i]!))),
    sign,
    byPosition,
    typical: [typical(rawA), typical(rawB)],
    samples: [countSamples(rawA), countSamples(rawB)],
    zeros,
    leftOut: input.a.length - kept.length,
  };
}

export function report(blocks: Blocks, finding: Finding): Comparison {
  const { id, clock, confidence, delta, zeros, leftOut } = blocks;
  const verdict = verdictOf(finding, delta);
  const halfWidth = (finding.upper - finding.lower) / 2;
  const correlation = serialCorrelation(blocks.shifts);
  return {
    id,
    clock,
    a: blocks.typical[0],
    b: blocks.typical[1],
    shift: fraction(finding.estimate),
    ci: [fraction(finding.lower), fraction(finding.upper)],
    verdict,
    minimumDetectable: detectable(halfWidth, finding.error, finding.freedom, delta),
    delta,
    confidence,
    blocks: blocks.shifts.length,
    samples: blocks.samples,
    method: finding.method,
    exact: finding.method === 'exact',
    p: finding.p,
    ...(verdict === 'inconclusive' && { moreBlocks: moreBlocks(blocks, finding) }),
    ...(correlation !== undefined && { serialCorrelation: correlation }),
    ...(zeros > 0 && { zeros }),
    ...(leftOut > 0 && { leftOut }),
  };
}

function shiftsByPosition(a: Float64Array, b: Float64Array, sign: number): number[] | undefined {
  return a.length === b.length ? Array.from(a, (value, i) => snap(sign * (b[i]! - value))) : undefined;
}

function countSamples(blocks: readonly (readonly number[])[]): number {
  return blocks.reduce((sum, block) => sum + block.length, 0);
}

function typical(blocks: readonly (readonly number[])[]): number {
  return blocks.length === 0 ? 0 : median(blocks.map((block) => median(block)));
}

function find(blocks: Blocks): Finding {
  if (blocks.clock === 'icount') {
    if (isExact(blocks)) {
      const shift = blocks.shifts[0]!;
      return { method: 'exact', p: null, estimate: shift, lower: shift, upper: shift, error: 0, freedom: Infinity };
    }
    const found = blocks.shifts.length === 1 ? findInSingleBoot(blocks) : findInFewBoots(blocks);
    if (found) return found;
  }
  return findAcrossBlocks(blocks);
}

/** Two or more boots of each kernel, each with the very same values in whatever order. */
export function isExact({ a, b }: Pick<Blocks, 'a' | 'b'>): boolean {
  return a.length >= 2 && repeats(a) && repeats(b);
}

function repeats(blocks: Float64Array[]): boolean {
  const first = blocks[0]!;
  const constant = first[0] === first[first.length - 1];
  return blocks.every((block) =>
    constant
      ? block[0] === first[0] && block[block.length - 1] === first[0]
      : block.length === first.length && block.every((value, i) => value === first[i]),
  );
}

function findAcrossBlocks({ shifts, confidence }: Blocks): Finding {
  const freedom = shifts.length - 1;
  if (freedom < 0)
    return { method: 'signed-rank', p: 1, estimate: 0, lower: -Infinity, upper: Infinity, error: NaN, freedom };
  const test = signedRank(shifts, confidence);
  const bounded = test.upper < Infinity;
  return {
    method: 'signed-rank',
    p: test.p,
    estimate: test.estimate,
    lower: test.lower,
    upper: test.upper,
    error: bounded
      ? (test.upper - test.lower) / 2 / studentQuantile((1 + confidence) / 2, freedom)
      : standardDeviation([shifts]) / Math.sqrt(shifts.length),
    freedom,
  };
}

/** Nothing is shared between guests under icount, so the boots of both kernels are two independent samples. */
function findInFewBoots({ a, b, shifts, confidence }: Blocks): Finding | undefined {
  const n = shifts.length;
  if (n >= fewestBlocks(confidence)) return undefined;
  const spread = standardDeviation([a.map(medianOfSorted), b.map(medianOfSorted)]);
  const error = spread * Math.sqrt(2 / n);
  const sampled = error * studentQuantile((1 + confidence) / 2, 2 * n - 2);
  const half = Math.max(BOOT_SPREAD, sampled);
  const estimate = snap(shifts.reduce((sum, shift) => sum + shift, 0) / n);
  return {
    method: 'repeated-boots',
    p: null,
    estimate,
    lower: estimate - half,
    upper: estimate + half,
    error,
    freedom: sampled > BOOT_SPREAD ? 2 * n - 2 : Infinity,
  };
}

/**
 * Boots repeat position by position, whatever the samples at different positions cost; so samples are paired by position
 * where both boots have as many, and taken as two samples without order otherwise. If what should repeat does not, the boots
 * may differ as much, and one of each says nothing.
 */
function findInSingleBoot(blocks: Blocks): Finding | undefined {
  const { confidence, byPosition = [] } = blocks;
  const paired = byPosition.length >= fewestBlocks(confidence);
  if (!paired) return findUnordered(blocks);
  return middleHalf(sorted(byPosition)) <= SINGLE_BOOT_SPREAD ? widened(signedRank(byPosition, confidence), confidence) : undefined;
}

/** The interval of the rank-sum test; of too few samples for it, all that they span. */
function findUnordered({ a, b, shifts, confidence, sign }: Blocks): Finding | undefined {
  const [first, second] = sign > 0 ? [a[0]!, b[0]!] : [b[0]!, a[0]!];
  if (Math.min(first.length, second.length) < 2) return undefined;
  if (Math.max(middleHalf(first), middleHalf(second)) > SINGLE_BOOT_SPREAD) return undefined;
  const cut = Math.max(0, rankSumNull(first.length, second.length).critical((1 - confidence) / 2));
  const all = differences(first, second);
  return widened({ estimate: shifts[0]!, lower: all.select(cut), upper: all.select(all.count - 1 - cut) }, confidence);
}

function widened(interval: LogInterval, confidence: number): Finding {
  const lower = interval.lower - SINGLE_BOOT_SPREAD;
  const upper = interval.upper + SINGLE_BOOT_SPREAD;
  const error = (upper - lower) / 2 / normalQuantile((1 + confidence) / 2);
  return { method: 'single-boot', p: null, estimate: interval.estimate, lower, upper, error, freedom: Infinity };
}

/** What the middle half of the values spans. */
function middleHalf(ascending: Float64Array): number {
  const quarter = Math.floor(ascending.length / 4);
  return ascending[ascending.length - 1 - quarter]! - ascending[quarter]!;
}

const CORRELATION_LEVEL = 0.01;

/** Lag-one correlation of the ranks, if it is more than chance. */
function serialCorrelation(shifts: readonly number[]): number | undefined {
  const n = shifts.length;
  if (n < 8) return undefined;
  const ascending = sorted(shifts);
  // A tie takes the middle of its ranks.
  const ranks = shifts.map((shift) => (ascending.indexOf(shift) + ascending.lastIndexOf(shift)) / 2 - (n - 1) / 2);
  const squares = ranks.reduce((sum, rank) => sum + rank * rank, 0);
  if (squares === 0) return undefined;
  const correlation = ranks.slice(1).reduce((sum, rank, i) => sum + rank * ranks[i]!, 0) / squares;
  // Under independence the mean is about -1/n and the variance about 1/n.
  return (correlation + 1 / n) * Math.sqrt(n) > normalQuantile(1 - CORRELATION_LEVEL) ? correlation : undefined;
}

/** Pooled over groups that may have different means; NaN without a degree of freedom. */
function standardDeviation(groups: readonly (readonly number[])[]): number {
  let squares = 0;
  let freedom = 0;
  for (const group of groups) {
    const mean = group.reduce((sum, value) => sum + value, 0) / group.length;
    for (const value of group) squares += (value - mean) ** 2;
    freedom += group.length - 1;
  }
  return freedom > 0 ? Math.sqrt(squares / freedom) : NaN;
}

/**
 * If the estimate is the truth and the noise stays as it is, the interval must become narrow enough either to leave zero
 * out or to fit within delta, whichever is nearer.
 */
function moreBlocks({ shifts, clock, confidence, delta }: Blocks, { estimate, error }: Finding): number {
  const n = shifts.length;
  // Two boots per kernel may already be exact; for a wall clock nothing is settled before the test can reach its level.
  const fewest = clock === 'icount' ? Math.max(2, n + 1) : Math.max(fewestBlocks(confidence), n + 1);
  if (Number.isNaN(error) || (clock === 'icount' && n === 1)) return fewest - n;
  const room = Math.max(Math.abs(estimate), Math.log1p(delta) - Math.abs(estimate), SAME);
  const reach = normalQuantile((1 + confidence) / 2) + normalQuantile(PLANNED_POWER);
  // Two more for the t-like excess of a small sample.
  const needed = Math.ceil((reach * error * Math.sqrt(n)) ** 2 / room ** 2 / EFFICIENCY) + 2;
  return Math.min(PLAN_LIMIT, Math.max(fewest, needed) - n);
}
