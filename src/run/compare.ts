// Interleaved comparison of two kernels: in each block both are booted, in an order drawn from the seed, and run the
// same workloads; the samples of a block lie beside each other, so that a slow hour of the machine hits both alike.
import { BrokenError, UsageError, messageOf } from '../errors.js';
import { SequentialComparison, compareAll, type CompareInput, type Direction, type FamilyComparison } from '../regress/index.js';
import { differences, type Difference, type Profile } from '../measure/profile.js';
import type { RunDirectory } from '../store/rundir.js';
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
  /** Of a regression where instructions were counted: kernel functions that cost more or less in B, most first. */
  why?: Difference[];
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
  return compareAll(series.map((one) => inputOf(one, delta))).map((comparison, i) => ({ metric: series[i]!.id, unit: series[i]!.unit, ...comparison }));
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
  const comparisons = judge(collector.complete(), options.delta);
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
class Looks {
  readonly #tests = new Map<string, { test: SequentialComparison; seen: number }>();

  constructor(
    private readonly most: number,
    private readonly delta: number | undefined,
  ) {}

  settled(series: readonly Series[]): boolean {
    return series.every((one) => {
      let entry = this.#tests.get(one.id);
      if (!entry) {
        const test = new SequentialComparison({ id: one.id, clock: one.clock === 'wall' ? 'wall' : 'icount', direction: one.direction, maxBlocks: this.most, confidence: 1 - 0.01 / series.length, ...(this.delta === undefined ? {} : { delta: this.delta }) });
        this.#tests.set(one.id, (entry = { test, seen: 0 }));
      }
      let { state } = entry.test;
      for (; entry.seen < one.a.length; entry.seen++) state = entry.test.push(one.a[entry.seen]!, one.b[entry.seen]!);
      return state.state !== 'collecting';
    });
  }
}

/** Fields of two runs that must agree before their numbers may be compared. */
export function comparable(a: RunDocument, b: RunDocument): void {
  const facts = ({ run, results }: RunDocument): Record<string, unknown> => {
    const guest = (run.guests[0] ?? {}) as Record<string, unknown>;
    return {
      machine: run.host.cpu,
      clock: [...new Set(results.map(({ clock }) => clock))].join(' and '),
      accelerator: guest.accel,
      'QEMU version': guest.qemu,
      CPUs: guest.cpus,
      layout: (guest.layout as { name?: string } | undefined)?.name,
    };
  };
  const [left, right] = [facts(a), facts(b)];
  for (const key of Object.keys(left))
    if (JSON.stringify(left[key]) !== JSON.stringify(right[key])) throw new UsageError(`the runs differ in ${key}: ${String(left[key])} against ${String(right[key])}; their timings cannot be compared`);
}

/** Compares two finished runs: the i-th result of an instance is its i-th block. */
export function compareRuns(a: RunDocument, b: RunDocument, workloads: readonly Workload[], delta?: number): MetricComparison[] {
  comparable(a, b);
  const collector = new SeriesCollector(workloads);
  for (const [side, { results }] of [['a', a], ['b', b]] as const) {
    const seen = new Map<string, number>();
    for (const result of results) {
      const block = seen.get(result.id) ?? 0;
      seen.set(result.id, block + 1);
      collector.add(side, block, result);
    }
  }
  return judge(collector.complete(), delta);
}
