import { describe, expect, it } from 'vitest';
import { sortOut, warmupOf } from '../../src/measure/samples.js';

const steady = Array.from({ length: 40 }, (_, i) => 1000 + (i % 5));

describe('warm-up', () => {
  it('cuts a slow beginning, and a fast one', () => {
    expect(warmupOf([9000, 4000, 1500, ...steady])).toBe(3);
    expect(warmupOf([10, 500, ...steady])).toBe(2);
  });

  it('cuts nothing of a steady, a constant, or a short series', () => {
    expect(warmupOf(steady)).toBe(0);
    expect(warmupOf(Array.from({ length: 20 }, () => 7))).toBe(0);
    expect(warmupOf([9, 1, 1, 1])).toBe(0);
    expect(warmupOf([])).toBe(0);
  });

  it('leaves a difference below 5% alone, whatever little the rest spreads', () => {
    expect(warmupOf([13400, ...Array.from({ length: 15 }, () => 12965)])).toBe(0);
  });

  it('never cuts more than a quarter, and an outlier in the middle ends nothing', () => {
    expect(warmupOf([...Array.from({ length: 30 }, () => 9), ...Array.from({ length: 34 }, () => 1)])).toBe(16);
    const late = [...steady];
    late[20] = 90_000;
    expect(warmupOf(late)).toBe(0);
  });
});

describe('marks', () => {
  it('counts what is far from the rest and keeps it', () => {
    const raw = [...steady, 50_000, 1];
    const { samples, warmup, marks } = sortOut(raw);
    expect(samples).toEqual(raw);
    expect(warmup).toEqual([]);
    expect(marks).toEqual({ slow: 1, fast: 1, unresolved: 0 });
  });

  it('marks what the clock cannot resolve', () => {
    expect(sortOut([0, 1, 2, 3], 1).marks.unresolved).toBe(3);
    expect(sortOut([0, 1, 2, 3]).marks.unresolved).toBe(0);
  });
});
