// Says before booting what a memmap= parameter will do: which ranges it takes, from which node, and what can go wrong.
// Everything is computed on half-open intervals; addresses leave with their last byte, as the kernel prints them.
import { UsageError } from '../errors.js';
import { formatSize, GiB, hex, humanSize, MiB, parseSize, roundDown, roundUp } from '../units.js';
import { parseIomem, pmemRanges, systemRam } from './iomem.js';
import { isBefore, parseKernelVersion, type KernelVersion } from './version.js';

/** What a range becomes: the sign in the parameter says it. */
export type MemmapKind = 'ram' | 'acpi' | 'reserved' | 'pmem' | 'convert' | 'limit' | 'exactmap';

export interface MemmapRange {
  kind: MemmapKind;
  start: number;
  size: number;
  /** Old and new e820 type of nn%ss-oldtype+newtype; 0 where left out. */
  fromType?: number;
  toType?: number;
  text: string;
}

export type Severity = 'info' | 'warning' | 'error';

export interface Hazard {
  id: string;
  severity: Severity;
  /** What will happen, and what to do. */
  message: string;
  start?: string;
  end?: string;
}

/** What padding the kernel will put into a region's info block. */
export interface PadPrediction {
  start: string;
  end: string;
  /** Bytes. */
  startPad: number;
  endTrunc: number;
  /** The kernels that this holds for. */
  kernels: string;
  /** What the range shares its first, or last, section with. */
  because: string;
}

export interface MemmapLint {
  ranges: { start: string; end: string; node: number | null; kind: MemmapKind }[];
  hazards: Hazard[];
  startPad?: PadPrediction[];
  nodes: { node: number; start: string; end: string }[];
}

export interface GuestMemory {
  /** Bytes of guest RAM. */
  guestMem: number;
  /** NUMA nodes, which share the RAM evenly, in order. */
  numa?: number;
  machine?: 'pc' | 'q35';
  /** Release of the kernel that will boot, as far as it is known. */
  kernelVersion?: string;
  /** Bytes of the initramfs. */
  initrd?: number;
  /** The command line switches KASLR off. */
  nokaslr?: boolean;
}

const SIGNS: Record<string, MemmapKind> = { '@': 'ram', '#': 'acpi', $: 'reserved', '!': 'pmem', '%': 'convert' };
/** E820_TYPE_SOFT_RESERVED. */
const SOFT_RESERVED = 0xefffffff;
/** x86 physical addresses end here. */
const MAX_ADDRESS = 2 ** 52;

/** A memory hotplug section of x86-64, and the sub-sections that 5.3 introduced. */
export const SECTION = 128 * MiB;
export const SUBSECTION = 2 * MiB;
/** Namespaces are kept to multiples of this since 5.7 (memremap_compat_align). */
const NAMESPACE_ALIGN = 16 * MiB;
const MIN_NAMESPACE = 16 * MiB;
const FOUR_GIB = 4 * GiB;
/** QEMU deals RAM out to nodes in multiples of this. */
const NODE_GRANULARITY = 8 * MiB;
/** Firmware keeps its tables in the last kilobytes below the hole. */
const FIRMWARE_TAIL = 256 * 1024;
/** Where an x86-64 kernel lies without KASLR, and what it needs above. */
const KERNEL_START = 16 * MiB;
const KERNEL_END = 96 * MiB;
const RAM_LEAST = 128 * MiB;
const RAM_COMFORT = 384 * MiB;
/** struct page per 4 KiB of pmem, taken from RAM. */
const STRUCT_PAGE_SHARE = 64 / 4096;
/** The KASLR code heeds no more memmap= ranges than this, and gives up beyond. */
const KASLR_RANGES = 4;

const describe = (range: { start: number; end: number }): { start: string; end: string } => ({ start: hex(range.start), end: hex(range.end - 1) });

/** One entry of a memmap= parameter. */
function parseEntry(text: string): MemmapRange {
  if (text === 'exactmap') return { kind: 'exactmap', start: 0, size: 0, text };
  const match = /^([^@#$!%]*)([@#$!%])(.*)$/.exec(text);
  if (match === null) {
    const size = parseSize(text, 'memmap=');
    return { kind: 'limit', start: 0, size, text };
  }
  const [, sizeText = '', sign = '', rest = ''] = match;
  if (sizeText === '') throw new UsageError(`memmap=: "${text}" has no size before "${sign}"; write size${sign}start, for example 1G${sign}4G`);
  if (rest === '') throw new UsageError(`memmap=: "${text}" has no start after "${sign}"; write size${sign}start, for example 1G${sign}4G`);
  const size = parseSize(sizeText, `memmap=: size in "${text}"`);
  if (size === 0) throw new UsageError(`memmap=: "${text}" has the size 0; give the size first, for example 1G${sign}4G`);
  const kind = SIGNS[sign]!;
  const types = kind === 'convert' ? /^([^-+]*)(?:-([0-9a-fx]+))?(?:\+([0-9a-fx]+))?$/i.exec(rest) : undefined;
  if (types === null) throw new UsageError(`memmap=: "${text}" is not size%start-oldtype+newtype, for example 1G%4G-1+7`);
  const start = parseSize(types === undefined ? rest : types[1]!, `memmap=: start in "${text}"`);
  if (start + size > MAX_ADDRESS) throw new UsageError(`memmap=: "${text}" ends beyond any physical address (${hex(MAX_ADDRESS)})`);
  const range: MemmapRange = { kind, start, size, text };
  if (types !== undefined) {
    range.fromType = e820Type(types[2], text);
    range.toType = e820Type(types[3], text);
  }
  return range;
}

function e820Type(text: string | undefined, entry: string): number {
  if (text === undefined) return 0;
  const type = /^(?:0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : NaN;
  if (!Number.isSafeInteger(type)) throw new UsageError(`memmap=: "${text}" in "${entry}" is no e820 type; 1 is RAM, 2 reserved, 7 persistent, 12 legacy persistent`);
  return type;
}

/** The ranges of a memmap= parameter: nn@ss, nn#ss, nn$ss, nn!ss, nn%ss-ott+ntt, nn alone, exactmap; several by commas. */
export function parseMemmapParam(text: string): MemmapRange[] {
  const value = text.trim().replace(/^memmap=/, '');
  if (value === '') throw new UsageError('memmap=: is empty; write size!start, for example 1G!4G');
  return value.split(',').map((entry) => parseEntry(entry.trim()));
}

interface Interval {
  start: number;
  /** First byte behind. */
  end: number;
}

interface NodeSegment extends Interval {
  node: number;
}

const overlaps = (a: Interval, b: Interval): boolean => a.start < b.end && b.start < a.end;
const intersection = (a: Interval, b: Interval): Interval => ({ start: Math.max(a.start, b.start), end: Math.min(a.end, b.end) });

/** How QEMU lays a guest's RAM out, and how it deals it to nodes. */
export function guestLayout({ guestMem, numa = 1, machine = 'pc' }: GuestMemory): { lowEnd: number; segments: NodeSegment[] } {
  if (!Number.isSafeInteger(guestMem) || guestMem < MiB) throw new UsageError(`guest memory: ${guestMem} bytes is too little; write for example 4G`);
  if (!Number.isInteger(numa) || numa < 1 || numa > 128) throw new UsageError(`numa: ${numa} is no number of nodes; write 1 to 128`);
  const lowEnd =
    machine === 'q35' ? (guestMem >= 0xb0000000 ? 0x80000000 : guestMem) : guestMem >= 0xe0000000 ? 0xc0000000 : guestMem;
  const ram: Interval[] = [{ start: 0, end: lowEnd }];
  if (guestMem > lowEnd) ram.push({ start: FOUR_GIB, end: FOUR_GIB + guestMem - lowEnd });

  const share = roundDown(guestMem / numa, NODE_GRANULARITY);
  const segments: NodeSegment[] = [];
  let node = 0;
  let left = numa === 1 ? guestMem : share;
  for (const { start, end } of ram)
    for (let at = start; at < end; ) {
      const take = Math.min(left, end - at);
      segments.push({ node, start: at, end: at + take });
      at += take;
      left -= take;
      if (left === 0) {
        node++;
        // The last node also gets what the even split leaves over.
        left = node === numa - 1 ? Infinity : share;
      }
    }
  return { lowEnd, segments };
}

/** Parts of `whole` that none of `holes` covers. */
function without(whole: readonly Interval[], holes: readonly Interval[]): Interval[] {
  let left = [...whole];
  for (const hole of holes)
    left = left.flatMap((part) =>
      overlaps(part, hole)
        ? [
            { start: part.start, end: hole.start },
            { start: hole.end, end: part.end },
          ].filter(({ start, end }) => start < end)
        : [part],
    );
  return left;
}

interface Context {
  ranges: (MemmapRange & Interval)[];
  pmem: (MemmapRange & Interval)[];
  /** Ranges that stop being RAM. */
  taken: (MemmapRange & Interval)[];
  lowEnd: number;
  segments: NodeSegment[];
  /** RAM that is left. */
  left: Interval[];
  version: KernelVersion | undefined;
  versionText: string;
  guest: GuestMemory;
}

type Check = (context: Context) => Hazard[];

const outsideRam: Check = ({ taken, ranges, segments, lowEnd }) =>
  taken.flatMap((range) => {
    const missing = without([range], segments);
    if (missing.length === 0) return [];
    const hole = { start: lowEnd, end: FOUR_GIB };
    const inHole = overlaps(range, hole);
    const place = elsewhere(range.size, segments, ranges);
    const whole = missing.length === 1 && missing[0]!.start === range.start && missing[0]!.end === range.end;
    return [
      {
        id: inHole ? 'pci-hole' : 'outside-ram',
        severity: 'error' as const,
        message: `${range.text} lies ${whole ? '' : 'partly '}${inHole ? `in the PCI hole (${hex(lowEnd)}-0xffffffff)` : "outside the guest's RAM"}; the guest's RAM is ${ramList(segments)}: ${place === undefined ? 'give the guest more memory' : `move it, for example to ${place}, or give the guest more memory`}`,
        ...describe(missing[0]!),
      },
    ];
  });

const ramList = (segments: readonly Interval[]): string =>
  merged(segments)
    .map(({ start, end }) => `${hex(start)}-${hex(end - 1)}`)
    .join(' and ');

/** Intervals with neighbours that touch joined. */
function merged(intervals: readonly Interval[]): Interval[] {
  const out: Interval[] = [];
  for (const { start, end } of intervals.toSorted((a, b) => a.start - b.start)) {
    const last = out.at(-1);
    if (last !== undefined && last.end >= start) last.end = Math.max(last.end, end);
    else out.push({ start, end });
  }
  return out;
}

const firmware: Check = ({ taken, lowEnd }) => {
  const reserved: [Interval, string][] = [
    [{ start: 0, end: MiB }, 'the first megabyte, which firmware and the boot loader use'],
    [{ start: lowEnd - FIRMWARE_TAIL, end: lowEnd }, 'the tables that firmware keeps at the end of low memory'],
  ];
  return taken.flatMap((range) =>
    reserved
      .filter(([interval]) => overlaps(range, interval))
      .map(([interval, what]) => ({
        id: 'over-reserved',
        severity: 'error' as const,
        message: `${range.text} covers ${what}; leave ${hex(interval.start)}-${hex(interval.end - 1)} out`,
        ...describe(intersection(range, interval)),
      })),
  );
};

const overlapping: Check = ({ ranges }) =>
  ranges.flatMap((a, index) =>
    ranges
      .slice(index + 1)
      .filter((b) => overlaps(a, b))
      .map((b) => ({
        id: 'overlap',
        severity: 'error' as const,
        message: `${a.text} and ${b.text} overlap; the later one wins where they do: move one of them`,
        ...describe(intersection(a, b)),
      })),
  );

const alignment: Check = ({ pmem, version }) =>
  pmem.flatMap((range) => {
    const hazards: Hazard[] = [];
    if (range.size < MIN_NAMESPACE)
      hazards.push({ id: 'too-small', severity: 'error', message: `${range.text} is smaller than the smallest namespace with DAX; make it at least ${formatSize(MIN_NAMESPACE)}`, ...describe(range) });
    const odd = (unit: number): boolean => range.start % unit !== 0 || range.size % unit !== 0;
    if (odd(SUBSECTION))
      hazards.push({ id: 'misaligned-2m', severity: 'warning', message: `${range.text} does not start and end at a multiple of 2M: huge pages do not fit and the ends are trimmed; round start and size to 2M`, ...describe(range) });
    else if (odd(NAMESPACE_ALIGN) && (version === undefined || !isBefore(version, '5.7')))
      hazards.push({
        id: 'misaligned-16m',
        severity: 'warning',
        message: `${range.text} does not start and end at a multiple of 16M: kernels from 5.7 on refuse to set up fsdax or devdax in it ("misaligned"); round start and size to 16M`,
        ...describe(range),
      });
    return hazards;
  });

/** The end of a node moves when its last RAM is taken. */
const nodeEnd: Check = (context) => {
  const { taken, segments, left, version, versionText, lowEnd } = context;
  const hazards: Hazard[] = [];
  for (const node of new Set(segments.map((segment) => segment.node))) {
    const own = segments.filter((segment) => segment.node === node);
    const end = Math.max(...own.map((segment) => segment.end));
    const range = taken.find((candidate) => candidate.start < end && candidate.end >= end);
    if (range === undefined) continue;
    const rest = left.flatMap((part) => own.filter((segment) => overlaps(part, segment)).map((segment) => intersection(part, segment)));
    if (rest.length === 0) {
      hazards.push({ id: 'node-without-ram', severity: 'warning', message: `${range.text} leaves node ${node} without RAM: the kernel takes it for memoryless; leave some of ${ramList(own)} to it`, ...describe(range) });
      continue;
    }
    const newEnd = Math.max(...rest.map((part) => part.end));
    // Behind the low RAM lie reserved pages in the same section: their struct pages belong to no node's range then.
    const uncovered = newEnd === lowEnd;
    if (!uncovered) {
      hazards.push({ id: 'node-end', severity: 'info', message: `${range.text} takes the end of node ${node}, which then ends at ${hex(newEnd)} instead of ${hex(end)}`, ...describe({ start: newEnd, end }) });
      continue;
    }
    const broken = version !== undefined && !isBefore(version, '4.15') && isBefore(version, '4.18');
    const state = broken
      ? `kernel ${versionText} no longer zeroes those struct pages: reading /proc/kpageflags or /proc/kpagecount there panics`
      : 'kernels from 4.15 until the fix in 4.18 leave those struct pages uninitialised, and reading /proc/kpageflags there panics';
    hazards.push({
      id: 'node-end',
      severity: broken ? 'error' : 'warning',
      message: `${range.text} takes the end of node ${node}: the node then ends just below ${hex(newEnd)} instead of at ${hex(end)}, and the reserved pages below ${hex(newEnd)} fall out of its range; ${state}; ${advice(context, range)}`,
      ...describe(intersection(range, { start: 0, end })),
    });
  }
  return hazards;
};

/** A range of this size that is in nobody's way, as a parameter; undefined when the guest is too small for one. */
function elsewhere(size: number, segments: readonly NodeSegment[], ranges: readonly Interval[]): string | undefined {
  for (const segment of segments) {
    // Away from both ends of the node, and above 4G, where nothing else has its place.
    const start = roundUp(Math.max(segment.start, FOUR_GIB) + 1, GiB);
    const candidate = { start, end: start + size };
    if (candidate.end + 4 * SECTION <= segment.end && !ranges.some((range) => overlaps(range, candidate))) return `${formatSize(size)}!${formatSize(start)}`;
  }
  return undefined;
}

function advice({ segments, ranges }: Context, range: MemmapRange): string {
  const place = elsewhere(range.size, segments, ranges);
  return place === undefined ? 'give the guest more memory, so that the range does not end where the node ends' : `take memory from the middle of a node, for example ${place}`;
}

const nodeSpan: Check = ({ pmem, segments }) =>
  pmem.flatMap((range) => {
    const nodes = [...new Set(segments.filter((segment) => overlaps(range, segment)).map((segment) => segment.node))];
    return nodes.length < 2
      ? []
      : [{ id: 'several-nodes', severity: 'warning' as const, message: `${range.text} lies in nodes ${nodes.join(' and ')}: the whole region is counted to one of them; split it at the node's border`, ...describe(range) }];
  });

const kernelImage: Check = ({ taken, guest, version, versionText }) => {
  const hazards: Hazard[] = [];
  for (const range of taken) {
    if (overlaps(range, { start: KERNEL_START, end: KERNEL_END }))
      hazards.push({ id: 'kernel-image', severity: 'error', message: `${range.text} covers the place where the kernel is loaded (${hex(KERNEL_START)} on); move it up, best above 4G`, ...describe(range) });
  }
  if (guest.nokaslr !== true && taken.length > 0 && version !== undefined) {
    if (isBefore(version, '4.11') && !isBefore(version, '3.14'))
      hazards.push({ id: 'kaslr', severity: 'warning', message: `kernel ${versionText} chooses its random place without heeding memmap=, so it may land in the range; add nokaslr to the command line` });
    else if (!isBefore(version, '4.11') && taken.length > KASLR_RANGES)
      hazards.push({ id: 'kaslr', severity: 'info', message: `with more than ${KASLR_RANGES} memmap= ranges the kernel switches KASLR off` });
  }
  return hazards;
};

const initrd: Check = ({ taken, guest, lowEnd }) => {
  if (guest.initrd === undefined) return [];
  // QEMU puts it below the tables at the end of low memory.
  const place = { start: lowEnd - FIRMWARE_TAIL - roundUp(guest.initrd, 4096), end: lowEnd - FIRMWARE_TAIL };
  return taken
    .filter((range) => overlaps(range, place))
    .map((range) => ({ id: 'initrd', severity: 'error' as const, message: `${range.text} covers the place of the initramfs (${humanSize(guest.initrd!)} below ${hex(place.end)}); move it above 4G`, ...describe(intersection(range, place)) }));
};

const remaining: Check = ({ left, pmem, taken }) => {
  if (taken.length === 0) return [];
  const bytes = left.reduce((sum, part) => sum + part.end - part.start, 0);
  const pages = pmem.reduce((sum, range) => sum + range.size, 0) * STRUCT_PAGE_SHARE;
  const free = bytes - pages;
  if (free >= RAM_COMFORT) return [];
  const shown = humanSize(Math.max(0, Math.round(free)));
  return free < RAM_LEAST
    ? [{ id: 'too-little-ram', severity: 'error', message: `${shown} of RAM are left once the ranges and their struct pages are taken: the guest will not boot; give it more memory` }]
    : [{ id: 'too-little-ram', severity: 'warning', message: `only ${shown} of RAM are left once the ranges and their struct pages are taken; give the guest more memory` }];
};

const forms: Check = ({ ranges, segments }) =>
  ranges.flatMap((range) => {
    const hazards: Hazard[] = [];
    if (range.kind === 'reserved')
      hazards.push({ id: 'dollar-sign', severity: 'info', message: `${range.text}: boot loaders and shells swallow "$"; in grub.cfg write \\$, in a shell quote it` });
    if (range.kind === 'ram') {
      const missing = without([range], segments);
      if (missing.length > 0) hazards.push({ id: 'ram-that-is-not-there', severity: 'error', message: `${range.text} declares RAM where the guest has none; the kernel will use it and die`, ...describe(missing[0]!) });
    }
    if (range.kind === 'acpi' || range.kind === 'reserved' || range.kind === 'ram')
      hazards.push({ id: 'no-pmem', severity: 'info', message: `${range.text} gives no persistent memory: that is written ${formatSize(range.size)}!${formatSize(range.start)}`, ...describe(range) });
    if (range.kind === 'convert' && range.toType === SOFT_RESERVED)
      hazards.push({ id: 'soft-reserved', severity: 'info', message: `${range.text} gives devdax by the module dax_hmem (CONFIG_EFI_SOFT_RESERVE, CONFIG_DEV_DAX_HMEM), no pmem region`, ...describe(range) });
    else if (range.kind === 'convert' && range.toType !== 7 && range.toType !== 12)
      hazards.push({ id: 'no-pmem', severity: 'info', message: `${range.text} gives no persistent memory: the new type of that is 12 (legacy) or 7`, ...describe(range) });
    return hazards;
  });

const CHECKS: readonly Check[] = [overlapping, outsideRam, firmware, kernelImage, initrd, nodeEnd, nodeSpan, alignment, remaining, forms];

/** What memmap= parameters will do to a guest. */
export function lintMemmap(params: readonly (string | MemmapRange)[], guest: GuestMemory): MemmapLint {
  const parsed = params.flatMap((param) => (typeof param === 'string' ? parseMemmapParam(param) : [param]));
  const { lowEnd, segments } = guestLayout(guest);
  const withEnds = parsed.map((range) => ({ ...range, end: range.start + range.size }));
  const ranges = withEnds.filter((range) => range.kind !== 'limit' && range.kind !== 'exactmap');
  const isPmem = (range: MemmapRange): boolean => range.kind === 'pmem' || (range.kind === 'convert' && (range.toType === 7 || range.toType === 12));
  const taken = ranges.filter((range) => range.kind !== 'ram' && !(range.kind === 'convert' && range.toType === 1));
  const pmem = ranges.filter(isPmem);
  const limits = withEnds.filter((range) => range.kind === 'limit').map((range) => ({ start: range.size, end: MAX_ADDRESS }));
  const version = guest.kernelVersion === undefined ? undefined : parseKernelVersion(guest.kernelVersion);
  const left = without(segments, [...taken, ...limits]);
  const context: Context = { ranges, pmem, taken, lowEnd, segments, left, version, versionText: guest.kernelVersion ?? '', guest };

  const hazards = CHECKS.flatMap((check) => check(context));
  const pads = predictPads(pmem, left, version);
  hazards.push(...padHazards(pads, version, guest.kernelVersion));

  const lint: MemmapLint = {
    ranges: ranges.flatMap((range) => placed(range, segments)),
    hazards,
    nodes: segments.map(({ node, start, end }) => ({ node, ...describe({ start, end }) })),
  };
  if (pads.length > 0) lint.startPad = pads;
  return lint;
}

/** A range by node; what lies in none has node null. */
function placed(range: MemmapRange & Interval, segments: readonly NodeSegment[]): MemmapLint['ranges'] {
  const inNodes = segments.filter((segment) => overlaps(range, segment)).map((segment) => ({ ...intersection(range, segment), node: segment.node as number | null }));
  const outside = without([range], segments).map((part) => ({ ...part, node: null }));
  return [...inNodes, ...outside]
    .sort((a, b) => a.start - b.start)
    .map(({ node, ...part }) => ({ ...describe(part), node, kind: range.kind }));
}

/** The kernels that pad: those that know sections only. Regions count as neighbours since 4.20. */
const OLD_KERNELS = 'before 5.3';

/** start_pad and end_trunc as nd_pfn_init() computes them on kernels that hotplug whole sections. */
function predictPads(regions: readonly Interval[], ram: readonly Interval[], version: KernelVersion | undefined): PadPrediction[] {
  const ofSections = version === undefined || isBefore(version, '5.3');
  return regions.flatMap((region) => {
    const others = regions.filter((other) => other !== region);
    const before = neighbour({ start: roundDown(region.start, SECTION), end: region.start }, ram, others);
    const behind = neighbour({ start: region.end, end: roundUp(region.end, SECTION) }, ram, others);
    if (!ofSections) {
      const endTrunc = region.end % SUBSECTION;
      return before === undefined && behind === undefined && endTrunc === 0
        ? []
        : [{ ...describe(region), startPad: 0, endTrunc, kernels: '5.3 and later', because: 'memory is added in 2M sub-sections' }];
    }
    const startPad = before === undefined ? 0 : roundUp(region.start, SECTION) - region.start;
    const endTrunc = behind === undefined ? region.end % SUBSECTION : region.end - roundDown(region.end, SECTION);
    if (startPad === 0 && endTrunc === 0) return [];
    return [
      {
        ...describe(region),
        startPad,
        endTrunc,
        kernels: version === undefined ? OLD_KERNELS : `${version.major}.${version.minor}`,
        because: shared(before, behind),
      },
    ];
  });
}

function shared(before: string | undefined, behind: string | undefined): string {
  if (before !== undefined && behind !== undefined) return `shares its first 128M section with ${before} and its last with ${behind}`;
  if (before !== undefined) return `shares its first 128M section with ${before}`;
  return behind === undefined ? 'does not end at a multiple of 2M' : `shares its last 128M section with ${behind}`;
}

/** What lies in the part of a section that is not the region's. */
function neighbour(rest: Interval, ram: readonly Interval[], regions: readonly Interval[]): string | undefined {
  if (rest.start >= rest.end) return undefined;
  const region = regions.find((other) => overlaps(other, rest));
  if (region !== undefined) return `the region at ${hex(region.start)}`;
  return ram.some((part) => overlaps(part, rest)) ? 'System RAM' : undefined;
}

function padHazards(pads: readonly PadPrediction[], version: KernelVersion | undefined, versionText?: string): Hazard[] {
  return pads.map((pad) => {
    const { start, end, startPad, endTrunc, because } = pad;
    const amounts = [startPad > 0 ? `a start_pad of ${padSize(startPad)}` : '', endTrunc > 0 ? `an end_trunc of ${padSize(endTrunc)}` : ''].filter((part) => part !== '').join(' and ');
    if (version !== undefined && !isBefore(version, '5.3'))
      return { id: 'section-shared', severity: 'info', message: `the range at ${start} shares a 128M section, but kernel ${versionText} adds memory in 2M sub-sections: no start_pad`, start, end };
    const regionsOnly = version !== undefined && isBefore(version, '4.20') && because.includes('the region at');
    const what = regionsOnly
      ? `kernel ${versionText} does not heed other regions in a section: the second namespace fails to come up; later kernels give it ${amounts}`
      : `a namespace there gets ${amounts} on ${version === undefined ? 'kernels before 5.3 (later ones add memory in 2M sub-sections and pad nothing)' : `kernel ${versionText}`}`;
    const effect = startPad > 0 ? '; with a start_pad the block device starts where no struct pages are, and such kernels switch DAX off' : '';
    return { id: 'section-shared', severity: 'warning', message: `the range at ${start} ${because}: ${what}${effect}; let ranges start and end at multiples of 128M`, start, end };
  });
}

const padSize = (bytes: number): string => (bytes % MiB === 0 ? `${bytes / MiB} MiB` : `${bytes} bytes`);

export interface RegionLintOptions {
  /** Text of /proc/iomem; without it only the regions themselves are compared. */
  iomem?: string;
  /** First and last byte of each region, as ndctl and sysfs give them; none: those that iomem shows. */
  regions: readonly { start: number; end: number }[];
  kernelVersion?: string;
}

/** What padding real regions get, from /proc/iomem and the regions' resources. */
export function lintRegions({ iomem, regions, kernelVersion }: RegionLintOptions): Pick<MemmapLint, 'ranges' | 'hazards' | 'startPad'> {
  const version = kernelVersion === undefined ? undefined : parseKernelVersion(kernelVersion);
  const resources = iomem === undefined ? [] : parseIomem(iomem);
  const ram = systemRam(resources).map(({ start, end }) => ({ start, end: end + 1 }));
  const intervals = (regions.length > 0 ? regions : pmemRanges(resources)).map(({ start, end }) => {
    if (!(Number.isSafeInteger(start) && Number.isSafeInteger(end) && start >= 0 && end > start)) throw new UsageError(`region: ${hex(start)}-${hex(end)} is no range; write first and last byte`);
    return { start, end: end + 1 };
  });
  const pads = predictPads(intervals, ram, version);
  const hazards: Hazard[] = intervals.flatMap((a, index) =>
    intervals.slice(index + 1).filter((b) => overlaps(a, b)).map((b) => ({ id: 'overlap', severity: 'error' as const, message: `the regions at ${hex(a.start)} and ${hex(b.start)} overlap`, ...describe(intersection(a, b)) })),
  );
  for (const region of intervals)
    if ((region.start % NAMESPACE_ALIGN !== 0 || (region.end - region.start) % NAMESPACE_ALIGN !== 0) && (version === undefined || !isBefore(version, '5.7')))
      hazards.push({ id: 'misaligned-16m', severity: 'warning', message: `the region at ${hex(region.start)} is no multiple of 16M: kernels from 5.7 on refuse some namespaces in it ("misaligned")`, ...describe(region) });
  hazards.push(...padHazards(pads, version, kernelVersion));
  const ranges = intervals.map((interval) => ({ ...describe(interval), node: null, kind: 'pmem' as const }));
  return { ranges, hazards, ...(pads.length > 0 ? { startPad: pads } : {}) };
}
