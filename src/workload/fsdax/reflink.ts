// Guards shared blocks under DAX (fs/dax.c: dax_iomap_copy_around, dax_iomap_cow_copy; dax_remap_file_range_prep and
// dax_dedupe_file_range_compare; xfs CoW): a store into one of the sharers must copy, by small and by huge pages, and
// by write(2), and leave the others as they were.
import fs from 'node:fs';
import path from 'node:path';
import * as native from '../../native.js';
import { Mapping, patternBytes, verifyBytes, type Pattern } from '../../native.js';
import { PAGE, PMD, hugeFile, mapFile } from '../shared/huge.js';
import { reflinkFileSystem } from '../shared/reflink.js';
import { defineWorkload, type Context } from '../types.js';

const words = (seed: number, base = 0): Pattern => ({ kind: 'words', seed, base });
const LENGTH = 4 * PMD;

export default defineWorkload({
  name: 'fsdax/reflink',
  about: 'files that share blocks: same page frames, copied on a store of a mapping, huge or small, and of write(2); the others unchanged',
  guards: ['kernel dax_iomap_cow_copy, dax_remap_file_range_prep, xfs reflink with DAX (6.0)'],
  needs: { dax: 'fsdax', size: 128 * PMD, tools: ['mkfs.xfs'] },
  params: { fs: ['xfs'] },
  expectsLog: ['dax-off'], // kernels that exclude it say so, and the mount tells
  async run(ctx: Context) {
    await reflinkFileSystem(ctx);
    const file = hugeFile(ctx, LENGTH);
    {
      using mapping = mapFile(ctx, file);
      mapping.fill(0, LENGTH, words(1));
    }
    fs.fsyncSync(file.fd);
    const clone = path.join(ctx.fsdax.folder, 'clone');
    const fd = fs.openSync(clone, 'wx+');
    ctx.cleanup(() => fs.closeSync(fd));
    ctx.step('sharing');
    native.reflink(fd, file.fd);
    const shared = native.fiemap(fd).filter(({ flags }) => flags.includes('shared'));
    ctx.expect(shared.length > 0, 'the clone\'s extents should be marked shared', native.fiemap(fd));
    using first = mapFile(ctx, file, { prot: 'r' });
    using second = Mapping.map({ fd, offset: file.offset, length: LENGTH, align: PMD });
    for (const mapping of [first, second]) mapping.touch({ offset: 0, count: LENGTH / PMD, stride: PMD, access: 'read' });
    const frames = [first, second].map((mapping) => mapping.pagemap(0)[0]!.pfn);
    ctx.prove('frames', frames.map((pfn) => `0x${pfn.toString(16)}`));
    ctx.expect(frames[0] === frames[1] && frames[0] !== 0, 'both files should show the same page frame while they share it', frames);

    ctx.step('stores into the clone');
    const stored: [number, number][] = [[0, 64], [PAGE - 32, 64], [PMD + 5 * PAGE, PAGE], [2 * PMD, PMD]];
    for (const [at, length] of stored) {
      const { signal } = second.fill(at, length, words(2, at));
      ctx.expect(signal === undefined, `a store of ${length} bytes at ${at} should succeed`, signal);
    }
    const at = 3 * PMD + 100;
    fs.writeSync(fd, patternBytes(PAGE, words(2, 3 * PMD)), 0, PAGE, file.offset + at - 100);
    stored.push([at - 100, PAGE]);
    const look = (when: string): void => {
      const original = first.verify(0, LENGTH, words(1));
      ctx.expect(original.ok, `${when}: the original should be unchanged`, original);
      const sorted = [...stored].sort((a, b) => a[0] - b[0]);
      let from = 0;
      for (const [offset, length] of [...sorted, [LENGTH, 0] as const]) {
        const kept = second.verify(from, offset - from, words(1, from));
        ctx.expect(kept.ok, `${when}: bytes ${from}..${offset} of the clone should be the original's`, kept);
        const own = second.verify(offset, length, words(2, offset));
        ctx.expect(own.ok, `${when}: bytes ${offset}..${offset + length} of the clone should be its own`, own);
        from = offset + length;
      }
    };
    look('after stores');
    ctx.expect(second.pagemap(0)[0]!.pfn !== first.pagemap(0)[0]!.pfn, 'a page that was copied should have a frame of its own', second.pagemap(0)[0]);
    ctx.step('after fsync, and by read(2)');
    fs.fsyncSync(fd);
    const bytes = Buffer.alloc(PMD);
    fs.readSync(file.fd, bytes, 0, PMD, file.offset + 2 * PMD);
    ctx.expect(verifyBytes(bytes, words(1, 2 * PMD)).ok, 'read(2) of the original should be unchanged');
    fs.readSync(fd, bytes, 0, PMD, file.offset + 2 * PMD);
    ctx.expect(verifyBytes(bytes, words(2, 2 * PMD)).ok, 'read(2) of the clone should give its stores');
    look('after fsync');

    ctx.step('stores into the original, then the clone is removed');
    {
      using writable = mapFile(ctx, file);
      writable.fill(7 * PAGE, PAGE, words(3, 7 * PAGE));
      const seen = second.verify(7 * PAGE, PAGE, words(1, 7 * PAGE));
      ctx.expect(seen.ok, 'a store into the original should not reach the clone', seen);
      second.close();
      fs.rmSync(clone);
      const kept = writable.verify(8 * PAGE, PMD, words(1, 8 * PAGE));
      ctx.expect(kept.ok && writable.verify(7 * PAGE, PAGE, words(3, 7 * PAGE)).ok, 'the original should keep its data when the clone is gone', kept);
    }
  },
});
