// The few distributions the verdicts are read from: normal, Student's t, and the exact null distributions of the
// signed-rank and the rank-sum statistic.

/** Sizes up to which the null distributions are computed exactly; above, the corrected normal limit is as good. */
const EXACT_SIGNED_RANK = 256;
/** In pairs of values. */
const EXACT_RANK_SUM = 2500;

/** P(Z <= z) of the standard normal. */
export function normalCdf(z: number): number {
  const tail = 0.5 * upperGamma(0.5, (z * z) / 2);
  return z > 0 ? 1 - tail : tail;
}

/** The z with P(Z <= z) = p. */
export function normalQuantile(p: number): number {
  if (p > 0.5) return -normalQuantile(1 - p);
  return solve((z) => normalCdf(z) - p, -40, 0);
}

/** P(T <= t) of Student's t with `df` degrees of freedom. */
export function studentCdf(t: number, df: number): number {
  const tail = 0.5 * regularizedBeta(df / 2, 0.5, df / (df + t * t));
  return t > 0 ? 1 - tail : tail;
}

const studentQuantiles = new Map<string, number>();

/** The t with P(T <= t) = p. */
export function studentQuantile(p: number, df: number): number {
  if (p > 0.5) return -studentQuantile(1 - p, df);
  const key = `${p}/${df}`;
  let t = studentQuantiles.get(key);
  if (t === undefined) {
    let low = -1;
    while (studentCdf(low, df) > p) low *= 4;
    t = solve((value) => studentCdf(value, df) - p, low, 0);
    studentQuantiles.set(key, t);
  }
  return t;
}

/** Root of an increasing function by bisection, to the last bit. */
function solve(f: (x: number) => number, low: number, high: number): number {
  for (;;) {
    const middle = (low + high) / 2;
    if (middle <= low || middle >= high) return middle;
    if (f(middle) < 0) low = middle;
    else high = middle;
  }
}

const LANCZOS = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
  12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
];

function logGamma(x: number): number {
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x);
  let sum = LANCZOS[0]!;
  for (let i = 1; i < LANCZOS.length; i++) sum += LANCZOS[i]! / (x - 1 + i);
  const t = x + 6.5;
  return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(sum);
}

const TINY = 1e-300;

/** A continued fraction b0 + a1/(b1 + a2/(b2 + ...)) by the modified Lentz method. */
function continuedFraction(term: (i: number) => { a: number; b: number }): number {
  let f = term(0).b || TINY;
  let c = f;
  let d = 0;
  for (let i = 1; i < 10_000; i++) {
    const { a, b } = term(i);
    d = 1 / (b + a * d || TINY);
    c = b + a / c || TINY;
    f *= c * d;
    if (Math.abs(c * d - 1) < 1e-16) break;
  }
  return f;
}

/** Q(s, x), the regularized upper incomplete gamma function. */
function upperGamma(s: number, x: number): number {
  if (x === 0) return 1;
  const scale = Math.exp(s * Math.log(x) - x - logGamma(s));
  if (x < s + 1) {
    let term = 1 / s;
    let sum = term;
    for (let i = 1; term > sum * 1e-17; i++) {
      term *= x / (s + i);
      sum += term;
    }
    return 1 - scale * sum;
  }
  return scale / continuedFraction((i) => ({ a: i === 0 ? 0 : -i * (i - s), b: x + 2 * i + 1 - s }));
}

/** I_x(a, b), the regularized incomplete beta function. */
function regularizedBeta(a: number, b: number, x: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - regularizedBeta(b, a, 1 - x);
  const front = Math.exp(
    logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x),
  ) / a;
  const fraction = continuedFraction((i) => {
    if (i <= 1) return { a: i, b: i };
    const m = (i - 1) >> 1;
    const numerator =
      (i - 1) % 2 === 0
        ? (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m))
        : (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    return { a: numerator, b: 1 };
  });
  return front * fraction;
}

/** The null distribution of a rank statistic: symmetric, on 0..max. */
export interface NullDistribution {
  readonly max: number;
  /** P(T <= t) */
  cdf(t: number): number;
  /** The largest t with P(T <= t) <= p, or -1 if there is none. */
  critical(p: number): number;
}

class Tabulated implements NullDistribution {
  readonly max: number;
  readonly #cumulative: Float64Array;

  constructor(mass: Float64Array) {
    this.max = mass.length - 1;
    let sum = 0;
    this.#cumulative = mass.map((p) => (sum += p));
  }

  cdf(t: number): number {
    if (t < 0) return 0;
    return t >= this.max ? 1 : this.#cumulative[Math.floor(t)]!;
  }

  critical(p: number): number {
    let low = -1;
    let high = this.max;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.#cumulative[middle]! <= p) low = middle;
      else high = middle;
    }
    return low;
  }
}

/** Normal limit with continuity correction and the Edgeworth term for the kurtosis; the skewness is zero by symmetry. */
class Edgeworth implements NullDistribution {
  constructor(
    readonly max: number,
    private readonly sd: number,
    private readonly excessKurtosis: number,
  ) {}

  cdf(t: number): number {
    if (t < 0) return 0;
    if (t >= this.max) return 1;
    const z = (Math.floor(t) + 0.5 - this.max / 2) / this.sd;
    const density = Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
    return Math.min(1, Math.max(0, normalCdf(z) - density * (this.excessKurtosis / 24) * (z ** 3 - 3 * z)));
  }

  critical(p: number): number {
    let low = -1;
    let high = this.max;
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (this.cdf(middle) <= p) low = middle;
      else high = middle;
    }
    return low;
  }
}

const signedRanks = new Map<number, NullDistribution>();

/** Null distribution of the signed-rank statistic of n values: the sum of a random half of the ranks 1..n. */
export function signedRankNull(n: number): NullDistribution {
  let known = signedRanks.get(n);
  if (!known) {
    known = n <= EXACT_SIGNED_RANK ? new Tabulated(signedRankMass(n)) : signedRankLimit(n);
    signedRanks.set(n, known);
  }
  return known;
}

/** P(T = t) for t = 0..n(n+1)/2: each rank is in the sum or not, with probability one half. */
export function signedRankMass(n: number): Float64Array {
  const mass = new Float64Array((n * (n + 1)) / 2 + 1);
  mass[0] = 1;
  for (let rank = 1, top = 0; rank <= n; rank++) {
    top += rank;
    for (let t = top; t >= 0; t--) mass[t] = (mass[t]! + (t >= rank ? mass[t - rank]! : 0)) / 2;
  }
  return mass;
}

function signedRankLimit(n: number): NullDistribution {
  const variance = (n * (n + 1) * (2 * n + 1)) / 24;
  // The fourth cumulant of a fair choice between 0 and r is -r^4/8.
  const fourthPowers = (n * (n + 1) * (2 * n + 1) * (3 * n * n + 3 * n - 1)) / 30;
  return new Edgeworth((n * (n + 1)) / 2, Math.sqrt(variance), -fourthPowers / 8 / variance ** 2);
}

const rankSums = new Map<string, NullDistribution>();

/** Null distribution of the Mann-Whitney statistic: of m*n pairs, how many stand in order. */
export function rankSumNull(m: number, n: number): NullDistribution {
  const key = m <= n ? `${m},${n}` : `${n},${m}`;
  let known = rankSums.get(key);
  if (!known) {
    known =
      m * n <= EXACT_RANK_SUM
        ? new Tabulated(rankSumMass(m, n))
        : new Edgeworth(m * n, Math.sqrt((m * n * (m + n + 1)) / 12), rankSumKurtosis(m, n));
    rankSums.set(key, known);
  }
  return known;
}

/** P(U = u): the largest of m + n values belongs to the first sample and beats n values, or to the second. */
function rankSumMass(m: number, n: number): Float64Array {
  // row[j] is the distribution for i values of the first sample and j of the second.
  let row: Float64Array[] = Array.from({ length: n + 1 }, () => Float64Array.of(1));
  for (let i = 1; i <= m; i++) {
    const next: Float64Array[] = [Float64Array.of(1)];
    for (let j = 1; j <= n; j++) {
      const mass = new Float64Array(i * j + 1);
      const first = row[j]!;
      const second = next[j - 1]!;
      for (let u = 0; u < first.length; u++) mass[u + j]! += (first[u]! * i) / (i + j);
      for (let u = 0; u < second.length; u++) mass[u]! += (second[u]! * j) / (i + j);
      next.push(mass);
    }
    row = next;
  }
  return row[n]!;
}

function rankSumKurtosis(m: number, n: number): number {
  return (-1.2 * (m * m + n * n + m * n + m + n)) / (m * n * (m + n + 1));
}
