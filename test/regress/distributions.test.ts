// Against published tables and values computed with SciPy 1.17.
import { describe, expect, it } from 'vitest';
import { normalCdf, normalQuantile, rankSumNull, signedRankNull, studentCdf, studentQuantile } from '../../src/regress/distributions.js';

describe('normal', () => {
  it.each([
    [-5, 2.866515718791933e-7],
    [-1.96, 0.024997895148220435],
    [0, 0.5],
    [3, 0.9986501019683699],
  ])('P(Z <= %f)', (z, p) => {
    expect(normalCdf(z)).toBeCloseTo(p, 14);
    expect(Math.abs(normalCdf(z) / p - 1)).toBeLessThan(1e-12);
  });

  it('inverts its quantile, also far out', () => {
    expect(normalQuantile(0.995)).toBeCloseTo(2.5758293035489004, 10);
    expect(normalQuantile(1e-6)).toBeCloseTo(-4.753424308822899, 9);
    expect(normalQuantile(0.5)).toBeCloseTo(0, 12);
  });
});

describe("Student's t", () => {
  it.each([
    [1, 127.32133646887486],
    [6, 4.316827103633413],
    [28, 3.046928775053044],
  ])('quantile 0.9975 with %i degrees of freedom', (df, t) => {
    expect(studentQuantile(0.9975, df)).toBeCloseTo(t, 8);
    expect(studentCdf(-t, df)).toBeCloseTo(0.0025, 12);
  });
});

describe('signed-rank null distribution', () => {
  it('counts the subsets of the ranks: of three ranks 0, 1, 2, 3 (twice), 4, 5 and 6 can be the sum', () => {
    const null3 = signedRankNull(3);
    expect([0, 1, 2, 3, 4, 5, 6].map((t) => null3.cdf(t) * 8)).toEqual([1, 2, 3, 5, 6, 7, 8]);
    expect(null3.cdf(-1)).toBe(0);
  });

  it('has the critical values of the published table, two-sided 1%', () => {
    const table = { 7: -1, 8: 0, 9: 1, 10: 3, 11: 5, 12: 7, 13: 9, 14: 12, 15: 15, 16: 19, 17: 23, 18: 27, 19: 32, 20: 37, 25: 68 };
    for (const [n, t] of Object.entries(table)) expect(`${n}: ${signedRankNull(Number(n)).critical(0.005)}`).toBe(`${n}: ${t}`);
  });

  it('is exact for 60 values and close to exact for 300, where it is a corrected limit', () => {
    expect(signedRankNull(60).cdf(560)).toBeCloseTo(0.004193592711615859, 12);
    expect(signedRankNull(300).cdf(17500)).toBeCloseTo(0.00035073240295480025, 7);
    expect(signedRankNull(300).cdf(18800)).toBeCloseTo(0.005964381720782889, 6);
    expect(signedRankNull(300).cdf(signedRankNull(300).critical(0.005))).toBeLessThanOrEqual(0.005);
  });
});

describe('rank-sum null distribution', () => {
  it('has the critical values of the published table', () => {
    expect(rankSumNull(10, 12).critical(0.025)).toBe(29);
    expect(rankSumNull(8, 8).critical(0.005)).toBe(7);
    expect(rankSumNull(4, 4).critical(0.005)).toBe(-1);
  });

  it('is the same whichever sample comes first, and close to exact for many, where it is a corrected limit', () => {
    expect(rankSumNull(3, 7)).toBe(rankSumNull(7, 3));
    expect(rankSumNull(50, 60).cdf(1000)).toBeCloseTo(0.0012448295643760052, 5);
    expect(rankSumNull(45, 3).cdf(10)).toBeCloseTo(0.00387372802960222, 12);
  });
});
