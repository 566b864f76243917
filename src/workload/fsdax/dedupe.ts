// Guards two ways of block sharing that compare or copy through DAX (fs/dax.c: dax_dedupe_file_range_compare, dax_file_unshare;
// xfs_file_remap_range, xfs_reflink_unshare): only equal bytes may become shared, and what is no longer shared is a copy.
import fs from 'node:fs';
import path from 'node:path';
import { tool } from '../../device/tool.js';
import { BrokenError } from '../../errors.js';
import * as native from '../../native.js';
import { Mapping, patternBytes, verifyBytes, type Pattern } from '../../native.js';
import { MiB } from '../../units.js';
import { PAGE } from '../shared/huge.js';
import { reflinkFileSystem } from '../shared/reflink.js';
import { defineWorkload, type Context } from '../types.js';

const LENGTH = 2 * MiB;
const pattern: Pattern = { kind: 'words', seed: 701 };

export default defineWorkload({
  name: 'fsdax/dedupe',
  about: 'equal files made to share their blocks, unequal ones refused, and sharing ended again: all bytes stay what they were',
  guards: ['kernel dax_dedupe_file_range_compare, dax_file_unshare (6.0)'],
  needs: { dax: 'fsdax', size: 256 * MiB, tools: ['mkfs.xfs', 'xfs_io'] },
  params: { fs: ['xfs'] },
  expectsLog: ['dax-off'], // kernels that exclude reflink with DAX say so, and the mount tells
  async run(ctx: Context) {
    await reflinkFileSystem(ctx);
    const file = (name: string): string => path.join(ctx.fsdax.folder, name);
    for (const name of ['one', 'equal', 'unequal']) fs.writeFileSync(file(name), patternBytes(LENGTH, pattern), { flush: true } as fs.WriteFileOptions);
    const odd = fs.openSync(file('unequal'), 'r+');
    fs.writeSync(odd, Buffer.from([0x5a]), 0, 1, LENGTH - PAGE + 77);
    fs.fsyncSync(odd);
    fs.closeSync(odd);
    const changed = fs.readFileSync(file('unequal'));

    ctx.step('deduplicating');
    ctx.prove('equal', await dedupe(file('one'), file('equal')));
    ctx.expect(isShared(file('one')) && isShared(file('equal')), 'equal files should share their blocks afterwards', extentsOf(file('equal')));
    ctx.prove('unequal', await dedupe(file('one'), file('unequal')));
    ctx.expect(!isShared(file('unequal')), 'a file that differs by one byte should share nothing', extentsOf(file('unequal')));
    ctx.expect(fs.readFileSync(file('unequal')).equals(changed), 'a file that was not deduplicated should be as it was');
    for (const name of ['one', 'equal']) same(ctx, file(name), `after deduplicating, "${name}"`);

    ctx.step('sharing ended');
    const fd = fs.openSync(file('equal'), 'r+');
    ctx.cleanup(() => fs.closeSync(fd));
    native.fallocate(fd, 'unshare', 0, LENGTH);
    fs.fsyncSync(fd);
    ctx.expect(!isShared(file('equal')) && !isShared(file('one')), 'a file that is unshared should have blocks of its own', extentsOf(file('equal')));
    for (const name of ['one', 'equal']) same(ctx, file(name), `after unsharing, "${name}"`);
    using mapping = Mapping.map({ fd, length: LENGTH });
    mapping.fill(0, PAGE, { kind: 'byte', value: 3 });
    mapping.msync(0, PAGE);
    same(ctx, file('one'), 'after a store into the other file, "one"');
  },
});

/** FIDEDUPERANGE through xfs_io, which says how many bytes became shared, or why none did. */
async function dedupe(from: string, to: string): Promise<string> {
  try {
    return (await tool('xfs_io', ['-c', `dedupe ${from} 0 0 ${LENGTH}`, to])).split('\n')[0] ?? '';
  } catch (error) {
    if (!(error instanceof BrokenError)) throw error;
    return error.message;
  }
}

function extentsOf(file: string): native.Extent[] {
  const fd = fs.openSync(file, 'r');
  try {
    return native.fiemap(fd);
  } finally {
    fs.closeSync(fd);
  }
}

const isShared = (file: string): boolean => extentsOf(file).some(({ flags }) => flags.includes('shared'));

function same(ctx: Context, file: string, when: string): void {
  const check = verifyBytes(fs.readFileSync(file), pattern);
  ctx.expect(check.ok, `${when}: all bytes should be what was written`, check);
}
