import { describe, expect, it } from 'vitest';
import { adjust, benjaminiHochberg, compare, compareAll } from '../../src/regress/index.js';
import { comparison, MODELS, Random } from '../bench/regress/noise.mjs';

describe('Benjamini-Hochberg', () => {
  it('agrees with SciPy, in whatever order', () => {
    const p = [0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205];
    const q = [0.008, 0.032, 0.0672, 0.0672, 0.0672, 0.08, 0.08457142857142858, 0.205];
    const shuffle = [3, 0, 7, 5, 1, 6, 2, 4];
    const adjusted = benjaminiHochberg(shuffle.map((i) => p[i]!));
    shuffle.forEach((i, at) => expect(adjusted[at]).toBeCloseTo(q[i]!, 12));
  });

  it('leaves out what is no test', () => {
    expect(benjaminiHochberg([0.01, null, 0.04])).toEqual([0.02, null, 0.04]);
    expect(benjaminiHochberg([])).toEqual([]);
  });
});

describe('compareAll', () => {
  const random = new Random(31);
  const metric = (id: string, shift: number, blocks = 16) => ({ id, ...comparison(random, MODELS.iid, { blocks, samples: 5, cv: 0.05, shift }) });

  it('takes back a call that does not stand among so many metrics, and says what would be needed', () => {
    // Eight blocks cannot have a p-value below 1/128: enough alone, not as one of fifty.
    const alone = metric('slower', 0.3, 8);
    expect(compare(alone)).toMatchObject({ verdict: 'regressed', p: 1 / 128 });
    expect(compareAll([alone])[0]).toMatchObject({ verdict: 'regressed', q: 1 / 128 });
    const all = compareAll([alone, ...Array.from({ length: 49 }, (_, i) => metric(`same ${i}`, 0))]);
    expect(all[0]!.verdict).toBe('inconclusive');
    expect(all[0]!.q).toBeGreaterThan(0.01);
    expect(all[0]!.moreBlocks).toBeGreaterThan(2);
    const more = compareAll([metric('slower', 0.3, 8 + all[0]!.moreBlocks!), ...Array.from({ length: 49 }, (_, i) => metric(`same ${i}`, 0))]);
    expect(more[0]).toMatchObject({ id: 'slower', verdict: 'regressed' });
  });

  it('keeps calls that stand, and lets exact results alone', () => {
    const exact = { id: 'exact', clock: 'icount' as const, a: [[100], [100]], b: [[110], [110]] };
    const all = compareAll([exact, ...Array.from({ length: 20 }, (_, i) => metric(`${i}`, i < 3 ? 0.2 : 0))]);
    expect(all.map(({ verdict }) => verdict).filter((verdict) => verdict === 'regressed')).toHaveLength(4);
    expect(all[0]).toMatchObject({ id: 'exact', q: null, verdict: 'regressed', exact: true });
  });

  it('calls nothing in families without a shift', () => {
    const families = Array.from({ length: 100 }, () => Array.from({ length: 20 }, (_, i) => compare(metric(`${i}`, 0))));
    const calls = (verdicts: { verdict: string }[]) => verdicts.filter(({ verdict }) => verdict === 'regressed' || verdict === 'improved').length;
    expect(families.filter((family) => calls(adjust(family)) > 0).length).toBeLessThanOrEqual(4);
    // Without the adjustment a family of twenty calls something one time in six.
    const alone = families.filter((family) => family.some(({ p }) => p! <= 0.01)).length;
    expect(alone).toBeGreaterThan(8);
  });
});
