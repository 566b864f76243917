// The main job: from what the user asked for to a run directory and an exit code.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { identifyDevice, type LocalDevice } from '../device/local.js';
import { devdaxGeometry } from '../device/provision.js';
import { UsageError, messageOf } from '../errors.js';
import { chooseAccel } from '../guest/accel.js';
import { buildImage, parseGuestFile, programRoot, type GuestFile } from '../guest/image.js';
import { resolveKernels, type GuestKernel } from '../guest/kernel.js';
import { layoutFrom } from '../guest/layout.js';
import { checkHostMemory, findQemu, type Accel, type Clock } from '../guest/qemu.js';
import { killAllGuests } from '../guest/session.js';
import { BootError } from '../guest/state.js';
import { kconfigHash, parseKconfig } from '../kernel/kconfig.js';
import { isComplaint, parseKernelLog } from '../kernel/klog.js';
import { lintMemmap } from '../kernel/memmap.js';
import { RunDirectory } from '../store/rundir.js';
import { GiB, formatSize, hex } from '../units.js';
import { GuestTarget } from './guest-target.js';
import { loadWorkloads } from './load.js';
import { LocalTarget } from './local-target.js';
import { chooseWorkloads, parseParam, plan, type PlannedInstance } from './plan.js';
import { totalsOf, type ParamValue } from './result.js';
import { RUN_SCHEMA, notRun, runAll, type RunDocument, type RunObserver, type WorkItem } from './runner.js';
import type { Target } from './target.js';

export interface RunOptions {
  names: string[];
  target: 'auto' | 'guest' | 'local';
  device: string[];
  destroyData: string[];
  kernel: string[];
  modules?: string;
  layout?: string;
  memmap?: string[];
  guestMem?: string;
  guestCpus?: number;
  numa?: number;
  accel: 'auto' | Accel;
  clock: Clock;
  seed: number;
  repeat: number;
  jobs?: number;
  timeout?: number;
  guestFile: string[];
  guestSetup?: string;
  append?: string;
  qemu?: string;
  out?: string;
  load: string[];
  param: string[];
  snapshot: boolean;
  command: string[];
}

export interface RunSurroundings {
  observer: RunObserver;
  /** One line about what is being prepared. */
  progress: (text: string) => void;
  signal: AbortSignal;
}

/** Runs, and gives the finished document. Throws UsageError before anything was started when the input is wrong. */
export async function run(options: RunOptions, { observer, progress, signal }: RunSurroundings): Promise<RunDocument> {
  const chosen = chooseWorkloads(await loadWorkloads(options.load), options.names);
  const only = new Map(options.param.map(parseParam));
  const local = options.target === 'local' || (options.target === 'auto' && options.device.length > 0);
  if (!local && options.device.length > 0) throw new UsageError('--device names real memory of this machine; with it, leave --target guest out');
  if (local && options.kernel.length > 0) throw new UsageError('--kernel is for guests; a local target runs on the kernel of this machine');

  const prepared = local ? prepareLocal(options, chosen, only) : await prepareGuests(options, plan(chosen, only), progress);
  const directory = RunDirectory.create(options.out);
  const document: RunDocument = {
    schema: RUN_SCHEMA,
    run: {
      id: directory.id,
      startedAt: new Date().toISOString(),
      folder: directory.folder,
      version: version(),
      command: options.command,
      host: { kernel: os.release(), cpu: os.cpus()[0]?.model ?? '', cpus: os.cpus().length, memory: os.totalmem(), node: process.version },
      guests: [],
    },
    results: [],
    totals: totalsOf([]),
  };
  directory.save(document);
  const onAbort = (): void => killAllGuests();
  signal.addEventListener('abort', onAbort);
  try {
    const targets = await prepared.boot(directory, document);
    const items: WorkItem[] = [];
    for (let round = 0; round < options.repeat; round++)
      for (const { target, instances } of targets) for (const instance of instances) items.push({ instance, target, seed: options.seed + round });
    if (!signal.aborted) await runAll(items, { directory, document, observer, signal, jobs: prepared.jobs, ...(options.timeout === undefined ? {} : { timeout: options.timeout }) });
    if (signal.aborted) document.run.interrupted = true;
    document.totals = totalsOf(document.results);
    document.run.endedAt = new Date().toISOString();
    directory.save(document);
    return document;
  } finally {
    signal.removeEventListener('abort', onAbort);
    directory.close();
  }
}

export function version(): string {
  return (JSON.parse(fs.readFileSync(path.join(programRoot, 'package.json'), 'utf8')) as { version: string }).version;
}

interface Prepared {
  jobs: number;
  /** Brings the targets up; a target that does not come up leaves its result in the document. */
  boot(directory: RunDirectory, document: RunDocument): Promise<{ target: Target; instances: PlannedInstance[] }[]>;
}

function prepareLocal(options: RunOptions, chosen: ReturnType<typeof chooseWorkloads>, only: Map<string, string[]>): Prepared {
  for (const name of ['layout', 'memmap', 'guestMem', 'append', 'guestSetup'] as const)
    if (options[name] !== undefined) throw new UsageError(`--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} is for guests, not for --target local`);
  if (options.clock === 'icount') throw new UsageError('--clock icount counts instructions of a guest; a local target has the wall clock only');
  const devices = options.device.map((given) => ({ given, device: identifyDevice(given) }));
  for (const { given, device } of devices) {
    const named = options.destroyData.some((name) => fs.existsSync(name) && fs.realpathSync(name) === device.path);
    if (!named) throw new UsageError(`--device ${given}: workloads overwrite it; say so by --destroy-data ${given}`);
  }
  for (const name of options.destroyData)
    if (!devices.some(({ device }) => fs.existsSync(name) && fs.realpathSync(name) === device.path)) throw new UsageError(`--destroy-data ${name}: is not named by --device`);
  const targets = (devices.length > 0 ? devices : [undefined]).map((entry) => ({
    target: new LocalTarget({ device: entry?.device.path, load: options.load }),
    instances: plan(chosen, only, entry ? factsOf(entry.device) : {}),
  }));
  // One after another: instances share the machine's kernel log and the device.
  return { jobs: 1, boot: () => Promise.resolve(targets) };
}

/** Parameters that a device of the user's has already decided. */
function factsOf(device: LocalDevice): Record<string, ParamValue> {
  if (device.kind !== 'devdax') return { fs: device.fs, map: 'as found' };
  return { map: 'as found', align: formatSize(devdaxGeometry(device.path).align) };
}

async function prepareGuests(options: RunOptions, instances: PlannedInstance[], progress: (text: string) => void): Promise<Prepared> {
  const layout = layoutFrom(options);
  const qemu = findQemu(options.qemu);
  checkHostMemory(layout);
  const cpus = options.clock === 'icount' ? 1 : (options.guestCpus ?? 2);
  if (options.clock === 'icount' && (options.guestCpus ?? 1) !== 1) throw new UsageError('--guest-cpus: instructions are counted on one CPU; leave it out with --clock icount');
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > 64) throw new UsageError(`--guest-cpus ${options.guestCpus}: a whole number from 1 to 64`);
  const loads = options.load.map((file): GuestFile => ({ from: path.resolve(file), to: `/daxrig/load/${path.basename(file)}` }));
  const files = [...options.guestFile.map(parseGuestFile), ...loads];
  if (options.guestSetup !== undefined && !fs.existsSync(options.guestSetup)) throw new UsageError(`--guest-setup ${options.guestSetup}: no such file`);
  const kernels: GuestKernel[] = [];
  for (const spec of options.kernel.length > 0 ? options.kernel : [undefined]) {
    const found = await resolveKernels(spec, { progress, ...(options.modules === undefined ? {} : { modules: options.modules }) });
    for (const kernel of found) if (!kernels.some(({ digest }) => digest === kernel.digest)) kernels.push(kernel);
  }
  const { accel, why } = await chooseAccel(options.accel, options.clock, qemu);
  const jobs = options.jobs ?? defaultJobs(layout.memory, instances.length * kernels.length);

  const boot = async (directory: RunDirectory, document: RunDocument): Promise<{ target: Target; instances: PlannedInstance[] }[]> => {
    const ready: { target: Target; instances: PlannedInstance[] }[] = [];
    for (const kernel of kernels) {
      const image = await buildImage(kernel, { files, progress, ...(options.guestSetup === undefined ? {} : { setup: options.guestSetup }) });
      const config = { qemu, accel, clock: options.clock, cpus, layout, kernel, initramfs: image.initramfs, ...(options.append === undefined ? {} : { append: options.append }) };
      const target = new GuestTarget({ config, image, accelWhy: why, load: loads.map(({ to }) => to), snapshot: options.snapshot, progress });
      const hazards = lintMemmap(layout.pmem.map(({ start, end }) => `${formatSize(end - start)}!${hex(start)}`), { guestMem: layout.memory, numa: layout.numaNodes, kernelVersion: kernel.release, nokaslr: true }).hazards;
      for (const { severity, message } of hazards) if (severity !== 'info') progress(`${layout.name} on ${kernel.release}: ${severity}: ${message}`);
      const guest = { kernel: kernel.release, spec: kernel.spec, layout, accel, accelWhy: why, clock: options.clock, cpus, qemu: qemu.version, hazards, ...(kernel.config === undefined ? {} : { configHash: kconfigHash(parseKconfig(kernel.config)) }), image: kernel.imageKind, ...(kernel.imageWhy ? { imageWhy: kernel.imageWhy } : {}) };
      const bootLog = `console-boot-${kernel.release}.log`;
      try {
        if (options.snapshot) {
          const state = await target.prepare();
          const text = fs.readFileSync(state.console, 'utf8');
          fs.writeFileSync(directory.path(bootLog), text);
          const report = parseKernelLog(text);
          document.run.guests.push({ ...guest, console: bootLog, facts: state.facts, boot: { fresh: state.fresh, seconds: state.bootSeconds, findings: report.findings, stalls: report.stalls, e820: report.e820, nodes: report.nodes, pmem: report.pmem } });
          const complaint = report.findings.find((finding) => isComplaint(finding));
          if (complaint) recordBoot(document, directory, kernel.release, 'fail', `${complaint.title} (while booting; the guest came up)`, complaint.excerpt);
        } else document.run.guests.push(guest);
        ready.push({ target, instances });
      } catch (error) {
        if (error instanceof BootError) fs.writeFileSync(directory.path(bootLog), error.console);
        document.run.guests.push({ ...guest, console: bootLog });
        const kernelsFault = error instanceof BootError && error.kernelTitle !== undefined;
        recordBoot(document, directory, kernel.release, kernelsFault ? 'fail' : 'broken', messageOf(error));
      }
      directory.save(document);
    }
    return ready;
  };
  return { jobs, boot };
}

/** The boot itself as a result, where it did not go well: the workloads that could not run are not hidden by it. */
function recordBoot(document: RunDocument, directory: RunDirectory, kernel: string, outcome: 'fail' | 'broken', reason: string, detail?: string): void {
  const result = { id: 'kernel/boot', workload: 'kernel/boot', params: {}, seed: 0, ...notRun(outcome, reason, kernel), ...(detail === undefined ? {} : { detail }) };
  document.results.push(result);
  document.totals = totalsOf(document.results);
  directory.event({ type: 'result', result });
}

/** By cores and by free memory: a running copy keeps some hundreds of megabytes of its own at the worst. */
function defaultJobs(guestMemory: number, instances: number): number {
  const byMemory = Math.floor(os.freemem() / Math.min(guestMemory, GiB));
  return Math.max(1, Math.min(os.cpus().length, byMemory, instances));
}
