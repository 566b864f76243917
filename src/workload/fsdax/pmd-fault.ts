// Guards faults of 2 MiB on files (fs/dax.c: dax_iomap_pmd_fault and its fallbacks, dax_pmd_load_hole): one fault per
// huge page, none lost to small ones; holes are zeros until written, and what a write allocates is zeros around it.
import fs from 'node:fs';
import path from 'node:path';
import { Mapping, patternBytes, verifyBytes } from '../../native.js';
import { inRanges } from '../../device/place.js';
import { FILE_FAULT_METRICS, fileFaults } from '../shared/file-faults.js';
import { faultMetric, faultsOf, type FaultSubject } from '../shared/faults.js';
import { PAGE, PMD, hugeFile, mapFile, mapped, proveLevel } from '../shared/huge.js';
import { FALLEN_BACK, counter } from '../shared/trace.js';
import { defineWorkload, type Context } from '../types.js';

const UNWRITTEN = 4;

export default defineWorkload({
  name: 'fsdax/pmd-fault',
  about: 'faults of 2 MiB on a file, read and write, first and again, unwritten and hole: exact counts, levels, data, time per fault',
  guards: ['ndctl dax-pmd, dax.sh: PMD faults by fs_dax tracepoints', 'kernel dax_iomap_pmd_fault'],
  needs: { dax: 'fsdax', size: 96 * PMD },
  params: { fs: ['ext4', 'xfs'], map: ['mem', 'dev'] },
  thorough: { map: ['dev'] },
  quick: {},
  metrics: [...FILE_FAULT_METRICS, faultMetric('first write fault, unwritten')],
  run(ctx: Context) {
    fileFaults(ctx, { level: 'pmd', step: PMD, count: 8, map: (file) => mapFile(ctx, file), event: 'fs_dax/dax_pmd_fault_done' });
    unwritten(ctx);
    hole(ctx);
    fallbacks(ctx);
  },
});

/** Preallocated blocks: a write fault converts and zeroes a whole huge page, and counts as a major fault. */
function unwritten(ctx: Context): void {
  const file = hugeFile(ctx, UNWRITTEN * PMD, 'unwritten');
  const subject: FaultSubject = { place: ctx.fsdax, level: 'pmd', step: PMD, count: UNWRITTEN };
  using mapping = mapFile(ctx, file);
  faultsOf(ctx, subject, mapping, 'write', { what: 'first write, unwritten', faults: UNWRITTEN, major: true, metric: 'first write fault, unwritten' });
  const zeros = mapping.verify(0, file.length, { kind: 'byte', value: 0 });
  ctx.expect(zeros.ok, 'preallocated blocks should show zeros, not what was on the device before', zeros);
}

/** A hole: zeros by a shared zero page, which is no pmem; a write gives it blocks of its own, the rest stays zeros. */
function hole(ctx: Context): void {
  ctx.step('a hole');
  const fd = fs.openSync(path.join(ctx.fsdax.folder, 'hole'), 'wx+');
  ctx.cleanup(() => fs.closeSync(fd));
  fs.ftruncateSync(fd, 2 * PMD);
  const mapping = mapped(ctx, Mapping.map({ fd, length: 2 * PMD, align: PMD }));
  const zeros = mapping.verify(0, 2 * PMD, { kind: 'byte', value: 0 });
  ctx.expect(zeros.ok, 'a hole should read as zeros', zeros);
  const level = mapping.pageLevel(0);
  const { pfn, present } = mapping.pagemap(0)[0]!;
  ctx.prove('hole, read', { ...level, pfn: `0x${pfn.toString(16)}` });
  ctx.expect(present && !inRanges(ctx.fsdax, pfn), 'a hole should be shown by a zero page of ordinary memory', { present, pfn });
  const blocks = fs.fstatSync(fd).blocks;
  ctx.expect(blocks < 64, 'reading a hole should allocate nothing', { blocks });

  const at = PMD + 7 * PAGE;
  const written = mapping.fill(at, PAGE, { kind: 'byte', value: 0xd7 });
  ctx.expect(written.signal === undefined, 'writing into a hole should succeed', written.signal);
  ctx.expect(fs.fstatSync(fd).blocks >= PAGE / 512, 'writing into a hole should allocate', fs.fstatSync(fd).blocks);
  const bytes = Buffer.alloc(2 * PMD);
  fs.readSync(fd, bytes, 0, bytes.length, 0);
  ctx.expect(verifyBytes(bytes.subarray(at, at + PAGE), { kind: 'byte', value: 0xd7 }).ok, 'read(2) should give what was written into the hole');
  for (const [from, to] of [[0, at], [at + PAGE, 2 * PMD]] as const) {
    const around = mapping.verify(from, to - from, { kind: 'byte', value: 0 });
    ctx.expect(around.ok && verifyBytes(bytes.subarray(from, to), { kind: 'byte', value: 0 }).ok, 'around the written page the hole should stay zeros', around);
  }
}

/** Where a huge entry cannot be, small ones serve, with the same data: at an address that is off by a page, and at the end of a mapping. */
function fallbacks(ctx: Context): void {
  ctx.step('where no huge entry can be');
  const words = { kind: 'words', seed: 62, base: 0 } as const;
  // A file each: where a small page has been, no huge one is made later.
  const [one, other] = (['skewed', 'short'] as const).map((name) => {
    const file = hugeFile(ctx, 2 * PMD, name);
    fs.writeSync(file.fd, patternBytes(file.length, words), 0, file.length, file.offset);
    return file;
  });
  const fallen = counter(ctx, 'fs_dax/dax_pmd_fault_done', FALLEN_BACK);
  using skewed = mapFile(ctx, one!, { alignSkew: PAGE });
  using short = mapped(ctx, Mapping.map({ fd: other!.fd, offset: other!.offset, length: PMD + PMD / 2, align: PMD }));
  for (const [what, mapping, at] of [['off by a page', skewed, PMD / 2], ['at the end of the mapping', short, PMD + 4 * PAGE]] as const) {
    mapping.touch({ offset: at, count: 1, access: 'read' });
    proveLevel(ctx, ctx.fsdax, mapping, at, 'pte', what);
    const check = mapping.verify(0, mapping.length, words);
    ctx.expect(check.ok, `${what}: the data should be the file's`, check);
  }
  proveLevel(ctx, ctx.fsdax, short, 0, 'pmd', 'the whole huge page beside the end');
  const count = fallen?.();
  ctx.prove('fallbacks', count ?? 'not told by this kernel');
  ctx.expect(count !== 0, 'the tracepoint should tell of the fallback');
}
