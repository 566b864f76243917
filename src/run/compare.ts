// Interleaved comparison of two kernels: in each block both are booted, in an order drawn from the seed, and run the
// same workloads; the samples of a block lie beside each other, so that a slow hour of the machine hits both alike.
import { BrokenError, UsageError, messageOf } from '../errors.js';
import { SequentialComparison, compareAll, type CompareInput, type Direction, type FamilyComparison } from '../regress/index.js';
import { differences, type Difference, type Profile } from '../measure/profile.js';
import type { Environment } from '../store/environment.js';
import type { RunDirectory } from '../store/rundir.js';
import { quartiles, type Quartiles } from '../store/summary.js';
import type { Workload } from '../workload/types.js';
import { bootTarget, makeTarget, type Guests } from './guests.js';
import type { PlannedInstance } from './plan.js';
import type { Metric, RunResult } from './result.js';
import type { RunDocument, RunObserver } from './runner.js';
import { runAll } from './runner.js';

/** One metric of one instance: what is compared. */
export interface Series {
  id: string;
  unit: string;
  clock: Metric['clock'];
  direction: Direction;
  a: number[][];
  b: number[][];
}

export interface MetricComparison extends FamilyComparison {
  metric: string;
  unit: string;
  /** Of a regression: how the samples of A and of B lie. */
  distributions?: { a: Distribution; b: Distribution };
  /** Of a regression where instructions were counted: kernel functions that cost more or less in B, most first. */
  why?: Difference[];
}

/** All samples of one side, whatever block they are of; in the metric's unit. */
export interface Distribution extends Quartiles {
  n: number;
  least: number;
  greatest: number;
}

function distributionOf(blocks: readonly number[][]): Distribution {
  const samples = Float64Array.from(blocks.flat()).sort();
  return { n: samples.length, least: samples[0]!, ...quartiles(samples), greatest: samples.at(-1)! };
}

/** Makes series of results: `side` says whose they are, `block` which run of it. */
export class SeriesCollector {
  readonly #series = new Map<string, Series>();
  readonly #better: ReadonlyMap<string, Direction | 'neither'>;

  constructor(workloads: readonly Workload[]) {
    this.#better = new Map(workloads.flatMap(({ name, metrics }) => (metrics ?? []).map((metric) => [`${name} ${metric.name}`, metric.better] as const)));
  }

  add(side: 'a' | 'b', block: number, result: Pick<RunResult, 'id' | 'workload' | 'metrics' | 'outcome'>): void {
    // What a workload measured before it failed is no measurement of a working kernel.
    if (result.outcome !== 'pass' && result.outcome !== 'xfail') return;
    for (const { name, unit, clock, samples } of result.metrics) {
      if (samples.length === 0) continue;
      const better = this.#better.get(`${result.workload} ${name}`) ?? 'lower';
      if (better === 'neither') continue;
      const id = `${result.id}: ${name}`;
      let series = this.#series.get(id);
      if (!series) this.#series.set(id, (series = { id, unit, clock, direction: better, a: [], b: [] }));
      if (series.clock !== clock) throw new UsageError(`${id}: measured by ${series.clock} and by ${clock}; the two cannot be compared`);
      if (series.unit !== unit) throw new UsageError(`${id}: measured in ${series.unit} and in ${unit}; the two cannot be compared`);
      (series[side][block] ??= []).push(...samples);
    }
  }

  /** Series that both sides have, with the blocks that both sides have. */
  complete(): Series[] {
    return [...this.#series.values()].flatMap((series) => {
      const blocks = Array.from({ length: Math.max(series.a.length, series.b.length) }, (_, i) => i).filter((i) => series.a[i] && series.b[i]);
      return blocks.length === 0 ? [] : [{ ...series, a: blocks.map((i) => series.a[i]!), b: blocks.map((i) => series.b[i]!) }];
    });
  }
}

const inputOf = ({ id, clock, direction, a, b }: Series, delta?: number): CompareInput => ({
  // Counts, too, repeat exactly or have changed.
  id, clock: clock === 'wall' ? 'wall' : 'icount', direction, a, b, ...(delta === undefined ? {} : { delta }),
});

/** The verdicts over all metrics together (Benjamini-Hochberg). */
export function judge(series: readonly Series[], delta?: number): MetricComparison[] {
  return compareAll(series.map((one) => inputOf(one, delta))).map((comparison, i) => metricComparison(series[i]!, comparison));
}

function metricComparison({ id, unit, a, b }: Series, comparison: FamilyComparison): MetricComparison {
  const distributions = comparison.verdict === 'regressed' ? { distributions: { a: distributionOf(a), b: distributionOf(b) } } : {};
  return { metric: id, unit, ...comparison, ...distributions };
}

/** A small generator (mulberry32): which of two kernels runs first is drawn, not alternated. */
export function randomBits(seed: number): () => boolean {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) & 1) === 1;
  };
}

export interface CompareOptions {
  guests: Guests;
  instances: PlannedInstance[];
  workloads: readonly Workload[];
  blocks: number;
  /** Adds blocks until every metric is settled, at most this many in all. */
  untilSettled?: number;
  delta?: number;
  seed: number;
  timeout?: number;
  directory: RunDirectory;
  document: RunDocument;
  observer: RunObserver;
  progress: (text: string) => void;
  signal: AbortSignal;
}

/** Runs the blocks and judges. Throws BrokenError when a kernel does not come up. */
export async function compareKernels(options: CompareOptions): Promise<MetricComparison[]> {
  const { guests, signal, progress } = options;
  const [cellA, cellB] = guests.cells;
  if (!cellA || !cellB || guests.kernels.length !== 2) throw new UsageError(`compare takes two different kernels; --kernel named ${guests.kernels.length}`);
  if (guests.layouts.length !== 1) throw new UsageError(`compare takes one layout; --layout named ${guests.layouts.length}`);
  const collector = new SeriesCollector(options.workloads);
  const coin = randomBits(options.seed);
  const looks = options.untilSettled === undefined ? undefined : new Looks(options.untilSettled, options.delta);
  const limit = options.untilSettled ?? options.blocks;
  for (let block = 0; block < limit && !signal.aborted; block++) {
    progress(`block ${block + 1} of ${options.untilSettled === undefined ? limit : `at most ${limit}`}`);
    const sides = coin() ? (['b', 'a'] as const) : (['a', 'b'] as const);
    for (const side of sides) {
      const cell = side === 'a' ? cellA : cellB;
      const target = await makeTarget(guests, cell, progress, { boot: block + 1 });
      try {
        const { cameUp, trouble, guest } = await bootTarget(guests, cell, target, options.directory);
        if (block === 0) options.document.run.guests.push(guest);
        if (!cameUp) throw new BrokenError(trouble!.reason);
        const before = options.document.results.length;
        // One at a time: what is measured has the machine to itself.
        await runAll(options.instances.map((instance) => ({ instance, target, seed: options.seed })), { ...options, jobs: 1, prefix: `${side}${block + 1}-` });
        for (const result of options.document.results.slice(before)) collector.add(side, block, result);
      } finally {
        await target.discard();
      }
    }
    if (looks?.settled(collector.complete())) break;
  }
  const comparisons = looks ? looks.verdicts(collector.complete()) : judge(collector.complete(), options.delta);
  if (guests.options.clock === 'icount' && !signal.aborted) {
    try {
      await explain(comparisons, options);
    } catch (error) {
      // The verdicts stand, whatever became of the guests that were to explain them.
      progress(`regressions are not explained: ${signal.aborted ? 'interrupted' : messageOf(error)}`);
    }
  }
  return comparisons;
}

/** Functions named for a regression. */
const NAMED = 10;

/** Traces what regressed in one more copy on each kernel, apart from the samples, and says in which functions the time went. */
async function explain(comparisons: MetricComparison[], { guests, instances, directory, seed, signal, progress, timeout }: CompareOptions): Promise<void> {
  const shifted = comparisons.filter(({ verdict, unit }) => verdict === 'regressed' && unit === 'ns');
  const concerned = instances.filter(({ id }) => shifted.some(({ metric }) => metric.startsWith(`${id}: `)));
  if (concerned.length === 0) return;
  const traced: Map<string, Profile>[] = [];
  for (const [side, cell] of guests.cells.entries()) {
    const profiles = new Map<string, Profile>();
    traced.push(profiles);
    const target = await makeTarget(guests, cell, progress);
    for (const instance of concerned) {
      progress(`tracing ${instance.id} on ${cell.kernel.release}`);
      const file = `${'ab'[side]}-traced-${instance.workload.name.replace('/', '-')}`;
      const result = await target.run(instance, { seed, file, folder: directory.folder, onEvent: () => {}, signal, gdb: false, profile: true, note: undefined, ...(timeout === undefined ? {} : { timeout }) });
      // A workload may expect of its times what a tracer makes untrue; what it traced until then counts.
      for (const [name, profile] of Object.entries(result.profiles ?? {})) profiles.set(`${instance.id}: ${name}`, profile);
      if (!result.profiles) progress(`${instance.id}: nothing could be traced${result.reason === undefined ? '' : ` (${result.reason})`}`);
    }
  }
  for (const comparison of shifted) {
    const [a, b] = traced.map((profiles) => profiles.get(comparison.metric));
    if (a && b) comparison.why = differences(a, comparison.a, b, comparison.b).slice(0, NAMED);
  }
}

/** Sequential looks at all metrics: an error rate shared between them, so that looking often does not inflate it. */
export class Looks {
  readonly #tests = new Map<string, { test: SequentialComparison; seen: number }>();

  /** `most`: blocks after which what is not settled stays inconclusive. */
  constructor(
    private readonly most: number,
    private readonly delta: number | undefined,
  ) {}

  /** Takes the blocks that are new in each series. Gives true when no further block could change a verdict. */
  settled(series: readonly Series[]): boolean {
    for (const one of series) {
      let entry = this.#tests.get(one.id);
      if (!entry) {
        const test = new SequentialComparison({ id: one.id, clock: one.clock === 'wall' ? 'wall' : 'icount', direction: one.direction, maxBlocks: this.most, confidence: 1 - 0.01 / series.length, ...(this.delta === undefined ? {} : { delta: this.delta }) });
        this.#tests.set(one.id, (entry = { test, seen: 0 }));
      }
      for (; entry.seen < one.a.length; entry.seen++) entry.test.push(one.a[entry.seen]!, one.b[entry.seen]!);
    }
    return series.every(({ id }) => this.#tests.get(id)!.test.state.state !== 'collecting');
  }

  /**
   * What the looks found, of the blocks up to the one that settled it: a fresh test of all blocks, at a moment that the samples
   * have chosen, would be wrong more often than it says. A series that nobody has looked at yet (the run was cut short) is
   * judged by its blocks, of which it says how many.
   */
  verdicts(series: readonly Series[]): MetricComparison[] {
    const unseen = new Map(judge(series.filter(({ id }) => !this.#tests.get(id)?.test.state.comparison), this.delta).map((one) => [one.metric, one]));
    return series.map((one) => unseen.get(one.id) ?? metricComparison(one, { ...this.#tests.get(one.id)!.test.state.comparison!, q: null }));
  }
}

/** Fields of an environment that two runs may differ in on purpose: what is compared may be a command line or a set-up. */
const MAY_DIFFER: ReadonlySet<string> = new Set(['append', 'setup']);

/** Throws UsageError, naming the field, where two results were not measured under the same circumstances. */
function checkComparable(id: string, a: Environment, b: Environment): void {
  for (const key of new Set([...Object.keys(a), ...Object.keys(b)]))
    if (!MAY_DIFFER.has(key) && a[key] !== b[key]) throw new UsageError(`${id}: the runs differ in ${key}: ${a[key] ?? 'not known'} against ${b[key] ?? 'not known'}; their timings cannot be compared`);
}

/** A run that was recorded, and what each of its results was measured under. */
export interface ComparableRun {
  document: RunDocument;
  environments: readonly Environment[];
}

/** Compares two finished runs: the i-th result of an instance is its i-th block. */
export function compareRuns(a: ComparableRun, b: ComparableRun, workloads: readonly Workload[], delta?: number): MetricComparison[] {
  const collector = new SeriesCollector(workloads);
  const environments = new Map<string, Environment>();
  for (const [side, run] of [['a', a], ['b', b]] as const) {
    const seen = new Map<string, number>();
    run.document.results.forEach((result, i) => {
      const block = seen.get(result.id) ?? 0;
      seen.set(result.id, block + 1);
      if (result.metrics.length === 0) return;
      const pair = `${result.id} ${block}`;
      const first = environments.get(pair);
      if (first) checkComparable(result.id, first, run.environments[i]!);
      else environments.set(pair, run.environments[i]!);
      collector.add(side, block, result);
    });
  }
  return judge(collector.complete(), delta);
}
