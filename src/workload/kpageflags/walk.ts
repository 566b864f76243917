// Guards report R5: reading /proc/kpageflags panicked in stable_page_flags() on reserved page frames whose struct
// pages were never initialised, beside RAM given to pmem at the end of a node. So every page frame is read.
import fs from 'node:fs';
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
    const iomem = fs.readFileSync('/proc/iomem', 'utf8');
    const ends = [...iomem.matchAll(/^ *[0-9a-f]+-([0-9a-f]+) : (System RAM|Persistent Memory.*|Reserved|reserved|ACPI.*)$/gm)].map((match) => parseInt(match[1]!, 16));
    // Device ranges far above RAM have no page frames; everything up to the last RAM or pmem byte is walked, holes too.
    const memory = [...iomem.matchAll(/^ *[0-9a-f]+-([0-9a-f]+) : (System RAM|Persistent Memory.*)$/gm)].map((match) => parseInt(match[1]!, 16));
    ctx.expect(memory.length > 0 && Math.max(...memory) > 0, '/proc/iomem should show RAM with addresses to root', iomem.slice(0, 200));
    const endPfn = Math.ceil((Math.max(...memory) + 1) / 4096);
    ctx.prove('pfns', { walked: endPfn, lastListed: Math.ceil((Math.max(...ends) + 1) / 4096) });

    ctx.step('/proc/kpageflags');
    const started = process.hrtime.bigint();
    const flags = await kpageScan({ path: '/proc/kpageflags', startPfn: 0, endPfn });
    const elapsed = Number(process.hrtime.bigint() - started);
    ctx.expect(flags.errors.length === 0, 'every page frame\'s flags should be readable', flags.errors.slice(0, 5));
    ctx.expect(flags.read === endPfn, 'the whole of /proc/kpageflags should be given', { read: flags.read, endPfn });
    const counts = flags.perBit.flatMap((count, bit) => (count > 0 ? [[KPAGE_FLAGS[bit] ?? `bit ${bit}`, count] as const] : []));
    ctx.prove('flags', Object.fromEntries(counts));
    ctx.expect(counts.length > 3, 'a running system should show several kinds of page frames', counts);
    ctx.metric('kpageflags per million pfns', [(elapsed / endPfn) * 1e6]);

    ctx.step('/proc/kpagecount');
    const count = await kpageScan({ path: '/proc/kpagecount', startPfn: 0, endPfn });
    ctx.expect(count.errors.length === 0, 'every page frame\'s map count should be readable', count.errors.slice(0, 5));
    ctx.expect(count.read === endPfn, 'the whole of /proc/kpagecount should be given', { read: count.read, endPfn });
    ctx.prove('mapped', count.nonZero);
    ctx.expect(count.nonZero > 0, 'some page frames should be mapped', count.nonZero);
  },
});
