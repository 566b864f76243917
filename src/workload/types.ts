// What a workload is: a declaration that says what it guards and needs, and a function that does the work.
// A workload file declares one; src/workload/index.ts lists them all; users add their own with --load.
import type { FindingKind } from '../kernel/klog.js';
import type * as native from '../native.js';
import type { FaultSignal, Mapping } from '../native.js';
import type { DevdaxPlace, FsdaxPlace } from '../device/place.js';
import type { ParamValue, Params } from '../run/result.js';

/** Requirements, checked in one place before any work; an unmet one is a skip that says what is missing. */
export interface Needs {
  /** A DAX place to work on, made (guest) or found (local) before run() and taken down after it. */
  dax?: 'fsdax' | 'devdax';
  /** Bytes that the place must hold. */
  size?: number;
  /** Programs in PATH. */
  tools?: readonly string[];
  /** Kernel options, without CONFIG_. */
  kconfig?: readonly string[];
  /** File systems that the kernel must know (/proc/filesystems). */
  filesystems?: readonly string[];
  /** Default true: nearly everything here needs root. */
  root?: boolean;
  /** Files of /proc or /sys that must exist. */
  files?: readonly string[];
  /** May destroy more than its device (crash the kernel on purpose): guests only. */
  guest?: boolean;
  /** Memory that not every guest has: NVDIMM devices with label areas, or memory set aside for devdax. A guest without is not started. */
  memory?: 'nvdimm' | 'soft-reserved';
  /** The caches of a real CPU: an emulated one has none, and is not started. */
  caches?: boolean;
}

export interface MetricDeclaration {
  name: string;
  /** "count" for exact integers, which are compared as such under any clock. */
  unit: string;
  /** Which way is better. */
  better: 'lower' | 'higher' | 'neither';
}

/**
 * A test of one kernel behaviour. Its first comment in the file names what it guards.
 * `params` lists values to multiply; `fs`, `map` and `align` also steer how the DAX place is made.
 */
export interface Workload {
  /** group/name, for example fsdax/poison. */
  name: string;
  about: string;
  /** Reports, kernel commits and tests of other suites that this one stands for. */
  guards: readonly string[];
  needs: Needs;
  params?: Record<string, readonly ParamValue[]>;
  /** Of `params`, values that a run takes only when it is --thorough or names the parameter by --param. */
  thorough?: Record<string, readonly ParamValue[]>;
  /** Part of --quick, with these values of its parameters (all of those not named here). */
  quick?: Record<string, readonly ParamValue[]>;
  metrics?: readonly MetricDeclaration[];
  /** Kinds of kernel log findings that this workload causes on purpose. */
  expectsLog?: readonly FindingKind[];
  /** Seconds until the watchdog ends it; default 60. */
  timeout?: number;
  /** Takes long, or only measures: left out of a run that names no workloads. */
  onRequest?: boolean;
  run(context: Context): Promise<void> | void;
}

/** Checks its shape at compile time; the value is passed through. */
export const defineWorkload = (workload: Workload): Workload => workload;

/** What run() gets. */
export interface Context {
  readonly params: Params;
  /** Mappings, files and page tables: the same module that the built-in workloads import. */
  readonly native: typeof native;
  readonly seed: number;
  readonly clock: 'wall' | 'icount';
  /** Take the time that it takes: --thorough, or by wall clock a run of this workload by its own name. */
  readonly thorough: boolean;
  /** Seconds until the watchdog ends the workload, by wall clock; Infinity under a debugger and where instructions are counted. */
  readonly limit: number;
  /**
   * Bytes of the device that a workload covers which looks at it place by place (shared/block.ts: places): the same for a device
   * of any size. --span.
   */
  readonly span: number;
  /** The fsdax place; throws unless the workload needs one. */
  readonly fsdax: FsdaxPlace;
  /** The devdax place; throws unless the workload needs one. */
  readonly devdax: DevdaxPlace;
  /** An empty folder of this workload's own, on no DAX file system. */
  readonly folder: string;
  /** Says what is being done; shown live, kept in the events, and named when a watchdog ends the workload. */
  step(text: string): void;
  /** Fails the workload unless `condition` holds; `what` says what should have been, `data` what was. */
  expect(condition: boolean, what: string, data?: unknown): asserts condition;
  /** Expects `call` to fail with one of `codes` (errno names) and gives the code. */
  expectError(what: string, codes: readonly string[], call: () => unknown): Promise<string>;
  /** Keeps a fact with the result. */
  prove(name: string, fact: unknown): void;
  /** Keeps samples with the result, in the declared unit. */
  metric(name: string, samples: readonly number[]): void;
  /** Seconds of the boot in which the host of this guest had no CPU for it; 0 on real machines, and where nobody knows. */
  readonly hostWait: number;
  /** Ends the workload as skipped: something it needs turned out not to be here. */
  skip(reason: string): never;
  /** Runs `undo` after the workload, last registered first, however it ends. */
  cleanup(undo: () => unknown): void;
  /** Memory failures, counted and kept in a journal. */
  readonly inject: Injector;
  /** The kernel's log since the workload began. */
  readonly log: LogCursor;
  /** A block device of `bytes` without DAX, for O_DIRECT transfers and mounts. Gone after the workload. */
  blockDevice(bytes: number): Promise<string>;
}

/** See src/inject. */
export interface Injector {
  /** MADV_HWPOISON on the page at `offset`; gives what the calling thread was told. */
  hwpoison(mapping: Mapping, offset: number, length?: number): ReturnType<Mapping['madvise']>;
  /** The same at one page, timed in native code from the call to its end; the signal comes on the way out of it. */
  hwpoisonTimed(mapping: Mapping, offset: number): { ns: number; signal?: FaultSignal };
  readonly count: number;
}

export interface LogCursor {
  /** Lines so far, oldest first, without their prefix. */
  lines(): string[];
  /** Lines that match `pattern`, removed from the result's log: for what comes by the thousand and is counted instead. */
  take(pattern: RegExp): string[];
  /** Waits until a line matches; throws an expectation error that names `what` when none does in time. */
  waitFor(pattern: RegExp, what: string, ms?: number): Promise<string>;
}

/** The kernel did not do what it should: outcome fail. */
export class ExpectationError extends Error {
  override name = 'ExpectationError';
  constructor(
    message: string,
    readonly data?: unknown,
  ) {
    super(message);
  }
}

/** A need is unmet: outcome skip. */
export class SkipError extends Error {
  override name = 'SkipError';
}

/** Values of one workload's parameters, multiplied: one Params per instance, in declaration order. */
export function multiply(params: Workload['params']): Params[] {
  return Object.entries(params ?? {}).reduce<Params[]>(
    (all, [name, values]) => all.flatMap((some) => values.map((value) => ({ ...some, [name]: value }))),
    [{}],
  );
}
