// Guards the walkers of page tables on devdax mappings of every page size (fs/proc/task_mmu.c: pagemap_pmd_range, smaps_pmd_entry,
// clear_refs_pte_range; mm/pagewalk.c: walk_pud_range splits 1 GiB entries): what they say is held against the device's own address.
import { devdaxStart } from '../../device/provision.js';
import type { Pattern } from '../../native.js';
import { GiB } from '../../units.js';
import { levelOf, mapDevdax, openDevdax } from '../shared/devdax-map.js';
import { PAGE, PMD, proveLevel } from '../shared/huge.js';
import { WALKED_FILES, everyWalk, scan, storesAreSoftDirty, type Walked } from '../shared/walks.js';
import { defineWorkload, type Context } from '../types.js';

const LENGTH = 4 * PMD;
const pattern: Pattern = { kind: 'words', seed: 106 };

export default defineWorkload({
  name: 'devdax/pagemap-walk',
  about: 'pagemap, PAGEMAP_SCAN, smaps, numa_maps, clear_refs, kpageflags and kpagecount over a devdax mapping, with a gap; page frames against the device',
  guards: ['R5: walks of page frames', 'kernel pagemap_pmd_range, smaps_pmd_entry, clear_refs_pte_range, walk_pud_range on devdax'],
  needs: { dax: 'devdax', size: 8 * PMD, files: WALKED_FILES },
  params: { align: ['2M', '4K', '1G'] },
  thorough: { align: ['4K', '1G'] },
  async run(ctx: Context) {
    const { align, path } = ctx.devdax;
    const level = levelOf(align);
    using mapping = mapDevdax(ctx, openDevdax(ctx), 0, Math.max(LENGTH, align));
    mapping.fill(0, LENGTH, pattern);
    proveLevel(ctx, ctx.devdax, mapping, 0, level, 'before');
    const whole: Walked = {
      what: `devdax by ${level.toUpperCase()}`, mapping, path, level, length: LENGTH, store: 0, other: 3 * PMD,
      mapped: mapping.length, touched: level === 'pud' ? GiB : LENGTH,
    };

    const first = devdaxStart(path) / PAGE;
    const pages = (): { present: boolean; pfn: number }[] => mapping.pagemap(0, LENGTH / PAGE);
    frames(ctx, pages(), first, level);
    scan(ctx, whole, () => true);
    const gap = level === 'pmd' ? { from: PMD, length: PMD } : { from: PMD + 5 * PAGE, length: 3 * PAGE };
    const inGap = (page: number): boolean => level !== 'pud' && page * PAGE >= gap.from && page * PAGE < gap.from + gap.length;
    if (level !== 'pud') {
      ctx.step('a gap');
      mapping.unmap(gap.from, gap.length);
      const wrong = pages().findIndex(({ present }, page) => present === inGap(page));
      ctx.expect(wrong < 0, 'pagemap should show just the unmapped pages as absent', { page: wrong });
    }
    const cut = level === 'pud' ? 0 : gap.length;
    const walked: Walked = { ...whole, mapped: whole.mapped - cut, touched: whole.touched - cut };
    scan(ctx, walked, (page) => !inGap(page));
    await everyWalk(ctx, [walked], first);

    ctx.step('the data and the entries, after all that');
    for (const [from, to] of cut > 0 ? [[0, gap.from], [gap.from + cut, LENGTH]] as const : [[0, LENGTH]] as const) {
      const check = mapping.verify(from, to - from, { ...pattern, base: from } as Pattern);
      ctx.expect(check.ok, 'looking should change no byte', check);
    }
    proveLevel(ctx, ctx.devdax, mapping, 0, level, 'after');
    storesAreSoftDirty(ctx, [walked]);
  },
});

/** Each page's frame is the device's own at that offset. Of a 1 GiB entry, which pagemap splits by looking, those that are left. */
function frames(ctx: Context, pages: readonly { present: boolean; pfn: number }[], first: number, level: 'pte' | 'pmd' | 'pud'): void {
  ctx.step('pagemap');
  const present = pages.filter((page) => page.present).length;
  const wrong = pages.findIndex((page, i) => page.present && page.pfn !== first + i);
  ctx.prove('frames', { present, of: pages.length, first: `0x${first.toString(16)}` });
  ctx.expect(wrong < 0, 'each page frame should be the device\'s at that offset', { page: wrong, pfn: pages[wrong]?.pfn, should: first + wrong });
  ctx.expect(present === pages.length || (level === 'pud' && present === 0), 'every page should be present', { present, of: pages.length });
}
