// Guards the walkers of page tables on DAX mappings of every size (fs/proc/task_mmu.c: pagemap_pmd_range, smaps_pmd_entry,
// clear_refs_pte_range, numa_maps; fs/proc/page.c): entries without ordinary struct page life were stumbled over more than
// once. What pagemap says is held against what the file system and the device say of the same bytes.
import fs from 'node:fs';
import path from 'node:path';
import { fiemap, type Mapping, type Pattern } from '../../native.js';
import { PAGE, PMD, hugeFile, mapFile, proveLevel, type HugeFile } from '../shared/huge.js';
import { WALKED_FILES, everyWalk, scan, storesAreSoftDirty, type Walked } from '../shared/walks.js';
import { defineWorkload, type Context } from '../types.js';

const LENGTH = 4 * PMD;
const PAGES = LENGTH / PAGE;
const pattern: Pattern = { kind: 'words', seed: 81 };

export default defineWorkload({
  name: 'kernel/pagemap-walk',
  about: 'pagemap, PAGEMAP_SCAN, smaps, numa_maps, clear_refs, kpageflags and kpagecount over DAX mappings in huge and small pages, with gaps; page frames against fiemap',
  guards: ['R5: walks of page frames', 'kernel pagemap_pmd_range, smaps_pmd_entry, clear_refs_pte_range'],
  needs: { dax: 'fsdax', size: 64 * PMD, files: WALKED_FILES },
  params: { fs: ['ext4', 'xfs'] },
  thorough: { fs: ['xfs'] }, // page tables are walked alike
  metrics: [{ name: 'pagemap per page, PMD', unit: 'ns', better: 'lower' }, { name: 'pagemap per page, PTE', unit: 'ns', better: 'lower' }],
  async run(ctx: Context) {
    const file = hugeFile(ctx, LENGTH);
    using large = mapFile(ctx, file);
    large.fill(0, LENGTH, pattern);
    proveLevel(ctx, ctx.fsdax, large, 0, 'pmd', 'huge pages');
    using small = mapFile(ctx, file, { align: PMD, alignSkew: PAGE });
    small.touch({ offset: 0, count: PAGES, stride: PAGE, access: 'read' });
    proveLevel(ctx, ctx.fsdax, small, 0, 'pte', 'small pages');

    frames(ctx, file, large, 'PMD');
    frames(ctx, file, small, 'PTE');
    ctx.step('gaps');
    large.unmap(PMD, PMD);
    small.madvise(PMD + 5 * PAGE, 3 * PAGE, 'dontneed');
    const gap = large.pagemap(0, PAGES).map(({ present }) => present);
    ctx.expect(gap.every((present, i) => present === (i < PMD / PAGE || i >= (2 * PMD) / PAGE)), 'pagemap should show just the unmapped huge page as absent', gap.indexOf(false));
    const holes = small.pagemap(0, PAGES).flatMap(({ present }, i) => (present ? [] : [i]));
    ctx.expect(holes.join() === [5, 6, 7].map((i) => PMD / PAGE + i).join(), 'pagemap should show just the dropped small pages as absent', holes);

    const same = { path: fs.realpathSync(file.path), length: LENGTH, store: 0, other: 3 * PMD };
    const huge: Walked = { ...same, what: 'huge pages', mapping: large, level: 'pmd', mapped: LENGTH - PMD, touched: LENGTH - PMD };
    const base: Walked = { ...same, what: 'small pages', mapping: small, level: 'pte', mapped: LENGTH, touched: LENGTH - 3 * PAGE };
    scan(ctx, huge, (page) => gap[page]!);
    scan(ctx, base, (page) => !holes.includes(page));
    await everyWalk(ctx, [huge, base], small.pagemap(0, 1)[0]!.pfn);
    for (const [mapping, from, to] of [[large, 0, PMD], [large, 2 * PMD, LENGTH], [small, 0, LENGTH]] as const) {
      const check = mapping.verify(from, to - from, { ...pattern, base: from } as Pattern);
      ctx.expect(check.ok, 'looking should change no byte', check);
    }
    storesAreSoftDirty(ctx, [huge, base]);
  },
});

/** Where the block device's first byte lies in physical memory. */
function deviceStart(ctx: Context): number | undefined {
  const { blockDevice } = ctx.fsdax;
  const file = blockDevice === undefined ? '' : `/sys/block/${path.basename(blockDevice)}/device/resource`;
  const start = fs.existsSync(file) ? Number(fs.readFileSync(file, 'utf8')) : 0;
  return start > 0 ? start : undefined;
}

/** Each page's frame is the one that holds the file's block, by the file system's own map of its blocks. */
function frames(ctx: Context, file: HugeFile, mapping: Mapping, size: 'PMD' | 'PTE'): void {
  ctx.step(`pagemap, ${size}`);
  const started = process.hrtime.bigint();
  const pages = mapping.pagemap(0, PAGES);
  ctx.metric(`pagemap per page, ${size}`, [Number(process.hrtime.bigint() - started) / PAGES]);
  const absent = pages.findIndex(({ present, swapped }) => !present || swapped);
  ctx.expect(absent < 0, `${size}: every page should be present`, { page: absent });
  // Kernels before 6.15 do not know a small device page for one of a file (vm_normal_page).
  ctx.prove(`${size}: marked as file pages`, pages.filter(({ filePage }) => filePage).length);
  const start = deviceStart(ctx);
  const extents = fiemap(file.fd);
  const frameOf = (offset: number): number => {
    const extent = extents.find(({ logical, length }) => offset >= logical && offset < logical + length)!;
    return (start! + extent.physical + offset - extent.logical) / PAGE;
  };
  if (start === undefined) return ctx.prove(`${size}: frames`, 'the device does not tell where it lies');
  const wrong = pages.findIndex(({ pfn }, i) => pfn !== frameOf(file.offset + i * PAGE));
  ctx.prove(`${size}: frames`, { pages: PAGES, first: `0x${pages[0]!.pfn.toString(16)}` });
  ctx.expect(wrong < 0, `${size}: each page frame should be the file's block on the device`, { page: wrong, pfn: pages[wrong]?.pfn, should: wrong < 0 ? 0 : frameOf(file.offset + wrong * PAGE) });
}
