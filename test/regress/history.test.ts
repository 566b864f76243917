import { describe, expect, it } from 'vitest';
import { history, type HistoryResult, UNBOUNDED } from '../../src/regress/index.js';
import { type Model, MODELS, Random, sessions } from '../bench/regress/noise.mjs';

const constant = (count: number, value: number): number[][] => Array.from({ length: count }, () => Array<number>(5).fill(value));
const judge = (stored: number[][], candidate: number[], more: object = {}): HistoryResult => history({ id: 'x', sessions: stored, candidate, ...more });
const alarmed = ({ verdict }: HistoryResult) => verdict === 'regressed' || verdict === 'improved';

function noisy(seed: number, levels: number[], samples = 5): number[][] {
  const random = new Random(seed);
  return levels.map((level) => Array.from({ length: samples }, () => level * Math.exp(0.02 * random.normal())));
}
const levels = (...parts: [length: number, level: number][]) => parts.flatMap(([length, level]) => Array<number>(length).fill(level));

describe('the newest session', () => {
  it('is regressed, improved or unchanged against stored ones that do not vary', () => {
    expect(judge(constant(8, 100), Array(5).fill(110))).toMatchObject({
      id: 'x',
      clock: 'wall',
      a: 100,
      b: 110,
      verdict: 'regressed',
      sessions: 8,
      since: 0,
      delta: 0.03,
    });
    expect(judge(constant(8, 100), Array(5).fill(90)).verdict).toBe('improved');
    expect(judge(constant(8, 100), Array(5).fill(102)).verdict).toBe('unchanged');
    const { shift, ci } = judge(constant(8, 100), Array(5).fill(110));
    expect(shift).toBeCloseTo(0.1, 12);
    expect(ci).toEqual([shift, shift]);
  });

  it('is judged by the errors of forecasting each stored session from those before it', () => {
    // Medians e^0, e^0.1, e^0, e^0.1 ... by hand for three sessions: forecasts 0 and (0.7 * 0 + 0.1) / 1.7.
    const { a, ci } = judge([[1], [Math.exp(0.1)], [1], [Math.exp(0.1)]], Array(5).fill(1));
    const log = (part: number, weight: number) => part / weight;
    const forecasts = [0, log(0.1, 1.7), log(0.07, 2.19)];
    const variances = [2, 1 + (0.49 + 1) / 1.7 ** 2, 1 + (0.7 ** 4 + 0.49 + 1) / 2.19 ** 2];
    const values = [0.1, 0, 0.1];
    const squares = values.map((value, i) => (value - forecasts[i]!) ** 2 / variances[i]!);
    const level = log(0.07 * 0.7 + 0.1, 2.19 * 0.7 + 1);
    const last = 1 + (0.7 ** 6 + 0.7 ** 4 + 0.49 + 1) / (2.19 * 0.7 + 1) ** 2;
    const error = Math.sqrt(((squares[0]! + squares[1]! + squares[2]!) / 3) * last);
    expect(Math.log(a)).toBeCloseTo(level, 10);
    // Student's t with two degrees of freedom at 1 - 0.005 * 0.35 has the closed form (2p - 1) / sqrt(2 p (1 - p)).
    const p = 1 - 0.005 * 0.35;
    const half = (error * (2 * p - 1)) / Math.sqrt(2 * p * (1 - p));
    expect(Math.log1p(ci[0])).toBeCloseTo(-level - half, 8);
    expect(Math.log1p(ci[1])).toBeCloseTo(-level + half, 8);
  });

  it('is inconclusive against too few sessions', () => {
    for (const count of [0, 1, 2, 3])
      expect(judge(constant(count, 100), Array(5).fill(200))).toMatchObject({ verdict: 'inconclusive', ci: [-1, UNBOUNDED], sessions: count });
    expect(judge(constant(4, 100), Array(5).fill(200)).verdict).toBe('regressed');
    expect(judge([], [5, 5])).toMatchObject({ a: 0, b: 5, shift: 0 });
  });

  it('may be better higher', () => {
    const found = judge(constant(8, 100), Array(5).fill(80), { direction: 'higher' });
    expect(found.verdict).toBe('regressed');
    expect(found.shift).toBeCloseTo(0.25, 12);
  });

  it('follows a level that wanders instead of calling it a change', () => {
    const climbing = noisy(1, Array.from({ length: 30 }, (_, i) => 100 * 1.02 ** i));
    expect(alarmed(judge(climbing, Array(5).fill(100 * 1.02 ** 30)))).toBe(false);
    expect(judge(climbing, Array(5).fill(300)).verdict).toBe('regressed');
  });
});

describe('reset', () => {
  const stored = noisy(2, levels([15, 100], [15, 150]));

  it('an earlier change neither widens the interval nor moves the level', () => {
    const level = noisy(2, levels([30, 150]));
    const [changed, steady] = [judge(stored, Array(5).fill(165)), judge(level, Array(5).fill(165))];
    expect(changed).toMatchObject({ since: 15, verdict: 'regressed' });
    expect(steady).toMatchObject({ since: 0, verdict: 'regressed' });
    expect(changed.a / steady.a).toBeCloseTo(1, 2);
    expect((changed.ci[1] - changed.ci[0]) / (steady.ci[1] - steady.ci[0])).toBeLessThan(1.1);
    expect(judge(stored, Array(5).fill(150)).verdict).not.toBe('regressed');
    expect(judge(stored, Array(5).fill(100)).verdict).toBe('improved');
  });

  it('a change accepted a session ago counts before it could be seen', () => {
    const recent = noisy(3, levels([20, 100], [1, 130]));
    expect(judge(recent, Array(5).fill(130), { accepted: [20] })).toMatchObject({ since: 20, a: expect.closeTo(130, -1) });
    expect(judge(recent, Array(5).fill(100), { accepted: [20] }).verdict).toBe('improved');
    expect(judge(recent, Array(5).fill(131)).a).toBeLessThan(115);
  });

  it('indexes count sessions without samples', () => {
    const gaps = [[], [], ...stored];
    expect(judge(gaps, Array(5).fill(150))).toMatchObject({ since: 17, sessions: 30 });
    expect(judge(gaps, Array(5).fill(150), { accepted: [1] })).toMatchObject({ since: 17 });
  });
});

describe('thin sessions', () => {
  const stored = noisy(4, levels([20, 100]));

  it('a single sample must be farther off than an outlier can be', () => {
    expect(alarmed(judge(stored, [250]))).toBe(false);
    expect(judge(stored, [500]).verdict).toBe('regressed');
  });

  it('one of three samples may be an outlier', () => {
    expect(alarmed(judge(stored, [100, 200, 210]))).toBe(false);
    expect(judge(stored, [190, 200, 210]).verdict).toBe('regressed');
  });

  it('fewer samples than the stored sessions have widen the interval', () => {
    const width = ({ ci }: HistoryResult) => ci[1] - ci[0];
    const many = noisy(5, levels([20, 100]), 25);
    expect(width(judge(many, Array(6).fill(100)))).toBeGreaterThan(1.3 * width(judge(many, Array(25).fill(100))));
  });
});

describe('icount', () => {
  it('alarms at 1%, and at no few instructions', () => {
    const stored = constant(8, 5714);
    expect(judge(stored, [5716, 5714, 5716], { clock: 'icount' })).toMatchObject({ verdict: 'unchanged', delta: 0.005 });
    expect(judge(stored, [5772, 5772, 5772], { clock: 'icount' }).verdict).toBe('regressed');
    expect(judge(stored, [5772], { clock: 'icount' }).verdict).toBe('regressed');
  });
});

describe('unusual series', () => {
  it('zeros are below what the clock resolves', () => {
    expect(judge(constant(8, 0), [0, 0])).toMatchObject({ a: 0, b: 0, shift: 0, verdict: 'unchanged', zeros: 42 });
    expect(judge(constant(8, 0), [4, 4, 4, 4, 4])).toMatchObject({ b: 4, verdict: 'regressed', zeros: 40 });
  });
});

describe('false alarms, simulated: 500 stationary histories each, 1.5% permitted', { timeout: 120_000 }, () => {
  const cases = Object.entries({ ...MODELS, 'strong drift': { drift: 3 } }).flatMap(([name, model]) =>
    [8, 12, 30].map((count): [string, number, Model] => [name, count, model]),
  );

  it.each(cases)('%s, %i sessions', (_, count, model) => {
    const random = new Random(40 + count);
    let alarms = 0;
    for (let i = 0; i < 500; i++) {
      const all = sessions(random, model, { count: count + 1, samples: 5, cv: 0.1 });
      if (alarmed(judge(all.slice(0, -1), all.at(-1)!))) alarms++;
    }
    expect(alarms / 500).toBeLessThanOrEqual(0.015);
  });

  it('while a session 30% slower is seen', () => {
    const random = new Random(9);
    let seen = 0;
    for (let i = 0; i < 200; i++) {
      const all = sessions(random, MODELS.outliers, { count: 21, samples: 5, cv: 0.05, shift: 0.3, at: 20 });
      if (judge(all.slice(0, -1), all.at(-1)!).verdict === 'regressed') seen++;
    }
    expect(seen / 200).toBeGreaterThan(0.95);
  });
});
