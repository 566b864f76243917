// Guards DAX per file (kernel 5.8: FS_XFLAG_DAX with -o dax=inode; xfs_ioctl_setattr_prepare_dax, ext4_should_enable_dax):
// what the flag, the mount option and statx say must be what a mapping is made of. A file that only claims DAX, or that
// has it against the user's word, is report R1 in small.
import fs from 'node:fs';
import path from 'node:path';
import { inRanges } from '../../device/place.js';
import { SystemError, codeOf } from '../../errors.js';
import * as native from '../../native.js';
import { Mapping, verifyBytes, type Pattern } from '../../native.js';
import { PAGE } from '../shared/huge.js';
import { ownMount } from '../shared/own-mount.js';
import { defineWorkload, type Context } from '../types.js';

const pattern: Pattern = { kind: 'words', seed: 72 };

export default defineWorkload({
  name: 'fsdax/inode-flag',
  about: 'dax=inode with the flag set, inherited and cleared, dax=never, dax=always: statx, MAP_SYNC and page frames agree each time',
  guards: ['R1: DAX on or off as asked', 'kernel FS_XFLAG_DAX, STATX_ATTR_DAX'],
  needs: { dax: 'fsdax' },
  params: { fs: ['ext4', 'xfs'] },
  async run(ctx: Context) {
    const mount = ownMount(ctx);
    const { folder } = ctx.fsdax;
    const on = path.join(folder, 'on');
    const off = path.join(folder, 'off');
    await refuseOld(ctx, () => mount.remount('dax=inode'));

    ctx.step('inherited from the folder');
    for (const dir of [on, off]) fs.mkdirSync(dir);
    flag(on, { set: ['dax'] });
    const files = { inherited: path.join(on, 'inherited'), plain: path.join(off, 'plain'), set: path.join(off, 'set'), cleared: path.join(on, 'cleared') };
    for (const file of Object.values(files)) fs.writeFileSync(file, native.patternBytes(4 * PAGE, pattern));
    const sub = path.join(on, 'sub');
    fs.mkdirSync(sub);
    fs.writeFileSync(path.join(sub, 'file'), native.patternBytes(4 * PAGE, pattern));
    await judge(ctx, files.inherited, true, 'dax=inode, in a flagged folder');
    await judge(ctx, path.join(sub, 'file'), true, 'dax=inode, in a folder below a flagged one');
    await judge(ctx, files.plain, false, 'dax=inode, no flag');

    ctx.step('set and cleared on files that exist');
    flag(files.set, { set: ['dax'] });
    flag(files.cleared, { clear: ['dax'] });
    await mount.remount('dax=inode'); // the change takes effect when the inode is read again
    await judge(ctx, files.set, true, 'dax=inode, flag set later');
    await judge(ctx, files.cleared, false, 'dax=inode, flag cleared later');
    await judge(ctx, files.inherited, true, 'dax=inode, flag kept across a mount');

    ctx.step('dax=never');
    await mount.remount('dax=never');
    for (const [name, file] of Object.entries(files)) await judge(ctx, file, false, `dax=never, ${name}`);
    ctx.expect(flags(files.set).includes('dax') && !flags(files.cleared).includes('dax'), 'dax=never should leave the flags as they were set', { set: flags(files.set), cleared: flags(files.cleared) });

    ctx.step('dax=always');
    await mount.remount('dax=always');
    for (const [name, file] of Object.entries(files)) await judge(ctx, file, true, `dax=always, ${name}`);
    await mount.remount();
  },
});

async function refuseOld(ctx: Context, mount: () => Promise<void>): Promise<void> {
  try {
    await mount();
  } catch (error) {
    if (error instanceof SystemError && error.code === 'EINVAL') ctx.skip('needs a kernel that knows -o dax=inode (5.8 and later)');
    throw error;
  }
}

function flag(file: string, change: Parameters<typeof native.changeInodeFlags>[1]): void {
  const fd = fs.openSync(file, 'r');
  try {
    native.changeInodeFlags(fd, change);
  } finally {
    fs.closeSync(fd);
  }
}

function flags(file: string): native.InodeFlag[] {
  const fd = fs.openSync(file, 'r');
  try {
    return native.getInodeFlags(fd).flags;
  } finally {
    fs.closeSync(fd);
  }
}

/** DAX or not, by statx, by whether MAP_SYNC is granted, and by the page frame that a mapping shows. */
async function judge(ctx: Context, file: string, wanted: boolean, what: string): Promise<void> {
  const fd = fs.openSync(file, 'r+');
  try {
    const { dax } = native.statx(fd);
    using mapping = Mapping.map({ fd, length: 4 * PAGE });
    mapping.touch({ offset: 0, count: 4, access: 'rmw' });
    const pmem = mapping.pagemap(0, 4).map(({ pfn }) => inRanges(ctx.fsdax, pfn));
    let sync = 'granted';
    try {
      Mapping.map({ fd, length: 4 * PAGE, share: 'sync' }).close();
    } catch (error) {
      sync = codeOf(error) ?? String(error);
    }
    ctx.prove(what, { statx: dax, mapSync: sync, pmem: pmem.filter(Boolean).length });
    ctx.expect(dax === wanted, `${what}: statx should say DAX is ${wanted ? 'on' : 'off'}`, { dax });
    ctx.expect(pmem.every((is) => is === wanted), `${what}: pages should be ${wanted ? 'persistent memory' : 'page cache'}`, { pmem });
    ctx.expect(sync === (wanted ? 'granted' : 'EOPNOTSUPP'), `${what}: MAP_SYNC should be ${wanted ? 'granted' : 'refused with EOPNOTSUPP'}`, { sync });
    const bytes = Buffer.alloc(4 * PAGE);
    fs.readSync(fd, bytes, 0, bytes.length, 0);
    const check = verifyBytes(bytes, pattern);
    ctx.expect(check.ok && mapping.verify(0, 4 * PAGE, pattern).ok, `${what}: the data should be what was written`, check);
  } finally {
    fs.closeSync(fd);
  }
}
