// Verdicts over blocks that come one after another: whoever adds blocks until it is settled keeps what settled it.
import { describe, expect, it } from 'vitest';
import { Looks, SeriesCollector, judge, randomBits, type Series } from '../../src/run/compare.js';

const coin = randomBits(3);
/** About `level`, by some percent more or less. */
const noisy = (level: number): number[] => Array.from({ length: 5 }, () => level * (1 + Array.from({ length: 8 }, () => (coin() ? 0.004 : -0.004)).reduce((sum, part) => sum + part, 0)));
const series = (id: string, clock: Series['clock'], blocks: number, a: (block: number) => number[], b: (block: number) => number[]): Series => ({
  id, unit: 'ns', clock, direction: 'lower', a: Array.from({ length: blocks }, (_, i) => a(i)), b: Array.from({ length: blocks }, (_, i) => b(i)),
});
const first = (one: Series, blocks: number): Series => ({ ...one, a: one.a.slice(0, blocks), b: one.b.slice(0, blocks) });

describe('until settled', () => {
  it('keeps the verdict of the look that settled it, whatever comes later', () => {
    const steady = series('steady', 'wall', 20, () => noisy(100), (block) => noisy(block < 12 ? 100 : 200));
    const looks = new Looks(60, undefined);
    expect(looks.settled([first(steady, 11)])).toBe(false);
    expect(looks.settled([first(steady, 12)])).toBe(true);
    looks.settled([steady]);
    const [kept] = looks.verdicts([steady]);
    expect(kept).toMatchObject({ metric: 'steady', unit: 'ns', verdict: 'unchanged', blocks: 12, q: null });
    expect(judge([steady])[0]).not.toMatchObject({ blocks: 12 });
  });

  it('shares the error between the metrics, so that each interval is wider than a single look at 99% would have', () => {
    const two = ['one', 'two'].map((id) => series(id, 'wall', 20, () => noisy(100), () => noisy(110)));
    const looks = new Looks(60, undefined);
    looks.settled(two);
    for (const [i, { ci, verdict, confidence }] of looks.verdicts(two).entries()) {
      const [single] = judge([two[i]!]);
      expect(verdict).toBe('regressed');
      expect(confidence).toBeCloseTo(0.995, 9);
      expect(ci[1] - ci[0]).toBeGreaterThan(single!.ci[1] - single!.ci[0]);
    }
  });

  it('is over after two boots where instructions repeat, and goes on for a metric that does not', () => {
    const exact = series('exact', 'icount', 2, () => [100, 101], () => [105, 106]);
    const loose = series('loose', 'icount', 2, (block) => [100 + block, 101], (block) => [100 - block, 103]);
    expect(new Looks(60, undefined).settled([exact])).toBe(true);
    const looks = new Looks(60, undefined);
    expect(looks.settled([exact, loose])).toBe(false);
    expect(looks.verdicts([exact, loose]).map(({ metric, verdict, exact: repeats }) => [metric, verdict, repeats])).toEqual([['exact', 'regressed', true], ['loose', expect.any(String), false]]);
  });
});

describe('a regression', () => {
  it('shows how the samples of both sides lie, and nothing else does', () => {
    const [slower, same] = judge([series('slower', 'icount', 2, () => [3, 1, 2, 5, 4], () => [30, 10, 20, 50, 40]), series('same', 'icount', 2, () => [1], () => [1])]);
    expect(slower!.distributions).toEqual({ a: { n: 10, least: 1, q1: 2, median: 3, q3: 4, greatest: 5 }, b: { n: 10, least: 10, q1: 20, median: 30, q3: 40, greatest: 50 } });
    expect(same).not.toHaveProperty('distributions');
  });
});

describe('the collector', () => {
  it('takes no metric that has no better way, and no result that failed', () => {
    const collector = new SeriesCollector([{ name: 'w/w', about: '', guards: [], needs: {}, metrics: [{ name: 'size', unit: 'ns', better: 'neither' }], run: () => {} }]);
    const metrics = [{ name: 'size', unit: 'ns', clock: 'wall' as const, samples: [1] }, { name: 'time', unit: 'ns', clock: 'wall' as const, samples: [1] }];
    for (const side of ['a', 'b'] as const) collector.add(side, 0, { id: 'w/w', workload: 'w/w', outcome: 'pass', metrics });
    collector.add('a', 1, { id: 'w/w', workload: 'w/w', outcome: 'fail', metrics });
    expect(collector.complete()).toMatchObject([{ id: 'w/w: time', a: [[1]], b: [[1]] }]);
  });
});
