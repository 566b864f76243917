// Medians, and selection among all pairwise sums without writing them all down: what Hodges-Lehmann estimates and the
// signed-rank interval are read from.

/** Below this many sums they are simply written down and sorted: faster, and the common case. */
const ENUMERATE = 8192;

/** The numbers in ascending order, as a new typed array. */
export function sorted(values: ArrayLike<number>): Float64Array {
  return Float64Array.from(values).sort();
}

/** Median of numbers already in ascending order. */
export function medianOfSorted(values: ArrayLike<number>): number {
  const middle = Math.floor(values.length / 2);
  return values.length % 2 === 1 ? values[middle]! : (values[middle - 1]! + values[middle]!) / 2;
}

export function median(values: ArrayLike<number>): number {
  return medianOfSorted(sorted(values));
}

/**
 * A multiset of sums x[i] + y[j] with both sides ascending. `paired` takes every i with every j; `walsh` is one sample with
 * itself, each unordered pair once and each value with itself: its sums, halved, are the Walsh averages.
 */
export class PairwiseSums {
  readonly count: number;
  #all: Float64Array | undefined;

  private constructor(
    private readonly x: Float64Array,
    private readonly y: Float64Array,
    private readonly triangular: boolean,
  ) {
    const n = x.length;
    this.count = triangular ? (n * (n + 1)) / 2 : n * y.length;
    if (this.count <= ENUMERATE) this.#all = this.enumerate();
  }

  static paired(x: Float64Array, y: Float64Array): PairwiseSums {
    return new PairwiseSums(x, y, false);
  }

  static walsh(x: Float64Array): PairwiseSums {
    return new PairwiseSums(x, x, true);
  }

  /** The sum of rank k, counted from 0. */
  select(k: number): number {
    return this.#all ? this.#all[k]! : this.selectLarge(k);
  }

  median(): number {
    const middle = Math.floor(this.count / 2);
    return this.count % 2 === 1 ? this.select(middle) : (this.select(middle - 1) + this.select(middle)) / 2;
  }

  /** How many sums are below `limit`, or, with `orEqual`, not above it. */
  countBelow(limit: number, orEqual: boolean): number {
    const { x, y, triangular } = this;
    let total = 0;
    // As x grows the boundary in y can only move down.
    for (let i = 0, j = y.length; i < x.length; i++) {
      while (j > 0 && (orEqual ? x[i]! + y[j - 1]! > limit : x[i]! + y[j - 1]! >= limit)) j--;
      total += triangular ? Math.max(0, j - i) : j;
    }
    return total;
  }

  private enumerate(): Float64Array {
    const { x, y, triangular } = this;
    const all = new Float64Array(this.count);
    let next = 0;
    for (let i = 0; i < x.length; i++) for (let j = triangular ? i : 0; j < y.length; j++) all[next++] = x[i]! + y[j]!;
    return all.sort();
  }

  /**
   * Each row i keeps the columns [low, high) that can still hold the answer; every pivot leaves a small part of them, so
   * O(log n) passes of O(n) each.
   */
  private selectLarge(k: number): number {
    const { x, y, triangular } = this;
    const rows = x.length;
    const low = Int32Array.from(x, (_, i) => (triangular ? i : 0));
    const high = new Int32Array(rows).fill(y.length);
    let below = 0;
    let left = this.count;
    while (left > ENUMERATE) {
      const pivot = this.pivot(low, high, left, k - below);
      const less = this.countBelow(pivot, false);
      const notMore = this.countBelow(pivot, true);
      if (k >= less && k < notMore) return pivot;
      const keepBelow = k < less;
      for (let i = 0, j = y.length; i < rows; i++) {
        while (j > 0 && (keepBelow ? x[i]! + y[j - 1]! >= pivot : x[i]! + y[j - 1]! > pivot)) j--;
        if (keepBelow) high[i] = Math.max(low[i]!, Math.min(high[i]!, j));
        else low[i] = Math.min(high[i]!, Math.max(low[i]!, j));
      }
      below = 0;
      left = 0;
      for (let i = 0; i < rows; i++) {
        below += low[i]! - (triangular ? i : 0);
        left += high[i]! - low[i]!;
      }
    }
    const rest = new Float64Array(left);
    let next = 0;
    for (let i = 0; i < rows; i++) for (let j = low[i]!; j < high[i]!; j++) rest[next++] = x[i]! + y[j]!;
    return rest.sort()[k - below]!;
  }

  /** Of elements drawn evenly from what is left, the one that stands where the answer is to be expected. */
  private pivot(low: Int32Array, high: Int32Array, left: number, rank: number): number {
    const upTo = new Float64Array(low.length);
    for (let i = 0, sum = 0; i < low.length; i++) upTo[i] = sum += high[i]! - low[i]!;
    const drawn = new Float64Array(DRAWN);
    for (let d = 0, row = 0; d < DRAWN; d++) {
      const element = Math.floor(((d + draw(d, left)) / DRAWN) * left);
      while (upTo[row]! <= element) row++;
      drawn[d] = this.x[row]! + this.y[high[row]! - (upTo[row]! - element)]!;
    }
    return drawn.sort()[Math.min(DRAWN - 1, Math.floor((rank / left) * DRAWN))]!;
  }
}

/** Elements that a pivot is chosen from. */
const DRAWN = 64;

/** A fraction of 1 that looks random but is the same in every run. */
function draw(d: number, left: number): number {
  const x = Math.sin(d * 12.9898 + (left % 65536) * 78.233) * 43758.5453;
  return x - Math.floor(x);
}

/** Hodges-Lehmann estimate of how far b lies above a: the median of all differences b[j] - a[i]. Both ascending. */
export function hodgesLehmannShift(a: Float64Array, b: Float64Array): number {
  return differences(a, b).median();
}

/** All differences b[j] - a[i] of two ascending samples. */
export function differences(a: Float64Array, b: Float64Array): PairwiseSums {
  return PairwiseSums.paired(b, Float64Array.from(a, (value) => -value).reverse());
}
