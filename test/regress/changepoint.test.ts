import { describe, expect, it } from 'vitest';
import { changePoints } from '../../src/regress/index.js';
import { MODELS, Random, sessions } from '../bench/regress/noise.mjs';

const noisy = (seed: number, levels: number[]) => {
  const random = new Random(seed);
  return levels.map((level) => Array.from({ length: 5 }, () => level * Math.exp(0.03 * random.normal())));
};
const runs = (...parts: [length: number, level: number][]) => parts.flatMap(([length, level]) => Array<number>(length).fill(level));

describe('change points', { timeout: 120_000 }, () => {
  it('are where the level changes, with the levels on both sides', () => {
    const found = changePoints(noisy(1, runs([20, 100], [25, 120], [30, 90])));
    expect(found.map(({ index }) => index)).toEqual([20, 45]);
    expect(found[0]!.before).toBeCloseTo(100, -1);
    expect(found[0]!.after).toBeCloseTo(120, -1);
    expect(found[0]!.shift).toBeCloseTo(0.2, 1);
    expect(found[1]!.shift).toBeCloseTo(-0.25, 1);
  });

  it('are exact in constant series', () => {
    expect(changePoints(runs([10, 5714], [6, 5715]).map((value) => [value]))).toEqual([
      { index: 10, before: expect.closeTo(5714, 6), after: expect.closeTo(5715, 6), shift: expect.closeTo(1 / 5714, 9) },
    ]);
    expect(changePoints(runs([40, 7]).map((value) => [value]))).toEqual([]);
  });

  it('are found where a level comes back', () => {
    expect(changePoints(noisy(2, runs([40, 100], [12, 130], [40, 100]))).map(({ index }) => index)).toEqual([40, 52]);
  });

  it('are not made of one or two freak sessions', () => {
    const levels = runs([40, 100]);
    levels[12] = 250;
    levels[30] = 200;
    levels[31] = 180;
    expect(changePoints(noisy(3, levels))).toEqual([]);
  });

  it('are not seen in less than eight sessions, nor in none', () => {
    expect(changePoints(noisy(4, runs([3, 100], [4, 200])))).toEqual([]);
    expect(changePoints([])).toEqual([]);
    expect(changePoints([[], [1], []])).toEqual([]);
  });

  it('keep their place where sessions without samples lie between', () => {
    const series = noisy(5, runs([10, 100], [10, 150]));
    series.splice(4, 0, [], []);
    expect(changePoints(series).map(({ index }) => index)).toEqual([12]);
  });

  it('are found in a history of a thousand sessions', () => {
    const found = changePoints(noisy(6, runs([300, 100], [400, 105], [300, 112])));
    expect(found).toHaveLength(2);
    expect(Math.abs(found[0]!.index - 300)).toBeLessThanOrEqual(3);
    expect(Math.abs(found[1]!.index - 700)).toBeLessThanOrEqual(3);
  });

  it.each(['iid', 'outliers', 'drift', 'hard'] as const)('%s: are hardly ever seen in stationary noise', (name) => {
    const random = new Random(7);
    const found = Array.from({ length: 150 }, () => changePoints(sessions(random, MODELS[name], { count: 40, samples: 5, cv: 0.1 })));
    expect(found.filter((points) => points.length > 0).length).toBeLessThanOrEqual(4);
  });
});
