// Guards what a file shows where it has grown (fs/dax.c: dax_truncate_page, dax_zero_range; ext4_block_truncate_page,
// xfs_zero_range): zeros, whatever a mapping stored behind the old end in the last page, or lay in blocks that were allocated there.
import fs from 'node:fs';
import path from 'node:path';
import { tool, toolPath } from '../../device/tool.js';
import { Mapping, fiemap, patternBytes, verifyBytes, type Pattern } from '../../native.js';
import { PAGE } from '../shared/huge.js';
import { defineWorkload, type Context } from '../types.js';

const pattern: Pattern = { kind: 'words', seed: 711 };
/** The old end, inside of a page. */
const END = PAGE + 104;
const GROWN = 15 * PAGE;

/** Ways to grow a file to GROWN bytes. */
const WAYS: readonly { name: string; grow: (fd: number) => void }[] = [
  { name: 'truncate', grow: (fd) => fs.ftruncateSync(fd, GROWN) },
  { name: 'a write behind the end', grow: (fd) => fs.writeSync(fd, Buffer.alloc(8), 0, 8, GROWN - 8) },
  { name: 'truncate, down and up again', grow: (fd) => [END - 96, GROWN].forEach((length) => fs.ftruncateSync(fd, length)) },
];

export default defineWorkload({
  name: 'fsdax/grow',
  about: 'files grown over what a mapping stored behind their end, and over blocks allocated there: all that came is zeros, all before is kept',
  guards: ['kernel dax_truncate_page, dax_zero_range: no stale bytes', 'ndctl dax-pmd: truncation'],
  needs: { dax: 'fsdax', size: 16 << 20 },
  params: { fs: ['ext4', 'xfs'] },
  async run(ctx: Context) {
    for (const hinted of [false, true]) {
      // The hint has xfs allocate, and with DAX write, more than was asked for.
      if (hinted && (ctx.fsdax.fs !== 'xfs' || toolPath('xfs_io') === undefined)) return ctx.prove('blocks behind the end', 'needs xfs and xfs_io');
      for (const { name, grow } of hinted ? WAYS.slice(0, 1) : WAYS) await one(ctx, `${name}${hinted ? ', with an extent size hint' : ''}`, grow, hinted);
    }
  },
});

async function one(ctx: Context, way: string, grow: (fd: number) => void, hinted: boolean): Promise<void> {
  const name = `${ctx.fsdax.fs}, ${way}`;
  ctx.step(way);
  const file = path.join(ctx.fsdax.folder, 'grow');
  const fd = fs.openSync(file, 'wx+');
  try {
    if (hinted) await tool('xfs_io', ['-c', 'extsize 64k', file]);
    fs.writeSync(fd, patternBytes(2 * PAGE, pattern), 0, END, 0);
    fs.fsyncSync(fd);
    const allocated = fiemap(fd).reduce((most, { logical, length }) => Math.max(most, logical + length), 0);
    if (hinted) ctx.expect(allocated > 2 * PAGE, 'an extent size hint should have blocks allocated behind the end', fiemap(fd));
    using mapping = Mapping.map({ fd, length: GROWN });
    // Stores behind the end, in the page that the file ends in, are allowed, and must be forgotten.
    mapping.fill(END, 2 * PAGE - END, { kind: 'byte', value: 0xee });
    mapping.msync(0, 2 * PAGE);
    grow(fd);
    const kept = way.includes('down') ? END - 96 : END;
    ctx.prove(way, { allocated, kept });
    for (const when of ['at once', 'after fsync']) {
      const bytes = Buffer.alloc(GROWN);
      const got = fs.readSync(fd, bytes, 0, GROWN, 0);
      ctx.expect(got === GROWN, `${name}, ${when}: the file should have its new size`, { got });
      ctx.expect(verifyBytes(bytes.subarray(0, kept), pattern).ok, `${name}, ${when}: what lay before the end should be kept`);
      const zeros = verifyBytes(bytes.subarray(kept), { kind: 'byte', value: 0 });
      ctx.expect(zeros.ok, `${name}, ${when}: read(2) should give zeros behind the old end`, zeros);
      const seen = mapping.verify(kept, GROWN - kept, { kind: 'byte', value: 0 });
      ctx.expect(seen.ok, `${name}, ${when}: the mapping should show zeros behind the old end`, seen);
      fs.fsyncSync(fd);
    }
  } finally {
    fs.closeSync(fd);
    fs.rmSync(file);
  }
}
