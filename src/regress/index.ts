// What the rest of daxrig uses of the statistics.
export { BOOT_SPREAD, compare, type Comparison, type Method } from './compare.js';
export { changePoints, type ChangePoint } from './changepoint.js';
export { history, type HistoryResult } from './history.js';
export {
  checkCompareInput,
  checkHistoryInput,
  type Clock,
  CLOCKS,
  type CompareInput,
  DEFAULT_CONFIDENCE,
  DEFAULT_DELTA,
  type Direction,
  type HistoryInput,
  type Verdict,
} from './input.js';
export { adjust, benjaminiHochberg, compareAll, type FamilyComparison } from './multiple.js';
export { SequentialComparison, type SequentialOptions, type SequentialState } from './sequential.js';
export { POWER, UNBOUNDED } from './verdict.js';
