// Guards the other side of report R2: a mount that fails on a device with DAX must let go of its dax_device (fs_put_dax on the way out
// of ext4_fill_super and xfs_fs_fill_super; a holder since 6.0). One that was kept shows at the next mount: EBUSY, or DAX off.
import fs from 'node:fs';
import path from 'node:path';
import * as native from '../../native.js';
import { Mapping, patternBytes } from '../../native.js';
import { readBytes, withBlockDevice, writeBytes } from '../shared/block.js';
import { PMD, mapFile, openHugeFile, proveLevel } from '../shared/huge.js';
import { expectOnlyLog } from '../shared/log.js';
import { ownMount, type OwnMount } from '../shared/own-mount.js';
import { defineWorkload, type Context } from '../types.js';

/** Bytes from the start of the device that hold the super block of either. */
const HEAD = 8192;

interface Damage {
  name: string;
  damage: (head: Buffer) => void;
}

/** Of struct ext4_super_block, 1 KiB behind the start (fs/ext4/ext4.h), and of struct xfs_dsb, big-endian (fs/xfs/libxfs/xfs_format.h). */
const DAMAGES: Readonly<Record<string, readonly Damage[]>> = {
  ext4: [
    { name: 'another magic', damage: (head) => head.writeUInt16LE(0x1234, 1024 + 56) },
    { name: 'a wrong checksum', damage: (head) => head.write('other', 1024 + 120, 'latin1') }, // s_volume_name
    { name: 'an impossible block size', damage: (head) => head.writeUInt32LE(29, 1024 + 24) }, // s_log_block_size
    { name: 'all zeros', damage: (head) => head.fill(0) },
  ],
  xfs: [
    { name: 'another magic', damage: (head) => head.write('XFSX', 0, 'latin1') },
    { name: 'a wrong checksum', damage: (head) => head.write('other', 108, 'latin1') }, // sb_fname
    { name: 'an impossible block size', damage: (head) => head.writeUInt32BE(12345, 4) }, // sb_blocksize
    { name: 'all zeros', damage: (head) => head.fill(0) },
  ],
};

export default defineWorkload({
  name: 'fsdax/failed-mount',
  about: 'mounts with DAX that fail by a damaged super block: refused with the right errno, and the device is free for the next, with DAX on and its data',
  guards: ['R2: failed mounts', 'kernel fs_put_dax on the error paths of ext4_fill_super and xfs_fs_fill_super'],
  needs: { dax: 'fsdax', size: 64 * PMD, guest: true },
  params: { fs: ['ext4', 'xfs'] },
  expectsLog: ['bug', 'warning', 'dax-off'], // what the file systems say of it; judged at the end
  async run(ctx: Context) {
    const mount = ownMount(ctx);
    const words = { kind: 'words', seed: 151, base: 0 } as const;
    const { fd, offset, length } = openHugeFile(ctx, PMD, 'kept');
    fs.writeSync(fd, patternBytes(length, words), 0, length, offset);
    fs.fsyncSync(fd);
    fs.closeSync(fd);

    for (const { name, damage } of DAMAGES[mount.fs]!) {
      ctx.step(name);
      await mount.remount(undefined, () => refused(ctx, mount, name, damage));
      const again = fs.openSync(path.join(ctx.fsdax.folder, 'kept'), 'r+');
      try {
        using mapping = mapFile(ctx, { fd: again, path: 'kept', offset, length });
        const check = mapping.verify(0, length, words);
        ctx.expect(check.ok, `${name}: put right again, the file system should have its data`, check);
        proveLevel(ctx, ctx.fsdax, mapping, 0, 'pmd', `${name}, put right`);
        Mapping.map({ fd: again, offset, length, share: 'sync' }).close(); // refused where DAX is off
      } finally {
        fs.closeSync(again);
      }
    }
    expectOnlyLog(ctx, /^(XFS: |EXT4-fs |DAX turned off)/);
  },
});

/** With the damage done, mounts as before and with DAX left to the file system; then puts the device right. */
async function refused(ctx: Context, { device, mountPoint, fs: kind, data }: OwnMount, name: string, damage: Damage['damage']): Promise<void> {
  const write = (head: Buffer): void => withBlockDevice(device, (block) => writeBytes(block, 0, head));
  const good = withBlockDevice(device, (block) => readBytes(block, 0, HEAD));
  const bad = Buffer.from(good);
  damage(bad);
  write(bad);
  try {
    for (const option of [data, '']) {
      const code = await ctx.expectError(`mounting ${kind} with ${name}${option ? `, -o ${option}` : ''}`, ['EINVAL', 'EUCLEAN', 'EBADMSG', 'EIO'], () => native.mountAsync({ source: device, target: mountPoint, type: kind, data: option }));
      ctx.prove(`${name}${option ? `, -o ${option}` : ''}`, code);
    }
  } finally {
    write(good);
  }
}
