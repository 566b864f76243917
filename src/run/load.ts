// Workloads by name: the built-in ones, and those of --load FILE.mjs.
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { UsageError, messageOf } from '../errors.js';
import { workloads as builtin } from '../workload/index.js';
import type { Workload } from '../workload/types.js';

export type ImportUrl = (url: string) => Promise<unknown>;

/**
 * The built-in workloads and those that the files export, by `export default` (one or an array) or by name.
 * Throws UsageError for a file that cannot be imported, exports none, or reuses a name. `importUrl` is for code that V8
 * took from its code cache, which has lost the way to import by itself.
 */
export async function loadWorkloads(files: readonly string[] = [], importUrl: ImportUrl = (url) => import(url)): Promise<Workload[]> {
  const all = [...builtin];
  for (const file of files) {
    if (!fs.existsSync(file)) throw new UsageError(`--load ${file}: no such file`);
    let module: Record<string, unknown>;
    try {
      module = (await importUrl(pathToFileURL(path.resolve(file)).href)) as Record<string, unknown>;
    } catch (error) {
      throw new UsageError(`--load ${file}: ${messageOf(error).split('\n')[0]}`);
    }
    const found = Object.values(module).flat().filter(isWorkload);
    if (found.length === 0) throw new UsageError(`--load ${file}: exports no workload; export default { name, about, guards, needs, run }`);
    for (const workload of new Set(found)) {
      if (all.some(({ name }) => name === workload.name)) throw new UsageError(`--load ${file}: there is already a workload ${workload.name}`);
      all.push(workload);
    }
  }
  return all;
}

function isWorkload(value: unknown): value is Workload {
  if (typeof value !== 'object' || value === null) return false;
  const { name, about, guards, needs, run } = value as Partial<Workload>;
  return typeof name === 'string' && /^[\w-]+\/[\w-]+$/.test(name) && typeof about === 'string' && Array.isArray(guards) && guards.every((guard) => typeof guard === 'string') && typeof needs === 'object' && typeof run === 'function';
}
