// Raw samples as they came from a clock, told apart by rule: which belong to warming up, which the clock could not resolve,
// which are far from the rest. Nothing is thrown away: what is cut or marked stays beside what is judged.
import type { Clocks } from '../native.js';

export interface SortedOut {
  /** In the order taken, what is judged; far ones included, for the statistics are made for them. */
  samples: number[];
  /** The leading samples that were cut. */
  warmup: number[];
  marks: Marks;
}

/** How many of the samples (not of the warm-up) are what. */
export interface Marks {
  /** Beyond three interquartile ranges above the upper quartile. */
  slow: number;
  /** The same below the lower one. */
  fast: number;
  /** At or below twice the clock's resolution: they say "less than this", and no more. */
  unresolved: number;
}

export interface Timer {
  clock: 'raw';
  /** Nanoseconds. */
  resolutionNs: number;
  /** Of one reading, median; each sample contains about one. Not subtracted. */
  overheadNs: number;
}

/** The timer that samples are taken with, as measured. */
export const timerOf = ({ raw }: Clocks): Timer => ({ clock: 'raw', resolutionNs: raw.resolutionNs, overheadNs: raw.overheadNs });

/** Fewer samples than this say too little of where they settle. */
const FEWEST = 8;
/** At most this share is cut. */
const MOST = 0.25;
/** A level is not told more finely than this. */
const FINEST = 0.05;

/**
 * The length of the warm-up: the leading run of samples that lie outside the fences (1.5 interquartile ranges beyond the
 * quartiles, at least 5% of the median) of the second half, which is taken for settled; at most a quarter of all. A single early
 * sample inside the fences ends it, so that steady series lose nothing.
 */
export function warmupOf(samples: readonly number[]): number {
  if (samples.length < FEWEST) return 0;
  const { lower, upper } = fences(samples.slice(samples.length >> 1), 1.5);
  const first = samples.findIndex((sample) => sample >= lower && sample <= upper);
  return Math.min(first < 0 ? 0 : first, Math.floor(samples.length * MOST));
}

/** `resolution` in the unit of the samples; 0 where they are no times. */
export function sortOut(raw: readonly number[], resolution = 0): SortedOut {
  const cut = warmupOf(raw);
  const samples = raw.slice(cut);
  const { lower, upper } = samples.length < FEWEST ? { lower: -Infinity, upper: Infinity } : fences(samples, 3);
  const count = (fits: (sample: number) => boolean): number => samples.reduce((sum, sample) => sum + (fits(sample) ? 1 : 0), 0);
  return {
    samples,
    warmup: raw.slice(0, cut),
    marks: { slow: count((sample) => sample > upper), fast: count((sample) => sample < lower), unresolved: resolution > 0 ? count((sample) => sample <= 2 * resolution) : 0 },
  };
}

function fences(samples: readonly number[], reach: number): { lower: number; upper: number } {
  const ascending = [...samples].sort((a, b) => a - b);
  const at = (share: number): number => ascending[Math.round(share * (ascending.length - 1))]!;
  const room = Math.max(reach * (at(0.75) - at(0.25)), FINEST * at(0.5));
  return { lower: at(0.25) - room, upper: at(0.75) + room };
}
