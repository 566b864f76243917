// Runs one instance of a workload in this process and judges it: needs, place, work, taking down, the kernel's log.
// The same code runs in a guest's agent and in a local child process.
import fs from 'node:fs';
import { makeLoopDevice } from '../device/blockdev.js';
import { provision, UnmetNeed, type Provisioned } from '../device/provision.js';
import { findPlace } from '../device/local.js';
import type { Place } from '../device/place.js';
import { SystemError, codeOf, messageOf } from '../errors.js';
import * as native from '../native.js';
import { GraphTracer, selfCosts } from '../measure/profile.js';
import { sortOut, timerOf, type Timer } from '../measure/samples.js';
import { madviseInjector, type Injection } from '../inject/madvise.js';
import { isComplaint, parseKernelLog, type Finding, type FindingKind } from '../kernel/klog.js';
import { CoverageCollector } from '../measure/coverage.js';
import { MiB, jsonText } from '../units.js';
import { unmetNeed } from './needs.js';
import { KmsgCursor } from './kmsg.js';
import { placeRequest, temporaryFolder, type PreparedPlace } from './prepared.js';
import type { InstanceEvent, InstanceResult, Metric, Params } from './result.js';
import { ExpectationError, SkipError, type Context, type MetricDeclaration, type Workload } from '../workload/types.js';

/** Where an instance works: on a namespace of its own (guest), or on what the user named. */
export type InstanceTarget = { kind: 'namespace' } | { kind: 'path'; path: string };

/** What the process that runs an instance is told. */
export interface InstanceJob {
  id: string;
  workload: string;
  params: Params;
  seed: number;
  clock: 'wall' | 'icount';
  target: InstanceTarget;
  thorough?: boolean;
  /** Seconds until the watchdog ends it; none under a debugger, nor where instructions are counted: a run would depend on it. */
  limit?: number;
  /** Bytes of the device to cover, place by place. */
  span?: number;
  /** Files with further workloads to import (--load), as this process sees them. */
  load: string[];
  /** Trace the timed calls: `profiles` in the result. Its samples are then those of traced calls. */
  profile?: boolean;
  /** Kernel options that are set, where the kernel's configuration is known to the host. */
  kconfig?: string[];
  /** Seconds of the guest's boot in which the host had no CPU for it. */
  hostWait?: number;
  /** Collect which kernel functions run. */
  coverage?: boolean;
}

/** Three huge pages: both ends and the middle of a device. */
const DEFAULT_SPAN = 6 * MiB;

type Emit = (event: InstanceEvent) => void;

export interface Preparation {
  /** The instance's place, where that was made beforehand. */
  prepared?: PreparedPlace;
  /** Called with a place that was made now, while the kernel has nothing to complain of; the workload runs once it returns. */
  placed?: (place: PreparedPlace) => Promise<void>;
}

/** Runs the instance to its result; never throws for anything that the workload, kernel or surroundings do. */
export async function executeInstance(job: InstanceJob, workload: Workload, emit: Emit, { prepared, placed }: Preparation = {}): Promise<InstanceResult> {
  const now = (): string => process.hrtime.bigint().toString();
  const say = (text: string): void => emit({ type: 'step', text, time: now() });
  emit({ type: 'start', id: job.id, time: now() });

  const result: InstanceResult = { outcome: 'fail', reason: 'ended without a verdict', findings: [], metrics: [], evidence: {}, injected: 0, log: [] };
  const undo: (() => unknown)[] = [];
  const journal: Injection[] = [];
  let verdict: Pick<InstanceResult, 'outcome' | 'reason' | 'detail'> = { outcome: 'fail' };
  const unmet = unmetNeed(workload, job);
  if (unmet !== undefined) return { ...result, outcome: 'skip', reason: unmet };

  using log = new KmsgCursor();
  const coverage = job.coverage ? new CoverageCollector() : undefined;
  try {
    const folder = prepared?.folder ?? temporaryFolder();
    // A guest goes with all that is in it.
    if (job.target.kind === 'path') undo.push(() => fs.rmSync(folder, { recursive: true, force: true }));
    const made = await placeOf(job, workload, folder, say, prepared);
    if (made) undo.push(made.restore);
    const place = made?.place;
    if (place) checkSize(place, workload);
    if (placed && !complaintOf(parseKernelLog(log.lines().join('\n')).findings)) await placed({ folder, made });
    say('running');
    const profiler = job.profile ? startProfiler(undo) : undefined;
    await workload.run(makeContext({ job, workload, place, folder, log, journal, result, say, undo, profiler }));
    verdict = { outcome: 'pass' };
  } catch (error) {
    verdict = judge(error);
  }
  say('taking down');
  for (const step of undo.reverse()) {
    try {
      await step();
    } catch (error) {
      // What cannot be taken down is news of its own, unless the workload already failed. Busy: the workload left
      // something open or mapped, which is no fault of the kernel's.
      const outcome = error instanceof SystemError && error.code !== 'EBUSY' ? 'fail' : 'broken';
      if (verdict.outcome === 'pass') verdict = { outcome, reason: `taking down: ${messageOf(error)}` };
      else verdict = { ...verdict, detail: `${verdict.detail ?? ''}\ntaking down: ${messageOf(error)}`.trim() };
    }
  }
  if (coverage) result.coverage = coverage.finish();
  return finish(result, verdict, workload, log, journal);
}

/** The kernel's log has the last word: a new complaint is a failure even when every call succeeded. */
function finish(result: InstanceResult, verdict: Pick<InstanceResult, 'outcome' | 'reason' | 'detail'>, workload: Workload, log: KmsgCursor, journal: Injection[]): InstanceResult {
  const lines = log.lines();
  const { findings } = parseKernelLog(lines.join('\n'));
  const complaint = complaintOf(findings, workload.expectsLog);
  if (journal.length > 0) result.evidence.injected = journal;
  const { reason: _, ...rest } = result;
  const common = { ...rest, ...verdict, findings, injected: journal.length, log: lines };
  // What was overwritten before it was read may have been a complaint.
  if (!complaint && log.lost > 0 && verdict.outcome === 'pass') return { ...common, outcome: 'broken', reason: 'the kernel\'s log ran over before it was read; give it more room with log_buf_len= on the kernel\'s command line' };
  if (!complaint) return common;
  const also = verdict.reason === undefined ? '' : ` (and: ${verdict.reason})`;
  return { ...common, outcome: 'fail', reason: `${complaint.title}${also}`, detail: [complaint.excerpt, verdict.detail].filter(Boolean).join('\n\n') };
}

const complaintOf = (findings: readonly Finding[], expected?: readonly FindingKind[]): Finding | undefined => findings.find((finding) => isComplaint(finding, notNow(expected)));

/** Kinds that are no complaint here: the expected ones, and pauses, which only kernel/boot judges: a workload may well wait. */
export const notNow = (expected: readonly FindingKind[] = []): FindingKind[] => [...expected, 'boot-stall'];

function judge(error: unknown): Pick<InstanceResult, 'outcome' | 'reason' | 'detail'> {
  const message = messageOf(error);
  const stack = error instanceof Error && error.stack !== undefined ? { detail: error.stack } : {};
  if (error instanceof SkipError || error instanceof UnmetNeed) return { outcome: 'skip', reason: message };
  if (error instanceof ExpectationError) {
    const data = error.data === undefined ? undefined : jsonText(error.data);
    return { outcome: 'fail', reason: data === undefined ? message : `${message}; was ${data.slice(0, 400)}` };
  }
  // A system call that a workload did not expect to fail is the kernel's doing; anything else is ours.
  if (error instanceof SystemError) return { outcome: 'fail', reason: `unexpected error: ${message}`, ...stack };
  return { outcome: 'broken', reason: message, ...stack };
}

async function placeOf(job: InstanceJob, workload: Workload, folder: string, say: (text: string) => void, prepared: PreparedPlace | undefined): Promise<Provisioned | undefined> {
  const request = placeRequest(workload, job.params);
  if (!request) return undefined;
  if (prepared) return prepared.made;
  if (job.target.kind === 'path') return findPlace(job.target.path, request.mode);
  say(`preparing ${request.mode}${request.fs === undefined ? '' : ` with ${request.fs}`}`);
  return provision(request, folder);
}

function checkSize(place: Place, { needs }: Workload): void {
  const size = place.kind === 'devdax' ? place.size : fs.statfsSync(place.folder).bavail * fs.statfsSync(place.folder).bsize;
  if (needs.size !== undefined && size < needs.size) throw new UnmetNeed(`needs ${needs.size} bytes of ${needs.dax}; there are ${size}`);
}

/** Counts are counts under any clock, and have no warm-up. */
function metricOf({ name, unit }: MetricDeclaration, raw: readonly number[], clock: 'wall' | 'icount', { resolutionNs }: Timer): Metric {
  if (unit === 'count') return { name, unit, clock: 'count', samples: [...raw] };
  const { samples, warmup, marks } = sortOut(raw, unit === 'ns' ? resolutionNs : 0);
  const marked = Object.fromEntries(Object.entries(marks).filter(([, count]) => count > 0));
  return { name, unit, clock, samples, ...(warmup.length > 0 ? { warmup } : {}), ...(Object.keys(marked).length > 0 ? { marks: marked } : {}) };
}

/** Traces timed calls; `take` gives the trace of the last one since it was asked before. */
interface Profiler {
  take(): { trace: string; operations: number } | undefined;
}

function startProfiler(undo: (() => unknown)[]): Profiler | undefined {
  const tracer = GraphTracer.start();
  if (!tracer) return undefined;
  let operations: number | undefined;
  undo.push(() => tracer[Symbol.dispose]());
  undo.push(() => native.watchTimed(undefined));
  native.watchTimed({
    before: () => tracer.before(),
    after: (count) => {
      tracer.after();
      operations = count;
    },
  });
  return {
    take() {
      if (operations === undefined) return undefined;
      const taken = { trace: tracer.read(), operations };
      operations = undefined;
      return taken;
    },
  };
}

interface ContextParts {
  job: InstanceJob;
  workload: Workload;
  place: Place | undefined;
  folder: string;
  log: KmsgCursor;
  journal: Injection[];
  result: InstanceResult;
  say: (text: string) => void;
  undo: (() => unknown)[];
  profiler: Profiler | undefined;
}

function makeContext({ job, workload, place, folder, log, journal, result, say, undo, profiler }: ContextParts): Context {
  const want = (kind: Place['kind']): Place => {
    if (place?.kind !== kind) throw new TypeError(`${workload.name} uses ctx.${kind} without needs.dax = '${kind}'`);
    return place;
  };
  const expect: Context['expect'] = (condition, what, data) => {
    if (!condition) throw new ExpectationError(what, data);
  };
  return {
    params: job.params,
    native,
    seed: job.seed,
    clock: job.clock,
    hostWait: job.hostWait ?? 0,
    thorough: job.thorough ?? false,
    limit: job.limit ?? Infinity,
    span: job.span ?? DEFAULT_SPAN,
    folder,
    log,
    inject: madviseInjector(journal),
    get fsdax() {
      return want('fsdax') as Context['fsdax'];
    },
    get devdax() {
      return want('devdax') as Context['devdax'];
    },
    step: say,
    expect,
    async expectError(what, codes, call) {
      let code: string | undefined;
      try {
        await call();
      } catch (error) {
        code = codeOf(error);
        if (code === undefined) throw error;
      }
      expect(code !== undefined, `${what} should be refused; it succeeded`);
      expect(codes.includes(code), `${what} should be refused with ${codes.join(' or ')}`, code);
      return code;
    },
    prove(name, fact) {
      result.evidence[name] = fact;
    },
    metric(name, samples) {
      const declared = workload.metrics?.find((metric) => metric.name === name);
      if (!declared) throw new TypeError(`${workload.name} has no metric "${name}"`);
      const traced = profiler?.take();
      if (traced) (result.profiles ??= {})[name] = { operations: traced.operations, functions: selfCosts(traced.trace) };
      result.metrics.push(metricOf(declared, samples, job.clock, (result.timer ??= timerOf(native.clocks()))));
    },
    skip(reason) {
      throw new SkipError(reason);
    },
    cleanup(step) {
      undo.push(step);
    },
    async blockDevice(bytes) {
      const { device, remove } = await makeLoopDevice(folder, bytes);
      undo.push(remove);
      return device;
    },
  };
}
