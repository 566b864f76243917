import { describe, expect, it } from 'vitest';
import { fewestBlocks, signedRank } from '../../src/regress/signedrank.js';
import { Random } from '../bench/regress/noise.mjs';

const VALUES = [0.03, -0.01, 0.05, 0.02, 0.045, -0.004, 0.06, 0.013, 0.027, 0.038];

describe('signed-rank test', () => {
  it('agrees with SciPy: p of wilcoxon(), the ordered Walsh averages as interval', () => {
    const test = signedRank(VALUES, 0.99);
    expect(test.p).toBeCloseTo(0.009765625, 12);
    expect(test.estimate).toBeCloseTo(0.028, 12);
    expect(test.lower).toBeCloseTo(0.0015, 12);
    expect(test.upper).toBeCloseTo(0.05, 12);
    const wider = signedRank(VALUES, 0.95);
    expect([wider.lower, wider.upper].map((end) => end.toFixed(6))).toEqual(['0.010000', '0.044000']);
  });

  it('cannot reach 99% with seven values, and can with eight', () => {
    const seven = [1, 2, 3, 4, 5, 6, 7];
    expect(signedRank(seven, 0.99)).toMatchObject({ lower: -Infinity, upper: Infinity, p: 2 / 2 ** 7 });
    expect(signedRank([...seven, 8], 0.99)).toMatchObject({ lower: 1, upper: 8, p: 2 / 2 ** 8 });
    expect([fewestBlocks(0.99), fewestBlocks(0.95), fewestBlocks(0.999), fewestBlocks(0.875)]).toEqual([8, 6, 11, 4]);
  });

  it('counts zeros against every rejection', () => {
    expect(signedRank(Array(20).fill(0), 0.99)).toEqual({ estimate: 0, lower: 0, upper: 0, p: 1 });
    const oneZero = signedRank([0, 1, 1, 1, 1, 1, 1, 1], 0.99);
    expect(oneZero.lower).toBe(0);
    expect(oneZero.p).toBeGreaterThan(0.01);
    expect(signedRank([1, 1, 1, 1, 1, 1, 1, 1], 0.99)).toMatchObject({ lower: 1, upper: 1 });
  });

  it('rejects exactly when its interval leaves zero out', () => {
    const random = new Random(5);
    let rejected = 0;
    for (let i = 0; i < 400; i++) {
      const values = Array.from({ length: 8 + (i % 12) }, () => Math.round(4 * (random.normal() + 0.8)) / 4);
      const { lower, upper, p } = signedRank(values, 0.99);
      expect(lower > 0 || upper < 0).toBe(p <= 0.01 + 1e-12);
      if (p <= 0.01) rejected++;
    }
    expect(rejected).toBeGreaterThan(50);
    expect(rejected).toBeLessThan(350);
  });
});
