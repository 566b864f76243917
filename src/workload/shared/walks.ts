// What /proc says of DAX mappings: smaps, smaps_rollup, numa_maps, clear_refs, kpageflags and kpagecount, PAGEMAP_SCAN. Each is held
// against what was mapped and touched, so that a walker which skips or invents something is found out.
import fs from 'node:fs';
import { systemRamRanges } from '../../device/iomem.js';
import { SystemError } from '../../errors.js';
import { KPAGE_FLAGS, Mapping, kpageScan, type PageRange } from '../../native.js';
import { PAGE, PMD } from './huge.js';
import type { Context } from '../types.js';

export interface Walked {
  what: string;
  mapping: Mapping;
  /** The file or device, as /proc names it. */
  path: string;
  level: 'pte' | 'pmd' | 'pud';
  /** Bytes that the mapping still has, and of them those that were touched. */
  mapped: number;
  touched: number;
  /** Bytes from its start that pagemap is read of. */
  length: number;
  /** Where a store goes, and a place of another entry that stays as it is. */
  store: number;
  other: number;
}

/** Files that the walks read. */
export const WALKED_FILES = ['/proc/self/pagemap', '/proc/kpageflags', '/proc/kpagecount'] as const;

/** Everything that looks: at the page frames from `pfn` on, and at each mapping, before and after all that clear_refs can clear. */
export async function everyWalk(ctx: Context, all: readonly Walked[], pfn: number): Promise<void> {
  await pageFlags(ctx, pfn);
  walks(ctx, all);
  clearRefs(ctx, all);
  walks(ctx, all);
}

/** Sums over the VMAs of one file in a mapping, bytes, and where the first of them begins. */
interface Sums {
  start: string;
  size: number;
  rss: number;
  referenced: number;
}

/** What smaps says of one file's VMAs between two addresses. Its lines: a header (range, flags, offset, device, inode, path), then fields. */
export function sumVmas(smaps: string, from: bigint, to: bigint, path: string): Sums | undefined {
  let sums: Sums | undefined;
  let inside = false;
  for (const line of smaps.split('\n')) {
    const header = /^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \S+ *(.*)$/.exec(line);
    if (header) {
      inside = BigInt(`0x${header[1]!}`) >= from && BigInt(`0x${header[2]!}`) <= to && header[3] === path;
      if (inside) sums ??= { start: header[1]!, size: 0, rss: 0, referenced: 0 };
      continue;
    }
    const field = /^(Size|Rss|Referenced): +(\d+) kB$/.exec(line);
    if (field && inside) sums![field[1]!.toLowerCase() as 'size' | 'rss' | 'referenced'] += Number(field[2]) * 1024;
  }
  return sums;
}

function sumsOf(ctx: Context, { what, mapping, path }: Walked): Sums {
  const sums = sumVmas(fs.readFileSync('/proc/self/smaps', 'utf8'), mapping.address, mapping.address + BigInt(mapping.length), path);
  ctx.expect(sums !== undefined, `${what}: smaps should show the mapping of ${path}`);
  return sums;
}

/**
 * Bytes that smaps may count as resident. Before 6.15 small DAX pages do not count, and a huge entry does so by its page's order, which is
 * 4 KiB where struct pages are no compound ones, or on 6.12 not at all (fs/proc/task_mmu.c: smaps_pte_entry, smaps_pmd_entry). A 1 GiB entry is
 * split by being looked at.
 */
const residentBytes = ({ level, touched }: Walked): number[] => (level === 'pmd' ? [0, (touched / PMD) * PAGE, touched] : [0, touched]);

/** smaps, smaps_rollup and numa_maps of each mapping. */
function walks(ctx: Context, all: readonly Walked[]): void {
  ctx.step('smaps, smaps_rollup, numa_maps');
  for (const walked of all) {
    const { what, path, mapped, touched } = walked;
    const { start, size, rss } = sumsOf(ctx, walked);
    ctx.prove(`${what}: smaps`, { size, rss });
    ctx.expect(size === mapped, `${what}: smaps should show all ${mapped} bytes of the mapping`, { size });
    ctx.expect(residentBytes(walked).includes(rss), `${what}: smaps should count ${residentBytes(walked).join(' or ')} bytes as resident`, { rss });
    if (fs.existsSync('/proc/self/smaps_rollup')) {
      const total = Number(/^Rss: +(\d+) kB$/m.exec(fs.readFileSync('/proc/self/smaps_rollup', 'utf8'))?.[1]) * 1024;
      ctx.expect(total >= rss, `${what}: smaps_rollup should count no less than this mapping`, { total, rss });
    }
    if (!fs.existsSync('/proc/self/numa_maps')) continue; // CONFIG_NUMA
    const line = new RegExp(`^0*${start} .*$`, 'm').exec(fs.readFileSync('/proc/self/numa_maps', 'utf8'))?.[0] ?? '';
    const pages = [...line.matchAll(/ N\d+=(\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
    ctx.expect(line.includes(` file=${path}`), `${what}: numa_maps should show the mapping of ${path}`, line);
    ctx.expect(pages <= touched / PAGE, `${what}: numa_maps should count no more pages than were touched`, line);
  }
}

/** Whether this kernel keeps soft-dirty bits (CONFIG_MEM_SOFT_DIRTY): an ordinary page that was just written has one. */
function keepsSoftDirty(): boolean {
  using page = Mapping.anonymous({ length: PAGE });
  page.fill(0, PAGE, { kind: 'byte', value: 1 });
  return page.pagemap(0)[0]!.softDirty;
}

/** Of all pages, of those of files, soft-dirty bits (Documentation/filesystems/proc.rst). */
const clear = (what: '1' | '3' | '4'): void => fs.writeFileSync('/proc/self/clear_refs', what);

/** Numbers of the soft-dirty pages. */
const softDirty = ({ mapping, length }: Walked): number[] => mapping.pagemap(0, length / PAGE).flatMap((page, i) => (page.softDirty ? [i] : []));

/** Every way of clear_refs: what was referenced and soft-dirty must be so no more. */
function clearRefs(ctx: Context, all: readonly Walked[]): void {
  ctx.step('clear_refs');
  for (const how of ['1', '3'] as const) {
    clear(how);
    for (const walked of all) {
      const { referenced } = sumsOf(ctx, walked);
      ctx.expect(referenced === 0, `${walked.what}: after ${how} to clear_refs nothing should be referenced`, { referenced });
    }
  }
  clear('4');
  for (const walked of all) {
    const left = softDirty(walked);
    ctx.expect(left.length === 0, `${walked.what}: after 4 to clear_refs no page should be soft-dirty`, { pages: left.length, first: left[0] });
  }
}

/** What is stored to once all soft-dirty bits were cleared is soft-dirty, it alone. The last thing: not every kernel has that right. */
export function storesAreSoftDirty(ctx: Context, all: readonly Walked[]): void {
  ctx.step('soft-dirty');
  if (!keepsSoftDirty()) return ctx.prove('soft-dirty', 'not kept by this kernel');
  clear('4');
  for (const walked of all) {
    const { what, mapping, level, store, other } = walked;
    if (level === 'pud') continue; // looking takes the entry away, with what it would have said
    const stored = mapping.touch({ offset: store, count: 1, access: 'rmw' });
    ctx.expect(stored.signal === undefined, `${what}: a store after clear_refs should succeed`, stored.signal);
    const again = softDirty(walked);
    ctx.prove(`${what}: soft-dirty pages after one store`, again.length);
    ctx.expect(again.includes(store / PAGE) && !again.includes(other / PAGE), `${what}: what was stored to should be soft-dirty, and nothing of another entry`, { store: store / PAGE, pages: again.length, first: again[0], last: again.at(-1) });
  }
}

const PAGE_IS_PRESENT = 1 << 3;
const PAGE_IS_HUGE = 1 << 6;

/** ioctl(PAGEMAP_SCAN): its runs are in order, inside, present just where `present` says, and huge where a huge entry maps. */
export function scan(ctx: Context, { what, mapping, level, length }: Walked, present: (page: number) => boolean): void {
  let ranges: PageRange[];
  try {
    ranges = mapping.pagemapScan(0, length);
  } catch (error) {
    if (!(error instanceof SystemError) || (error.code !== 'ENOTTY' && error.code !== 'EINVAL')) throw error;
    return ctx.prove(`${what}: PAGEMAP_SCAN`, 'not in this kernel');
  }
  ctx.prove(`${what}: PAGEMAP_SCAN`, ranges.slice(0, 8));
  const shown = new Uint8Array(length / PAGE);
  for (const { offset, length: bytes, categories } of ranges) {
    ctx.expect(offset >= 0 && offset + bytes <= length, `${what}: PAGEMAP_SCAN should stay inside what it was asked for`, { offset, bytes });
    if ((categories & PAGE_IS_PRESENT) === 0) continue;
    shown.fill(1, offset / PAGE, (offset + bytes) / PAGE);
    if (level !== 'pud') ctx.expect(((categories & PAGE_IS_HUGE) !== 0) === (level === 'pmd'), `${what}: PAGEMAP_SCAN should call pages huge just where a huge entry maps them`, { offset, bytes, categories });
  }
  if (level === 'pud') return; // split by looking: whatever is shown lies inside
  const wrong = shown.findIndex((is, page) => (is === 1) !== present(page));
  ctx.expect(wrong < 0, `${what}: PAGEMAP_SCAN should show as present just what is`, { page: wrong });
}

/** kpageflags, kpagecount and kpagecgroup of 2 MiB from a page frame on. */
async function pageFlags(ctx: Context, pfn: number): Promise<void> {
  ctx.step('kpageflags and kpagecount');
  for (const file of ['/proc/kpageflags', '/proc/kpagecount', '/proc/kpagecgroup'].filter((name) => fs.existsSync(name))) {
    const walk = await kpageScan({ path: file, startPfn: pfn, endPfn: pfn + PMD / PAGE });
    if (walk.read === 0 && walk.errorCount === 0 && pfn * PAGE >= endOfRam()) {
      // The file ends at max_pfn (fs/proc/page.c: get_max_dump_pfn), which not every kernel moves for memory that came later.
      ctx.prove(file, 'ends before the device');
      continue;
    }
    ctx.expect(walk.errorCount === 0 && walk.read === PMD / PAGE, `${file} should be readable for every page`, walk.errors.slice(0, 3));
    ctx.prove(file, file.endsWith('flags') ? Object.fromEntries(walk.perBit.flatMap((count, bit) => (count > 0 ? [[KPAGE_FLAGS[bit] ?? `bit ${bit}`, count]] : []))) : { nonZero: walk.nonZero, max: Number(walk.max) });
  }
}

/** The first byte behind the last RAM. */
const endOfRam = (): number => Math.max(0, ...systemRamRanges().map(({ end }) => end));
