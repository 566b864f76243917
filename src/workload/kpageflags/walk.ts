// Guards report R5: reading /proc/kpageflags panicked in stable_page_flags() on reserved page frames whose struct
// pages were never initialised, beside RAM given to pmem at the end of a node. So every page frame is read.
import fs from 'node:fs';
import { parseIomem, pmemRanges, systemRam, type Resource } from '../../kernel/iomem.js';
import { KPAGE_FLAGS, kpageScan } from '../../native.js';
import { defineWorkload, type Context } from '../types.js';

export default defineWorkload({
  name: 'kpageflags/walk',
  about: 'reads /proc/kpageflags and /proc/kpagecount for every page frame, reserved ranges around pmem included',
  guards: ['R5: kpageflags panics with memmap=1G!4G'],
  needs: { files: ['/proc/kpageflags', '/proc/kpagecount', '/proc/iomem'] },
  metrics: [{ name: 'kpageflags per million pfns', unit: 'ns', better: 'lower' }],
  timeout: 120,
  async run(ctx: Context) {
    const iomem = parseIomem(fs.readFileSync('/proc/iomem', 'utf8'));
    const endOf = (resources: readonly Resource[]): number => Math.ceil((Math.max(0, ...resources.map(({ end }) => end)) + 1) / 4096);
    const ram = endOf(systemRam(iomem));
    // Device ranges far above have no page frames; everything up to the last RAM or pmem byte is asked for, holes too.
    const endPfn = Math.max(ram, endOf(pmemRanges(iomem)));

    ctx.step('/proc/kpageflags');
    const started = process.hrtime.bigint();
    const flags = await kpageScan({ path: '/proc/kpageflags', startPfn: 0, endPfn });
    const elapsed = Number(process.hrtime.bigint() - started);
    ctx.expect(flags.errors.length === 0, 'every page frame\'s flags should be readable', flags.errors.slice(0, 5));
    ctx.prove('pfns', { read: flags.read, systemRam: ram, pmem: endPfn });
    // The file ends with the kernel's own memory (fs/proc/page.c: get_max_dump_pfn); pmem from firmware may lie above.
    ctx.expect(flags.read >= ram, 'all of System RAM should be given', { read: flags.read, ram });
    const counts = flags.perBit.flatMap((count, bit) => (count > 0 ? [[KPAGE_FLAGS[bit] ?? `bit ${bit}`, count] as const] : []));
    ctx.prove('flags', Object.fromEntries(counts));
    ctx.expect(counts.length > 3, 'a running system should show several kinds of page frames', counts);
    ctx.metric('kpageflags per million pfns', [(elapsed / flags.read) * 1e6]);

    ctx.step('/proc/kpagecount');
    const count = await kpageScan({ path: '/proc/kpagecount', startPfn: 0, endPfn });
    ctx.expect(count.errors.length === 0, 'every page frame\'s map count should be readable', count.errors.slice(0, 5));
    ctx.expect(count.read === flags.read, 'both files should be of one length', { flags: flags.read, counts: count.read });
    ctx.prove('mapped', count.nonZero);
    ctx.expect(count.nonZero > 0, 'some page frames should be mapped', count.nonZero);
  },
});
