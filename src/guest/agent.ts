// The process that waits inside a guest. It says that it is ready, and is saved in that moment; each restored copy
// finds a job in QEMU's fw_cfg block, which it reads by synchronous port I/O, runs it in this warm process, and
// writes what happens to the second serial port. Under icount nothing here depends on the host's time.
import fs from 'node:fs';
import os from 'node:os';
import { codeOf, messageOf } from '../errors.js';
import * as native from '../native.js';
import { executeInstance, type InstanceJob } from '../run/execute.js';
import { loadWorkloads, type ImportUrl } from '../run/load.js';
import { parseKernelLog } from '../kernel/klog.js';
import type { InstanceResult } from '../run/result.js';
import { jsonText } from '../units.js';
import type { Workload } from '../workload/types.js';
import { availableFunctions, prepareCoverage } from '../measure/coverage.js';
import { COVERAGE_WORD } from './qemu.js';
import type { GuestFacts } from './state.js';

/** What the host puts into the job block. */
export interface GuestJob extends InstanceJob {
  /** Hexadecimal; mixed into the kernel's random numbers, so that copies differ (wall) or follow the seed (icount). */
  entropy: string;
  /** Real time in ns since the epoch, where the copy should have the host's. */
  now?: string;
}

const JOB = '/sys/firmware/qemu_fw_cfg/by_name/opt/daxrig/job/raw';
const FIRST = 4096;
const POLL_MS = 5;

let port: number;

function say(message: object): void {
  const bytes = Buffer.from(`${jsonText(message)}\n`);
  for (let done = 0; done < bytes.length; ) done += fs.writeSync(port, bytes, done);
}

function facts(): GuestFacts {
  const read = (file: string): string => fs.readFileSync(file, 'utf8').trim();
  const cmdline = read('/proc/cmdline');
  const coverable = cmdline.split(' ').includes(COVERAGE_WORD) && prepareCoverage() === undefined ? availableFunctions() : undefined;
  return { release: os.release(), cmdline, ...(coverable ? { coverable } : {}), iomem: fs.readFileSync('/proc/iomem', 'utf8'), node: process.version, uptime: Number(read('/proc/uptime').split(' ')[0]) };
}

/** The job, if QEMU was started with one. The first page tells; the rest is read only when there is more. */
function readJob(): GuestJob | undefined {
  const fd = fs.openSync(JOB, 'r');
  try {
    const chunks: Buffer[] = [];
    for (let position = 0; ; position += FIRST) {
      const chunk = Buffer.alloc(FIRST);
      const count = fs.readSync(fd, chunk, 0, FIRST, position);
      const end = chunk.indexOf(0);
      chunks.push(chunk.subarray(0, end >= 0 ? end : count));
      if (end >= 0 || count < FIRST) break;
    }
    const text = Buffer.concat(chunks).toString();
    return text === '' ? undefined : (JSON.parse(text) as GuestJob);
  } finally {
    fs.closeSync(fd);
  }
}

/** Loads the image's modules in their order, one process for all of them: a program for each costs more than the small ones. */
function loadModules(): void {
  const folder = `/lib/modules/${os.release()}`;
  for (const module of fs.readFileSync('/etc/daxrig/modules', 'utf8').split('\n').filter(Boolean)) {
    const fd = fs.openSync(`${folder}/${module}`, 'r');
    try {
      native.finitModule(fd, '');
    } catch (error) {
      // Already there: its code came in with another one, loaded before, or is built in.
      if (codeOf(error) !== 'EEXIST') say({ type: 'module-failed', module, why: messageOf(error) });
    } finally {
      fs.closeSync(fd);
    }
  }
  say({ type: 'stage', stage: 'modules' });
}

/** Runs the user's script, before the state is saved; false when it failed. */
function setUp(): boolean {
  if (!fs.existsSync('/etc/daxrig/setup')) return true;
  const { spawnSync } = process.getBuiltinModule('node:child_process');
  const { status, signal } = spawnSync('sh', ['/etc/daxrig/setup'], { stdio: 'inherit' });
  if (status !== 0) say({ type: 'setup-failed', status: signal ?? status });
  return status === 0;
}

/** Imports all that a workload may need. */
const loadAll = async (): Promise<Map<string, Workload>> => {
  const workloads = await loadWorkloads();
  native.nothing();
  return new Map(workloads.map((workload) => [workload.name, workload]));
};

/** For the code cache: runs what every start of the agent runs, and nothing of a guest's. */
export async function rehearse(): Promise<void> {
  await loadAll();
  parseKernelLog('<6>[    0.000000] Linux version 6.1.0\n');
}

async function work(importUrl: ImportUrl): Promise<void> {
  // Everything that a workload may need is imported before the state is saved: a copy starts warm.
  loadModules();
  if (!setUp()) return;
  const warm = await loadAll();
  if (!fs.existsSync(JOB)) throw new Error('no fw_cfg in this kernel (CONFIG_FW_CFG_SYSFS): it cannot be given work');
  say({ type: 'ready', facts: facts() });

  let job: GuestJob | undefined;
  while (!(job = readJob())) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  if (job.entropy) native.addEntropy(Buffer.from(job.entropy, 'hex'));
  if (job.now !== undefined) native.setRealtime(BigInt(job.now));

  let workload = warm.get(job.workload);
  if (!workload) workload = (await loadWorkloads(job.load, importUrl)).find(({ name }) => name === job.workload);
  let result: InstanceResult;
  if (workload) result = await executeInstance(job, workload, say);
  else result = { outcome: 'broken', reason: `the guest has no workload ${job.workload}`, findings: [], metrics: [], evidence: {}, injected: 0, log: [] };
  say({ type: 'result', result, time: process.hrtime.bigint().toString() });
  // The host ends the guest; until then nothing more may happen in it.
  await new Promise(() => setInterval(() => {}, 1 << 30));
}

/** The agent's life: never ends but by an error. */
export function main(importUrl: ImportUrl): void {
  port = fs.openSync('/dev/ttyS1', 'w');
  work(importUrl).catch((error: unknown) => {
    say({ type: 'agent-error', message: messageOf(error) });
    process.exitCode = 70;
  });
}
