// The process that waits inside a guest. It says that it is ready, and is saved in that moment; each restored copy
// finds a job in QEMU's fw_cfg block, which it reads by synchronous port I/O, runs it in this warm process, and
// writes what happens to the second serial port. Under icount nothing here depends on the host's time.
import fs from 'node:fs';
import os from 'node:os';
import { messageOf } from '../errors.js';
import * as native from '../native.js';
import { executeInstance, type InstanceJob } from '../run/execute.js';
import { loadWorkloads } from '../run/load.js';
import type { InstanceResult } from '../run/result.js';
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

const port = fs.openSync('/dev/ttyS1', 'w');

function say(message: object): void {
  const bytes = Buffer.from(`${JSON.stringify(message, (_, value: unknown) => (typeof value === 'bigint' ? `0x${value.toString(16)}` : value))}\n`);
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

async function main(): Promise<void> {
  // Everything that a workload may need is imported before the state is saved: a copy starts warm.
  const warm = new Map((await loadWorkloads()).map((workload) => [workload.name, workload]));
  native.nothing();
  if (!fs.existsSync(JOB)) throw new Error('no fw_cfg in this kernel (CONFIG_FW_CFG_SYSFS): it cannot be given work');
  say({ type: 'ready', facts: facts() });

  let job: GuestJob | undefined;
  while (!(job = readJob())) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  if (job.entropy) native.addEntropy(Buffer.from(job.entropy, 'hex'));
  if (job.now !== undefined) native.setRealtime(BigInt(job.now));

  let workload = warm.get(job.workload);
  if (!workload) workload = (await loadWorkloads(job.load)).find(({ name }) => name === job.workload);
  let result: InstanceResult;
  if (workload) result = await executeInstance(job, workload, say);
  else result = { outcome: 'broken', reason: `the guest has no workload ${job.workload}`, findings: [], metrics: [], evidence: {}, injected: 0, log: [] };
  say({ type: 'result', result, time: process.hrtime.bigint().toString() });
  // The host ends the guest; until then nothing more may happen in it.
  await new Promise(() => setInterval(() => {}, 1 << 30));
}

main().catch((error: unknown) => {
  say({ type: 'agent-error', message: messageOf(error) });
  process.exitCode = 70;
});
