// QEMU's command line, from typed values by small pure functions; and what QEMU is on this machine.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { BrokenError, UsageError, codeOf, messageOf } from '../errors.js';
import type { GuestKernel } from './kernel.js';
import { memmapParams, type Layout } from './layout.js';

export type Clock = 'wall' | 'icount';
export type Accel = 'kvm' | 'tcg';

export interface Qemu {
  path: string;
  /** For example 7.2.22. */
  version: string;
}

/** machine,memory-backend= came with 5.0; x-ignore-shared and icount's snapshots are older. */
const OLDEST: [number, number] = [5, 0];

const qemus = new Map<string, Qemu>();

/** The QEMU to use. Throws UsageError for a wrong --qemu, BrokenError when there is none or it is too old. */
export function findQemu(given?: string): Qemu {
  const known = qemus.get(given ?? '');
  if (known) return known;
  const path = given ?? 'qemu-system-x86_64';
  let text: string;
  try {
    text = execFileSync(path, ['--version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    if (given !== undefined) throw new UsageError(`--qemu ${given}: cannot be run (${codeOf(error) ?? messageOf(error).split('\n')[0]})`);
    throw new BrokenError('qemu-system-x86_64 is not installed; install the package qemu-system-x86, or name one by --qemu');
  }
  const match = /QEMU emulator version (\d+)\.(\d+)(?:\.(\d+))?/.exec(text);
  if (!match) throw new UsageError(`--qemu ${path}: does not say that it is QEMU`);
  const [major, minor] = [Number(match[1]), Number(match[2])];
  const version = [match[1], match[2], match[3]].filter(Boolean).join('.');
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1]))
    throw new BrokenError(`${path} is QEMU ${version}; daxrig needs ${OLDEST.join('.')} or newer, whose machines take their RAM from a file (memory-backend=)`);
  const qemu = { path, version };
  qemus.set(given ?? '', qemu);
  return qemu;
}

/** File systems whose modules a guest can do without, until something mounts one. */
export const FILE_SYSTEMS = ['ext4', 'xfs'] as const;
export type FileSystemName = (typeof FILE_SYSTEMS)[number];

export interface GuestConfig {
  qemu: Qemu;
  accel: Accel;
  clock: Clock;
  cpus: number;
  layout: Layout;
  kernel: GuestKernel;
  initramfs: string;
  /** More words for the kernel command line. */
  append?: string;
  /** The agent prepares the collection of kernel coverage before the guest is saved. */
  coverage?: boolean;
  /** Loaded before the guest is saved; absent: all of them. */
  fileSystems?: FileSystemName[];
  /** Tells apart boots of one configuration that are to be measured as boots of their own. */
  boot?: number;
}

/** Files that one QEMU process reads and writes; their names are no part of what a saved state depends on. */
export interface GuestFiles {
  console: string;
  events: string;
  job: string;
  /** Folder of the RAM files. */
  ram: string;
}

/**
 * Where a guest's RAM is. `own`: in QEMU's memory alone. `shared`: in files that the caller has open and passes on as descriptors 3 and
 * up, so that the guest can be saved with them. `copied`: in a saved state's files, copy-on-write.
 */
export type GuestRam = 'own' | 'shared' | 'copied';

/** A boot, or a saved state that is to go on. One whose RAM is its own takes it from the state's stream. */
export type GuestStart = { kind: 'boot'; ram: 'own' | 'shared' } | { kind: 'restore'; ram: GuestRam };

/** Size of the block that carries a job into the guest, bytes; idle is all zeros. */
export const JOB_BYTES = 64 * 1024;
export const JOB_NAME = 'opt/daxrig/job';

/** On the guest's kernel command line: asks the agent to prepare the collection of coverage. */
export const COVERAGE_WORD = 'daxrig.coverage';

/** The same: which file systems the agent loads, separated by commas; without it, all. */
export const FILE_SYSTEMS_WORD = 'daxrig.fs=';

/** Words on the guest's kernel command line, each with its reason. */
export function kernelCommandLine(config: Pick<GuestConfig, 'layout' | 'append' | 'coverage' | 'clock' | 'fileSystems'>): string {
  return [
    'console=ttyS0,115200',
    'earlyprintk=serial,ttyS0,115200', // a crash before the console driver must be seen
    'loglevel=7', // info too: memory failure recoveries are pr_err on some kernels, pr_info on others
    'panic=-1', // restart at once, which -no-reboot turns into QEMU's end
    'nokaslr', // the same addresses in every boot: memmap= ranges and symbols stay put
    'preempt=full', // where PREEMPT_DYNAMIC is built: threads interleave inside the kernel on one CPU too
    'sysrq_always_enabled', // the host asks for blocked tasks by keyboard
    'no_timer_check', // a busy host can make the kernel give up on its timer, and panic, at boot
    'printk.time=1',
    'cryptomgr.notests', // ciphers are not what is tested here, and testing them takes a fifth of an emulated boot
    'swiotlb=1024', // bounce buffers for devices that cannot reach all RAM: none here, and clearing the usual 64 MiB takes 0.2 s
    'rootfstype=ramfs', // the root's pages come and stay at less cost than a tmpfs's
    'retain_initrd', // its memory stays reserved once unpacked, so that a saved state can drop its content
    // A fault searches the process's mappings, and what that costs depends on where all of them lie: by random addresses a fault
    // of another image, or kernel, would be up to 2% longer or shorter for no reason of its own.
    ...(config.clock === 'icount' ? ['norandmaps'] : []),
    ...memmapParams(config.layout),
    ...(config.coverage ? [COVERAGE_WORD] : []),
    ...(config.fileSystems ? [`${FILE_SYSTEMS_WORD}${config.fileSystems.join(',')}`] : []),
    ...(config.append ? [config.append] : []),
  ].join(' ');
}

/** TCG runs a string instruction one element at a time: a kernel that trusts "fast" byte copies (ERMS, FSRM) copies eight times slower. */
const TCG_CPU = 'max,-erms,-fsrm';

/**
 * The emulated CPU by wall clock. Before 8.0 cmpxchg16b leaves in the flags register what the instruction before it computed with
 * (target/i386/tcg/mem_helper.c takes env->cc_op, which is of an earlier one); an interrupt that comes at once saves that, and the return from
 * it is a double fault. Kernels take that instruction for every allocation. Here they do without; where instructions are counted it stays: the
 * numbers would be those of another path, and a run that meets it meets it always.
 */
const wallTcgCpu = ({ version }: Qemu): string => (Number.parseInt(version, 10) < 8 ? `${TCG_CPU},-cx16` : TCG_CPU);

function cpuArgs({ qemu, accel, clock, cpus }: GuestConfig): string[] {
  // Hardware random numbers and the host's clock would make a restored copy differ from its twin.
  if (clock === 'icount')
    return ['-accel', 'tcg', '-icount', 'shift=0,sleep=off', '-smp', '1', '-cpu', `${TCG_CPU},-rdrand,-rdseed`, '-rtc', 'base=2026-01-01,clock=vm'];
  // A socket each: CPUs of one socket in different NUMA nodes are no machine, and the kernel warns of it.
  return ['-accel', accel === 'tcg' && cpus > 1 ? 'tcg,thread=multi' : accel, '-smp', `${cpus},sockets=${cpus},cores=1,threads=1`, '-cpu', accel === 'kvm' ? 'host' : wallTcgCpu(qemu)];
}

interface RamFile {
  id: string;
  file: string;
  size: number;
}

/** The first descriptor after the standard ones. */
export const FIRST_RAM_FD = 3;

/** Files behind the guest's RAM: one, or one for each NUMA node, and one for each NVDIMM. */
export function ramFiles(layout: Layout): { ram: RamFile[]; nvdimms: RamFile[] } {
  const nodes = layout.numaNodes;
  return {
    ram: Array.from({ length: nodes }, (_, i) => ({ id: `ram${i}`, file: `ram${i}`, size: layout.memory / nodes })),
    nvdimms: layout.nvdimms.map(({ size }, i) => ({ id: `nv${i}`, file: `nv${i}`, size })),
  };
}

function memoryArgs(config: GuestConfig, files: GuestFiles, start: GuestStart): string[] {
  const { layout, cpus, clock } = config;
  const { ram, nvdimms } = ramFiles(layout);
  const backend = ({ id, file, size }: RamFile, i: number): string[] => {
    const shared = `memory-backend-file,id=${id},size=${size},mem-path=/proc/self/fd/${FIRST_RAM_FD + i},share=on`;
    const copied = `memory-backend-file,id=${id},size=${size},mem-path=${escapeOption(`${files.ram}/${file}`)},share=off`;
    const own = `memory-backend-ram,id=${id},size=${size}`;
    return ['-object', { own, shared, copied }[start.ram]];
  };
  const args = [...ram, ...nvdimms].flatMap(backend);
  const mebibytes = layout.memory / 2 ** 20;
  if (nvdimms.length > 0) {
    const more = layout.nvdimms.reduce((sum, device) => sum + device.size, 0) / 2 ** 20;
    args.push('-m', `${mebibytes}M,slots=${nvdimms.length},maxmem=${Math.ceil(mebibytes + more + 1024)}M`);
  } else args.push('-m', `${mebibytes}M`);
  if (ram.length > 1) {
    const vcpus = clock === 'icount' ? 1 : cpus;
    ram.forEach(({ id }, node) => {
      const mine = Array.from({ length: vcpus }, (_, cpu) => cpu).filter((cpu) => cpu % ram.length === node);
      args.push('-numa', [`node,nodeid=${node},memdev=${id}`, ...mine.map((cpu) => `cpus=${cpu}`)].join(','));
    });
  }
  layout.nvdimms.forEach(({ labelSize }, i) => args.push('-device', `nvdimm,id=nvdimm${i},memdev=nv${i},label-size=${labelSize}`));
  return args;
}

function machine(layout: Layout): string {
  return ['pc', ...(layout.numaNodes > 1 ? [] : ['memory-backend=ram0']), ...(layout.nvdimms.length > 0 ? ['nvdimm=on'] : [])].join(',');
}

/** A comma in a file name would end the option: QEMU reads two as one. */
const escapeOption = (text: string): string => text.replaceAll(',', ',,');

/** All of QEMU's arguments for one guest. */
export function qemuArgs(config: GuestConfig, files: GuestFiles, start: GuestStart, more: readonly string[] = []): string[] {
  return [
    '-nodefaults', '-no-user-config', '-display', 'none',
    '-no-reboot', // a guest that restarts has crashed: end, so that the console is complete
    '-machine', machine(config.layout),
    ...cpuArgs(config),
    ...memoryArgs(config, files, start),
    '-kernel', config.kernel.image,
    ...(start.kind === 'boot' ? ['-initrd', config.initramfs] : []), // a copy has long unpacked it; QEMU would read it all the same
    '-append', kernelCommandLine(config),
    // Serial ports to files are written at once by the device model itself: output does not disturb a counted run.
    '-chardev', `file,id=console,path=${escapeOption(files.console)}`, '-serial', 'chardev:console',
    '-chardev', `file,id=events,path=${escapeOption(files.events)}`, '-serial', 'chardev:events',
    // The job is read from this block by port I/O, which is synchronous: no input device has to deliver it.
    '-fw_cfg', `name=${JOB_NAME},file=${escapeOption(files.job)}`,
    '-chardev', 'stdio,id=qmp,signal=off', '-mon', 'chardev=qmp,mode=control',
    ...(start.kind === 'restore' ? ['-incoming', 'defer'] : []),
    ...more,
  ];
}

/** What a saved state depends on besides kernel and image: the machine that QEMU is told to be. */
export function machineKey(config: GuestConfig): string {
  const files: GuestFiles = { console: 'c', events: 'e', job: 'j', ram: 'r' };
  const neutral = { ...config, initramfs: 'i', kernel: { ...config.kernel, image: 'k' } };
  return JSON.stringify([config.qemu.version, config.qemu.path, qemuArgs(neutral, files, { kind: 'boot', ram: 'shared' })]);
}

/** Text for the fw_cfg block: JSON padded with zeros. Throws BrokenError when the job is too long for it. */
export function jobBlock(job: unknown): Buffer {
  const block = Buffer.alloc(JOB_BYTES);
  const text = job === undefined ? '' : JSON.stringify(job);
  if (Buffer.byteLength(text) >= JOB_BYTES) throw new BrokenError(`the job is ${text.length} bytes; a guest takes ${JOB_BYTES - 1}`);
  block.write(text);
  return block;
}

/** Refuses a guest whose RAM this machine does not have. */
export function checkHostMemory(layout: Layout): void {
  const total = Number(/^MemTotal:\s+(\d+) kB/m.exec(fs.readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? Infinity) * 1024;
  if (layout.memory > total)
    throw new UsageError(`--guest-mem ${layout.memory / 2 ** 20}M: this machine has ${Math.floor(total / 2 ** 20)}M; name a smaller guest`);
}
