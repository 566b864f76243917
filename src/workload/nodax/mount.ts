// Guards report R2: a file system that claims its device's dax_device at mount time crashed on a device that has none
// (fs_dax_release at 0x440). So ordinary devices are mounted, with and without -o dax, used, unmounted; and mounts
// that must fail do so cleanly.
import fs from 'node:fs';
import path from 'node:path';
import { mountOf } from '../../device/mounts.js';
import * as native from '../../native.js';
import { Mapping, patternBytes, verifyBytes, type Pattern } from '../../native.js';
import { MiB } from '../../units.js';
import { ordinaryFileSystem, whileAskingForDax, whileMounted } from '../shared/file-system.js';
import { defineWorkload, type Context } from '../types.js';

export default defineWorkload({
  name: 'nodax/mount',
  about: 'mount, I/O and umount on a block device without DAX; -o dax refused by ext4, turned off by xfs; a mount that must fail',
  guards: ['R2: fs_dax_release oops', 'ndctl dax-ext4.sh, dax-xfs.sh on their non-DAX side'],
  needs: { tools: ['losetup', 'mke2fs', 'mkfs.xfs'] },
  params: { fs: ['ext4', 'ext2', 'xfs'] },
  thorough: { fs: ['ext2'] }, // in most kernels ext4's driver
  expectsLog: ['dax-off'],
  async run(ctx: Context) {
    const kind = String(ctx.params.fs);
    const fileSystem = await ordinaryFileSystem(ctx, kind);
    const { device, folder } = fileSystem;

    ctx.step('without -o dax');
    await whileMounted(fileSystem, {}, () => use(ctx, folder, kind, false));
    for (const option of ['dax', 'dax=always']) {
      ctx.step(`with -o ${option}`);
      await whileAskingForDax(ctx, fileSystem, option, {}, () => {
        ctx.prove(`-o ${option}`, `mounted: ${mountOf(folder)?.options.filter((word) => word.startsWith('dax')).join(',') || 'DAX off'}`);
        return use(ctx, folder, kind, true);
      });
    }

    ctx.step('a mount that must fail');
    const raw = fs.openSync(device, 'r+');
    fs.writeSync(raw, Buffer.alloc(128 * 1024), 0, 128 * 1024, 0);
    fs.fsyncSync(raw);
    fs.closeSync(raw);
    for (const option of ['', 'dax']) {
      const code = await ctx.expectError(`mounting a device without a ${kind} super block`, ['EINVAL', 'EUCLEAN', 'EIO'], () => native.mountAsync({ source: device, target: folder, type: kind, data: option }));
      ctx.prove(`bad super block${option ? `, -o ${option}` : ''}`, code);
    }
  },
});

/** Writes, reads back, and makes sure that nothing here claims to be DAX. */
async function use(ctx: Context, folder: string, kind: string, asked: boolean): Promise<void> {
  const file = path.join(folder, `file-${asked ? 'asked' : 'plain'}-${Math.floor(performance.now())}`);
  const pattern: Pattern = { kind: 'words', seed: 41, base: 0 };
  const fd = fs.openSync(file, 'w+');
  try {
    fs.writeSync(fd, patternBytes(MiB, pattern));
    fs.fsyncSync(fd);
    {
      using mapping = Mapping.map({ fd, length: MiB, prot: 'rw', share: 'shared' });
      const check = mapping.verify(0, MiB, pattern);
      ctx.expect(check.ok, `${kind}: a mapping should show what was written`, check);
    }
    const { dax } = native.statx(file);
    ctx.expect(dax !== true, `${kind}: a file on a device without DAX should not claim STATX_ATTR_DAX`, { asked });
    await ctx.expectError(`MAP_SYNC on ${kind} without DAX`, ['EOPNOTSUPP'], () => Mapping.map({ fd, length: MiB, prot: 'rw', share: 'sync' }).close());
  } finally {
    fs.closeSync(fd);
  }
  const check = verifyBytes(fs.readFileSync(file), pattern);
  ctx.expect(check.ok, `${kind}: read(2) should give what was written`, check);
}
