// The process that waits inside a guest. It says that it is ready, and is saved in that moment; each restored copy
// finds a job in QEMU's fw_cfg block, which it reads by synchronous port I/O, runs it in this warm process, and
// writes what happens to the second serial port. Under icount nothing here depends on the host's time.
import fs from 'node:fs';
import os from 'node:os';
import { SystemError, codeOf, messageOf } from '../errors.js';
import * as native from '../native.js';
import { executeInstance, type InstanceJob } from '../run/execute.js';
import type { PreparedPlace } from '../run/prepared.js';
import { loadWorkloads, type ImportUrl } from '../run/load.js';
import type { InstanceResult } from '../run/result.js';
import { isComplaint, parseKernelLog } from '../kernel/klog.js';
import { jsonText } from '../units.js';
import type { Workload } from '../workload/types.js';
import { availableFunctions, prepareCoverage } from '../measure/coverage.js';
import { COVERAGE_WORD, FILE_SYSTEMS, FILE_SYSTEMS_WORD } from './qemu.js';
import type { GuestFacts } from './state.js';

/** What the host puts into the job block. */
export interface GuestJob extends InstanceJob {
  /** Hexadecimal; mixed into the kernel's random numbers, so that copies differ (wall) or follow the seed (icount). */
  entropy: string;
  /** Real time in ns since the epoch, where the copy should have the host's. */
  now?: string;
  /**
   * Make the instance's place, say so, and wait to be saved: copies wake up with jobs of their own, this one's among them. What does
   * not come so far gives the instance's result.
   */
  prepare?: boolean;
}

const JOB = '/sys/firmware/qemu_fw_cfg/by_name/opt/daxrig/job/raw';
const FIRST = 4096;
const POLL_MS = 5;

/** The port as a terminal: for where the kernel does not let programs at ports. */
let terminal: number | undefined;

function say(message: object): void {
  const bytes = Buffer.from(`${jsonText(message)}\n`);
  if (terminal === undefined) {
    try {
      return native.writeSecondSerialPort(bytes);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      terminal = fs.openSync('/dev/ttyS1', 'w');
    }
  }
  for (let done = 0; done < bytes.length; ) done += fs.writeSync(terminal, bytes, done);
}

const commandLine = (): string[] => fs.readFileSync('/proc/cmdline', 'utf8').trim().split(' ');

function facts(): GuestFacts {
  const words = commandLine();
  const coverable = words.includes(COVERAGE_WORD) && prepareCoverage() === undefined ? availableFunctions() : undefined;
  return { release: os.release(), cmdline: words.join(' '), ...(coverable ? { coverable } : {}), iomem: fs.readFileSync('/proc/iomem', 'utf8'), node: process.version, uptime: Number(fs.readFileSync('/proc/uptime', 'utf8').split(' ')[0]) };
}

/** The job as it is written, empty when QEMU was started without one. The first page tells; the rest is read only when there is more. */
function readJob(): string {
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
    return Buffer.concat(chunks).toString();
  } finally {
    fs.closeSync(fd);
  }
}

/** Loads the image's modules in their order, one process for all of them: a program for each costs more than the small ones. */
function loadModules(): void {
  const folder = `/lib/modules/${os.release()}`;
  const listed = (name: string): string[] => (fs.existsSync(`/etc/daxrig/${name}`) ? fs.readFileSync(`/etc/daxrig/${name}`, 'utf8').split('\n').filter(Boolean) : []);
  const word = commandLine().find((one) => one.startsWith(FILE_SYSTEMS_WORD));
  const systems = word === undefined ? FILE_SYSTEMS : word.slice(FILE_SYSTEMS_WORD.length).split(',');
  for (const module of new Set([...listed('modules'), ...systems.flatMap((system) => listed(`modules.${system}`))])) {
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
  readRehearsalLog();
}

/** A kernel's log with all that many instances come to read: ordinary lines, a recovered memory failure, a warning with its stack. */
const REHEARSAL_LOG = `[    1.000000] Linux version 6.1.0
[    2.000000] EXT4-fs (pmem0): mounted filesystem with ordered data mode. Quota mode: none.
[    3.000000] Injecting memory failure for pfn 0x140a00 at process virtual address 0x7f0000000000
[    3.000100] Memory failure: 0x140a00: Sending SIGBUS to node:85 due to hardware memory corruption
[    3.000200] Memory failure: 0x140a00: recovery action for dax page: Recovered
[    4.000000] ------------[ cut here ]------------
[    4.000100] WARNING: CPU: 0 PID: 85 at fs/dax.c:1 rehearsal+0x10/0x20
[    4.000200] Modules linked in: xfs libcrc32c
[    4.000300] CPU: 0 PID: 85 Comm: node Not tainted 6.1.0 #1
[    4.000400] RIP: 0010:rehearsal+0x10/0x20
[    4.000500] Call Trace:
[    4.000600]  <TASK>
[    4.000700]  rehearsal_caller+0x30/0x40 [xfs]
[    4.000800]  </TASK>
[    4.000900] ---[ end trace 0000000000000000 ]---
`;

const readRehearsalLog = (): unknown => parseKernelLog(REHEARSAL_LOG).findings.filter((finding) => isComplaint(finding));

/**
 * The next job, with clock and random numbers made this copy's own. A guest that was prepared goes on seeing the job for that; it may have
 * been saved in the middle of reading it, and then goes on with the rest of the next one: what was read is taken once it is read twice.
 */
async function nextJob(prepared?: PreparedPlace): Promise<GuestJob> {
  let text = readJob();
  for (let before = ''; text === '' || (prepared && (text !== before || (JSON.parse(text) as GuestJob).prepare)); text = readJob()) {
    if (text === before) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    before = text;
  }
  const job = JSON.parse(text) as GuestJob;
  if (job.entropy) native.addEntropy(Buffer.from(job.entropy, 'hex'));
  if (job.now !== undefined) native.setRealtime(BigInt(job.now));
  return job;
}

const REHEARSAL: Workload = { name: 'rehearsal/nothing', about: 'nothing', guards: [], needs: {}, run: (ctx) => ctx.prove('nothing', 1) };
const REHEARSALS = 2;

/** Runs what every instance runs, so that copies of a prepared guest find it compiled; gives what went wrong meanwhile, if anything did. */
async function rehearseInstance(job: GuestJob): Promise<InstanceResult | undefined> {
  for (let i = 0; i < REHEARSALS; i++) {
    readRehearsalLog();
    const result = await executeInstance({ ...job, profile: false }, REHEARSAL, (event) => void jsonText(event));
    jsonText(result);
    if (result.outcome !== 'pass') return result;
  }
  return undefined;
}

async function work(importUrl: ImportUrl): Promise<void> {
  // Everything that a workload may need is imported before the state is saved: a copy starts warm.
  loadModules();
  if (!setUp()) return;
  const warm = await loadAll();
  if (!fs.existsSync(JOB)) throw new Error('no fw_cfg in this kernel (CONFIG_FW_CFG_SYSFS): it cannot be given work');
  say({ type: 'ready', facts: facts() });

  return serve();

  /** Runs the next job, in a guest that may have been prepared for it, and waits for the host to end the guest. */
  async function serve(prepared?: PreparedPlace): Promise<never> {
    const job = await nextJob(prepared);
    const workload = warm.get(job.workload) ?? (await loadWorkloads(job.load, importUrl)).find(({ name }) => name === job.workload);
    const prepare = async (place: PreparedPlace): Promise<never> => {
      say({ type: 'prepared' });
      return serve(place);
    };
    const run = (): Promise<InstanceResult> | InstanceResult =>
      workload
        ? executeInstance(job, workload, say, job.prepare ? { placed: prepare } : prepared ? { prepared } : {})
        : { outcome: 'broken', reason: `the guest has no workload ${job.workload}`, findings: [], metrics: [], evidence: {}, injected: 0, log: [] };
    const result = (job.prepare ? await rehearseInstance(job) : undefined) ?? (await run());
    say({ type: 'result', result, time: process.hrtime.bigint().toString() });
    return new Promise<never>(() => setInterval(() => {}, 1 << 30));
  }
}

/** The agent's life: never ends but by an error. */
export function main(importUrl: ImportUrl): void {
  work(importUrl).catch((error: unknown) => {
    say({ type: 'agent-error', message: messageOf(error) });
    process.exitCode = 70;
  });
}
