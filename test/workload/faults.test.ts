import { expect, it } from 'vitest';
import { tookFaults } from '../../src/workload/shared/faults.js';

it('allows the housekeeping of a kernel, and no entry that was mapped twice', () => {
  expect([256, 257, 259].map((counted) => tookFaults(counted, 256, 256))).toEqual([true, true, true]);
  expect([255, 260, 512].map((counted) => tookFaults(counted, 256, 256))).toEqual([false, false, false]);
  // Of a few accesses each one counts.
  expect([2, 3, 1].map((counted) => tookFaults(counted, 2, 2))).toEqual([true, false, false]);
  expect([0, 1].map((counted) => tookFaults(counted, 0, 4))).toEqual([true, false]);
  expect([18, 19].map((counted) => tookFaults(counted, 16, 16))).toEqual([true, false]);
});
