// Carries out a plan: instances on their targets, some side by side, results in the plan's order, all of it in the
// run directory as it happens.
import type { Outcome, RunResult } from './result.js';
import { totalsOf, type Totals } from './result.js';
import type { PlannedInstance } from './plan.js';
import type { Target, TargetResult } from './target.js';
import type { RunDirectory } from '../store/rundir.js';
import { messageOf } from '../errors.js';
import type { KernelCoverage } from '../report/coverage.js';
import { applyKnownIssues } from './known-issues.js';
import { inParallel } from './pool.js';

export const RUN_SCHEMA = 'daxrig-run-1';

/** Told what happens, for people. */
export interface RunObserver {
  started(key: number, instance: PlannedInstance, target: Target): void;
  step(key: number, text: string): void;
  finished(key: number, result: RunResult): void;
  /** A line for people, outside the results. */
  note?(text: string): void;
}

export interface WorkItem {
  instance: PlannedInstance;
  target: Target;
  seed: number;
}

export interface RunDocument {
  schema: string;
  run: {
    id: string;
    startedAt: string;
    endedAt?: string;
    folder: string;
    version: string;
    command: string[];
    host: Record<string, unknown>;
    guests: unknown[];
    interrupted?: boolean;
  };
  results: RunResult[];
  totals: Totals;
  /** What --coverage found, per kernel. */
  coverage?: KernelCoverage[];
}

export interface RunnerOptions {
  directory: RunDirectory;
  jobs: number;
  timeout?: number;
  observer: RunObserver;
  signal: AbortSignal;
  document: RunDocument;
  /** See InstanceOptions. */
  gdb?: boolean;
  /** Begins the names of files of this batch, where a run has several. */
  prefix?: string;
}

/** Runs all items; `document.results` and run.json grow as they end. Resolves when all have, or are given up. */
export async function runAll(items: readonly WorkItem[], options: RunnerOptions): Promise<void> {
  const { directory, document, observer, signal } = options;
  const before = [...document.results];
  const slots: (RunResult | undefined)[] = items.map(() => undefined);
  const width = String(items.length).length;

  const record = (index: number, result: RunResult): void => {
    slots[index] = result;
    document.results = [...before, ...slots.filter((slot): slot is RunResult => slot !== undefined)];
    document.totals = totalsOf(document.results);
    directory.event({ type: 'result', index, result });
    directory.saveSoon(document);
    observer.finished(index, result);
  };

  const work = async ({ instance, target, seed }: WorkItem, index: number): Promise<void> => {
    const common = { id: instance.id, workload: instance.workload.name, params: instance.params, seed };
    directory.event({ type: 'begin', index, id: instance.id, kernel: target.kernel, label: target.label, seed });
    observer.started(index, instance, target);
    let result: TargetResult;
    try {
      result = await target.run(instance, {
        seed,
        folder: directory.folder,
        file: `${options.prefix ?? ''}${String(index + 1).padStart(width, '0')}-${instance.workload.name.replace('/', '-')}`,
        onEvent: (event) => {
          directory.event({ index, ...event });
          if (event.type === 'step') observer.step(index, event.text);
        },
        signal,
        gdb: options.gdb ?? false,
        note: observer.note?.bind(observer),
        ...(options.timeout === undefined ? {} : { timeout: options.timeout }),
      });
    } catch (error) {
      result = notRun('broken', messageOf(error), target.kernel);
      if (process.env.DAXRIG_DEBUG === '1' && error instanceof Error && error.stack) result.detail = error.stack;
    }
    record(index, { ...common, ...applyKnownIssues(common.workload, target.kernel, result) });
  };
  const targets = [...new Set(items.map(({ target }) => target))];
  for (const target of targets) target.expect?.(items.filter((item) => item.target === target).map(({ instance }) => instance));
  await inParallel(items, options.jobs, work, () => !signal.aborted);
  directory.save(document);
  await Promise.all(targets.map((target) => target.settled?.()));
}

/** A result for something that never came to run. */
export function notRun(outcome: Outcome, reason: string, kernel: string): TargetResult {
  return { outcome, reason, findings: [], metrics: [], evidence: {}, injected: 0, log: [], kernel, seconds: 0, clock: 'wall' };
}
