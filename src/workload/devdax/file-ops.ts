// Guards that a devdax device is memory and no file (drivers/dax/device.c: dax_fops): what cannot be done is refused with
// the right error, and leaves the data alone.
import fs from 'node:fs';
import * as native from '../../native.js';
import { Mapping } from '../../native.js';
import { mapDevdax, openDevdax } from '../shared/devdax-map.js';
import { PAGE, PMD } from '../shared/huge.js';
import { defineWorkload, type Context } from '../types.js';

export default defineWorkload({
  name: 'devdax/file-ops',
  about: 'read, write, ftruncate, fallocate, O_DIRECT to the device and MADV_REMOVE are refused; MAP_SYNC is granted; the data stays',
  guards: ['ndctl device-dax-fio.sh, dax-dev: the device as a character device', 'kernel dax_fops'],
  needs: { dax: 'devdax', size: 8 * PMD },
  params: { align: ['2M', '4K', '1G'] },
  thorough: { align: ['4K', '1G'] },
  async run(ctx: Context) {
    const { path, align } = ctx.devdax;
    const fd = openDevdax(ctx);
    const shown = 2 * PMD;
    using mapping = mapDevdax(ctx, fd, 0, Math.max(shown, align));
    const pattern = { kind: 'words', seed: 102 } as const;
    mapping.fill(0, shown, pattern);
    using buffer = Mapping.anonymous({ length: PMD });
    const bytes = Buffer.alloc(PAGE, 0xee);

    const refused: readonly [string, readonly string[], () => unknown][] = [
      ['read(2)', ['EINVAL', 'ENXIO'], () => fs.readSync(fd, bytes, 0, PAGE, 0)],
      ['write(2)', ['EINVAL', 'ENXIO'], () => fs.writeSync(fd, bytes, 0, PAGE, 0)],
      ['ftruncate(2)', ['EINVAL'], () => fs.ftruncateSync(fd, PMD)],
      ['fallocate(2)', ['ENODEV', 'EOPNOTSUPP'], () => native.fallocate(fd, 'keep-size', 0, PMD)],
      ['hole punch', ['ENODEV', 'EOPNOTSUPP'], () => native.fallocate(fd, 'punch-hole', 0, PMD)],
      ['a transfer into its own mapping', ['EINVAL', 'ENXIO'], () => mapping.readFrom(fd, 0, 0, PAGE)],
      ['a transfer from ordinary memory', ['EINVAL', 'ENXIO'], () => buffer.writeTo(fd, 0, 0, PAGE)],
      ['copy_file_range(2)', ['EINVAL', 'EXDEV', 'EOPNOTSUPP'], () => native.copyFileRange({ from: fd, to: fd, toOffset: PMD, length: PAGE })],
      ['MADV_REMOVE', ['EINVAL', 'EACCES', 'EOPNOTSUPP', 'ENODEV'], () => mapping.madvise(0, align, 'remove')],
      ['FS_IOC_FIEMAP', ['EOPNOTSUPP', 'ENOTTY', 'EINVAL'], () => native.fiemap(fd)],
      ['FS_IOC_FSSETXATTR', ['ENOTTY', 'EOPNOTSUPP', 'EINVAL', 'EPERM'], () => native.changeInodeFlags(fd, { set: ['dax'] })],
    ];
    for (const [what, codes, call] of refused) {
      ctx.step(what);
      ctx.prove(what, await ctx.expectError(`${what} on ${path}`, codes, call));
    }
    ctx.step('MAP_SYNC');
    {
      using sync = Mapping.map({ fd, length: align, share: 'sync', align }); // dax_fops.mmap_supported_flags
      const check = sync.verify(0, Math.min(align, PMD), pattern);
      ctx.expect(check.ok, 'a MAP_SYNC mapping should show the data', check);
    }
    const check = mapping.verify(0, shown, pattern);
    ctx.expect(check.ok, 'what was refused should have changed no byte', check);
  },
});
