// Boundaries for looking at a comparison several times. Blocks are cut into stages; each stage has its own signed-rank
// statistic, and a look is at their weighted sum. Given the sizes of the shifts only their signs are random, so stages are
// independent whatever the noise does from one to the next, and the chance of ever crossing a boundary is exact.
import { signedRankMass } from './distributions.js';
import { PairwiseSums, sorted } from './order.js';
import { SAME, snap } from './signedrank.js';
import type { LogInterval } from './verdict.js';

/** How fast the error is spent: the share (blocks / all blocks) ** SPENDING is gone by each look. */
const SPENDING = 1.5;

export interface StagePlan {
  /** Blocks per stage. */
  sizes: number[];
  /** Weight of each stage's statistic; whole numbers, so that sums lie on a lattice. */
  weights: number[];
  /** Blocks at each look. */
  looks: number[];
  /** At each look the largest weighted sum that is too small to be chance, or -1. */
  critical: number[];
  /** One-sided level that the boundary at each look would have alone. */
  levels: number[];
}

const plans = new Map<string, StagePlan>();

/** The plan whose chance to cross a boundary at any look, on either side, is at most `alpha`. */
export function stagePlan(sizes: readonly number[], alpha: number): StagePlan {
  const key = `${sizes.join()}/${alpha}`;
  let plan = plans.get(key);
  if (!plan) plans.set(key, (plan = computePlan([...sizes], alpha)));
  return plan;
}

function computePlan(sizes: number[], alpha: number): StagePlan {
  // A statistic of m ranks carries its information about evenly if it is divided by m + 1.
  const common = sizes.reduce((multiple, size) => leastCommonMultiple(multiple, size + 1), 1);
  const weights = sizes.map((size) => common / (size + 1));
  const scale = weights.reduce(greatestCommonDivisor);
  const plan: StagePlan = { sizes, weights: weights.map((weight) => weight / scale), looks: [], critical: [], levels: [] };
  const blocks = sizes.reduce((sum, size) => sum + size, 0);
  let alive: Float64Array = Float64Array.of(1);
  let free: Float64Array = Float64Array.of(1);
  let crossed = 0;
  let seen = 0;
  sizes.forEach((size, stage) => {
    const step = signedRankMass(size);
    alive = addStage(alive, step, plan.weights[stage]!);
    free = addStage(free, step, plan.weights[stage]!);
    seen += size;
    const budget = (alpha / 2) * (seen / blocks) ** SPENDING;
    let cut = -1;
    while (crossed + alive[cut + 1]! <= budget) crossed += alive[++cut]!;
    alive.fill(0, 0, cut + 1);
    plan.looks.push(seen);
    plan.critical.push(cut);
    plan.levels.push(free.subarray(0, cut + 1).reduce((sum, mass) => sum + mass, 0));
  });
  return plan;
}

function addStage(mass: Float64Array, step: Float64Array, weight: number): Float64Array {
  const sum = new Float64Array(mass.length + (step.length - 1) * weight);
  for (let i = 0; i < mass.length; i++)
    if (mass[i]! > 0) for (let t = 0; t < step.length; t++) sum[i + t * weight]! += mass[i]! * step[t]!;
  return sum;
}

/** The interval at a look: the shifts that, taken off every block, would leave the sums inside both boundaries. */
export function stageInterval(plan: StagePlan, look: number, shifts: readonly number[]): LogInterval {
  const walsh: { value: number; weight: number }[] = [];
  for (let stage = 0, from = 0; stage <= look; from += plan.sizes[stage++]!) {
    const sums = PairwiseSums.walsh(sorted(shifts.slice(from, from + plan.sizes[stage]!)));
    for (let k = 0; k < sums.count; k++) walsh.push({ value: sums.select(k) / 2, weight: plan.weights[stage]! });
  }
  walsh.sort((p, q) => p.value - q.value);
  const total = walsh.reduce((sum, { weight }) => sum + weight, 0);
  const cut = plan.critical[look]!;
  const estimate = (weightedQuantile(walsh, total / 2) - weightedQuantile(walsh.map(mirror).reverse(), total / 2)) / 2;
  return {
    estimate: snap(estimate),
    lower: cut < 0 ? -Infinity : snap(weightedQuantile(walsh, cut)),
    upper: cut < 0 ? Infinity : snap(-weightedQuantile(walsh.map(mirror).reverse(), cut)),
  };
}

const mirror = <T extends { value: number }>(item: T): T => ({ ...item, value: -item.value });

/** The first value at which the weights up to and including it exceed `limit`. */
function weightedQuantile(ascending: readonly { value: number; weight: number }[], limit: number): number {
  let sum = 0;
  for (const { value, weight } of ascending) {
    sum += weight;
    if (sum > limit + SAME) return value;
  }
  return Infinity;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

function leastCommonMultiple(a: number, b: number): number {
  return (a / greatestCommonDivisor(a, b)) * b;
}
