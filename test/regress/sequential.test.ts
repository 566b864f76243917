import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/errors.js';
import { SequentialComparison, type SequentialOptions, type SequentialState } from '../../src/regress/index.js';
import { stageInterval, stagePlan } from '../../src/regress/stages.js';
import { signedRank } from '../../src/regress/signedrank.js';
import { comparison, MODELS, Random } from '../bench/regress/noise.mjs';

function feed(options: SequentialOptions, a: number[][], b: number[][]): SequentialState[] {
  const steps = new SequentialComparison(options);
  return a.map((block, i) => steps.push(block, b[i]!));
}

describe('stage boundaries', () => {
  it('are those of the signed-rank test if there is one stage', () => {
    const plan = stagePlan([16], 0.01);
    expect(plan).toMatchObject({ looks: [16], critical: [19], weights: [1] });
    const random = new Random(1);
    const shifts = Array.from({ length: 16 }, () => random.normal());
    const { estimate, lower, upper } = signedRank(shifts, 0.99);
    const interval = stageInterval(plan, 0, shifts);
    expect(interval.estimate).toBeCloseTo(estimate, 12);
    expect(interval).toMatchObject({ lower, upper });
  });

  it('spend the whole level over all looks and no more, by every choice of signs', () => {
    // Three stages of four, later ones noisier: all 4096 choices of signs of twelve shifts.
    const alpha = 0.2;
    const plan = stagePlan([4, 4, 4], alpha);
    const chance = (critical: number[]) => {
      let crossed = 0;
      for (let signs = 0; signs < 4096; signs++) {
        const shifts = Array.from({ length: 12 }, (_, i) => ((signs >> i) & 1 ? 1 : -1) * (1 + i ** 2));
        const looks = [4, 8, 12].map((blocks, look) => stageInterval({ ...plan, critical }, look, shifts.slice(0, blocks)));
        if (looks.some(({ lower, upper }) => lower > 0 || upper < 0)) crossed++;
      }
      return crossed / 4096;
    };
    expect(chance(plan.critical)).toBeLessThanOrEqual(alpha);
    // One step further at the last look would be one too many.
    expect(chance(plan.critical.with(-1, plan.critical.at(-1)! + 1))).toBeGreaterThan(alpha);
  });

  it('weigh stages of different size by their ranks', () => {
    expect(stagePlan([11, 5, 5], 0.01).weights).toEqual([1, 2, 2]);
  });
});

describe('until settled', () => {
  it('looks at 12 blocks and then at every eighth, and says how far the next look is', () => {
    const { a, b } = comparison(new Random(2), MODELS.iid, { blocks: 21, samples: 5, cv: 0.2 });
    const states = feed({ maxBlocks: 28 }, a, b);
    expect(states.map(({ blocksToLook }) => blocksToLook)).toEqual([11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 8, 7, 6, 5, 4, 3, 2, 1, 8, 7]);
    expect(states[10]).not.toHaveProperty('comparison');
    expect(states[11]!.comparison).toMatchObject({ blocks: 12, verdict: 'inconclusive', p: null });
    expect(states[20]!.comparison!.blocks).toBe(20);
  });

  it('settles on a clear shift and takes nothing more', () => {
    const { a, b } = comparison(new Random(3), MODELS.hard, { blocks: 60, samples: 5, cv: 0.1, shift: 0.3 });
    const steps = new SequentialComparison({ id: 'fault' });
    let pushed = 0;
    while (steps.state.state === 'collecting') steps.push(a[pushed]!, b[pushed++]!);
    expect(steps.state).toMatchObject({ state: 'settled', blocks: pushed, blocksToLook: 0 });
    expect(steps.state.comparison).toMatchObject({ id: 'fault', verdict: 'regressed', blocks: pushed });
    expect(pushed).toBeLessThan(30);
    expect(steps.push([1], [1])).toBe(steps.state);
    expect(steps.state.blocks).toBe(pushed);
  });

  it('settles on unchanged when the noise allows it', () => {
    const { a, b } = comparison(new Random(4), MODELS.iid, { blocks: 20, samples: 5, cv: 0.01 });
    expect(feed({}, a, b).at(-1)).toMatchObject({ state: 'settled', comparison: { verdict: 'unchanged' } });
  });

  it('ends inconclusive when the blocks are used up', () => {
    const { a, b } = comparison(new Random(5), MODELS.iid, { blocks: 30, samples: 1, cv: 0.3 });
    const last = feed({ maxBlocks: 26 }, a, b).at(-1)!;
    expect(last).toMatchObject({ state: 'exhausted', blocks: 28, comparison: { verdict: 'inconclusive' } });
    expect(last.comparison!.moreBlocks).toBeGreaterThan(0);
  });

  it('does not inflate the error by looking often: 1000 runs of seven looks, at most 1% miss the truth at any', { timeout: 120_000 }, () => {
    const random = new Random(6);
    let missed = 0;
    let naive = 0;
    for (let i = 0; i < 1000; i++) {
      const { a, b } = comparison(random, MODELS.outliers, { blocks: 60, samples: 1, cv: 0.2 });
      const states = feed({ delta: 0.001 }, a, b).filter(({ comparison: seen }) => seen !== undefined);
      if (states.some(({ comparison: seen }) => seen!.ci[0] > 0 || seen!.ci[1] < 0)) missed++;
      const shifts = a.map((block, k) => Math.log(b[k]![0]! / block[0]!));
      const looks = [12, 20, 28, 36, 44, 52, 60].map((n) => signedRank(shifts.slice(0, n), 0.99));
      if (looks.some(({ lower, upper }) => lower > 0 || upper < 0)) naive++;
    }
    expect(missed).toBeLessThanOrEqual(17);
    expect(missed).toBeGreaterThan(1);
    // The same looks without a shared level: what this guards against.
    expect(naive).toBeGreaterThan(2 * missed);
  });

  it('is settled by exactness as soon as two boots per kernel repeat', () => {
    const states = feed({ clock: 'icount' }, [[5714, 5714], [5714, 5714]], [[5772, 5772], [5772, 5772]]);
    expect(states[0]).toEqual({ state: 'collecting', blocks: 1, blocksToLook: 1 });
    expect(states[1]).toMatchObject({ state: 'settled', comparison: { exact: true, verdict: 'regressed' } });
  });

  it('looks once at three boots that nearly repeat, and otherwise goes on to the stages', () => {
    const near = feed({ clock: 'icount' }, [[5714], [5714], [5716]], [[5714], [5716], [5714]]);
    expect(near.map(({ state }) => state)).toEqual(['collecting', 'collecting', 'settled']);
    expect(near[2]!.comparison).toMatchObject({ verdict: 'unchanged', confidence: 0.99 });
    const noisy = feed({ clock: 'icount' }, [[5000], [6000], [5500]], [[5600], [5100], [5900]]);
    expect(noisy[2]).toMatchObject({ state: 'collecting', blocksToLook: 9, comparison: { verdict: 'inconclusive' } });
  });

  it('refuses blocks and plans that make no sense', () => {
    expect(() => new SequentialComparison().push([], [1])).toThrow(new UsageError('a has no samples'));
    expect(() => new SequentialComparison().push([1], [-1])).toThrow(UsageError);
    expect(() => new SequentialComparison({ lookEvery: 0 })).toThrow(new UsageError('lookEvery is 0, not a number of blocks'));
    expect(() => new SequentialComparison({ maxBlocks: 1.5 })).toThrow(UsageError);
  });
});
