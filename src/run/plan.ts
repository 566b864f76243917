// Which instances a run consists of: workloads chosen by name or glob, their parameters multiplied.
import fs from 'node:fs';
import { UsageError } from '../errors.js';
import { instanceId, type Params, type ParamValue } from './result.js';
import { multiply, type Workload } from '../workload/types.js';

export interface PlannedInstance {
  id: string;
  workload: Workload;
  params: Params;
  /** Chosen by its own name, for one run: by wall clock it takes the time that it takes, as in a --thorough run. */
  alone?: boolean;
}

const globToRegExp = (glob: string): RegExp =>
  new RegExp(`^${[...glob].map((char) => (char === '*' ? '.*' : char === '?' ? '.' : char.replace(/[.+^${}()|[\]\\]/g, '\\$&'))).join('')}$`);

/**
 * Workloads that the names or globs choose, in listing order; without any, all but those that run on request only ("*" has them
 * too). Throws UsageError for one that chooses nothing.
 */
export function chooseWorkloads(all: readonly Workload[], names: readonly string[]): Workload[] {
  if (names.length === 0) return all.filter(({ onRequest }) => !onRequest);
  const chosen = new Set<Workload>();
  for (const name of names) {
    const pattern = globToRegExp(name);
    const found = all.filter((workload) => pattern.test(workload.name));
    if (found.length === 0) {
      const near = nearest(name, all.map((workload) => workload.name));
      throw new UsageError(`no workload "${name}"${near === undefined ? '; see' : `; did you mean ${near}? See`} "daxrig workloads"`);
    }
    found.forEach((workload) => chosen.add(workload));
  }
  return all.filter((workload) => chosen.has(workload));
}

/** Whether a word could only be meant as a workload's name or glob: an option that takes several values would swallow it otherwise. */
export const couldBeName = (word: string): boolean => /^[\w*?-]+\/[\w*?-]+$/.test(word) && !fs.existsSync(word);

/** The workloads that --quick is made of. Throws UsageError when none of them is. */
export function quickOnes(workloads: readonly Workload[]): Workload[] {
  const found = workloads.filter(({ quick }) => quick !== undefined);
  if (found.length === 0) throw new UsageError('--quick: none of the chosen workloads is part of it; leave --quick out');
  return found;
}

/** The name with the fewest edits to a mistyped one, if it is near at all. */
export function nearest(name: string, names: readonly string[]): string | undefined {
  const distance = (a: string, b: string): number => {
    let row = Array.from({ length: b.length + 1 }, (_, i) => i);
    for (let i = 1; i <= a.length; i++) {
      const next = [i];
      for (let j = 1; j <= b.length; j++) next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
      row = next;
    }
    return row[b.length]!;
  };
  const best = names.map((candidate) => [distance(name, candidate), candidate] as const).sort((a, b) => a[0] - b[0])[0];
  return best && best[0] <= Math.max(2, name.length / 3) ? best[1] : undefined;
}

/** One --param KEY=VALUE[,VALUE...]. */
export function parseParam(text: string): [string, string[]] {
  const match = /^(\w+)=(.+)$/.exec(text);
  if (!match) throw new UsageError(`--param ${text}: write KEY=VALUE, for example --param fs=xfs`);
  return [match[1]!, match[2]!.split(',')];
}

/** How much of each workload a run takes: --quick, as declared, or --thorough. */
export type Extent = 'quick' | 'default' | 'thorough';

/** Whether a run takes each value of a parameter once: one of everything does, one that names workloads or values wants them all. */
export const takesEachOnce = (names: readonly string[], params: readonly string[], extent: Extent): boolean => names.length === 0 && params.length === 0 && extent === 'default';

export interface PlanOptions {
  /** Keeps instances whose parameter has one of the values; a workload without that parameter is kept. */
  only?: ReadonlyMap<string, string[]>;
  /** Facts of a local device: they replace what would have been multiplied. */
  fixed?: Record<string, ParamValue>;
  extent?: Extent;
  /** Each value of each parameter once, instead of every value with every other: what a run of everything takes. */
  eachOnce?: boolean;
}

/** The values of one parameter that a run of this extent takes. A parameter that the user names has all. */
function valuesFor({ thorough, quick }: Workload, key: string, values: readonly ParamValue[], extent: Extent): readonly ParamValue[] {
  if (extent === 'thorough') return values;
  const usual = values.filter((value) => !thorough?.[key]?.includes(value));
  return extent === 'quick' ? usual.filter((value) => quick?.[key]?.includes(value) ?? true) : usual;
}

/**
 * Sets of parameters in which each value occurs. `turn` moves parameters against each other: the pairs that one workload leaves out are
 * those of another.
 */
function eachValueOnce(params: Readonly<Record<string, readonly ParamValue[]>>, turn: number): Params[] {
  const keys = Object.entries(params);
  const count = Math.max(1, ...keys.map(([, values]) => values.length));
  return Array.from({ length: count }, (_, i) => Object.fromEntries(keys.map(([key, values], place) => [key, values[(i + place * turn) % values.length]!])));
}

/** All instances of the chosen workloads. Throws UsageError for parameters and values that none of them has. */
export function plan(workloads: readonly Workload[], { only = new Map<string, string[]>(), fixed = {}, extent = 'default', eachOnce = false }: PlanOptions = {}): PlannedInstance[] {
  for (const [key, values] of only) {
    const known = workloads.flatMap((workload) => workload.params?.[key]?.map(String) ?? []);
    if (known.length === 0) throw new UsageError(`--param ${key}: none of the chosen workloads has a parameter ${key}`);
    const unknown = values.find((value) => !known.includes(value));
    if (unknown !== undefined) throw new UsageError(`--param ${key}=${unknown}: known values are ${[...new Set(known)].join(', ')}`);
  }
  const seen = new Set<string>();
  return workloads.flatMap((workload, index) => {
    const taken = Object.entries(workload.params ?? {}).map(([key, values]) => [key, only.has(key) ? values : valuesFor(workload, key, values, extent)] as const);
    const offered = Object.fromEntries(taken);
    return (eachOnce ? eachValueOnce(offered, index) : multiply(offered)).flatMap((values) => {
      const params = { ...values };
      for (const key of Object.keys(params)) if (workload.needs.dax && fixed[key] !== undefined) params[key] = fixed[key];
      for (const [key, wanted] of only) if (key in params && !wanted.includes(String(params[key]))) return [];
      const id = instanceId(workload.name, params);
      if (seen.has(id)) return [];
      seen.add(id);
      return [{ id, workload, params }];
    });
  });
}
