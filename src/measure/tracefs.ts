// Where the kernel's tracing is: for tracepoints, coverage and profiles alike.
import fs from 'node:fs';
import path from 'node:path';

/** Its own mount, and the one inside debugfs that older set-ups have. */
const PLACES = ['/sys/kernel/tracing', '/sys/kernel/debug/tracing'];

/** The folder of tracefs that holds all of `needed`; undefined where this kernel or machine has none. */
export const tracefs = (needed: readonly string[] = ['available_tracers']): string | undefined =>
  PLACES.find((folder) => needed.every((name) => fs.existsSync(path.join(folder, name))));

/** Whether the tracefs at `root` offers a tracer, for example function_graph. */
export const hasTracer = (root: string, name: string): boolean => fs.readFileSync(path.join(root, 'available_tracers'), 'utf8').split(/\s+/).includes(name);
