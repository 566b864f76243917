// Guards report R2's mixed case: xfs with its data on a DAX device and its log and realtime data on devices that have
// none (xfs_setup_dax_always, xfs_inode_supports_dax): data files are DAX, realtime files are not, and both are right.
import fs from 'node:fs';
import path from 'node:path';
import { inRanges } from '../../device/place.js';
import { makeFileSystem } from '../../device/provision.js';
import { tool } from '../../device/tool.js';
import { SystemError } from '../../errors.js';
import * as native from '../../native.js';
import { Mapping, patternBytes, verifyBytes, type Pattern } from '../../native.js';
import { MiB } from '../../units.js';
import { ownMount } from '../shared/own-mount.js';
import { defineWorkload, type Context } from '../types.js';

const pattern: Pattern = { kind: 'words', seed: 122 };

export default defineWorkload({
  name: 'fsdax/external-log',
  about: 'xfs with data on DAX, log and realtime data elsewhere: DAX for the one, page cache for the other, right across a remount',
  guards: ['R2: XFS with its data, log and realtime devices', 'kernel xfs_inode_supports_dax'],
  needs: { dax: 'fsdax', size: 512 * MiB, tools: ['losetup', 'mkfs.xfs'] },
  params: { fs: ['xfs'] },
  expectsLog: ['dax-off'],
  async run(ctx: Context) {
    const mount = ownMount(ctx);
    const [log, realtime] = [await ctx.blockDevice(64 * MiB), await ctx.blockDevice(256 * MiB)];
    const options = `logdev=${log},rtdev=${realtime}`;
    const make = async (): Promise<void> => void (await tool('mkfs.xfs', ['-f', '-q', '-K', '-m', 'reflink=0,rmapbt=0', '-l', `logdev=${log}`, '-r', `rtdev=${realtime}`, mount.device]));
    ctx.step('data on DAX, log and realtime data elsewhere');
    let always = 'dax=always';
    try {
      await mount.remount(`${options},${always}`, make);
    } catch (error) {
      if (!(error instanceof SystemError) || error.code !== 'EINVAL') throw error;
      always = 'dax';
      await mount.remount(`${options},${always}`);
    }
    // A file that is DAX already is not made realtime: it must be born so.
    const folder = path.join(mount.mountPoint, 'rt');
    fs.mkdirSync(folder);
    const handle = fs.openSync(folder, 'r');
    native.changeInodeFlags(handle, { set: ['rtinherit'] });
    fs.closeSync(handle);
    const files = { plain: path.join(mount.mountPoint, 'plain'), realtime: path.join(folder, 'file') };
    for (const [kind, file] of Object.entries(files)) {
      const fd = fs.openSync(file, 'wx+');
      ctx.expect(native.getInodeFlags(fd).flags.includes('realtime') === (kind === 'realtime'), `${kind}: the file should ${kind === 'realtime' ? '' : 'not '}be born realtime`, native.getInodeFlags(fd).flags);
      fs.writeSync(fd, patternBytes(MiB, pattern), 0, MiB, 0);
      fs.fsyncSync(fd);
      fs.closeSync(fd);
    }
    await mount.remount(`${options},${always}`);
    for (const [kind, file] of Object.entries(files)) {
      const fd = fs.openSync(file, 'r+');
      try {
        const wanted = kind === 'plain';
        using mapping = Mapping.map({ fd, length: MiB });
        const check = mapping.verify(0, MiB, pattern);
        ctx.expect(check.ok && verifyBytes(fs.readFileSync(file), pattern).ok, `${kind}: the file should hold what was written`, check);
        const { dax } = native.statx(fd);
        const pmem = mapping.pagemap(0, 8).map(({ pfn }) => inRanges(ctx.fsdax, pfn));
        ctx.prove(kind, { statx: dax, pmem: pmem.filter(Boolean).length });
        ctx.expect(dax === undefined || dax === wanted, `${kind}: statx should say DAX is ${wanted ? 'on' : 'off'}`, { dax });
        ctx.expect(pmem.every((is) => is === wanted), `${kind}: pages should be ${wanted ? 'persistent memory' : 'page cache'}`, { pmem });
      } finally {
        fs.closeSync(fd);
      }
    }
    // The devices are taken away before the mount is: a plain file system stands in its place by then.
    await mount.remount(undefined, () => makeFileSystem('xfs', mount.device, { huge: true }));
  },
});
