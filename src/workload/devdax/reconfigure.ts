// Guards that a mapping of a devdax device ends with the device when its namespace is made into another mode (drivers/dax/device.c:
// kill_dev_dax, unmap_mapping_range; drivers/dax/super.c: dax_alive): what the memory holds next, a file system's or another user's,
// must not be seen through it, not even when the namespace is devdax again.
import fs from 'node:fs';
import { waitForFile } from '../../device/provision.js';
import { Mapping, type Pattern } from '../../native.js';
import { expectBlocks, writeBlocks } from '../shared/block.js';
import { expectGone, levelOf, mapDevdax, openDevdax } from '../shared/devdax-map.js';
import { PMD, proveLevel } from '../shared/huge.js';
import { defineWorkload, type Context } from '../types.js';

type Words = Extract<Pattern, { kind: 'words' }>;

export default defineWorkload({
  name: 'devdax/reconfigure',
  about: 'a namespace made fsdax, and devdax again, while mapped: the old mapping is SIGBUS and never shows the new bytes, a new one has them',
  guards: ['ndctl device-dax, revoke of mappings: reconfigured', 'kernel kill_dev_dax, dax_alive'],
  needs: { dax: 'devdax', size: 16 * PMD, tools: ['ndctl'], guest: true },
  params: { align: ['2M', '4K'] },
  thorough: { align: ['4K'] }, // devdax/fault has small pages
  async run(ctx: Context) {
    const { path, align, asBlockDevice } = ctx.devdax;
    if (asBlockDevice === undefined) return ctx.skip('needs a namespace that may be reconfigured: run it in a guest');
    const step = Math.max(PMD, align);
    const [mine, theirs, last]: [Words, Words, Words] = [{ kind: 'words', seed: 141 }, { kind: 'words', seed: 142 }, { kind: 'words', seed: 143 }];
    const fd = openDevdax(ctx);
    const mapping = mapDevdax(ctx, fd, 0, 2 * step);
    mapping.fill(0, PMD, mine);
    const before = mapping.verify(0, PMD, mine);
    ctx.expect(before.ok, 'the data should be there before', before);
    proveLevel(ctx, ctx.devdax, mapping, 0, levelOf(align), 'before');

    /** Of the new bytes on the block device, the words of which tell where they belong. */
    let written: number[] = [];
    ctx.step('making it fsdax while it is mapped');
    await asBlockDevice(async (device, offset) => {
      const places = [0, step].map((at) => offset + at);
      writeBlocks(ctx, device, places, PMD, theirs);
      await expectGone(ctx, mapping, step, 'fsdax');
      ctx.prove('fsdax: a new mapping by the old descriptor', await ctx.expectError('a new mapping by the old descriptor', ['ENXIO', 'ENODEV'], () => Mapping.map({ fd, length: step, align: step }).close()));
      ctx.prove('fsdax: opening it', await ctx.expectError('opening a device that is gone', ['ENOENT', 'ENXIO', 'ENODEV'], () => fs.closeSync(fs.openSync(path, 'r+'))));
      expectBlocks(ctx, device, places, PMD, theirs, 'after the old mapping was used');
      ctx.prove('offset on the block device', offset);
      written = places;
    });
    await waitForFile(path);

    ctx.step('devdax again');
    await expectGone(ctx, mapping, step, 'devdax again');
    const again = fs.openSync(path, 'r+');
    try {
      using fresh = Mapping.map({ fd: again, length: 2 * step, align: step });
      for (const [i, at] of [0, step].entries()) {
        const check = fresh.verify(at, PMD, { ...theirs, base: written[i]! });
        ctx.expect(check.ok, `a new mapping should show at ${at} what was written to the block device`, check);
      }
      fresh.fill(0, PMD, last);
      const check = fresh.verify(0, PMD, last);
      ctx.expect(check.ok, 'a new mapping should keep what is stored through it', check);
      proveLevel(ctx, ctx.devdax, fresh, 0, levelOf(align), 'a new mapping');
      await expectGone(ctx, mapping, step, 'beside a new mapping');
    } finally {
      fs.closeSync(again);
    }
  },
});
