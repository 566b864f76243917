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

/** Switches `events` (group/name) on until the workload ends; undefined where this kernel cannot. */
export function trace(ctx: Context, events: readonly string[]): Trace | undefined {
  const root = tracefs(events.map((event) => path.join('events', event)));
  if (root === undefined) return undefined;
  const instance = path.join(root, 'instances', `daxrig-${process.pid}`);
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
  events.forEach((event) => enable(event, true));
  return { lines: () => fs.readFileSync(path.join(instance, 'trace'), 'utf8').split('\n').filter((line) => line !== '' && !line.startsWith('#')) };
}
