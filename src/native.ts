// The only importer of the addon: a typed face for it, argument checks, and errors with code and syscall.
//
// Three kinds of outcome are kept apart. A wrong argument throws TypeError or RangeError. A system call that failed throws
// SystemError. A fault while mapped memory was accessed is data: `signal` in the result. docs/native.md has the whole picture.
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { BrokenError, SystemError, messageOf } from './errors.js';
import { programFile, programRoot } from './paths.js';
import { GiB, KiB, MiB, roundDown } from './units.js';

// ---------------------------------------------------------------------------------------------------------------- the addon

type RawVerdict = { done: number; mismatches: number; first?: Mismatch; signal?: FaultSignal };
type RawFork = RawVerdict & { forkNs: number; finished: boolean; exitSignal: number };
type RawTouch = Omit<TouchResult, 'unit'>;
/** byte value or -1 for words, seed, base. */
type RawPattern = [byte: number, seed: bigint, base: number];

/** Calls that exist in two forms: at once, and on a thread of libuv's pool (under `async`, returning a promise). */
export interface NativeCalls {
  touch(
    mapping: number, offset: number, count: number, stride: number, access: Access, value: bigint,
    clock: ClockName | 'none', random: boolean, seed: bigint,
  ): RawTouch;
  read(mapping: number, offset: number, length: number): ReadResult;
  write(mapping: number, offset: number, bytes: Uint8Array): Progress;
  fill(mapping: number, offset: number, length: number, ...pattern: RawPattern): Progress;
  verify(mapping: number, offset: number, length: number, ...pattern: RawPattern): RawVerdict;
  patternBytes(length: number, ...pattern: RawPattern): Buffer;
  verifyBytes(bytes: Uint8Array, ...pattern: RawPattern): RawVerdict;
  madvise(mapping: number, offset: number, length: number, advice: Advice): Advised;
  msync(mapping: number, offset: number, length: number, how: SyncKind): void;
  mprotect(mapping: number, offset: number, length: number, prot: Protection): void;
  mlock(mapping: number, offset: number, length: number): void;
  munlock(mapping: number, offset: number, length: number): void;
  bindToNode(mapping: number, offset: number, length: number, node: number): void;
  unmap(mapping: number, offset: number, length: number): void;
  readFrom(mapping: number, fd: number, fileOffset: number, offset: number, length: number): number;
  writeTo(mapping: number, fd: number, fileOffset: number, offset: number, length: number): number;
  ringTransfer(mapping: number, fd: number, fileOffset: number, offset: number, length: number, write: boolean, registered: boolean, parts: number): number;
  forkVerify(mapping: number, offset: number, length: number, ...pattern: RawPattern): RawFork;
  forkWrite(mapping: number, offset: number, length: number, ...pattern: RawPattern): RawFork;
  pagemapScan(mapping: number, offset: number, length: number): PageRange[];
  fiemap(fd: number): Extent[];
  fallocate(fd: number, mode: FallocateMode, offset: number, length: number): void;
  statx(fd: number, path: string): Statx;
  getInodeFlags(fd: number): InodeAttributes;
  changeInodeFlags(fd: number, set: readonly InodeFlag[], clear: readonly InodeFlag[]): void;
  blockDevice(fd: number): BlockDevice;
  reflink(to: number, from: number): void;
  copyFileRange(from: number, fromOffset: number, to: number, toOffset: number, length: number): number;
  syncfs(fd: number): void;
  memoryFile(name: string): number;
  copySparse(from: number, to: number, skipStart: number, skipEnd: number, behindOthers: boolean): number;
  mount(source: string, target: string, type: string, flags: readonly MountFlag[], data: string): void;
  umount(target: string, flags: readonly UmountFlag[]): void;
  finitModule(fd: number, parameters: string): void;
  deleteModule(name: string): void;
  runProgram(path: string, args: readonly string[], timeoutMs: number, maxBytes: number): ProgramEnd;
  startCompanion(path: string, args: readonly string[]): { pid: number; socket: number };
  askCompanion(socket: number, line: string): string | undefined;
  killCompanion(pid: number): void;
  awaitChild(pid: number): ChildEnd;
  forkExec(path: string): ChildEnd;
  processVmRead(pid: number, address: bigint, length: number): Buffer;
  kpageScan(path: string, startPfn: number, endPfn: number, chunk: number, values: boolean): KpageScan;
  /** Then, for each actor, its rounds and number of steps, and 25 values for each step: see native/bind_race.cc. */
  race(
    steered: boolean, seed: bigint, minNs: number, maxNs: number, limitMs: number, collisions: number, actors: number,
    ...program: unknown[]
  ): RawRace;
  /** Then, for each step, 13 values: see native/bind_measure.cc. */
  measure(rounds: number, steps: number, ...program: unknown[]): RawMeasured;
}

/** What the compiled addon exports. Narrow on purpose: a test puts a fake in its place with setAddonForTests. */
export interface NativeAddon extends NativeCalls {
  readonly async: {
    [Name in keyof NativeCalls]: (...args: Parameters<NativeCalls[Name]>) => Promise<ReturnType<NativeCalls[Name]>>;
  };
  readonly pageSize: number;
  map(
    fd: number, length: number, offset: number, prot: Protection, share: Share, align: number, alignSkew: number,
    hugeShift: number, populate: boolean, noreserve: boolean,
  ): { handle: number; address: bigint };
  close(mapping: number): void;
  remapOnto(mapping: number, offset: number, length: number, target: number, targetOffset: number): void;
  seekToEnd(fd: number): void;
  setRealtime(ns: bigint): void;
  addEntropy(bytes: Uint8Array): void;
  writeSecondSerialPort(bytes: Uint8Array): void;
  setMceKill(policy: MceKillPolicy): void;
  reboot(command: RebootCommand): void;
  clocks(): Clocks;
  flushInstructions(): FlushInstruction[];
  drainSignals(): { signals: OptionalSignal[]; lost: number };
  errnoName(errno: number): string | undefined;
  traceStart(instance: string, event: number, addressAt: number): void;
  traceFinish(): FunctionHits;
  nothing(): void;
}

let loaded: NativeAddon | undefined;

/** DAXRIG_ADDON: another build of the addon, e.g. the one with sanitizers. */
const otherBuild = (): string | undefined => process.env['DAXRIG_ADDON'] || undefined;

/** The folder of what is built from native/. */
export const addonFolder = (): string => dirname(otherBuild() ?? join(programRoot, 'build/Release/daxrig.node'));

function load(): NativeAddon {
  const require = createRequire(programFile('native.js'));
  try {
    const path = otherBuild();
    if (path !== undefined) return require(path) as NativeAddon;
    const bindings = require('bindings') as typeof import('bindings');
    return bindings({ bindings: 'daxrig', module_root: programRoot }) as NativeAddon;
  } catch (error) {
    const why = messageOf(error).split('\n', 1)[0];
    throw new BrokenError(`the native addon cannot be loaded (${why}); build it with: node scripts/build-addon.mjs`, { cause: error });
  }
}

/** The addon, loaded when first used. */
const addon = (): NativeAddon => (loaded ??= load());

/** Puts a fake (or, with undefined, the real addon again) behind this module. */
export function setAddonForTests(fake: NativeAddon | undefined): void {
  loaded = fake;
}

/** The addon's errors carry code, errno and syscall; everything else passes as it is. */
function asThrown(error: unknown, detail: string): unknown {
  if (!(error instanceof Error) || !('code' in error && 'errno' in error && 'syscall' in error)) return error;
  return new SystemError(String(error.code), Number(error.errno), String(error.syscall), detail);
}

function attempt<Result>(call: () => Result, detail = ''): Result {
  try {
    return call();
  } catch (error) {
    throw asThrown(error, detail);
  }
}

type Name = keyof NativeCalls;

function now<Called extends Name>(name: Called, args: Parameters<NativeCalls[Called]>, detail = ''): ReturnType<NativeCalls[Called]> {
  const call = addon()[name] as (...args: unknown[]) => ReturnType<NativeCalls[Called]>;
  return attempt(() => call(...args), detail);
}

async function later<Called extends Name>(
  name: Called,
  args: Parameters<NativeCalls[Called]>,
  detail = '',
): Promise<ReturnType<NativeCalls[Called]>> {
  const call = addon().async[name] as (...args: unknown[]) => Promise<ReturnType<NativeCalls[Called]>>;
  try {
    return await call(...args);
  } catch (error) {
    throw asThrown(error, detail);
  }
}

/** Stands right before and after each timed call of so many operations, in its synchronous form: a tracer, say. */
export interface TimedWatcher {
  before(): void;
  after(operations: number): void;
}

let watcher: TimedWatcher | undefined;

/** Watches timed calls from now on, or with undefined no longer. */
export function watchTimed(given: TimedWatcher | undefined): void {
  watcher = given;
}

function watched<Result>(operations: number, call: () => Result): Result {
  const mine = watcher;
  mine?.before();
  try {
    return call();
  } finally {
    mine?.after(operations);
  }
}

// ------------------------------------------------------------------------------------------------------- argument checks

function whole(name: string, value: unknown, low = 0, high = Number.MAX_SAFE_INTEGER): number {
  if (typeof value !== 'number') throw new TypeError(`${name} must be a number, not ${typeof value}`);
  if (!Number.isSafeInteger(value) || value < low || value > high)
    throw new RangeError(`${name} must be a whole number from ${low} to ${high}, not ${value}`);
  return value;
}

const descriptor = (name: string, value: unknown): number => whole(name, value, 0, 0x7fffffff);

function oneOf<Value extends string>(name: string, value: unknown, values: readonly Value[]): Value {
  if (typeof value !== 'string') throw new TypeError(`${name} must be a string, not ${typeof value}`);
  const found = values.find((known) => known === value);
  if (found === undefined) throw new RangeError(`${name} must be one of ${values.join(', ')}, not "${value}"`);
  return found;
}

function listOf<Value extends string>(name: string, value: unknown, values: readonly Value[]): Value[] {
  if (!Array.isArray(value)) throw new TypeError(`${name} must be an array of names`);
  return value.map((item) => oneOf(name, item, values));
}

function text(name: string, value: unknown): string {
  if (typeof value !== 'string') throw new TypeError(`${name} must be a string, not ${typeof value}`);
  if (value.includes('\0')) throw new RangeError(`${name} must not hold a NUL character`);
  return value;
}

function texts(name: string, values: readonly unknown[]): string[] {
  return values.map((value, i) => text(`${name}[${i}]`, value));
}

function flag(name: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw new TypeError(`${name} must be a boolean, not ${typeof value}`);
  return value;
}

/** An unsigned 64-bit value, from a whole number or a bigint. */
function word(name: string, value: unknown): bigint {
  if (typeof value === 'number') return BigInt(whole(name, value));
  if (typeof value !== 'bigint') throw new TypeError(`${name} must be a number or a bigint, not ${typeof value}`);
  if (value < 0n || value > 0xffff_ffff_ffff_ffffn) throw new RangeError(`${name} must fit 64 bits, unsigned`);
  return value;
}

function byteArray(name: string, value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new TypeError(`${name} must be a Buffer or Uint8Array`);
  return value;
}

function record<Options extends object>(name: string, value: Options): Options {
  if (typeof value !== 'object' || value === null) throw new TypeError(`${name} must be an object`);
  return value;
}

/** Checks a pattern for `length` bytes from `offset`, and takes it apart for the addon. */
function patternArgs(pattern: Pattern, offset: number, length: number): RawPattern {
  record('pattern', pattern);
  if (pattern.kind === 'byte') return [whole('pattern.value', pattern.value, 0, 255), 0n, 0];
  oneOf('pattern.kind', pattern.kind, ['byte', 'words']);
  const { base = 0 } = pattern;
  whole('pattern.base', base);
  for (const [name, value] of [['offset', offset], ['length', length], ['pattern.base', base]] as const)
    if (value % 8 !== 0) throw new RangeError(`${name} must be a multiple of 8 for a pattern of words, not ${value}`);
  return [-1, word('pattern.seed', pattern.seed), base];
}

// ------------------------------------------------------------------------------------------------------------ vocabulary

const PROTECTIONS = ['r', 'rw', 'none'] as const;
const SHARES = ['shared', 'private', 'sync'] as const;
const ACCESSES = ['read', 'write', 'rmw'] as const;
const CLOCKS = ['raw', 'monotonic', 'tsc'] as const;
const SYNC_KINDS = ['sync', 'async', 'invalidate'] as const;
const MCE_KILL_POLICIES = ['early', 'late', 'default'] as const;
const REBOOT_COMMANDS = ['power-off', 'restart'] as const;
const UMOUNT_FLAGS = ['force', 'detach', 'expire', 'nofollow'] as const;

/** Advice for madvise(2), by the kernel's names (include/uapi/asm-generic/mman-common.h). */
export const ADVICE = [
  'normal', 'random', 'sequential', 'willneed', 'dontneed', 'free', 'remove', 'dontfork', 'dofork', 'mergeable', 'unmergeable',
  'hugepage', 'nohugepage', 'dontdump', 'dodump', 'wipeonfork', 'keeponfork', 'cold', 'pageout', 'populate-read',
  'populate-write', 'dontneed-locked', 'collapse', 'hwpoison', 'soft-offline', 'guard-install', 'guard-remove',
] as const;

/** Modes of fallocate(2). punch-hole implies keep-size, as the kernel wants it. */
export const FALLOCATE_MODES = [
  'allocate', 'keep-size', 'punch-hole', 'zero-range', 'collapse-range', 'insert-range', 'unshare',
] as const;

/** FS_XFLAG_* (include/uapi/linux/fs.h). */
export const INODE_FLAGS = [
  'realtime', 'prealloc', 'immutable', 'append', 'sync', 'noatime', 'nodump', 'rtinherit', 'projinherit', 'nosymlinks',
  'extsize', 'extszinherit', 'nodefrag', 'filestream', 'dax', 'cowextsize', 'hasattr',
] as const;

/** Mount flags of mount(2) (MS_*); options of a file system, such as dax=always, go into its data string. */
export const MOUNT_FLAGS = [
  'ro', 'nosuid', 'nodev', 'noexec', 'sync', 'remount', 'dirsync', 'noatime', 'nodiratime', 'bind', 'move', 'rec', 'silent',
  'private', 'slave', 'shared', 'relatime', 'strictatime', 'lazytime',
] as const;

export type Protection = (typeof PROTECTIONS)[number];
/** MAP_SHARED, MAP_PRIVATE, or MAP_SHARED_VALIDATE | MAP_SYNC. */
export type Share = (typeof SHARES)[number];
/** A plain load, a plain store, or one locked `or` with 0: each takes exactly one fault, the last two a write fault. */
export type Access = (typeof ACCESSES)[number];
/** CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC, or the cycle counter (in ticks; lfence rdtsc lfence on x86-64). */
export type ClockName = (typeof CLOCKS)[number];
export type Advice = (typeof ADVICE)[number];
/** MS_SYNC, MS_ASYNC, or MS_SYNC | MS_INVALIDATE. */
export type SyncKind = (typeof SYNC_KINDS)[number];
export type FallocateMode = (typeof FALLOCATE_MODES)[number];
export type InodeFlag = (typeof INODE_FLAGS)[number];
export type MountFlag = (typeof MOUNT_FLAGS)[number];
export type UmountFlag = (typeof UMOUNT_FLAGS)[number];
export type MceKillPolicy = (typeof MCE_KILL_POLICIES)[number];
export type RebootCommand = (typeof REBOOT_COMMANDS)[number];

/** A SIGBUS or SIGSEGV met by a guarded access, from its siginfo_t (sigaction(2)). */
export interface FaultSignal {
  signal: 'SIGBUS' | 'SIGSEGV';
  /** BUS_ADRERR: past the end of the file, or no block; BUS_MCEERR_AR: lost memory; SEGV_ACCERR: a hole or protection... */
  code: string;
  /** si_addr, in bytes from the start of the mapping; negative if a lost block begins before it. */
  offset: number;
  /** si_addr_lsb, for memory failures alone: log2 of the bytes lost. */
  lsb?: number;
}

/** A BUS_MCEERR_AO signal: memory was lost that nobody has touched yet. */
export interface OptionalSignal {
  address: bigint;
  /** log2 of the bytes lost. */
  lsb: number;
  /** Thread id that the kernel told. */
  thread: number;
  /** CLOCK_MONOTONIC. */
  timeNs: number;
}

/**
 * Known contents. `byte`: one value everywhere. `words`: each 8-byte word is a hash of the seed and its own position,
 * base + bytes from the start of the call, so that a word that strayed is noticed, and says where it came from.
 */
export type Pattern =
  | { kind: 'byte'; value: number }
  | {
      kind: 'words';
      seed: number | bigint;
      /** Position of the call's first byte; a multiple of 8, 0 if not given. Mostly the offset in the file. */
      base?: number;
    };

export interface Mismatch {
  /** Bytes from the start of the mapping (or buffer). */
  offset: number;
  /** The byte, or the 8-byte word as the machine reads it. */
  expected: bigint;
  actual: bigint;
  /** The wrong word is right at this position of the same pattern (bytes, counted like base): misplaced, not damaged. */
  belongsAt?: number;
}

export interface Progress {
  /** Bytes done before the end or the fault. Near a fault exact to the 4 KiB page. */
  done: number;
  signal?: FaultSignal;
}

export interface Verdict extends Progress {
  /** Everything was compared, and equal. */
  ok: boolean;
  /** In the pattern's unit: bytes, or 8-byte words. */
  mismatches: number;
  first?: Mismatch;
}

export interface ReadResult {
  /** What could be read: shorter than asked for if a fault ended it. */
  bytes: Buffer;
  signal?: FaultSignal;
}

export interface TouchOptions {
  /** Of the first access; a multiple of 8. Default 0. */
  offset?: number;
  /** Up to 2^32. */
  count: number;
  /** Bytes between accesses, a multiple of 8. Default: the page size. */
  stride?: number;
  access?: Access;
  /** What `write` stores (8 bytes). Default 0. */
  value?: number | bigint;
  /** Take a sample per access. Up to 2^26 accesses. */
  timed?: boolean;
  clock?: ClockName;
  /** random: each address once, shuffled by the seed. */
  order?: 'sequential' | 'random';
  seed?: number | bigint;
}

export interface TouchResult {
  /** Accesses completed; less than count only if a fault ended it (then 0 if the stride is 0). */
  done: number;
  /** Page faults taken by the accesses alone (getrusage(2), RUSAGE_THREAD). */
  minorFaults: number;
  majorFaults: number;
  /** CLOCK_MONOTONIC_RAW around all accesses. */
  totalNs: number;
  /** One per access, in the order of access; entries from `done` on are 0. */
  samples?: Float64Array;
  /** Of the samples. */
  unit?: 'ns' | 'ticks';
  signal?: FaultSignal;
}

export interface RingTransferOptions {
  /** Its offset is a multiple of 4 KiB where it is open for O_DIRECT. */
  fd: number;
  fileOffset?: number;
  offset?: number;
  /** Less than 2 GiB. */
  length: number;
  direction: 'to-file' | 'from-file';
  /** Register the memory first (IORING_REGISTER_BUFFERS): its pages stay pinned as long as the ring is there. */
  registered?: boolean;
  /** Requests submitted at once, up to 256, each for its share in whole pages. Default 1. */
  parts?: number;
}

export interface FaultCount {
  touches: number;
  minorFaults: number;
  majorFaults: number;
  signal?: FaultSignal;
}

export interface Advised {
  /** A memory failure that the kernel signalled while in, or on the way out of, the call. */
  signal?: FaultSignal;
  /** errno name of a call that failed and was signalled. Without a signal a failed call throws. */
  code?: string;
}

export interface ForkResult extends Progress {
  /** Time of the clone call in the parent, CLOCK_MONOTONIC_RAW. */
  forkNs: number;
  /** Of the signal that ended the child's work. */
  signalName?: string;
}
export interface ForkVerdict extends ForkResult {
  outcome: 'equal' | 'different' | 'signal';
  mismatches: number;
  firstDifference?: Mismatch;
}
export interface ForkWritten extends ForkResult {
  outcome: 'written' | 'signal';
}

/** A page as /proc/self/pagemap shows it (Documentation/admin-guide/mm/pagemap.rst). */
export interface PageEntry {
  present: boolean;
  swapped: boolean;
  /** A file page or shared anonymous memory. */
  filePage: boolean;
  softDirty: boolean;
  /** 0 if not present, or without CAP_SYS_ADMIN. */
  pfn: number;
}

/** Pages with equal PAGE_IS_* categories (include/uapi/linux/fs.h). */
export interface PageRange {
  offset: number;
  length: number;
  categories: number;
}

export type Level = 'none' | 'pte' | 'pmd' | 'pud';
/**
 * How a level was found out. pagemap-scan: PAGE_IS_HUGE of ioctl(PAGEMAP_SCAN), Linux 6.7 and later; the kernel's own word.
 * smaps: fields of a VMA cut to the 2 MiB in question; before 6.7. fault-count: an entry of the level was made anew, and
 * further touches in its extent cost no fault; works everywhere and is the only one that leaves 1 GiB entries whole.
 */
export type LevelMethod = 'pagemap-scan' | 'smaps' | 'fault-count';
export interface PageLevel {
  level: Level;
  method: LevelMethod;
  signal?: FaultSignal;
}

export interface Extent {
  /** Bytes. */
  logical: number;
  physical: number;
  length: number;
  /** FIEMAP_EXTENT_*: last, unwritten, shared, inline, delalloc... */
  flags: string[];
}

export interface DeviceNumber {
  major: number;
  minor: number;
}
export interface Statx {
  size: number;
  /** Of 512 bytes. */
  blocks: number;
  mode: number;
  ino: number;
  dev: DeviceNumber;
  rdev: DeviceNumber;
  mountId?: number;
  /** STATX_ATTR_*: dax, immutable, mount-root... */
  attributes: string[];
  /** Those that this file system can report. */
  attributesMask: string[];
  /** STATX_ATTR_DAX; absent if the kernel does not report it. */
  dax?: boolean;
}

/** struct fsxattr, FS_IOC_FSGETXATTR. */
export interface InodeAttributes {
  flags: InodeFlag[];
  extentSize: number;
  extents: number;
  projectId: number;
  cowExtentSize: number;
}

export interface BlockDevice {
  /** Bytes. */
  size: number;
  readOnly: boolean;
  logicalBlockSize: number;
  physicalBlockSize: number;
}

export interface KpageScanOptions {
  /** /proc/kpageflags, /proc/kpagecount, /proc/kpagecgroup: one 64-bit word per pfn. */
  path: string;
  startPfn: number;
  endPfn: number;
  /** Words per read. Default 65536. */
  chunk?: number;
  /** Keep every word; for up to 2^20 pfns. */
  values?: boolean;
}
export interface KpageScan {
  /** Words read. */
  read: number;
  /** By bit: how many words have it set. */
  perBit: number[];
  nonZero: number;
  max: bigint;
  /** The pfn at which the file ended, if before endPfn. */
  endedAt?: number;
  /** Pfns that could not be read (at most the first 1024 are listed); the scan went on behind each. */
  errors: { pfn: number; code: string }[];
  errorCount: number;
  values?: BigUint64Array;
}

export interface ClockCost {
  resolutionNs: number;
  /** Of one reading, median. */
  overheadNs: number;
}
export interface Clocks {
  raw: ClockCost;
  monotonic: ClockCost;
  /** Absent on machines without a counter that user space can read. */
  tsc?: ClockCost & { ticksPerNs: number };
}

/** Names of the bits of /proc/kpageflags (include/uapi/linux/kernel-page-flags.h, and the kernel's own from 32 on). */
export const KPAGE_FLAGS: readonly (string | undefined)[] = (() => {
  const names: (string | undefined)[] = [
    'locked', 'error', 'referenced', 'uptodate', 'dirty', 'lru', 'active', 'slab', 'writeback', 'reclaim', 'buddy', 'mmap',
    'anon', 'swapcache', 'swapbacked', 'compound_head', 'compound_tail', 'huge', 'unevictable', 'hwpoison', 'nopage', 'ksm',
    'thp', 'offline', 'zero_page', 'idle', 'pgtable',
  ];
  names.length = 64;
  [
    'reserved', 'mlocked', 'mappedtodisk', 'private', 'private_2', 'owner_private', 'arch', 'uncached', 'softdirty', 'arch_2',
    'arch_3',
  ].forEach((name, i) => (names[32 + i] = name));
  return names;
})();

// ---------------------------------------------------------------------------------------------------------------- mapping

export interface PlacementOptions {
  /** Bytes. */
  length: number;
  prot?: Protection;
  /** MAP_POPULATE: fault everything in now. */
  populate?: boolean;
  /** Power of two that the address is placed by (4 KiB, 2 MiB, 1 GiB...). Default: the kernel's choice. */
  align?: number;
  /** The address is this much past a multiple of align: whole pages, less than align. For deliberate misalignment. */
  alignSkew?: number;
  noreserve?: boolean;
  /** MAP_HUGETLB with pages of this many bytes. */
  hugetlb?: number;
}
export interface AnonymousOptions extends PlacementOptions {
  share?: 'shared' | 'private';
}
export interface MapOptions extends PlacementOptions {
  fd: number;
  /** In the file, bytes; the kernel wants whole pages, of device-dax whole alignments. */
  offset?: number;
  share?: Share;
}

/** The handle of a mapping, for a part that is checked to lie inside it. Set where the private parts can be seen. */
let handleOf: (mapping: Mapping, offset: number, length: number) => number;

const abandoned = new FinalizationRegistry((handle: number) => {
  try {
    loaded?.close(handle);
  } catch {
    // A handle of an addon that a test has meanwhile replaced: nothing is left to close.
  }
});

/**
 * Mapped memory that JavaScript reaches only through guarded calls. Offsets and lengths are bytes from its start; past its end
 * they throw RangeError. The address range belongs to the mapping until it is closed, also where parts were unmapped or moved.
 * A closed mapping throws SystemError EBADF.
 */
export class Mapping implements Disposable {
  readonly length: number;
  /** Where it is; for comparison with /proc files and signals, never for access. */
  readonly address: bigint;
  readonly #handle: number;
  /** Size of the hugetlb pages it was mapped with, or 0. */
  readonly #hugetlb: number;
  readonly #share: Share;
  /** A file with STATX_ATTR_DAX (or one whose kernel does not tell), or a character device. */
  readonly #dax: boolean;
  #closed = false;

  static {
    handleOf = (mapping, offset, length) => mapping.#range(offset, length);
  }

  private constructor(mapped: { handle: number; address: bigint }, length: number, share: Share, hugetlb: number, dax: boolean) {
    this.#handle = mapped.handle;
    this.address = mapped.address;
    this.length = length;
    this.#share = share;
    this.#hugetlb = hugetlb;
    this.#dax = dax;
    abandoned.register(this, mapped.handle, this);
  }

  /** mmap(2) of a file or device. The descriptor may be closed afterwards. */
  static map(options: MapOptions): Mapping {
    const { fd, offset = 0, share = 'shared' } = record('options', options);
    return Mapping.#map(descriptor('fd', fd), offset, share, options);
  }

  /** mmap(2) of anonymous memory, private unless said otherwise; also the source of aligned buffers for O_DIRECT. */
  static anonymous(options: AnonymousOptions): Mapping {
    const { share = 'private' } = record('options', options);
    return Mapping.#map(-1, 0, oneOf('share', share, ['shared', 'private']), options);
  }

  static #map(fd: number, offset: number, share: Share, options: PlacementOptions): Mapping {
    const { prot = 'rw', populate = false, align = 0, alignSkew = 0, noreserve = false, hugetlb = 0 } = options;
    const length = whole('length', options.length, 1);
    for (const [name, value] of [['align', align], ['hugetlb', hugetlb]] as const)
      if (whole(name, value) !== 0 && !isPowerOfTwo(value)) throw new RangeError(`${name} must be a power of two, not ${value}`);
    if (whole('alignSkew', alignSkew) !== 0 && alignSkew >= align)
      throw new RangeError(`alignSkew must be less than align, not ${alignSkew}`);
    const mapped = attempt(() =>
      addon().map(
        fd, length, whole('offset', offset), oneOf('prot', prot, PROTECTIONS), oneOf('share', share, SHARES), align, alignSkew,
        hugetlb === 0 ? 0 : Math.log2(hugetlb), flag('populate', populate), flag('noreserve', noreserve),
      ),
    );
    return new Mapping(mapped, length, share, hugetlb, fd >= 0 && isDax(fd));
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Unmaps everything; while operations run on other threads, when the last of them has ended. Twice is as good as once. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    abandoned.unregister(this);
    attempt(() => addon().close(this.#handle));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Offset of an address (of a signal, say), or undefined if it is not in this mapping. */
  offsetOf(address: bigint): number | undefined {
    const offset = address - this.address;
    return offset >= 0n && offset < BigInt(this.length) ? Number(offset) : undefined;
  }

  /** Accesses of 8 bytes each, timed where they happen. */
  touch(options: TouchOptions): TouchResult {
    const args = this.#touchArgs(options);
    return touched(options, options.timed === true ? watched(options.count, () => now('touch', args)) : now('touch', args));
  }
  async touchAsync(options: TouchOptions): Promise<TouchResult> {
    return touched(options, await later('touch', this.#touchArgs(options)));
  }

  #touchArgs(options: TouchOptions): Parameters<NativeCalls['touch']> {
    const { offset = 0, stride = addon().pageSize, access = 'read', value = 0, timed = false, seed = 0 } = record('options', options);
    const { clock = 'raw', order = 'sequential' } = options;
    const count = whole('count', options.count, 0, 2 ** 32);
    for (const [name, bytes] of [['offset', offset], ['stride', stride]] as const)
      if (whole(name, bytes) % 8 !== 0) throw new RangeError(`${name} must be a multiple of 8, not ${bytes}`);
    return [
      this.#range(offset, count === 0 ? 0 : (count - 1) * stride + 8),
      offset,
      count,
      stride,
      oneOf('access', access, ACCESSES),
      word('value', value),
      flag('timed', timed) ? oneOf('clock', clock, CLOCKS) : 'none',
      oneOf('order', order, ['sequential', 'random']) === 'random',
      word('seed', seed),
    ];
  }

  /** Copies bytes out; up to just under 2 GiB. */
  read(offset: number, length: number): ReadResult {
    return now('read', this.#part(offset, length));
  }
  async readAsync(offset: number, length: number): Promise<ReadResult> {
    return later('read', this.#part(offset, length));
  }

  /** Copies bytes in. */
  write(offset: number, bytes: Uint8Array): Progress {
    return now('write', this.#writeArgs(offset, bytes));
  }
  async writeAsync(offset: number, bytes: Uint8Array): Promise<Progress> {
    return later('write', this.#writeArgs(offset, bytes));
  }

  #writeArgs(offset: number, bytes: Uint8Array): [number, number, Uint8Array] {
    const [handle, from] = this.#part(offset, byteArray('bytes', bytes).byteLength);
    return [handle, from, bytes];
  }

  /** Writes a pattern; of words, at offsets and lengths that are multiples of 8. */
  fill(offset: number, length: number, pattern: Pattern): Progress {
    return now('fill', this.#patternPart(offset, length, pattern));
  }
  async fillAsync(offset: number, length: number, pattern: Pattern): Promise<Progress> {
    return later('fill', this.#patternPart(offset, length, pattern));
  }

  /** Compares with a pattern. */
  verify(offset: number, length: number, pattern: Pattern): Verdict {
    return judged(now('verify', this.#patternPart(offset, length, pattern)));
  }
  async verifyAsync(offset: number, length: number, pattern: Pattern): Promise<Verdict> {
    return judged(await later('verify', this.#patternPart(offset, length, pattern)));
  }

  /**
   * madvise(2). A memory failure injected with `hwpoison` is signalled to the thread that asked for it, if it has the page
   * mapped: use the synchronous form for it, so that the thread is this one. It loses host memory for good where the machine
   * is real.
   */
  madvise(offset: number, length: number, advice: Advice): Advised {
    return now('madvise', [...this.#part(offset, length), oneOf('advice', advice, ADVICE)], advice);
  }
  async madviseAsync(offset: number, length: number, advice: Advice): Promise<Advised> {
    return later('madvise', [...this.#part(offset, length), oneOf('advice', advice, ADVICE)], advice);
  }

  /** msync(2). */
  msync(offset: number, length: number, how: SyncKind = 'sync'): void {
    now('msync', [...this.#part(offset, length), oneOf('how', how, SYNC_KINDS)]);
  }
  async msyncAsync(offset: number, length: number, how: SyncKind = 'sync'): Promise<void> {
    await later('msync', [...this.#part(offset, length), oneOf('how', how, SYNC_KINDS)]);
  }

  /** mprotect(2). Accesses that the protection forbids are then SIGSEGV, SEGV_ACCERR, as data. */
  mprotect(offset: number, length: number, prot: Protection): void {
    now('mprotect', [...this.#part(offset, length), oneOf('prot', prot, PROTECTIONS)]);
  }
  async mprotectAsync(offset: number, length: number, prot: Protection): Promise<void> {
    await later('mprotect', [...this.#part(offset, length), oneOf('prot', prot, PROTECTIONS)]);
  }

  /** mlock(2). */
  mlock(offset: number, length: number): void {
    now('mlock', this.#part(offset, length));
  }
  async mlockAsync(offset: number, length: number): Promise<void> {
    await later('mlock', this.#part(offset, length));
  }
  /** munlock(2). */
  munlock(offset: number, length: number): void {
    now('munlock', this.#part(offset, length));
  }

  /** mbind(2), MPOL_BIND: pages that are made from now on come from this NUMA node alone. SystemError ENOSYS of a kernel without NUMA. */
  bindToNode(offset: number, length: number, node: number): void {
    now('bindToNode', [...this.#part(offset, length), whole('node', node, 0, 1023)]);
  }

  /**
   * Unmaps a part. In the same system call (mmap(2) with MAP_FIXED) an inaccessible reservation takes its place, so that
   * touching it is SIGSEGV, SEGV_ACCERR, as data, for as long as the mapping lives.
   */
  unmap(offset: number, length: number): void {
    now('unmap', this.#part(offset, length));
  }
  async unmapAsync(offset: number, length: number): Promise<void> {
    await later('unmap', this.#part(offset, length));
  }

  /**
   * mremap(2) with MREMAP_MAYMOVE | MREMAP_FIXED of a part onto an equally long part of another mapping (or of this one).
   * The place moved from becomes a hole as after unmap. SystemError EBUSY while operations run on other threads. If the
   * kernel refuses, it may have unmapped the part of the target: that is then a hole, too.
   */
  remapOnto(offset: number, length: number, target: Mapping, targetOffset: number): void {
    if (!(target instanceof Mapping)) throw new TypeError('target must be a Mapping');
    whole('length', length, 1);
    const [handle] = this.#part(offset, length);
    const [targetHandle] = target.#part(targetOffset, length);
    attempt(() => addon().remapOnto(handle, offset, length, targetHandle, targetOffset));
  }

  /** pread(2) from a file into the mapping: its own O_DIRECT or not decides how. Bytes read, fewer at the end of the file. */
  readFrom(fd: number, fileOffset: number, offset: number, length: number): number {
    return now('readFrom', this.#transferArgs(fd, fileOffset, offset, length));
  }
  async readFromAsync(fd: number, fileOffset: number, offset: number, length: number): Promise<number> {
    return later('readFrom', this.#transferArgs(fd, fileOffset, offset, length));
  }
  /** pwrite(2) from the mapping to a file. Bytes written. A page that the kernel cannot read is SystemError EFAULT. */
  writeTo(fd: number, fileOffset: number, offset: number, length: number): number {
    return now('writeTo', this.#transferArgs(fd, fileOffset, offset, length));
  }
  async writeToAsync(fd: number, fileOffset: number, offset: number, length: number): Promise<number> {
    return later('writeTo', this.#transferArgs(fd, fileOffset, offset, length));
  }

  /**
   * A transfer by io_uring between the mapping and a file, its requests submitted together. Bytes moved by all of them. SystemError of
   * io_uring_setup: the kernel has no io_uring (ENOSYS) or it is disabled (EPERM); of io_uring_register: the memory cannot be registered.
   */
  ringTransfer(options: RingTransferOptions): number {
    return now('ringTransfer', this.#ringArgs(options));
  }
  async ringTransferAsync(options: RingTransferOptions): Promise<number> {
    return later('ringTransfer', this.#ringArgs(options));
  }

  #ringArgs(options: RingTransferOptions): Parameters<NativeCalls['ringTransfer']> {
    const { fd, fileOffset = 0, offset = 0, length, direction, registered = false, parts = 1 } = record('options', options);
    const write = oneOf('direction', direction, ['to-file', 'from-file']) === 'to-file';
    return [...this.#transferArgs(fd, fileOffset, offset, length), write, flag('registered', registered), whole('parts', parts, 1, 256)];
  }

  #transferArgs(fd: number, fileOffset: number, offset: number, length: number): [number, number, number, number, number] {
    const [handle] = this.#part(offset, length);
    return [handle, descriptor('fd', fd), whole('fileOffset', fileOffset), offset, length];
  }

  /** A forked child compares with a pattern, and only that; what it met, a signal included, comes back. */
  forkVerify(offset: number, length: number, pattern: Pattern): ForkVerdict {
    return forkVerdict(now('forkVerify', this.#patternPart(offset, length, pattern)));
  }
  async forkVerifyAsync(offset: number, length: number, pattern: Pattern): Promise<ForkVerdict> {
    return forkVerdict(await later('forkVerify', this.#patternPart(offset, length, pattern)));
  }
  /** A forked child writes a pattern: the parent sees it in shared memory, and must not in private memory. */
  forkWrite(offset: number, length: number, pattern: Pattern): ForkWritten {
    return forkWritten(now('forkWrite', this.#patternPart(offset, length, pattern)));
  }
  async forkWriteAsync(offset: number, length: number, pattern: Pattern): Promise<ForkWritten> {
    return forkWritten(await later('forkWrite', this.#patternPart(offset, length, pattern)));
  }

  /** The entries of /proc/self/pagemap for `count` base pages from the page of `offset` on. */
  pagemap(offset: number, count = 1): PageEntry[] {
    const { pageSize } = addon();
    const first = roundDown(whole('offset', offset), pageSize);
    whole('count', count, 0, 0x10000000);
    this.#range(first, Math.max(0, Math.min((count - 1) * pageSize + 1, Number.MAX_SAFE_INTEGER)));
    return readPagemap(this.address + BigInt(first), count, pageSize);
  }

  /** ioctl(PAGEMAP_SCAN) of a part: runs of equal categories. SystemError ENOTTY before Linux 6.7. Splits 1 GiB entries. */
  pagemapScan(offset: number, length: number): PageRange[] {
    return now('pagemapScan', this.#part(offset, length));
  }

  /** Faults that touching every `step` bytes of a part costs: 0 where larger entries already map it. */
  countFaults(options: { offset: number; length: number; step?: number; access?: Access }): FaultCount {
    const { offset, length, step = addon().pageSize, access = 'read' } = record('options', options);
    this.#part(offset, length);
    const count = Math.ceil(length / whole('step', step, 8));
    const { done, totalNs: _totalNs, ...rest } = this.touch({ offset, count, stride: step, access });
    return { touches: done, ...rest };
  }

  /**
   * The level of the page-table entry that maps `offset`, from the kernel where it tells: `auto` takes pagemap-scan, and on
   * kernels without it smaps. Both report 1 GiB device-dax entries wrongly, since looking at them splits them: there ask for
   * fault-count, which drops the entries around `offset` (MADV_DONTNEED, shared mappings only: no data is lost) and makes
   * them anew by a `read` or an `rmw`.
   */
  pageLevel(offset: number, method: LevelMethod | 'auto' = 'auto', access: 'read' | 'rmw' = 'read'): PageLevel {
    oneOf('method', method, ['auto', 'pagemap-scan', 'smaps', 'fault-count']);
    oneOf('access', access, ['read', 'rmw']);
    const page = roundDown(whole('offset', offset), addon().pageSize);
    this.#range(offset, 1);
    if (method === 'fault-count') return this.#levelByFaults(page, access);
    if (method !== 'smaps') {
      try {
        return { level: this.#levelByScan(page), method: 'pagemap-scan' };
      } catch (error) {
        const unknown = error instanceof SystemError && (error.code === 'ENOTTY' || error.code === 'EINVAL');
        if (!unknown || method === 'pagemap-scan') throw error;
      }
    }
    return { level: this.#levelBySmaps(page), method: 'smaps' };
  }

  #levelByScan(page: number): Level {
    const range = this.pagemapScan(page, Math.min(addon().pageSize, this.length - page))[0];
    if (range === undefined || (range.categories & PAGE_IS_PRESENT) === 0) return 'none';
    if ((range.categories & PAGE_IS_HUGE) === 0) return 'pte';
    return this.#hugetlbLevel;
  }

  /** The level of huge entries, which are of 1 GiB for hugetlb pages of that size alone. */
  get #hugetlbLevel(): Level {
    return this.#hugetlb >= GiB ? 'pud' : 'pmd';
  }

  #levelBySmaps(page: number): Level {
    if (!this.pagemap(page)[0]!.present) return 'none';
    const extent = this.#extentOf(page, 2 * MiB);
    if (extent === undefined) return 'pte';
    if (this.#hugetlb > 2 * MiB) return this.#hugetlbLevel; // pages of one size, which cannot be parted
    // Other advice than the neighbours' makes the extent a VMA of its own, so that its fields speak of nothing else.
    this.madvise(extent, 2 * MiB, 'dontfork');
    try {
      const vma = vmaFields(readFileSync('/proc/self/smaps', 'utf8'), this.address + BigInt(extent));
      return levelOfVma(vma, this.#hugetlb, this.#dax);
    } finally {
      this.madvise(extent, 2 * MiB, 'dofork');
    }
  }

  #levelByFaults(page: number, access: 'read' | 'rmw'): PageLevel {
    if (this.#share === 'private') throw new RangeError('fault-count needs a shared mapping: it drops the page-table entries');
    const method = 'fault-count';
    for (const [level, size, step] of [['pud', GiB, 2 * MiB], ['pmd', 2 * MiB, 64 * KiB]] as const) {
      const extent = this.#extentOf(page, size);
      if (extent === undefined) continue;
      this.madvise(extent, size, 'dontneed');
      const made = this.touch({ offset: page, count: 1, access });
      if (made.signal !== undefined) return { level: 'none', method, signal: made.signal };
      // Both ends of the extent, each further from the page than any fault-around reaches.
      const others = [extent, extent + size - step].filter((other) => Math.abs(other - page) >= step);
      const faults = others.map((other) => this.touch({ offset: other, count: 1, access }));
      if (faults.every((touch) => touch.signal === undefined && touch.minorFaults + touch.majorFaults === 0)) return { level, method };
    }
    const { signal } = this.touch({ offset: page, count: 1, access });
    return signal === undefined ? { level: 'pte', method } : { level: 'none', method, signal };
  }

  /** Offset of the part that one entry of `size` bytes around `page` would map, if the mapping has all of it. */
  #extentOf(page: number, size: number): number | undefined {
    const address = this.address + BigInt(page);
    const extent = page - Number(address % BigInt(size));
    return extent >= 0 && extent + size <= this.length ? extent : undefined;
  }

  /** The handle, for a part that is checked to lie inside the mapping. */
  #range(offset: number, length: number): number {
    if (this.#closed) throw new SystemError('EBADF', constants.errno.EBADF, 'mapping', 'the mapping is closed');
    if (offset > this.length || length > this.length - offset)
      throw new RangeError(`offset ${offset} + length ${length} is past the end of a mapping of ${this.length} bytes`);
    return this.#handle;
  }

  #part(offset: number, length: number): [number, number, number] {
    return [this.#range(whole('offset', offset), whole('length', length)), offset, length];
  }

  #patternPart(offset: number, length: number, pattern: Pattern): [number, number, number, ...RawPattern] {
    return [...this.#part(offset, length), ...patternArgs(pattern, offset, length)];
  }
}

const PAGE_IS_PRESENT = 1 << 3;
const PAGE_IS_HUGE = 1 << 6;

const isPowerOfTwo = (value: number): boolean => Number.isInteger(Math.log2(value));

function touched(options: TouchOptions, raw: RawTouch): TouchResult {
  return raw.samples === undefined ? raw : { ...raw, unit: options.clock === 'tsc' ? 'ticks' : 'ns' };
}

function judged(raw: RawVerdict): Verdict {
  return { ok: raw.mismatches === 0 && raw.signal === undefined, ...raw };
}

const SIGNAL_NAMES = new Map<number, string>(Object.entries(constants.signals).map(([name, number]) => [number, name]));

/** "SIGKILL" of 9; "signal 40" of one without a name. */
export const signalName = (number: number): string => SIGNAL_NAMES.get(number) ?? `signal ${number}`;

/** Name of the signal that kept the child from its end: a fault that it caught as data, or one that killed it. */
function childSignal(raw: RawFork): string | undefined {
  if (raw.signal !== undefined) return raw.signal.signal;
  if (raw.finished) return undefined;
  return signalName(raw.exitSignal);
}

function forkVerdict(raw: RawFork): ForkVerdict {
  const { finished: _finished, exitSignal: _exitSignal, first, ...rest } = raw;
  const signalName = childSignal(raw);
  const compared = raw.mismatches === 0 ? 'equal' : 'different';
  return {
    outcome: signalName === undefined ? compared : 'signal',
    ...rest,
    ...(first === undefined ? {} : { firstDifference: first }),
    ...(signalName === undefined ? {} : { signalName }),
  };
}

function forkWritten(raw: RawFork): ForkWritten {
  const signalName = childSignal(raw);
  const { done, forkNs, signal } = raw;
  return {
    outcome: signalName === undefined ? 'written' : 'signal',
    done,
    forkNs,
    ...(signal === undefined ? {} : { signal }),
    ...(signalName === undefined ? {} : { signalName }),
  };
}

function readPagemap(address: bigint, count: number, pageSize: number): PageEntry[] {
  const raw = Buffer.alloc(count * 8);
  const fd = openSync('/proc/self/pagemap', 'r');
  let got: number;
  try {
    got = readSync(fd, raw, 0, raw.length, Number((address / BigInt(pageSize)) * 8n));
  } finally {
    closeSync(fd);
  }
  if (got !== raw.length) throw new BrokenError(`/proc/self/pagemap ended after ${got} of ${raw.length} bytes`);
  return Array.from({ length: count }, (_, i) => {
    const entry = raw.readBigUInt64LE(i * 8);
    const bit = (n: bigint): boolean => ((entry >> n) & 1n) === 1n;
    const present = bit(63n);
    return {
      present,
      swapped: bit(62n),
      filePage: bit(61n),
      softDirty: bit(55n),
      pfn: present ? Number(entry & 0x7f_ffff_ffff_ffffn) : 0,
    };
  });
}

/** The fields of the VMA that begins at an address, from the text of /proc/PID/smaps; sizes in kB as they stand there. */
export function vmaFields(smaps: string, start: bigint): Map<string, string> | undefined {
  const at = smaps.search(new RegExp(`^0*${start.toString(16)}-`, 'm'));
  if (at < 0) return undefined;
  const [, ...lines] = smaps.slice(at).split('\n');
  const fields = new Map<string, string>();
  for (const line of lines) {
    const field = /^([A-Za-z_]+):\s*(.*?)\s*$/.exec(line);
    if (field === null) break; // the header of the next VMA
    fields.set(field[1]!, field[2]!);
  }
  return fields;
}

/** STATX_ATTR_DAX where the kernel reports it (5.8); before that a character device, or any file that might be. */
function isDax(fd: number): boolean {
  const { dax, mode } = statx(fd);
  return dax ?? (mode & 0o170000) !== 0o100000;
}

/**
 * The level behind a VMA of 2 MiB that has present pages. Huge pages of ordinary memory have fields of their own. For DAX
 * kernels without PAGEMAP_SCAN count a huge entry into Rss, and single pages not at all.
 */
export function levelOfVma(vma: Map<string, string> | undefined, hugetlb: number, dax: boolean): Level {
  if (vma === undefined) return 'pte';
  const kB = (name: string): number => Number.parseInt(vma.get(name) ?? '0', 10);
  if (hugetlb > 0) return hugetlb >= GiB ? 'pud' : 'pmd';
  if (['AnonHugePages', 'ShmemPmdMapped', 'FilePmdMapped'].some((name) => kB(name) > 0)) return 'pmd';
  // Before 6.15 small DAX pages do not count as resident, while a PMD counts by its page's order: 2 MiB for device-dax,
  // 4 KiB for a file (fs/proc/task_mmu.c: smaps_pte_entry, smaps_pmd_entry). DAX areas carry hg (VM_HUGEPAGE).
  const huge = (vma.get('VmFlags') ?? '').split(' ').some((flag) => flag === 'hg' || flag === 'mm');
  return dax && huge && kB('Rss') > 0 ? 'pmd' : 'pte';
}

// ---------------------------------------------------------------------------------------------------------------- patterns

/** The bytes that fill() would write, in an ordinary buffer; up to just under 2 GiB. */
export function patternBytes(length: number, pattern: Pattern): Buffer {
  return now('patternBytes', [whole('length', length), ...patternArgs(pattern, 0, length)]);
}

/** What verify() would say of these bytes. */
export function verifyBytes(bytes: Uint8Array, pattern: Pattern): Verdict {
  return judged(now('verifyBytes', [bytes, ...patternArgs(pattern, 0, byteArray('bytes', bytes).byteLength)]));
}

// ------------------------------------------------------------------------------------------------------------------- files

/** FS_IOC_FIEMAP with FIEMAP_FLAG_SYNC: the file's extents in order. */
export function fiemap(fd: number): Extent[] {
  return now('fiemap', [descriptor('fd', fd)]);
}

const fallocateArgs = (fd: number, mode: FallocateMode, offset: number, length: number): Parameters<NativeCalls['fallocate']> => [
  descriptor('fd', fd), oneOf('mode', mode, FALLOCATE_MODES), whole('offset', offset), whole('length', length),
];
/** fallocate(2). */
export function fallocate(fd: number, mode: FallocateMode, offset: number, length: number): void {
  now('fallocate', fallocateArgs(fd, mode, offset, length), mode);
}
export async function fallocateAsync(fd: number, mode: FallocateMode, offset: number, length: number): Promise<void> {
  await later('fallocate', fallocateArgs(fd, mode, offset, length), mode);
}

/** statx(2) of a path (symbolic links are followed) or an open file. */
export function statx(pathOrFd: string | number): Statx {
  if (typeof pathOrFd === 'number') return now('statx', [descriptor('fd', pathOrFd), '']);
  const path = text('path', pathOrFd);
  return now('statx', [-1, path], path);
}

/** FS_IOC_FSGETXATTR. */
export function getInodeFlags(fd: number): InodeAttributes {
  return now('getInodeFlags', [descriptor('fd', fd)]);
}

/** FS_IOC_FSSETXATTR of the flags that are there now, with some set and some cleared. */
export function changeInodeFlags(fd: number, change: { set?: readonly InodeFlag[]; clear?: readonly InodeFlag[] }): void {
  const { set = [], clear = [] } = record('change', change);
  now('changeInodeFlags', [descriptor('fd', fd), listOf('set', set, INODE_FLAGS), listOf('clear', clear, INODE_FLAGS)]);
}

/** BLKGETSIZE64 and friends; SystemError ENOTTY for what is no block device. */
export function blockDevice(fd: number): BlockDevice {
  return now('blockDevice', [descriptor('fd', fd)]);
}

/** FICLONE: makes `to` share all blocks of `from`. */
export function reflink(to: number, from: number): void {
  now('reflink', [descriptor('to', to), descriptor('from', from)]);
}

export interface CopyRange {
  from: number;
  fromOffset?: number;
  to: number;
  toOffset?: number;
  length: number;
}
function copyArgs(copy: CopyRange): Parameters<NativeCalls['copyFileRange']> {
  const { from, fromOffset = 0, to, toOffset = 0, length } = record('copy', copy);
  return [
    descriptor('from', from), whole('fromOffset', fromOffset), descriptor('to', to), whole('toOffset', toOffset),
    whole('length', length),
  ];
}
/** copy_file_range(2) once: bytes copied, fewer at the end of the file. */
export function copyFileRange(copy: CopyRange): number {
  return now('copyFileRange', copyArgs(copy));
}
export async function copyFileRangeAsync(copy: CopyRange): Promise<number> {
  return later('copyFileRange', copyArgs(copy));
}

/** lseek(2) to the end: of /dev/kmsg, past every record that there is. */
export function seekToEnd(fd: number): void {
  attempt(() => addon().seekToEnd(descriptor('fd', fd)));
}

/** syncfs(2): the whole file system of an open file. */
export function syncfs(fd: number): void {
  now('syncfs', [descriptor('fd', fd)]);
}
export async function syncfsAsync(fd: number): Promise<void> {
  await later('syncfs', [descriptor('fd', fd)]);
}

/** memfd_create(2): an open file in memory alone, which needs no room in any file system. The caller closes it. */
export function memoryFile(name: string): number {
  return now('memoryFile', [text('name', name)]);
}

export interface CopyOptions {
  /** Left out as if it were a hole; bytes. */
  skip?: { start: number; end: number };
  /** Nobody waits for it: everything else on the machine comes first. */
  behindOthers?: boolean;
}

/** Copies the data of an open file, and neither its holes nor its zero pages, to an empty one, which gets its size. Returns the bytes written. */
export async function copySparseAsync(from: number, to: number, { skip = { start: 0, end: 0 }, behindOthers = false }: CopyOptions = {}): Promise<number> {
  return later('copySparse', [descriptor('from', from), descriptor('to', to), whole('skip.start', skip.start), whole('skip.end', skip.end), behindOthers]);
}

// ------------------------------------------------------------------------------------------------------------------- races

/** What an actor of a race can do; docs/races.md has the table. */
export const RACE_OPS = [
  'load', 'store', 'rmw', 'increment', 'locked-increment', 'stamp', 'fill', 'check', 'madvise', 'msync', 'map', 'unmap', 'pread',
  'pwrite', 'file-fill', 'file-check', 'file-stamp', 'fallocate', 'truncate', 'fsync', 'poke', 'locate', 'await-located', 'poke-located', 'poke-last',
  'visit', 'create', 'unlink', 'mount', 'umount', 'nap', 'meet',
] as const;
export type RaceOp = (typeof RACE_OPS)[number];

/**
 * Where a step works, bytes: `base + unit * i`. In its k-th execution i is (a * k + b) mod count, or drawn from the seed. A
 * step with two places (mapping and file) draws once for both.
 */
export interface RacePlaces {
  base?: number;
  unit?: number;
  count?: number;
  /** Default 1. */
  a?: number;
  b?: number;
  random?: boolean;
}

export interface RaceStep {
  op: RaceOp;
  /** Executed in rounds where round % every === phase; default 1, 0: in all. */
  every?: number;
  phase?: number;
  /** 1..15: overlaps with steps of other groups are the collisions that the race claims. Default 0: with none. */
  group?: number;
  mapping?: Mapping;
  /** In the mapping. */
  at?: number | RacePlaces;
  /** Bytes; of nap, nanoseconds. */
  length?: number;
  fd?: number;
  /** In the file; the new size for truncate, the number itself for poke. */
  fileAt?: number | RacePlaces;
  advice?: Advice;
  mode?: FallocateMode;
  how?: SyncKind;
  path?: string;
  /** Of mount, which mounts on `path`. */
  mount?: Omit<MountOptions, 'target' | 'flags'>;
  /** What store and visit write, and rmw adds. */
  value?: number | bigint;
  /** Of fill, check, file-fill, file-check: each word is that of its own offset (plus base) in the mapping or file. */
  pattern?: { seed: number | bigint; base?: number };
  /** Zeros are as good as the expected words: another actor punches holes or truncates. */
  zeroAllowed?: boolean;
}

export interface RaceActor {
  name: string;
  /** Not given: it goes on for as long as an actor with rounds does. */
  rounds?: number;
  steps: readonly RaceStep[];
}

export interface RaceOptions {
  /** 1 to 4. */
  actors: readonly RaceActor[];
  seed: number | bigint;
  /**
   * steered: on one CPU under SCHED_FIFO, where a thread above the actors changes their priorities at times drawn from the
   * seed. parallel: each on a CPU of its own, as far as there are enough.
   */
  schedule: 'steered' | 'parallel';
  /** Nanoseconds between two decisions when steered, from and to. Default 500 to 40,000. */
  sleepNs?: readonly [number, number];
  /** Default 10,000. */
  limitMs?: number;
  /** End after so many claimed collisions. */
  collisions?: number;
}

export interface RaceWrong {
  round: number;
  /** Of the word, in the mapping or file. */
  offset: number;
  expected: bigint;
  actual: bigint;
  /** The wrong word is right in this pattern of the race, at this position. */
  belongsTo?: { seed: bigint; position: number };
}

export interface RaceStepResult {
  op: RaceOp;
  runs: number;
  /** Neither refused nor ended by a signal. */
  done: number;
  bytes: number;
  /** Words that were zero and might be; stamps count one each. */
  zeros: number;
  wrong: number;
  first?: RaceWrong;
  /** By errno name. */
  errors: Record<string, number>;
  /** By code: BUS_ADRERR, BUS_MCEERR_AR, SEGV_ACCERR... */
  signals: Record<string, number>;
  /** Of stamp and file-stamp: the last value stored, by place; 0n for none. */
  last?: BigUint64Array;
}

export interface RaceResult {
  /** Of everything that the actors saw: equal for equal interleavings. */
  digest: string;
  actors: { name: string; rounds: number; digest: string; steps: RaceStepResult[] }[];
  /** Operations that began while one of another actor was going on. */
  collisions: number;
  /** Of them, pairs of an operation and a step of another group that began while it was going on, each pair once, however often. */
  claimed: number;
  /** By pairs of steps, `actor.op` each, most frequent first. */
  pairs: { began: string; during: string; count: number }[];
  /** Times the priorities were changed. */
  switches: number;
  /** CLOCK_MONOTONIC. */
  elapsedNs: number;
  /** The time limit ended it. */
  limited: boolean;
  cpus: number;
  /** Why a steered race ran without SCHED_FIFO, and so was not steered. */
  schedulerError?: string;
}

type RawRace = Omit<RaceResult, 'digest' | 'actors' | 'pairs'> & {
  digest: bigint;
  actors: { rounds: number; digest: bigint; steps: Omit<RaceStepResult, 'op'>[] }[];
  pairs: [actor: number, step: number, inActor: number, inStep: number, count: number][];
};

function placeArgs(name: string, places: number | RacePlaces): number[] {
  const { base = 0, unit = 0, count = 1, a = 1, b = 0, random = false } = typeof places === 'number' ? { base: places } : record(name, places);
  const last = whole(`${name}.base`, base) + whole(`${name}.unit`, unit) * (whole(`${name}.count`, count, 1, 2 ** 20) - 1);
  if (!Number.isSafeInteger(last)) throw new RangeError(`${name}: base + unit * count must be below 2^53`);
  return [base, unit, count, flag(`${name}.random`, random) ? -1 : whole(`${name}.a`, a, 0, 2 ** 20), whole(`${name}.b`, b, 0, 2 ** 20)];
}

/** The names that the flags of an operation are taken from. */
const RACE_FLAGS: Partial<Record<RaceOp, (step: RaceStep) => string>> = {
  madvise: ({ advice }) => oneOf('advice', advice, ADVICE),
  msync: ({ how = 'sync' }) => oneOf('how', how, SYNC_KINDS),
  fallocate: ({ mode }) => oneOf('mode', mode, FALLOCATE_MODES),
};

function stepArgs(step: RaceStep): unknown[] {
  const { every = 1, phase = 0, group = 0, mapping, at = 0, length = 0, fd, fileAt = 0, path = '', mount: { source, type, data = '' } = { source: '', type: '' }, value = 0, pattern, zeroAllowed = false } = record('step', step);
  const op = oneOf('op', step.op, RACE_OPS);
  if (mapping !== undefined && !(mapping instanceof Mapping)) throw new TypeError('mapping must be a Mapping');
  const inMapping = placeArgs('at', at);
  const [base = 0, unit = 0, count = 1] = inMapping;
  const seed = pattern === undefined ? word('value', value) : word('pattern.seed', record('pattern', pattern).seed);
  return [
    op, whole('every', every, 1), whole('phase', phase, 0, every - 1), whole('group', group, 0, 15),
    mapping === undefined ? 0 : handleOf(mapping, base, unit * (count - 1) + Math.max(8, whole('length', length))), ...inMapping,
    whole('length', length), fd === undefined ? -1 : descriptor('fd', fd), ...placeArgs('fileAt', fileAt), RACE_FLAGS[op]?.(step) ?? '',
    text('path', path), text('mount.source', source), text('mount.type', type), text('mount.data', data), seed, whole('pattern.base', pattern?.base ?? 0), flag('zeroAllowed', zeroAllowed),
  ];
}

function raceArgs(options: RaceOptions): Parameters<NativeCalls['race']> {
  const { actors, seed, schedule, sleepNs: [minNs, maxNs] = [500, 40_000], limitMs = 10_000, collisions = 0 } = record('options', options);
  if (!Array.isArray(actors) || actors.length < 1 || actors.length > 4) throw new RangeError('actors must be 1 to 4');
  return [
    oneOf('schedule', schedule, ['steered', 'parallel']) === 'steered', word('seed', seed), whole('sleepNs', minNs, 1, 1e9),
    whole('sleepNs', maxNs, minNs, 1e9), whole('limitMs', limitMs, 1, 3_600_000), whole('collisions', collisions), actors.length,
    ...(actors as readonly RaceActor[]).flatMap(({ rounds, steps }) => {
      if (!Array.isArray(steps) || steps.length < 1 || steps.length > 32) throw new RangeError('steps must be 1 to 32');
      return [rounds === undefined ? 0 : whole('rounds', rounds, 1), steps.length, ...(steps as readonly RaceStep[]).flatMap(stepArgs)];
    }),
  ];
}

const hex = (value: bigint): string => value.toString(16).padStart(16, '0');

function raced({ actors: planned }: RaceOptions, raw: RawRace): RaceResult {
  const nameOf = (actor: number, step: number): string => `${planned[actor]!.name}.${planned[actor]!.steps[step]!.op}`;
  return {
    ...raw,
    digest: hex(raw.digest),
    actors: raw.actors.map(({ rounds, digest, steps }, i) => ({
      name: planned[i]!.name,
      rounds,
      digest: hex(digest),
      steps: steps.map((step, at) => ({ op: planned[i]!.steps[at]!.op, ...step })),
    })),
    pairs: raw.pairs
      .map(([actor, step, inActor, inStep, count]) => ({ began: nameOf(actor, step), during: nameOf(inActor, inStep), count }))
      .sort((a, b) => b.count - a.count),
  };
}

/**
 * Runs a race to its end. The mappings and descriptors in it are held meanwhile: closing them has effect afterwards. On a
 * machine that counts instructions a steered race is a function of the machine's state and the seed.
 */
export function race(options: RaceOptions): RaceResult {
  return raced(options, now('race', raceArgs(options)));
}
export async function raceAsync(options: RaceOptions): Promise<RaceResult> {
  return raced(options, await later('race', raceArgs(options)));
}

// ------------------------------------------------------------------------------------------------------------ timed rounds

/** What a step of timed rounds can do; docs/timings.md has the table. */
export const MEASURE_OPS = [
  'map', 'unmap', 'move', 'fork', 'madvise', 'msync', 'fsync', 'fallocate', 'pread', 'pwrite', 'touch', 'load', 'store', 'store-past',
  'copy', 'flush', 'chase', 'chain',
] as const;
export type MeasureOp = (typeof MEASURE_OPS)[number];
export const FLUSH_INSTRUCTIONS = ['clflush', 'clflushopt', 'clwb'] as const;
export type FlushInstruction = (typeof FLUSH_INSTRUCTIONS)[number];

export interface MeasureStep {
  op: MeasureOp;
  /** Take a sample per round. */
  timed?: boolean;
  /** A fault is what is measured (until the signal is caught); otherwise it ends the rounds. */
  mayFault?: boolean;
  /** Not given: what the step `map` mapped last. */
  mapping?: Mapping;
  /** In the mapping; a multiple of 8. */
  at?: number;
  length?: number;
  /** Of touch: bytes between accesses. Default: one access. */
  stride?: number;
  /** Bytes that both places move on by with every round: a fresh page each time. */
  advance?: number;
  fd?: number;
  /** In the file. What `map` maps from no multiple of 2 MiB gets an address that is one: no huge entry fits both. */
  fileAt?: number;
  /** Of map. Default shared. */
  share?: Share;
  advice?: Advice;
  /** Of msync. Default sync. */
  how?: SyncKind;
  mode?: FallocateMode;
  instruction?: FlushInstruction;
  /** Of touch. Default read. */
  access?: 'read' | 'write';
  /** Of memory work: each thread has its own share of the length. Default 1. */
  threads?: number;
}

export interface MeasuredStep {
  op: MeasureOp;
  runs: number;
  /** Page faults of the calling thread in all runs, what is prepared around the operation included. */
  minorFaults: number;
  majorFaults: number;
  /** Runs that a signal ended. */
  signals: number;
  /** One per round, ns by CLOCK_MONOTONIC_RAW; of rounds that were not completed 0. */
  samples?: Float64Array;
}

export interface Measured {
  /** Completed. */
  rounds: number;
  steps: MeasuredStep[];
  /** That ended the rounds, or was met last by a step that may fault. */
  signal?: FaultSignal;
}

type RawMeasured = Omit<Measured, 'steps'> & { steps: Omit<MeasuredStep, 'op'>[] };

/** The names that the flags of an operation are taken from. */
const MEASURE_FLAGS: Partial<Record<MeasureOp, (step: MeasureStep) => string>> = {
  map: ({ share = 'shared' }) => oneOf('share', share, SHARES),
  madvise: ({ advice }) => oneOf('advice', advice, ADVICE),
  msync: ({ how = 'sync' }) => oneOf('how', how, SYNC_KINDS),
  fallocate: ({ mode }) => oneOf('mode', mode, FALLOCATE_MODES),
  flush: ({ instruction }) => oneOf('instruction', instruction, FLUSH_INSTRUCTIONS),
};

function measureStepArgs(step: MeasureStep): unknown[] {
  const { timed = false, mayFault = false, mapping, at = 0, length = 0, stride = 0, advance = 0, fd, fileAt = 0, access = 'read', threads = 1 } = record('step', step);
  const op = oneOf('op', step.op, MEASURE_OPS);
  if (mapping !== undefined && !(mapping instanceof Mapping)) throw new TypeError('mapping must be a Mapping');
  return [
    op, flag('timed', timed), flag('mayFault', mayFault), mapping === undefined ? 0 : handleOf(mapping, whole('at', at), whole('length', length)), whole('at', at),
    whole('length', length), whole('stride', stride), whole('advance', advance), fd === undefined ? -1 : descriptor('fd', fd), whole('fileAt', fileAt),
    MEASURE_FLAGS[op]?.(step) ?? '', oneOf('access', access, ['read', 'write']), whole('threads', threads, 1, 64),
  ];
}

function measureArgs(rounds: number, steps: readonly MeasureStep[]): [number, number, ...unknown[]] {
  if (!Array.isArray(steps) || steps.length < 1 || steps.length > 16) throw new RangeError('steps must be 1 to 16');
  return [whole('rounds', rounds, 1, 2 ** 24), steps.length, ...(steps as readonly MeasureStep[]).flatMap(measureStepArgs)];
}

const measured = (steps: readonly MeasureStep[], raw: RawMeasured): Measured => ({ ...raw, steps: raw.steps.map((step, i) => ({ op: steps[i]!.op, ...step })) });

/**
 * Repeats a program of steps and times those asked for, each alone, with the clock beside it in native code. A system call
 * that fails throws SystemError; a fault is data.
 */
export function measure(rounds: number, steps: readonly MeasureStep[]): Measured {
  const args = measureArgs(rounds, steps);
  return measured(steps, watched(rounds, () => now('measure', args)));
}
export async function measureAsync(rounds: number, steps: readonly MeasureStep[]): Promise<Measured> {
  return measured(steps, await later('measure', measureArgs(rounds, steps)));
}

/** Instructions that write a cache line back, as far as this CPU has them. */
export function flushInstructions(): FlushInstruction[] {
  return addon().flushInstructions();
}

// ------------------------------------------------------------------------------------------------------------------ system

export interface MountOptions {
  source: string;
  target: string;
  type: string;
  flags?: readonly MountFlag[];
  /** What the file system itself reads, such as dax=always. */
  data?: string;
}
function mountArgs(options: MountOptions): Parameters<NativeCalls['mount']> {
  const { source, target, type, flags = [], data = '' } = record('options', options);
  return [
    text('source', source), text('target', target), text('type', type), listOf('flags', flags, MOUNT_FLAGS), text('data', data),
  ];
}
const mountDetail = (options: MountOptions): string => `${options.source} on ${options.target}`;
/** mount(2). */
export function mount(options: MountOptions): void {
  now('mount', mountArgs(options), mountDetail(options));
}
export async function mountAsync(options: MountOptions): Promise<void> {
  await later('mount', mountArgs(options), mountDetail(options));
}

const umountArgs = (target: string, flags: readonly UmountFlag[]): Parameters<NativeCalls['umount']> => [
  text('target', target), listOf('flags', flags, UMOUNT_FLAGS),
];
/** umount2(2). */
export function umount(target: string, flags: readonly UmountFlag[] = []): void {
  now('umount', umountArgs(target, flags), target);
}
export async function umountAsync(target: string, flags: readonly UmountFlag[] = []): Promise<void> {
  await later('umount', umountArgs(target, flags), target);
}

/** clock_settime(2), CLOCK_REALTIME: for a guest that was restored at another time than it was saved. */
export function setRealtime(ns: bigint): void {
  attempt(() => addon().setRealtime(word('ns', ns)));
}

/**
 * RNDADDENTROPY on /dev/random, credited in full, up to 64 KiB, and the same to the generator behind node:crypto. For restored guests, whose
 * pools are all alike.
 */
export function addEntropy(bytes: Uint8Array): void {
  attempt(() => addon().addEntropy(byteArray('bytes', bytes)));
}

/**
 * Writes to the second ISA serial port (COM2) by port I/O, past its driver: for guests, whose port takes all bytes at once. Throws EPERM without
 * CAP_SYS_RAWIO or in a locked-down kernel, ENOSYS where the kernel has no ioperm(2).
 */
export function writeSecondSerialPort(bytes: Uint8Array): void {
  attempt(() => addon().writeSecondSerialPort(byteArray('bytes', bytes)));
}

export interface ProgramLimits {
  /** Milliseconds after which it is killed; default two minutes. */
  timeoutMs?: number;
  /** Of each output, bytes; past them it is killed. Default 64 MiB. */
  maxBytes?: number;
}
export interface ProgramEnd {
  /** Absent when a signal ended it. */
  status?: number;
  /** Number of the signal that ended it. */
  signal?: number;
  /** It was killed for taking too long, or for saying too much. */
  killed?: 'timeout' | 'output';
  stdout: string;
  stderr: string;
}
/**
 * Runs another program to its end, and to that of its output, with this process's environment and no input. It is not forked
 * from this process, whose page tables stay as they are (posix_spawn). Throws SystemError when it cannot be started.
 */
export async function runProgram(path: string, args: readonly string[], { timeoutMs = 120_000, maxBytes = 64 << 20 }: ProgramLimits = {}): Promise<ProgramEnd> {
  return later('runProgram', [text('path', path), texts('args', args), timeoutMs, maxBytes], path);
}

/** How a child process ended: by itself, or by a signal's number. */
export type ChildEnd = { status: number; signal?: never } | { signal: number; status?: never };

/**
 * A program that goes on beside this one, by posix_spawn, and answers lines with lines: on its standard input and output is a
 * stream socket, its standard error is this process's.
 */
export class Companion {
  readonly pid: number;
  readonly #socket: number;
  #ended: Promise<ChildEnd> | undefined;

  /** Throws SystemError when it cannot be started. */
  constructor(path: string, args: readonly string[] = []) {
    const { pid, socket } = now('startCompanion', [text('path', path), texts('args', args)], path);
    this.pid = pid;
    this.#socket = socket;
  }

  /** Sends a line; gives the one that comes back, or undefined when the program has ended instead. One at a time. RangeError for several lines. */
  async ask(line: string): Promise<string | undefined> {
    if (line.includes('\n')) throw new RangeError('line must be one line');
    return this.#ended ? undefined : later('askCompanion', [this.#socket, text('line', line)]);
  }

  /** Kills it, unless it has ended, and resolves when it is gone. */
  end(): Promise<ChildEnd> {
    return (this.#ended ??= this.#end());
  }

  async #end(): Promise<ChildEnd> {
    try {
      now('killCompanion', [this.pid]); // not on the pool, whose threads may all wait for answers
      return await later('awaitChild', [this.pid]);
    } finally {
      closeSync(this.#socket);
    }
  }
}

/**
 * fork(2), so that the child has all of this process's mappings, then execve(2) of a program without arguments, whose end is
 * waited for. Throws SystemError when it is not there or not executable; status 127 when it cannot be run.
 */
export function forkExec(path: string): ChildEnd {
  return now('forkExec', [text('path', path)], path);
}

/** prctl(2), PR_MCE_KILL: whether this thread is told early, BUS_MCEERR_AO, of memory that was lost and not yet touched. */
export function prctlMceKill(policy: MceKillPolicy): void {
  attempt(() => addon().setMceKill(oneOf('policy', policy, MCE_KILL_POLICIES)));
}

/** finit_module(2). */
export function finitModule(fd: number, parameters = ''): void {
  now('finitModule', [descriptor('fd', fd), text('parameters', parameters)]);
}
export async function finitModuleAsync(fd: number, parameters = ''): Promise<void> {
  await later('finitModule', [descriptor('fd', fd), text('parameters', parameters)]);
}

/** delete_module(2) with O_NONBLOCK: EWOULDBLOCK (EAGAIN) while it is in use. */
export function deleteModule(name: string): void {
  now('deleteModule', [text('name', name)], name);
}
export async function deleteModuleAsync(name: string): Promise<void> {
  await later('deleteModule', [text('name', name)], name);
}

/** reboot(2), at once: nothing is synced. */
export function reboot(command: RebootCommand): void {
  attempt(() => addon().reboot(oneOf('command', command, REBOOT_COMMANDS)));
}

const vmReadArgs = (pid: number, address: bigint, length: number): Parameters<NativeCalls['processVmRead']> => [
  whole('pid', pid, 1, 0x7fffffff), word('address', address), whole('length', length),
];
/** process_vm_readv(2): memory of another process (or of this one). Shorter than asked for where it ends. */
export function processVmRead(pid: number, address: bigint, length: number): Buffer {
  return now('processVmRead', vmReadArgs(pid, address, length));
}
export async function processVmReadAsync(pid: number, address: bigint, length: number): Promise<Buffer> {
  return later('processVmRead', vmReadArgs(pid, address, length));
}

/** Reads a /proc/kpage* file over a range of pfns in bulk, off the event loop. */
export async function kpageScan(options: KpageScanOptions): Promise<KpageScan> {
  const { path, startPfn, endPfn, chunk = 65536, values = false } = record('options', options);
  const start = whole('startPfn', startPfn);
  return later(
    'kpageScan',
    [text('path', path), start, whole('endPfn', endPfn, start), whole('chunk', chunk, 1, 1 << 20), flag('values', values)],
    path,
  );
}

/** Resolution and cost of the clocks, measured now (a few milliseconds). */
export function clocks(): Clocks {
  return attempt(() => addon().clocks());
}

/** Action-optional memory-failure signals since the last call, oldest first; `lost`: how many did not fit (256 do). */
export function drainSignals(): { signals: OptionalSignal[]; lost: number } {
  return attempt(() => addon().drainSignals());
}

/** "EFAULT" of 14; undefined for numbers without a name. */
export function errnoName(errno: number): string | undefined {
  return addon().errnoName(whole('errno', errno, 0, 0x7fffffff));
}

/** What the function tracer saw between traceStart and traceFinish. */
export interface FunctionHits {
  functions: { address: bigint; hits: number }[];
  /** Times the kernel had dropped events, because its buffer was full. */
  missed: number;
}

/**
 * Begins to empty the ring buffers of a tracing instance (its folder in tracefs) on a thread. `event` and `addressAt`: number
 * of the function event and the place of its ip, from events/ftrace/function/format. One at a time: SystemError EBUSY.
 */
export function traceStart(instance: string, event: number, addressAt: number): void {
  const args = [text('instance', instance), whole('event', event, 1, 0xffff), whole('addressAt', addressAt, 8, 64)] as const;
  attempt(() => addon().traceStart(...args), instance);
}

/** Reads what is left, tracing being off, and gives the counts. SystemError EINVAL when none was begun. */
export function traceFinish(): FunctionHits {
  return attempt(() => addon().traceFinish());
}

/** A native call that does nothing: what every call costs at least. */
export function nothing(): void {
  addon().nothing();
}

/** Bytes of a base page. */
export function pageSize(): number {
  return addon().pageSize;
}
