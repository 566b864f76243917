// Is the newest session like the stored ones? A screen: sessions ran at different times, so what it can say is weaker than
// what an interleaved comparison says, and an alarm asks for one. The interval is for the median of one more session, from the errors
// made when each stored session is forecast from those before it; docs/statistics.md says why.
import { changesOf } from './changepoint.js';
import { BOOT_SPREAD } from './compare.js';
import { studentQuantile } from './distributions.js';
import { type Clock, DEFAULT_CONFIDENCE, DEFAULT_DELTA, type HistoryInput, logsOf, type Verdict } from './input.js';
import { median, medianOfSorted } from './order.js';
import { snap } from './signedrank.js';
import { detectable, fraction, verdictOf } from './verdict.js';

export interface HistoryResult {
  id: string | number;
  clock: Clock;
  /** What the stored sessions let expect, and the candidate's median. */
  a: number;
  b: number;
  /** Fraction: 0.05 means that the candidate is 5% slower than expected. */
  shift: number;
  ci: [lower: number, upper: number];
  verdict: Verdict;
  minimumDetectable: number;
  delta: number;
  confidence: number;
  /** Stored sessions that had samples. */
  sessions: number;
  /** Index of the first stored session at the present level: after the last accepted or detected change. */
  since: number;
  /** Samples that were zero, below what the clock resolves. */
  zeros?: number;
}

/** Older sessions say little about today's noise. */
const REMEMBERED = 60;
/** Weight of the newest session in the forecast of the next. */
const SMOOTHING = 0.3;
/** Up to so many samples, their median may be the work of outliers. */
const THIN = 4;
/** The logarithm of how many times as slow a disturbed sample can be. */
const OUTLIER = Math.log(3);
/** Degrees of freedom below which the forecast errors say too little of the noise. */
const FEWEST = 2;
/**
 * Share of the permitted error given to the forecast errors as if they were independent. The rest is kept for sessions that
 * depend on each other; what is left over of it is measured in test/bench/regress.
 */
const SHARE = 0.35;

/** Throws nothing for input that passed checkHistoryInput(). */
export function history(input: HistoryInput): HistoryResult {
  const { clock = 'wall', confidence = DEFAULT_CONFIDENCE } = input;
  const delta = input.delta ?? DEFAULT_DELTA[clock];
  const sign = input.direction === 'higher' ? -1 : 1;
  const { lists, zeros } = logsOf([...input.sessions, input.candidate]);
  for (const list of lists) list.sort();
  const candidate = lists.pop()!;
  const filled = lists.flatMap((list, i) => (list.length > 0 ? [i] : [])).slice(-REMEMBERED);
  const stored = filled.map((i) => lists[i]!);
  const levels = stored.map(medianOfSorted);
  const starts = levelStarts(levels, filled, input.accepted ?? []);
  const { level, error, freedom } = forecast(levels, starts);
  const spread = Math.hypot(error, thinness(candidate, stored));
  const shift = levels.length === 0 ? 0 : snap(sign * (medianOfSorted(candidate) - level));
  const half =
    freedom < FEWEST
      ? Infinity
      : Math.max(
          clock === 'icount' ? BOOT_SPREAD : 0,
          spread * studentQuantile(1 - ((1 - confidence) / 2) * SHARE, freedom),
        );
  const [low, high] = clock === 'icount' ? [0, 0] : doubt(candidate);
  const below = sign > 0 ? low : high;
  const interval = { estimate: shift, lower: shift - half - below, upper: shift + half + (low + high - below) };
  const nothing = input.sessions.every((session) => session.every((value) => value === 0));
  return {
    id: input.id,
    clock,
    // A weighted mean of logarithms: what it rounds off is no part of the expectation.
    a: nothing ? 0 : Number(Math.exp(level).toPrecision(12)),
    b: median(input.candidate),
    shift: fraction(shift),
    ci: [fraction(interval.lower), fraction(interval.upper)],
    verdict: verdictOf(interval, delta),
    minimumDetectable: detectable(half + below, spread, freedom, delta),
    delta,
    confidence,
    sessions: filled.length,
    since: filled[starts[starts.length - 1]!] ?? 0,
    ...(zeros > 0 && { zeros }),
  };
}

/**
 * How far the candidate's median may be off, down and up, because samples are outliers, some 5% of them: two of three are once in
 * 140 sessions. So two to four count by the sample that more outliers than that would be needed to move; five or more by their median.
 * A single one must be farther off than an outlier can be.
 */
function doubt(candidate: Float64Array): [low: number, high: number] {
  const n = candidate.length;
  if (n === 1) return [OUTLIER, OUTLIER];
  if (n > THIN) return [0, 0];
  const rank = Math.floor(n / 2) - 1;
  const middle = medianOfSorted(candidate);
  return [middle - candidate[rank]!, candidate[n - 1 - rank]! - middle];
}

/** Positions in `levels` at which a new level starts, the first included: accepted changes, and those that show. */
function levelStarts(levels: readonly number[], filled: readonly number[], accepted: readonly number[]): number[] {
  const starts = new Set([0, ...changesOf(levels)]);
  for (const index of accepted) {
    const position = filled.findIndex((i) => i >= index);
    if (position > 0) starts.add(position);
  }
  return [...starts].sort((p, q) => p - q);
}

/**
 * Forecast of the next session from those at the present level, and the standard error that such forecasts had. Errors of
 * earlier levels count as well: a change of level changes no noise, and the step itself is nobody's forecast error.
 */
function forecast(levels: readonly number[], starts: readonly number[]): { level: number; error: number; freedom: number } {
  let squares = 0;
  let errors = 0;
  let sum = 0;
  let weights = 0;
  let weightSquares = 0;
  /** Variance of a forecast's error, in units of the variance of independent sessions. */
  const variance = () => 1 + weightSquares / weights ** 2;
  levels.forEach((value, t) => {
    if (starts.includes(t)) sum = weights = weightSquares = 0;
    else {
      squares += (value - sum / weights) ** 2 / variance();
      errors++;
    }
    sum = sum * (1 - SMOOTHING) + value;
    weights = weights * (1 - SMOOTHING) + 1;
    weightSquares = weightSquares * (1 - SMOOTHING) ** 2 + 1;
  });
  if (weights === 0) return { level: 0, error: 0, freedom: 0 };
  return { level: sum / weights, error: snap(Math.sqrt((squares / errors) * variance())), freedom: errors - 1 };
}

/** Standard error that the candidate's median has beyond that of the stored ones, because it rests on fewer samples. */
function thinness(candidate: Float64Array, stored: readonly Float64Array[]): number {
  const fewer = 1 / candidate.length - stored.reduce((sum, list) => sum + 1 / list.length, 0) / stored.length;
  if (!(fewer > 0)) return 0;
  const deviations = stored.flatMap((list) => {
    const middle = medianOfSorted(list);
    return list.length < 2 ? [] : Array.from(list, (value) => Math.abs(value - middle));
  });
  if (deviations.length === 0) return 0;
  // Of a normal distribution: standard deviation from the median deviation, and variance of a median of many.
  return 1.4826 * median(deviations) * Math.sqrt((Math.PI / 2) * fewer);
}
