// What a kernel log says, as data: the document that `klog --json` prints and that every run keeps.
import type { SymbolMatch } from './symbols.js';

/** What sort of complaint a finding is. The list is part of the contract: others read it. */
export const FINDING_KINDS = [
  'oops',
  'null-deref',
  'page-fault',
  'gpf',
  'bug',
  'warning',
  'kasan',
  'lockdep',
  'panic',
  'hung-task',
  'soft-lockup',
  'hard-lockup',
  'rcu-stall',
  'oom',
  'mce',
  'memory-failure',
  'dax-off',
  'boot-stall',
  'taint',
] as const;

export type FindingKind = (typeof FINDING_KINDS)[number];

/** A frame with what a symbol table knows of it. */
export interface SymbolisedFrame {
  function: string;
  /** Bytes from the function's start, and its size. */
  offset: number;
  size: number;
  module?: string;
  /** The address as the kernel was linked, "0x...": without KASLR's offset. Absent where it is not certain. */
  address?: string;
  /** The program counter itself; others are return addresses. */
  pc?: true;
  /** The unwinder was not sure of it ("? "). */
  uncertain?: true;
  /** file:line in the function, and what was inlined there, innermost first. */
  source?: string;
  inlined?: { function: string; source: string }[];
}

/** One complaint of the kernel. */
export interface Finding {
  kind: FindingKind;
  /** Stable name: no addresses, pids, CPU numbers, offsets or compiler suffixes. */
  title: string;
  /** The function to look at first: where it happened, helpers skipped. */
  function?: string;
  /** Command name of the task that was running, as the kernel prints it. */
  task?: string;
  pid?: number;
  cpu?: number;
  /** Seconds on the log's own clock (see KernelReport.clock). */
  time?: number;
  /** Line of the log (from 1) where the report starts, and the last one that belongs to it. */
  line: number;
  endLine: number;
  /** The report's lines as printed, without terminal codes and quoting; bounded. */
  excerpt: string;
  /** Cut off, interleaved or mangled: found, but not to be relied on in detail. */
  corrupted?: true;
  /** Why it is taken for corrupted. */
  corruption?: string;
  /** True for what is worth showing but never fails a workload. */
  informational?: true;
  /** Name of the table entry that recognised it. */
  rule: string;
  /** The header in the kernel's own words, and the message of a WARN or BUG, where there is one. */
  header: string;
  message?: string;
  /** The faulting address of an access, or the pfn of a memory failure. */
  address?: string;
  /** file:line that the kernel itself named, or else where debug information puts the guilty function. */
  source?: string;
  /** Module that the guilty function belongs to. */
  module?: string;
  /** Block device, namespace, region or dax device that the line is about. */
  device?: string;
  /** Frames of the trace that matters, "function+0x5/0x90 [module]", unreliable ones with a leading "? ". */
  trace?: string[];
  /** The program counter and the trace by a symbol table, where one was given. */
  frames?: SymbolisedFrame[];
  registers?: Record<string, string>;
  code?: string;
  workqueue?: string;
  /** Taint flags and kernel release, as the report's own CPU line gives them. */
  tainted?: string;
  release?: string;
  /** Task that the OOM killer chose. */
  killed?: string;
  /** Caller id of the lines, where the log carries it: T123 (task) or C0 (CPU). */
  caller?: string;
  /** Index in `findings` of the report that this one is a consequence of. */
  follows?: number;
  /** How many further reports with the same title were counted but not kept. */
  repeats?: number;
}

/** A pause of the boot. */
export interface Stall {
  seconds: number;
  before: string;
  after: string;
  beforeTime: number;
  afterTime: number;
  beforeLine: number;
  afterLine: number;
  /** The subsystem that was last heard of, as far as its lines tell. */
  subsystem?: string;
  /** Why a pause here is no fault, where a line says so itself (rootdelay, unpacking the initramfs). */
  explained?: string;
}

/** A range of physical memory; `end` is its last byte, as the kernel prints it. */
export interface MemoryRange {
  start: string;
  end: string;
}

export interface E820Range extends MemoryRange {
  type: string;
}

export interface NodeRange extends MemoryRange {
  node: number;
}

export interface PmemRange extends MemoryRange {
  /** Where it was named: the e820 map, memmap=, NFIT/SRAT, or /proc/iomem. */
  source: string;
}

export interface ZoneRange extends MemoryRange {
  zone: string;
}

export interface Milestone {
  name: string;
  time?: number;
  line: number;
  text: string;
}

export interface KernelReport {
  findings: Finding[];
  stalls: Stall[];
  e820: { bios: E820Range[]; user: E820Range[] };
  /** Early memory node ranges. */
  nodes: NodeRange[];
  pmem: PmemRange[];
  /** Spans of the nodes and zones as set up, and what SRAT announced. */
  nodeSpans: NodeRange[];
  zones: ZoneRange[];
  srat: (NodeRange & { flags?: string })[];
  milestones: Milestone[];
  /** How far the boot got; absent when the log shows no boot. */
  boot?: { outcome: 'user-space' | 'died' | 'unfinished'; finding?: number; seconds?: number };
  taint: { flags: string[]; lines: string[] };
  release?: string;
  version?: string;
  cmdline?: string;
  machine?: string;
  /** What the times are: seconds since boot, or since 1970 where the log carries only wall time. */
  clock: 'kernel' | 'wall' | 'none';
  lines: number;
  bytes: number;
  boots: number;
  /** With a symbol table: how well it fits the log. */
  symbols?: SymbolMatch;
  /** Reports recognised but not kept, because there were too many. */
  omitted: number;
}
