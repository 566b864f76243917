import { describe, expect, it } from 'vitest';
import { differences, hodgesLehmannShift, median, PairwiseSums, sorted } from '../../src/regress/order.js';
import { Random } from '../bench/regress/noise.mjs';

describe('median', () => {
  it('takes the middle, or the mean of the two middles', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 3, 2])).toBe(2.5);
  });
});

describe('Hodges-Lehmann shift', () => {
  it('is the median of all differences: of 1, 2, 4 and 5, 6 they are 1, 2, 3, 4, 4, 5', () => {
    expect(hodgesLehmannShift(sorted([1, 2, 4]), sorted([5, 6]))).toBe(3.5);
  });

  it('ignores a sample that went astray', () => {
    expect(hodgesLehmannShift(sorted([1, 2, 3, 4, 5]), sorted([2, 3, 4, 5, 1e6]))).toBe(1);
  });
});

describe('PairwiseSums', () => {
  it('lists Walsh averages, doubled: each pair once, each value with itself', () => {
    const walsh = PairwiseSums.walsh(sorted([1, 2, 5]));
    expect(Array.from({ length: walsh.count }, (_, k) => walsh.select(k))).toEqual([2, 3, 4, 6, 7, 10]);
    expect(walsh.median()).toBe(5);
    expect(walsh.countBelow(6, false)).toBe(3);
    expect(walsh.countBelow(6, true)).toBe(4);
  });

  // Many enough that they are selected without being listed, with ties and without.
  it.each([
    ['smooth', (random: Random) => random.normal()],
    ['tied', (random: Random) => Math.round(3 * random.normal())],
    ['constant', () => 7],
    ['two far values', (random: Random) => (random.chance(0.3) ? 1e9 : 1)],
  ])('selects from %s values as sorting would', (_, draw) => {
    const random = new Random(11);
    const x = sorted(Array.from({ length: 150 }, () => draw(random)));
    const y = sorted(Array.from({ length: 120 }, () => draw(random)));
    const paired = [...x].flatMap((p) => [...y].map((q) => q - p));
    const own = [...x].flatMap((p, i) => [...x.slice(i)].map((q) => p + q));
    for (const [sums, all] of [[differences(x, y), sorted(paired)], [PairwiseSums.walsh(x), sorted(own)]] as const) {
      expect(sums.count).toBe(all.length);
      expect(sums.count).toBeGreaterThan(8192);
      for (const k of [0, 1, 77, all.length >> 2, all.length >> 1, all.length - 2, all.length - 1])
        expect([k, sums.select(k)]).toEqual([k, all[k]]);
    }
  });
});
