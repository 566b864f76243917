// Page faults on DAX, counted and timed: how many there are says by which size the kernel maps, how long each takes
// says what it does. One access per entry, so that a lost huge page, a fallback or a second fault shows as a number.
import type { Place } from '../../device/place.js';
import { patternBytes, type Access, type Mapping, type Pattern, type TouchResult } from '../../native.js';
import { proveLevel } from './huge.js';
import type { Context, MetricDeclaration } from '../types.js';

export interface FaultSubject {
  place: Place;
  level: 'pte' | 'pmd' | 'pud';
  /** Bytes that one entry maps, and how many entries there are. */
  step: number;
  count: number;
}

export const faultMetric = (name: string): MetricDeclaration => ({ name, unit: 'ns', better: 'lower' });

/**
 * Faults that may come on top in a run of `accesses`. The kernel counts them by thread, and its own housekeeping may take pages of the
 * thread's heap and stack away now and then (khugepaged, compaction, NUMA balancing): a few, where they are few among many.
 */
export const strayFaults = (accesses: number): number => Math.min(3, Math.floor(accesses / 8));

/** Whether so many faults were taken, but for strays. */
export const tookFaults = (counted: number, expected: number, accesses: number): boolean => counted >= expected && counted <= expected + strayFaults(accesses);

/** Touches each entry once, expects `faults` of them to fault (none of these a major one unless said), keeps the times. */
export function faultsOf(
  ctx: Context,
  subject: FaultSubject,
  mapping: Mapping,
  access: Access,
  expected: { what: string; faults: number; major?: boolean; metric?: string },
): TouchResult {
  const { count, step } = subject;
  const { what, faults, major = false, metric } = expected;
  ctx.step(what);
  const touched = mapping.touch({ offset: 0, count, stride: step, access, timed: true });
  ctx.expect(touched.signal === undefined && touched.done === count, `${what}: all ${count} accesses should succeed`, touched.signal);
  const { minorFaults, majorFaults } = touched;
  ctx.prove(what, { accesses: count, minorFaults, majorFaults });
  const all = minorFaults + majorFaults;
  ctx.expect(tookFaults(all, faults, count), `${what}: ${count} accesses every ${step} bytes should take ${faults} faults`, { minorFaults, majorFaults });
  ctx.expect(major || majorFaults === 0, `${what}: no fault should be a major one: all blocks are there`, { minorFaults, majorFaults });
  if (metric !== undefined) ctx.metric(metric, [...touched.samples!.subarray(0, touched.done)]);
  return touched;
}

/**
 * As faultsOf, by plain stores; then what they overwrote is put back from the pattern. A locked read-modify-write would
 * keep the data by itself, but on one CPU TCG makes a load and a store of it, which are two faults.
 */
export function storeFaultsOf(ctx: Context, subject: FaultSubject, mapping: Mapping, pattern: Pattern, expected: Parameters<typeof faultsOf>[4]): void {
  faultsOf(ctx, subject, mapping, 'write', expected);
  putBack(mapping, pattern, subject);
}

/** Writes the pattern's own word again at the start of each entry. */
export function putBack(mapping: Mapping, pattern: Pattern, { step, count }: Pick<FaultSubject, 'step' | 'count'>): void {
  for (let at = 0; at < count * step; at += step) mapping.write(at, patternBytes(8, { ...pattern, base: at } as Pattern));
}

/** The level of the first, a middle and the last entry, by the kernel's own word. */
export function proveLevels(ctx: Context, subject: FaultSubject, mapping: Mapping, label: string): void {
  const { count, step, level, place } = subject;
  for (const index of new Set([0, Math.floor(count / 2), count - 1])) proveLevel(ctx, place, mapping, index * step, level, `${label}, entry ${index}`);
}
