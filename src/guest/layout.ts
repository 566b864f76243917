// Guest memory layouts: one typed value from which -m, -numa, -device nvdimm and the memmap= parameter all come,
// and against which the booted guest's /proc/iomem is checked.
import { UsageError } from '../errors.js';
import { guestLayout, parseMemmapParam } from '../kernel/memmap.js';
import { GiB, KiB, MiB, formatSize, hex, parseSize } from '../units.js';

/** A physical range; `end` is exclusive. */
export interface PhysicalRange {
  start: number;
  end: number;
}

export interface NvdimmDevice {
  /** Bytes of the backing memory, label area included. */
  size: number;
  labelSize: number;
}

export interface Layout {
  name: string;
  about: string;
  /** Bytes of RAM, pmem carved by memmap= included. */
  memory: number;
  /** Ranges given to pmem by memmap=nn!ss. */
  pmem: PhysicalRange[];
  /** Ranges set aside for devdax by memmap=nn%ss-1+0xefffffff, as firmware marks special-purpose memory. */
  softReserved: PhysicalRange[];
  numaNodes: number;
  nvdimms: NvdimmDevice[];
}

/** More than the initramfs of a guest takes. */
const INITRAMFS_ROOM = 256 * MiB;

const carve = (size: number, start: number): PhysicalRange => ({ start, end: start + size });

/** Where QEMU's pc machine has RAM: one range, or one below the PCI hole and one from 4G on. */
export const ramRanges = (memory: number): PhysicalRange[] => guestLayout({ guestMem: memory }).segments.map(({ start, end }) => ({ start, end }));

const LAYOUTS: Layout[] = [
  {
    name: 'default',
    about: 'one pmem region of 1 GiB on 6 GiB',
    memory: 6 * GiB, pmem: [carve(1 * GiB, 4 * GiB)], softReserved: [], numaNodes: 1, nvdimms: [],
  },
  {
    name: 'numa-hole',
    about: 'pmem takes exactly the end of node 0 of two (kpageflags panic report)',
    memory: 8 * GiB, pmem: [carve(1 * GiB, 4 * GiB)], softReserved: [], numaNodes: 2, nvdimms: [],
  },
  {
    name: 'numa-safe',
    about: 'the same two nodes, pmem in the middle of node 1',
    memory: 8 * GiB, pmem: [carve(1 * GiB, 7 * GiB)], softReserved: [], numaNodes: 2, nvdimms: [],
  },
  {
    name: 'two-regions',
    about: 'two aligned pmem regions of 512 MiB, apart',
    memory: 8 * GiB, pmem: [carve(512 * MiB, 4 * GiB), carve(512 * MiB, 5 * GiB)], softReserved: [], numaNodes: 1, nvdimms: [],
  },
  {
    name: 'colliding',
    about: 'three pmem regions in shared 128 MiB sections, misaligned by 64 MiB and by 16 MiB (start_pad report)',
    memory: 8 * GiB,
    pmem: [carve(448 * MiB, 0x1_4000_0000), carve(512 * MiB, 0x1_5C00_0000), carve(256 * MiB, 0x1_8100_0000)],
    softReserved: [], numaNodes: 1, nvdimms: [],
  },
  {
    name: 'huge',
    about: 'one pmem region of 3 GiB, aligned for 1 GiB pages',
    memory: 8 * GiB, pmem: [carve(3 * GiB, 5 * GiB)], softReserved: [], numaNodes: 1, nvdimms: [],
  },
  {
    name: 'nfit',
    about: 'two NVDIMM devices with label areas on an ACPI NFIT bus',
    memory: 4 * GiB, pmem: [], softReserved: [], numaNodes: 1,
    nvdimms: [{ size: 512 * MiB + 128 * KiB, labelSize: 128 * KiB }, { size: 512 * MiB + 128 * KiB, labelSize: 128 * KiB }],
  },
  {
    name: 'hmem',
    about: '1 GiB of soft-reserved memory, which dax_hmem makes a devdax region that daxctl can subdivide; no pmem',
    memory: 6 * GiB, pmem: [], softReserved: [carve(1 * GiB, 4 * GiB)], numaNodes: 1, nvdimms: [],
  },
  {
    name: 'none',
    about: 'no pmem at all: every workload that needs some is skipped and says so',
    memory: 2 * GiB, pmem: [], softReserved: [], numaNodes: 1, nvdimms: [],
  },
];

export const layouts = (): readonly Layout[] => LAYOUTS;

/** A layout by name. Throws UsageError that lists the names. */
export function findLayout(name: string): Layout {
  const found = LAYOUTS.find((layout) => layout.name === name);
  if (!found) throw new UsageError(`--layout ${name}: no such layout; known: ${LAYOUTS.map((layout) => layout.name).join(', ')}`);
  return found;
}

/** One memmap=nn[KMG]!ss[KMG] value; commas may join several. Throws UsageError on syntax, on size, and on other kinds of memmap=. */
export function parseMemmapRanges(text: string): PhysicalRange[] {
  return text.split(',').flatMap((part) => {
    if (!/^[^!@#$%]+![^!@#$%]+$/.test(part.trim())) throw new UsageError(`--memmap ${text}: "${part}" is not of the form nn[KMG]!ss[KMG], for example 1G!4G`);
    return parseMemmapParam(part).map(({ start, size }) => carve(size, start));
  });
}

/** Refuses ranges that QEMU's RAM does not hold, that overlap, or that are no multiple of 2 MiB. */
export function checkLayout(layout: Layout): void {
  const ram = ramRanges(layout.memory);
  const show = (range: PhysicalRange): string => `${formatSize(range.end - range.start)}!${formatSize(range.start)}`;
  const carved = [...layout.pmem, ...layout.softReserved];
  for (const range of carved) {
    if (range.start % (2 * MiB) !== 0 || range.end % (2 * MiB) !== 0)
      throw new UsageError(`--memmap ${show(range)}: start and size must be multiples of 2M`);
    if (!ram.some((part) => range.start >= part.start && range.end <= part.end))
      throw new UsageError(
        `--memmap ${show(range)}: lies outside the guest's RAM, which is ${ram.map((part) => `${hex(part.start)}-${hex(part.end - 1)}`).join(' and ')} with ${formatSize(layout.memory)}; raise --guest-mem or move it`,
      );
    // QEMU puts the initramfs at the end of the RAM below 4G, whatever the kernel is told about that memory later.
    const initramfs = { start: ram[0]!.end - INITRAMFS_ROOM, end: ram[0]!.end };
    if (range.start < initramfs.end && range.end > initramfs.start)
      throw new UsageError(`--memmap ${show(range)}: the last ${formatSize(INITRAMFS_ROOM)} of RAM below 4G (${hex(initramfs.start)}-${hex(initramfs.end - 1)}) hold the guest's initramfs; move it`);
    if (range.start < GiB) throw new UsageError(`--memmap ${show(range)}: the first gibibyte holds the kernel itself; start at 1G or above`);
  }
  const sorted = [...carved].sort((a, b) => a.start - b.start);
  sorted.forEach((range, i) => {
    const next = sorted[i + 1];
    if (next && next.start < range.end) throw new UsageError(`--memmap ${show(range)} and ${show(next)} overlap`);
  });
  const left = layout.memory - carved.reduce((sum, range) => sum + range.end - range.start, 0);
  if (left < GiB) throw new UsageError(`--guest-mem ${formatSize(layout.memory)}: only ${formatSize(left)} would be left beside what is carved; the guest needs 1G`);
}

/** The layout that the options describe: a named one, or a free one from --memmap, --guest-mem and --numa. */
export function layoutFrom(options: { layout?: string; memmap?: string[]; guestMem?: string; numa?: number }): Layout {
  const base = findLayout(options.layout ?? 'default');
  if (options.layout !== undefined && options.memmap !== undefined)
    throw new UsageError('--layout and --memmap exclude each other: a named layout has its own ranges');
  const pmem = options.memmap?.flatMap(parseMemmapRanges) ?? base.pmem;
  const memory = options.guestMem === undefined ? base.memory : parseSize(options.guestMem, '--guest-mem');
  const numaNodes = options.numa ?? base.numaNodes;
  if (!Number.isInteger(numaNodes) || numaNodes < 1 || numaNodes > 8) throw new UsageError(`--numa ${options.numa}: a whole number from 1 to 8`);
  if (memory % (2 * MiB * numaNodes) !== 0) throw new UsageError(`--guest-mem ${formatSize(memory)}: must be a multiple of ${formatSize(2 * MiB * numaNodes)}`);
  const changed = options.memmap !== undefined || memory !== base.memory || numaNodes !== base.numaNodes;
  const layout = changed ? { ...base, name: freeName(pmem, memory, numaNodes), about: 'given on the command line', pmem, memory, numaNodes } : base;
  checkLayout(layout);
  return layout;
}

const freeName = (pmem: PhysicalRange[], memory: number, nodes: number): string =>
  [...pmem.map((range) => `${formatSize(range.end - range.start)}!${formatSize(range.start)}`), formatSize(memory), ...(nodes > 1 ? [`${nodes}nodes`] : [])].join(',');

/** Types of e820 entries (arch/x86/include/asm/e820/types.h). */
const E820_RAM = '1';
const E820_SOFT_RESERVED = '0xefffffff';

/** The kernel parameters that carve the layout's pmem and soft-reserved memory out of RAM (Documentation/admin-guide/kernel-parameters.txt). */
export function memmapParams(layout: Layout): string[] {
  const word = (range: PhysicalRange, sign: string): string => `memmap=${formatSize(range.end - range.start)}${sign}${range.start % MiB === 0 ? formatSize(range.start) : hex(range.start)}`;
  return [...layout.pmem.map((range) => word(range, '!')), ...layout.softReserved.map((range) => `${word(range, '%')}-${E820_RAM}+${E820_SOFT_RESERVED}`)];
}

/** Physical pmem ranges that the booted guest must show in /proc/iomem; undefined where firmware places them. */
export function expectedPmem(layout: Layout): PhysicalRange[] | undefined {
  return layout.nvdimms.length > 0 ? undefined : layout.pmem;
}
