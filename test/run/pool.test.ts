import { setTimeout as later } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { inParallel } from '../../src/run/pool.js';

it('runs at most so many at once, begins in order, gives results in order', async () => {
  let running = 0;
  let most = 0;
  const begun: number[] = [];
  const results = await inParallel([30, 5, 20, 1, 10], 2, async (ms, index) => {
    begun.push(index);
    most = Math.max(most, ++running);
    await later(ms);
    running--;
    return ms * 2;
  });
  expect(results).toEqual([60, 10, 40, 2, 20]);
  expect(begun).toEqual([0, 1, 2, 3, 4]);
  expect(most).toBe(2);
});

it('gives the first error, after what had begun has ended, and begins nothing more', async () => {
  const ended: number[] = [];
  const work = async (item: number): Promise<void> => {
    await later(item);
    if (item === 5) throw new Error('five');
    ended.push(item);
  };
  await expect(inParallel([5, 40, 1], 2, work)).rejects.toThrow('five');
  expect(ended).toEqual([40]);
});

it('leaves the rest undone when told so', async () => {
  let done = 0;
  await inParallel([1, 2, 3, 4], 1, () => Promise.resolve(done++), () => done < 2);
  expect(done).toBe(2);
});
