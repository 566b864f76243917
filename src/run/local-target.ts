// Runs each instance in a child process on this machine, under a watchdog.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import readline from 'node:readline';
import type { Readable } from 'node:stream';
import { isComplaint, parseKernelLog } from '../kernel/klog.js';
import { removeCoverage } from '../measure/coverage.js';
import { programFile } from '../paths.js';
import { notNow, type InstanceJob } from './execute.js';
import { KmsgCursor } from './kmsg.js';
import type { PlannedInstance } from './plan.js';
import type { InstanceEvent, InstanceResult } from './result.js';
import { THOROUGH_FACTOR, takesItsTime, type InstanceOptions, type Target, type TargetResult } from './target.js';

const DEFAULT_TIMEOUT = 120;

export interface LocalTargetOptions {
  /** The path of --device to work on; undefined: workloads that need a DAX place are skipped. */
  device: string | undefined;
  load: string[];
  /** Collect which kernel functions the workloads reach. */
  coverage: boolean;
  /** Workloads take the time that it takes. */
  thorough: boolean;
  /** --span, bytes. */
  span?: number;
}

export class LocalTarget implements Target {
  readonly kernel = os.release();
  readonly label: string;
  readonly #options: LocalTargetOptions;

  constructor(options: LocalTargetOptions) {
    this.#options = options;
    this.label = options.device ?? 'this machine';
  }

  async run(instance: PlannedInstance, options: InstanceOptions): Promise<TargetResult> {
    const started = Date.now();
    const result = await this.#child(instance, options);
    if (this.#options.coverage) removeCoverage(); // the child may have died without
    return { ...result, kernel: this.kernel, seconds: (Date.now() - started) / 1000, clock: 'wall' };
  }

  async #child(instance: PlannedInstance, options: InstanceOptions): Promise<InstanceResult> {
    const { device, load, coverage, span } = this.#options;
    const thorough = takesItsTime(instance, { thorough: this.#options.thorough, clock: 'wall' });
    const limit = options.timeout ?? (instance.workload.timeout ?? DEFAULT_TIMEOUT) * (thorough ? THOROUGH_FACTOR : 1);
    const job: InstanceJob = {
      id: instance.id,
      workload: instance.workload.name,
      params: instance.params,
      seed: options.seed,
      clock: 'wall',
      target: { kind: 'path', path: device ?? '' },
      load,
      ...(coverage ? { coverage } : {}),
      thorough,
      limit,
      ...(span === undefined ? {} : { span }),
    };
    // Kept by the parent too: a child that dies can no longer say what the kernel said.
    using log = openLog();
    const child = spawn(process.execPath, ['--no-warnings', programFile('run/child.js'), JSON.stringify(job)], { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
    let said = '';
    child.stderr!.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-8192)));
    let result: InstanceResult | undefined;
    let step = 'before the workload started';
    readline.createInterface({ input: child.stdio[3] as Readable }).on('line', (line) => {
      const event = JSON.parse(line) as InstanceEvent;
      if (event.type === 'step') step = event.text;
      if (event.type === 'result') result = event.result;
      else options.onEvent(event);
    });
    let stack = '';
    let timedOut = false;
    const ended = new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(error.message));
      child.once('close', (code, signal) => resolve(signal === null ? `status ${code}` : signal));
    });
    const giveUp = new Promise<string>((resolve) => {
      const end = (why: string, hang: boolean) => (): void => {
        timedOut = hang;
        stack = readStack(child.pid);
        child.kill('SIGKILL');
        // A process in D state does not go; it is left to the kernel, and said so.
        setTimeout(() => resolve(`${why}; its process does not go away`), 3000).unref();
      };
      const timer = setTimeout(end('timed out', true), limit * 1000);
      const abort = end('interrupted', false);
      options.signal.addEventListener('abort', abort);
      void ended.then(() => {
        clearTimeout(timer);
        options.signal.removeEventListener('abort', abort);
      });
    });
    const how = await Promise.race([ended, giveUp]);
    if (result) return result;
    const { findings } = parseKernelLog(log?.lines().join('\n') ?? '');
    const complaint = findings.find((finding) => isComplaint(finding, notNow(instance.workload.expectsLog)));
    const base = { findings, metrics: [], evidence: {}, injected: 0, log: log?.lines() ?? [], detail: [stack, said].filter(Boolean).join('\n') };
    if (options.signal.aborted) return { ...base, outcome: 'lost', reason: 'interrupted' };
    if (timedOut) return { ...base, outcome: 'fail', reason: `no result within ${limit} s; last step: ${step}${complaint ? ` (${complaint.title})` : ''}` };
    if (complaint) return { ...base, outcome: 'fail', reason: `${complaint.title} (the child ended: ${how})` };
    return { ...base, outcome: said.includes('Error') ? 'broken' : 'lost', reason: `the child ended (${how}) at: ${step}${said ? `: ${said.trim().split('\n').find((line) => /Error/.test(line)) ?? ''}` : ''}` };
  }
}

function openLog(): KmsgCursor | undefined {
  try {
    return new KmsgCursor();
  } catch {
    return undefined; // without the right to read it, needs.ts skips the instance with its reason
  }
}

function readStack(pid: number | undefined): string {
  try {
    return fs.readFileSync(`/proc/${pid}/stack`, 'utf8');
  } catch {
    return ''; // gone already, or not ours to see: the stack is an extra
  }
}
