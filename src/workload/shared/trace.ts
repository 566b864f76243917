// The kernel's tracepoints, in a tracing instance of the workload's own, so that no other tracer is disturbed or seen.
// A lens that may be missing (no tracefs, no such event): what it shows is extra proof, never the only one.
import fs from 'node:fs';
import path from 'node:path';
import { codeOf } from '../../errors.js';
import { tracefs } from '../../measure/tracefs.js';
import type { Context } from '../types.js';

export interface Trace {
  /** Events so far, one line each, oldest first. */
  lines(): string[];
}

/** Filters of the tracepoints that end a fault (include/linux/mm_types.h): VM_FAULT_NOPAGE, the entry was made; VM_FAULT_FALLBACK, a smaller one will be. */
const SERVED = 'result & 0x100';
export const FALLEN_BACK = 'result & 0x800';

/** Counts the faults on files that are served from now on; what it gives expects some of each size, where this kernel tells. */
export function countBothSizes(ctx: Context): () => void {
  const counts = { huge: counter(ctx, 'fs_dax/dax_pmd_fault_done', SERVED), small: counter(ctx, 'fs_dax/dax_pte_fault_done', SERVED) };
  return () => {
    const faults = { huge: counts.huge?.(), small: counts.small?.() };
    ctx.prove('faults served', faults);
    ctx.expect(Object.values(faults).every((count) => count !== 0), 'faults of both sizes should have been served during the race', faults);
  };
}

/**
 * Counts an event from now until the workload ends, at the cost of the tracepoint alone; `filter` as the kernel's event filters
 * (Documentation/trace/events.rst). Undefined where this kernel cannot.
 */
export function counter(ctx: Context, event: string, filter?: string): (() => number) | undefined {
  const instance = instanceOf(ctx, [event], filter);
  if (instance === undefined) return undefined;
  // What ran over is counted, too.
  const told = (text: string, name: string): number => Number(new RegExp(`^${name}: (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
  const cpus = path.join(instance, 'per_cpu');
  return () =>
    fs.readdirSync(cpus).reduce((sum, cpu) => {
      const stats = fs.readFileSync(path.join(cpus, cpu, 'stats'), 'utf8');
      return sum + told(stats, 'entries') + told(stats, 'overrun');
    }, 0);
}

/** Switches `events` (group/name) on until the workload ends; undefined where this kernel cannot. */
export function trace(ctx: Context, events: readonly string[]): Trace | undefined {
  const instance = instanceOf(ctx, events);
  if (instance === undefined) return undefined;
  return { lines: () => fs.readFileSync(path.join(instance, 'trace'), 'utf8').split('\n').filter((line) => line !== '' && !line.startsWith('#')) };
}

let instances = 0;

/** The folder of a tracing instance in which the events are on, until the workload ends. */
function instanceOf(ctx: Context, events: readonly string[], filter?: string): string | undefined {
  const root = tracefs(events.map((event) => path.join('events', event)));
  if (root === undefined) return undefined;
  const instance = path.join(root, 'instances', `daxrig-${process.pid}-${++instances}`);
  try {
    fs.mkdirSync(instance);
  } catch (error) {
    if (!['EPERM', 'EACCES', 'ENOENT', 'EOPNOTSUPP'].includes(codeOf(error) ?? '')) throw error;
    return undefined;
  }
  const enable = (event: string, on: boolean): void => fs.writeFileSync(path.join(instance, 'events', event, 'enable'), on ? '1' : '0');
  ctx.cleanup(() => {
    events.forEach((event) => enable(event, false));
    fs.rmdirSync(instance);
  });
  events.forEach((event) => {
    if (filter !== undefined) fs.writeFileSync(path.join(instance, 'events', event, 'filter'), filter);
    enable(event, true);
  });
  return instance;
}
