// What a target is to the runner: something that runs one instance and gives its result.
import type { Clock } from '../guest/qemu.js';
import type { InstanceEvent, RunResult } from './result.js';
import type { PlannedInstance } from './plan.js';

export interface TargetResult extends Omit<RunResult, 'id' | 'workload' | 'params' | 'seed'> {}

export interface Target {
  /** Kernel release, for the result. */
  kernel: string;
  /** Shown beside the workload when a run has several targets. */
  label: string;
  /** Announces instances to come, so that what they have in common is done once. */
  expect?(instances: readonly PlannedInstance[]): void;
  /** `file` is where the instance's console may go, below the run directory. */
  run(instance: PlannedInstance, options: InstanceOptions): Promise<TargetResult>;
  /** Resolves when nothing of the instances so far is left running. */
  settled?(): Promise<void>;
}

/** A workload that takes the time that it takes has so many times its limit. */
export const THOROUGH_FACTOR = 4;

/**
 * Whether an instance takes the time that it takes. Where instructions are counted a run is a function of what it is told, and being
 * named must not change it.
 */
export const takesItsTime = ({ alone }: PlannedInstance, { thorough, clock }: { thorough: boolean; clock: Clock }): boolean => thorough || (alone === true && clock === 'wall');

export interface InstanceOptions {
  seed: number;
  /** Seconds; overrides the workload's own limit. */
  timeout?: number;
  /** Name, without suffix, of files of this instance in the run directory. */
  file: string;
  /** Files of the run go here. */
  folder: string;
  onEvent: (event: InstanceEvent) => void;
  signal: AbortSignal;
  /** See InstanceJob. */
  profile?: boolean;
  /** Wait for a debugger before the workload runs, without a time limit. */
  gdb: boolean;
  note: ((text: string) => void) | undefined;
}
