// Where did the level of a long history change? Sessions wander: days differ, machines age. So a change is judged against
// the wandering that the same history shows: each point is forecast from those before it by exponential smoothing, the
// smoothing constant being the one that forecasts best, and a step counts if it explains errors that no smoothing does.
import { rankSumNull } from './distributions.js';
import { logsOf } from './input.js';
import { differences, median, sorted } from './order.js';
import { SAME } from './signedrank.js';
import { fraction } from './verdict.js';

export interface ChangePoint {
  /** The first session at the new level. */
  index: number;
  /** Medians of the sessions between the change points on either side. */
  before: number;
  after: number;
  /** Fraction: 0.05 is 5% slower, or, where more is better, 5% more. */
  shift: number;
}

/** From "the level never moves" to "it is wherever it was last". */
const SMOOTHING = [0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1];
/** Sessions that a level must have on either side of a change. */
const FEWEST = 4;
/** Scanned at once; a change must show within so many sessions. */
const WIDEST = 256;
const NARROWEST = 16;
/** Level at which the sessions before and after must also differ by rank, so that a few freak sessions make no change. */
const RANK_LEVEL = 0.05;

/** Change points of the sessions, oldest first. */
export function changePoints(sessions: readonly (readonly number[])[]): ChangePoint[] {
  const { lists } = logsOf(sessions);
  const filled = lists.flatMap((list, i) => (list.length > 0 ? [i] : []));
  const levels = filled.map((i) => median(lists[i]!));
  const found = changesOf(levels);
  const bounds = [0, ...found, levels.length];
  return found.map((index, i) => {
    const before = levels.slice(bounds[i]!, index);
    const after = levels.slice(index, bounds[i + 2]!);
    return {
      index: filled[index]!,
      before: Math.exp(median(before)),
      after: Math.exp(median(after)),
      shift: fraction(median(after) - median(before)),
    };
  });
}

/** Indexes at which a new level of `x` starts. */
export function changesOf(x: readonly number[]): number[] {
  const threshold = thresholdFor(x.length);
  const found = split(x, 0, x.length, threshold).sort((p, q) => p - q);
  // A change must also stand between its final neighbours, not only where it was first seen.
  for (;;) {
    const strengths = found.map((index, i) => {
      const [from, to] = around(index, found[i - 1] ?? 0, found[i + 1] ?? x.length);
      const part = x.slice(from, to);
      return differByRank(part, index - from) ? strengthAt(part, index - from) : 0;
    });
    const weakest = strengths.indexOf(Math.min(...strengths));
    if (weakest < 0 || strengths[weakest]! > threshold) return found;
    found.splice(weakest, 1);
  }
}

/**
 * Twice the logarithm of a likelihood ratio, as a function of how many sessions are searched. Set by simulation
 * (test/bench/regress) so that under one stationary history in a hundred shows a change, whatever its noise.
 */
function thresholdFor(n: number): number {
  return 14 + 1.3 * Math.log(Math.max(n, FEWEST));
}

function around(index: number, from: number, to: number): [number, number] {
  return [Math.max(from, index - WIDEST / 2), Math.min(to, index + WIDEST / 2)];
}

function split(x: readonly number[], from: number, to: number, threshold: number): number[] {
  let best = { strength: threshold, at: -1 };
  for (const [start, end] of windows(from, to)) {
    const part = x.slice(start, end);
    const { strength, at } = strongest(part);
    if (strength > best.strength && differByRank(part, at)) best = { strength, at: start + at };
  }
  if (best.at < 0) return [];
  return [...split(x, from, best.at, threshold), best.at, ...split(x, best.at, to, threshold)];
}

/** Overlapping windows of doubling width, so that a level that returns is found as well as one that stays. */
function windows(from: number, to: number): [number, number][] {
  const all: [number, number][] = [];
  if (to - from < 2 * FEWEST) return all;
  if (to - from <= WIDEST) all.push([from, to]);
  for (let width = NARROWEST; width <= Math.min(WIDEST, to - from - 1); width *= 2) {
    for (let start = from; start + width < to; start += width / 2) all.push([start, start + width]);
    all.push([to - width, to]);
  }
  return all;
}

/** The errors of forecasting each point from those before it, and their response to a unit step. */
class Forecast {
  readonly errors: Float64Array;
  readonly squares: number;
  /** Sum of the weights of the last k points. */
  readonly #weights: Float64Array;

  constructor(x: readonly number[], private readonly smoothing: number) {
    const n = x.length;
    this.errors = new Float64Array(n);
    this.#weights = new Float64Array(n + 1);
    let level = 0;
    let squares = 0;
    for (let t = 0; t < n; t++) {
      const weight = this.#weights[t]!;
      if (t > 0) {
        this.errors[t] = (x[t]! - level / weight) * this.scale(t);
        squares += this.errors[t]! ** 2;
      }
      level = level * (1 - smoothing) + x[t]!;
      this.#weights[t + 1] = weight * (1 - smoothing) + 1;
    }
    this.squares = squares;
  }

  /** A mean of few points forecasts worse than one of many. */
  private scale(t: number): number {
    return this.smoothing === 0 ? Math.sqrt(t / (t + 1)) : 1;
  }

  /** Squares that remain if a step of the best size at `at` is taken out. */
  remaining(at: number): number {
    let along = 0;
    let length = 0;
    for (let t = at; t < this.errors.length; t++) {
      const response = (1 - this.#weights[t - at]! / this.#weights[t]!) * this.scale(t);
      if (response < 1e-3) break;
      along += response * this.errors[t]!;
      length += response * response;
    }
    return this.squares - (along * along) / length;
  }
}

function strongest(x: readonly number[]): { strength: number; at: number } {
  const forecasts = SMOOTHING.map((smoothing) => new Forecast(x, smoothing));
  let best = { remaining: Infinity, at: -1 };
  for (const forecast of forecasts)
    for (let at = FEWEST; at <= x.length - FEWEST; at++) {
      const remaining = forecast.remaining(at);
      if (remaining < best.remaining) best = { remaining, at };
    }
  return { strength: strength(x, forecasts, best.remaining), at: best.at };
}

function strengthAt(x: readonly number[], at: number): number {
  const forecasts = SMOOTHING.map((smoothing) => new Forecast(x, smoothing));
  return strength(x, forecasts, Math.min(...forecasts.map((forecast) => forecast.remaining(at))));
}

function strength(x: readonly number[], forecasts: Forecast[], remaining: number): number {
  // What rounding leaves of a constant series is no noise.
  const floor = x.length * SAME ** 2;
  const without = Math.min(...forecasts.map((forecast) => forecast.squares));
  return x.length * Math.log((without + floor) / (Math.max(0, remaining) + floor));
}

function differByRank(x: readonly number[], at: number): boolean {
  const before = sorted(x.slice(0, at));
  const after = sorted(x.slice(at));
  const all = differences(before, after);
  const inOrder = Math.min(all.countBelow(-SAME, false), all.count - all.countBelow(SAME, true));
  const ties = all.count - all.countBelow(-SAME, false) - (all.count - all.countBelow(SAME, true));
  return 2 * rankSumNull(before.length, after.length).cdf(Math.floor(inOrder + ties / 2)) <= RANK_LEVEL;
}
