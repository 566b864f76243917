// Guards that DAX is really on. A kernel without ZONE_DEVICE, or a device whose direct access check fails, mounts
// with -o dax and quietly works without it (reports R1 and R3); only the file and its pages tell.
import fs from 'node:fs';
import path from 'node:path';
import { inRanges } from '../../device/place.js';
import { mountOf } from '../../device/mounts.js';
import * as native from '../../native.js';
import { Mapping } from '../../native.js';
import { PAGE, mapped } from '../shared/huge.js';
import { defineWorkload, type Context } from '../types.js';

export default defineWorkload({
  name: 'fsdax/dax-active',
  about: 'DAX is on: by mount option, by the file\'s attribute, and by the page frame behind a mapping',
  guards: ['R1: XFS came up without DAX', 'R3: direct access check fails, DAX disabled', 'ndctl dax.sh'],
  needs: { dax: 'fsdax' },
  params: { fs: ['ext4', 'xfs'], map: ['mem', 'dev'] },
  quick: { map: ['mem'] },
  run(ctx: Context) {
    const { folder, fs: kind } = ctx.fsdax;
    const mount = mountOf(folder);
    ctx.prove('mount', mount);
    const option = mount?.options.find((word) => /^dax(=|$)/.test(word));
    ctx.expect(option !== 'dax=never', `${kind}: the mount should not have DAX off`, mount);

    const file = path.join(folder, 'file');
    const fd = fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
    ctx.cleanup(() => fs.closeSync(fd));
    fs.writeSync(fd, Buffer.alloc(4 * PAGE, 0x5a));
    fs.fsyncSync(fd);

    const { dax } = native.statx(file);
    ctx.prove('STATX_ATTR_DAX', dax ?? 'not reported by this kernel');
    ctx.expect(dax !== false, `${kind}: statx should show STATX_ATTR_DAX for a file on a mount with ${option ?? 'no dax option'}`, { option });

    const mapping = mapped(ctx, Mapping.map({ fd, length: 4 * PAGE, prot: 'rw', share: 'shared' }));
    mapping.touch({ offset: 0, count: 4, stride: PAGE, access: 'read' });
    const pages = mapping.pagemap(0, 4);
    ctx.prove('pfn', pages.map(({ present, pfn }) => (present ? `0x${pfn.toString(16)}` : 'not present')));
    ctx.expect(ctx.fsdax.ranges.length > 0, 'persistent memory should be shown in /proc/iomem');
    ctx.expect(
      pages.every(({ present, pfn }) => present && inRanges(ctx.fsdax, pfn)),
      `${kind}: every mapped page should be persistent memory itself, not the page cache`,
      { pages, ranges: ctx.fsdax.ranges },
    );
    ctx.expect(option !== undefined || dax === true, `${kind}: the mount should say dax, or the file have the attribute`, mount);
  },
});
