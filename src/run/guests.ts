// From the options of a command to guests that can be started: QEMU, accelerator, layout, kernels, image, target.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { DEFAULT_FILE_SYSTEM } from '../device/provision.js';
import { UsageError, messageOf } from '../errors.js';
import { chooseAccel, type AccelChoice } from '../guest/accel.js';
import { buildImage, expectImages, parseGuestFile, type GuestFile, type GuestImage } from '../guest/image.js';
import { resolveKernels, type GuestKernel } from '../guest/kernel.js';
import { layoutFrom, memmapParams, type Layout } from '../guest/layout.js';
import { FILE_SYSTEMS, checkHostMemory, findQemu, type Accel, type Clock, type GuestConfig, type Qemu } from '../guest/qemu.js';
import { BootError, hasSavedState } from '../guest/state.js';
import { kconfigHash, parseKconfig } from '../kernel/kconfig.js';
import { isComplaint, parseKernelLog } from '../kernel/klog.js';
import { lintMemmap } from '../kernel/memmap.js';
import type { FunctionsByModule } from '../measure/coverage.js';
import type { RunDirectory } from '../store/rundir.js';
import { GiB, MiB } from '../units.js';
import { GuestTarget } from './guest-target.js';
import type { PlannedInstance } from './plan.js';

/** What commands that start guests have in common. */
export interface GuestOptions {
  kernel: string[];
  modules?: string;
  layout?: string[];
  memmap?: string[];
  guestMem?: string;
  guestCpus?: number;
  numa?: number;
  accel: 'auto' | Accel;
  clock: Clock;
  jobs?: number;
  guestFile: string[];
  guestSetup?: string;
  append?: string;
  qemu?: string;
  load: string[];
  snapshot: boolean;
  /** Collect which kernel functions the workloads reach. */
  coverage?: boolean;
}

/** One kernel on one layout: what a saved state is made for. */
export interface GuestCell {
  kernel: GuestKernel;
  layout: Layout;
}

export interface Guests {
  qemu: Qemu;
  cpus: number;
  choice: AccelChoice;
  kernels: GuestKernel[];
  layouts: Layout[];
  /** Every kernel on every layout, kernel by kernel. */
  cells: GuestCell[];
  files: GuestFile[];
  /** Files of --load, as the guest sees them. */
  load: string[];
  options: GuestOptions;
}

type Progress = (text: string) => void;

/** Checks and resolves everything; starts nothing. Throws UsageError for wrong input, BrokenError for missing programs. */
export async function resolveGuests(options: GuestOptions, progress: Progress): Promise<Guests> {
  const layouts = layoutsFrom(options);
  expectImages();
  const qemu = findQemu(options.qemu);
  layouts.forEach(checkHostMemory);
  checkJobs(options.jobs);
  const counted = options.clock === 'icount';
  if (counted && options.accel === 'kvm') throw new UsageError('--accel kvm: instructions are counted by TCG only; leave --clock icount or --accel kvm out');
  if (counted && (options.guestCpus ?? 1) !== 1) throw new UsageError('--guest-cpus: instructions are counted on one CPU; leave it out with --clock icount');
  if (options.guestCpus !== undefined && (!Number.isInteger(options.guestCpus) || options.guestCpus < 1 || options.guestCpus > 64)) throw new UsageError(`--guest-cpus ${options.guestCpus}: a whole number from 1 to 64`);
  // A folder each: two files may have one name.
  const loads = options.load.map((file, i): GuestFile => ({ from: path.resolve(file), to: `/daxrig/load/${i}/${path.basename(file)}` }));
  const files = [...options.guestFile.map(parseGuestFile), ...loads];
  if (options.guestSetup !== undefined && !fs.existsSync(options.guestSetup)) throw new UsageError(`--guest-setup ${options.guestSetup}: no such file`);
  const kernels: GuestKernel[] = [];
  for (const spec of options.kernel.length > 0 ? options.kernel : [undefined]) {
    const found = await resolveKernels(spec, { progress, ...(options.modules === undefined ? {} : { modules: options.modules }) });
    for (const kernel of found) if (!kernels.some(({ digest }) => digest === kernel.digest)) kernels.push(kernel);
  }
  const choice = await chooseAccel(options.accel, options.clock, qemu);
  // TCG with several CPUs breaks by itself now and then: a kernel that patches its own code runs into its breakpoint
  // on the other CPU (seen in 3 of 23 boots of 6.12). One is the default there; --guest-cpus asks for more.
  const cpus = options.guestCpus ?? (choice.accel === 'kvm' ? 2 : 1);
  const cells = kernels.flatMap((kernel) => layouts.map((layout) => ({ kernel, layout })));
  return { qemu, cpus, choice, kernels, layouts, cells, files, load: loads.map(({ to }) => to), options };
}

/** Bytes that a running copy keeps of its own, at the least. */
const COPY_MEMORY = 128 * MiB;

/** Refuses more guests side by side than free memory holds: they would be killed one after another, for no fault of the kernel's. */
function checkJobs(jobs: number | undefined): void {
  const most = Math.max(1, Math.floor(os.freemem() / COPY_MEMORY));
  if (jobs !== undefined && jobs > most) throw new UsageError(`--jobs ${jobs}: this machine's free memory, ${Math.floor(os.freemem() / MiB)}M, holds ${most} guests at most; name fewer`);
}

/** Each layout named once; the free-form options change every one of them. */
function layoutsFrom(options: GuestOptions): Layout[] {
  const { layout: names, memmap, guestMem, numa } = options;
  const free = { ...(memmap === undefined ? {} : { memmap }), ...(guestMem === undefined ? {} : { guestMem }), ...(numa === undefined ? {} : { numa }) };
  return names === undefined || names.length === 0 ? [layoutFrom(free)] : [...new Set(names)].map((layout) => layoutFrom({ ...free, layout }));
}

export interface TargetOptions {
  /** Tells apart boots that must not share a saved state. */
  boot?: number;
  thorough?: boolean;
  span?: number;
  /** All that the target is going to run, where that is known. */
  instances?: readonly PlannedInstance[];
}

/**
 * Loading xfs takes a quarter of the time that a guest takes to be ready: one that boots now for work that does not use it goes without. A
 * saved guest with everything serves all work; and a counted run must not depend on what else ran with it.
 */
function withFileSystems(full: GuestConfig, image: GuestImage, instances: readonly PlannedInstance[]): GuestConfig {
  if (full.clock === 'icount' || hasSavedState(full, image)) return full;
  const used = new Set(instances.flatMap(({ workload, params }) => [...(workload.needs.filesystems ?? []), params.fs ?? (workload.needs.dax === 'fsdax' ? DEFAULT_FILE_SYSTEM : '')]));
  const fileSystems = FILE_SYSTEMS.filter((name) => used.has(name));
  return fileSystems.length === FILE_SYSTEMS.length ? full : { ...full, fileSystems };
}

/** A target for one kernel on one layout. */
export async function makeTarget(guests: Guests, { kernel, layout }: GuestCell, progress: Progress, { boot, thorough = false, span, instances }: TargetOptions = {}): Promise<GuestTarget> {
  const { qemu, cpus, choice, files, load, options } = guests;
  // A counted run must not depend on what else ran with it.
  const tools = instances && options.clock === 'wall' ? new Set(instances.flatMap(({ workload }) => workload.needs.tools ?? [])) : undefined;
  const image = await buildImage(kernel, { files, progress, ...(tools ? { tools } : {}), ...(options.guestSetup === undefined ? {} : { setup: options.guestSetup }) });
  const full: GuestConfig = {
    qemu, accel: choice.accel, clock: options.clock, cpus, layout, kernel, initramfs: image.initramfs,
    ...(options.append === undefined ? {} : { append: options.append }),
    ...(options.coverage ? { coverage: true } : {}),
    ...(boot === undefined ? {} : { boot }),
  };
  const config = instances ? withFileSystems(full, image, instances) : full;
  return new GuestTarget({ config, image, accelWhy: choice.why, load, snapshot: options.snapshot, thorough, ownSetup: options.guestSetup !== undefined, ...(span === undefined ? {} : { span }), progress });
}

/** What run.json keeps of a guest, besides how its boot went. */
export function describeGuest(guests: Guests, { kernel, layout }: GuestCell): Record<string, unknown> {
  const { qemu, cpus, choice, options } = guests;
  return {
    kernel: kernel.release, spec: kernel.spec, layout, accel: choice.accel, accelWhy: choice.why, clock: options.clock, cpus, qemu: qemu.version,
    hazards: hazardsOf({ kernel, layout }),
    ...(kernel.config === undefined ? {} : { configHash: kconfigHash(parseKconfig(kernel.config)) }),
    image: kernel.imageKind,
    ...(kernel.imageWhy === undefined ? {} : { imageWhy: kernel.imageWhy }),
  };
}

/** What the layout's memmap= will do on this kernel. */
export function hazardsOf({ kernel, layout }: GuestCell): ReturnType<typeof lintMemmap>['hazards'] {
  return lintMemmap(memmapParams(layout), { guestMem: layout.memory, numa: layout.numaNodes, kernelVersion: kernel.release, nokaslr: true }).hazards;
}

export interface BootReport {
  /** Goes into run.json. */
  guest: Record<string, unknown>;
  /** The boot itself as a result, where it did not go well. */
  trouble?: { outcome: 'fail' | 'broken'; reason: string; detail?: string };
  cameUp: boolean;
  coverable?: FunctionsByModule;
}

/** Boots (or finds) the saved guest of a target, keeps its console in the run directory, and judges the boot. */
export async function bootTarget(guests: Guests, cell: GuestCell, target: GuestTarget, directory: RunDirectory): Promise<BootReport> {
  const guest = describeGuest(guests, cell);
  if (!guests.options.snapshot) return { guest, cameUp: true };
  const bootLog = `console-boot-${cell.kernel.release}-${cell.layout.name}.log`;
  try {
    const state = await target.prepare();
    const text = state.console;
    fs.writeFileSync(directory.path(bootLog), text);
    const { findings, stalls, e820, nodes, pmem } = parseKernelLog(text);
    const boot = { fresh: state.fresh, seconds: state.bootSeconds, hostWait: state.hostWait, findings, stalls, e820, nodes, pmem };
    // A pause that the host may have made is for kernel/boot to say so, not a complaint of the kernel's.
    const complaint = findings.find((finding) => isComplaint(finding) && !(finding.kind === 'boot-stall' && stalls.every(({ seconds }) => seconds <= state.hostWait)));
    // Some thousand names, which the run's coverage has in full: not once more for each guest.
    const { coverable, ...facts } = state.facts;
    return {
      guest: { ...guest, console: bootLog, facts, boot },
      cameUp: true,
      ...(coverable ? { coverable } : {}),
      ...(complaint ? { trouble: { outcome: 'fail' as const, reason: `${complaint.title} (while booting; the guest came up)`, detail: complaint.excerpt } } : {}),
    };
  } catch (error) {
    if (error instanceof BootError) fs.writeFileSync(directory.path(bootLog), error.console);
    const kernels = error instanceof BootError && error.kernelTitle !== undefined;
    return { guest: { ...guest, console: bootLog }, cameUp: false, trouble: { outcome: kernels ? 'fail' : 'broken', reason: messageOf(error) } };
  }
}

/**
 * By cores and by free memory: a running copy keeps some hundreds of megabytes of its own at the worst. Emulated guests get one more: each is
 * busy on one core at the most, and idle while QEMU starts, waits and ends.
 */
export function defaultJobs(guests: Guests, runs: number): number {
  const byCores = os.cpus().length + (guests.choice.accel === 'tcg' ? 1 : 0);
  const byMemory = Math.floor(os.freemem() / Math.min(Math.max(...guests.layouts.map(({ memory }) => memory)), GiB));
  return Math.max(1, Math.min(byCores, byMemory, runs));
}
