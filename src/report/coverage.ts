// What a run reached of the kernel's DAX subsystem: joined over its results, per kernel, and printed.
import type { FunctionsByModule, Reached } from '../measure/coverage.js';

export interface ModuleCoverage {
  module: string;
  reached: number;
  total: number;
  /** By name, sorted. */
  unreached: string[];
}

export interface KernelCoverage {
  kernel: string;
  modules: ModuleCoverage[];
  /** Functions that one workload alone reached, as module:function. */
  onlyBy: Record<string, string[]>;
  /** Instances that lost events: what only they reach may be missing. */
  incomplete: string[];
  /** Why there is nothing, where no instance could collect. */
  unavailable?: string;
}

export interface CoveredResult {
  id: string;
  workload: string;
  kernel: string;
  coverage?: Reached;
}

const keysOf = (functions: FunctionsByModule): string[] => Object.entries(functions).flatMap(([module, names]) => names.map((name) => `${module}:${name}`));

/** `available`: what could be reached, by kernel, as the guests said when they were saved. */
export function joinCoverage(results: readonly CoveredResult[], available: ReadonlyMap<string, FunctionsByModule[]>): KernelCoverage[] {
  const kernels = [...new Set(results.filter(({ coverage }) => coverage).map(({ kernel }) => kernel))];
  return kernels.map((kernel) => {
    const mine = results.filter((result): result is CoveredResult & { coverage: Reached } => result.kernel === kernel && result.coverage !== undefined);
    const all = new Set((available.get(kernel) ?? []).flatMap(keysOf));
    const by = new Map<string, Set<string>>();
    for (const { workload, coverage } of mine) {
      for (const key of keysOf(coverage.appeared ?? {})) all.add(key);
      for (const key of keysOf(coverage.functions)) by.set(key, (by.get(key) ?? new Set()).add(workload));
    }
    // Seen by the tracer, so it can be reached, whatever the lists say.
    for (const key of by.keys()) all.add(key);
    const onlyBy: Record<string, string[]> = {};
    for (const [key, workloads] of [...by].sort(([a], [b]) => (a < b ? -1 : 1))) if (workloads.size === 1) (onlyBy[[...workloads][0]!] ??= []).push(key);
    const unavailable = mine.every(({ coverage }) => coverage.unavailable !== undefined) ? mine[0]?.coverage.unavailable : undefined;
    return {
      kernel,
      modules: byModule([...all], by),
      onlyBy,
      incomplete: mine.filter(({ coverage }) => (coverage.missed ?? 0) > 0).map(({ id }) => id),
      ...(unavailable === undefined ? {} : { unavailable }),
    };
  });
}

function byModule(all: readonly string[], reached: { has(key: string): boolean }): ModuleCoverage[] {
  const modules = [...new Set(all.map((key) => key.slice(0, key.indexOf(':'))))].sort();
  return modules.map((module) => {
    const mine = all.filter((key) => key.startsWith(`${module}:`)).sort();
    const unreached = mine.filter((key) => !reached.has(key)).map((key) => key.slice(module.length + 1));
    return { module, reached: mine.length - unreached.length, total: mine.length, unreached };
  });
}

/** The table for people. */
export function coverageText(coverage: readonly KernelCoverage[]): string {
  return coverage
    .map(({ kernel, modules, onlyBy, incomplete, unavailable }) => {
      if (unavailable !== undefined) return `coverage of ${kernel}: ${unavailable}`;
      const width = Math.max(...modules.map(({ module }) => module.length));
      const lines = [`coverage of ${kernel}: functions of the DAX subsystem`];
      for (const { module, reached, total, unreached } of modules) {
        lines.push(`  ${module.padEnd(width)}  ${String(reached).padStart(4)} of ${String(total).padStart(4)}`);
        if (unreached.length > 0) lines.push(...wrapped(`not reached: ${unreached.join(' ')}`, '      '));
      }
      const only = Object.entries(onlyBy).sort(([, a], [, b]) => b.length - a.length);
      if (only.length > 0) lines.push('reached by one workload alone:');
      for (const [workload, keys] of only) lines.push(...wrapped(`${workload} (${keys.length}): ${keys.map((key) => key.slice(key.indexOf(':') + 1)).join(' ')}`, '  '));
      if (incomplete.length > 0) lines.push(`events were lost in: ${incomplete.join(', ')}`);
      return lines.join('\n');
    })
    .join('\n\n');
}

/** Words in lines of at most 120 characters, the later ones indented further. */
function wrapped(text: string, indent: string): string[] {
  const lines: string[] = [];
  let line = indent;
  for (const word of text.split(' ')) {
    if (line.length + word.length > 119 && line.trim() !== '') {
      lines.push(line.trimEnd());
      line = `${indent}  `;
    }
    line += `${word} `;
  }
  return [...lines, line.trimEnd()];
}
