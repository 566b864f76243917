// What a run says: outcomes, results and events, as run.json, events.ndjson and --json carry them.
import type { Finding } from '../kernel/klog.js';
import type { Reached } from '../measure/coverage.js';
import type { Profile } from '../measure/profile.js';
import type { Marks, Timer } from '../measure/samples.js';

/** Fail is the kernel's doing, broken the harness's, lost a guest or child that vanished unexplained. */
export type Outcome = 'pass' | 'fail' | 'xfail' | 'skip' | 'broken' | 'lost';
export const OUTCOMES: readonly Outcome[] = ['pass', 'fail', 'xfail', 'skip', 'broken', 'lost'];

export type ParamValue = string | number | boolean;
export type Params = Record<string, ParamValue>;

export interface Metric {
  name: string;
  unit: string;
  /** The clock that the samples were taken with; samples of different clocks are never compared. */
  clock: 'wall' | 'icount' | 'count';
  /** In the order taken, the warm-up cut off. */
  samples: number[];
  /** What was cut off, by the rule of src/measure/samples.ts. */
  warmup?: number[];
  /** How many samples are far from the rest, or below what the clock resolves. Left out where none is. */
  marks?: Partial<Marks>;
}

/** What one instance of a workload did, as the process that ran it tells it. */
export interface InstanceResult {
  outcome: Outcome;
  /** One line; present unless the outcome is pass. */
  reason?: string;
  /** Kernel complaints and noteworthy lines during the workload. */
  findings: Finding[];
  metrics: Metric[];
  /** By metric name, where profiles were asked for: the kernel functions behind it. */
  profiles?: Record<string, Profile>;
  /** The clock behind the metrics, as measured in the same process. */
  timer?: Timer;
  /** Facts that prove the claims: page-table levels, pfns, byte counts. */
  evidence: Record<string, unknown>;
  /** Memory failures injected one by one (ctx.inject); a race counts its own in a metric. */
  injected: number;
  /** The kernel's lines during the workload. */
  log: string[];
  /** Stack or further text for people, when something failed. */
  detail?: string;
  /** Kernel functions that ran, where --coverage asked for them. */
  coverage?: Reached;
}

/** One line of `results` in run --json. */
export interface RunResult extends InstanceResult {
  /** Stable name of the instance: workload and parameters. */
  id: string;
  workload: string;
  params: Params;
  /** Kernel release that it ran on. */
  kernel: string;
  layout?: string;
  /** Seconds by the host's clock; with provisioning, where the place was not made beforehand for several instances. */
  seconds: number;
  seed: number;
  accel?: string;
  clock: 'wall' | 'icount';
  /** Digest of everything that a counted run repeats: events, samples, log, clock. */
  digest?: string;
  /** Console of the copy, relative to the run directory. */
  console?: string;
}

export type Totals = Record<Outcome, number>;

export function totalsOf(results: readonly { outcome: Outcome }[]): Totals {
  const totals = Object.fromEntries(OUTCOMES.map((outcome) => [outcome, 0])) as Totals;
  for (const { outcome } of results) totals[outcome]++;
  return totals;
}

/** Exit code of a run by its totals; under --bisect what `git bisect run` understands. */
export function exitCodeOf(totals: Totals, bisect = false): number {
  const code = totals.fail > 0 ? 1 : totals.broken + totals.lost > 0 ? 3 : totals.pass + totals.xfail > 0 ? 0 : 4;
  return bisect && code > 1 ? 125 : code;
}

/** What a workload process says while it runs; one JSON object per line. */
export type InstanceEvent =
  | { type: 'start'; id: string; time: string }
  | { type: 'step'; text: string; time: string }
  | { type: 'result'; result: InstanceResult; time: string };

/** The name of an instance: workload, then the parameters that tell it from its siblings. */
export function instanceId(workload: string, params: Params): string {
  const words = Object.entries(params).map(([key, value]) => `${key}=${String(value)}`);
  return words.length === 0 ? workload : `${workload} ${words.join(',')}`;
}
