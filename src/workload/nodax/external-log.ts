// Guards report R2 for file systems of several devices: xfs claims a dax_device each for its data, log and realtime
// device, and each may have none; a mount that fails half-way must let go of those it got (xfs_open_devices,
// xfs_free_buftarg, fs_put_dax).
import fs from 'node:fs';
import path from 'node:path';
import { tool } from '../../device/tool.js';
import { SystemError } from '../../errors.js';
import * as native from '../../native.js';
import { Mapping, patternBytes, verifyBytes, type Pattern } from '../../native.js';
import { MiB } from '../../units.js';
import { defineWorkload, type Context } from '../types.js';

const pattern: Pattern = { kind: 'words', seed: 121 };

export default defineWorkload({
  name: 'nodax/external-log',
  about: 'xfs with its log and realtime data on devices of their own, none with DAX: used, remounted, with and without -o dax, and mounts that must fail',
  guards: ['R2: XFS with its data, log and realtime devices'],
  needs: { tools: ['losetup', 'mkfs.xfs'], filesystems: ['xfs'] },
  expectsLog: ['dax-off'],
  async run(ctx: Context) {
    const [data, log, realtime] = [await ctx.blockDevice(512 * MiB), await ctx.blockDevice(64 * MiB), await ctx.blockDevice(256 * MiB)];
    await tool('mkfs.xfs', ['-f', '-q', '-K', '-m', 'reflink=0,rmapbt=0', '-l', `logdev=${log}`, '-r', `rtdev=${realtime}`, data]);
    const folder = path.join(ctx.folder, 'mnt');
    fs.mkdirSync(folder);
    const devices = `logdev=${log},rtdev=${realtime}`;
    const files = { plain: path.join(folder, 'plain'), realtime: path.join(folder, 'realtime') };

    ctx.step('without -o dax');
    await native.mountAsync({ source: data, target: folder, type: 'xfs', data: devices });
    try {
      for (const [kind, file] of Object.entries(files)) write(ctx, kind, file);
    } finally {
      await native.umountAsync(folder);
    }
    for (const option of ['dax', 'dax=always', 'dax=never']) {
      ctx.step(`with -o ${option}`);
      try {
        await native.mountAsync({ source: data, target: folder, type: 'xfs', data: `${devices},${option}` });
      } catch (error) {
        if (!(error instanceof SystemError)) throw error;
        ctx.prove(`-o ${option}`, `refused: ${error.code}`);
        ctx.expect(option !== 'dax=never' && ['EINVAL', 'EOPNOTSUPP'].includes(error.code), `-o ${option} should be refused with EINVAL or EOPNOTSUPP, if at all`, error.code);
        continue;
      }
      try {
        ctx.prove(`-o ${option}`, 'mounted');
        for (const [kind, file] of Object.entries(files)) look(ctx, `-o ${option}, ${kind}`, file);
      } finally {
        await native.umountAsync(folder);
      }
    }

    ctx.step('mounts that must fail');
    const missing = path.join(ctx.folder, 'no-such-device');
    const wrong: readonly [string, string][] = [
      ['without its log', `rtdev=${realtime}`],
      ['a log that does not exist', `logdev=${missing},rtdev=${realtime}`],
      ['a realtime device that does not exist', `logdev=${log},rtdev=${missing}`],
      ['one device twice', `logdev=${log},rtdev=${log}`],
      ['its own device as the log', `logdev=${data},rtdev=${realtime}`],
    ];
    for (const [what, options] of wrong)
      for (const dax of ['', ',dax=always'])
        ctx.prove(`${what}${dax}`, await ctx.expectError(`mounting ${what}${dax}`, ['EINVAL', 'ENOENT', 'ENOTBLK', 'EBUSY', 'EUCLEAN'], () => native.mountAsync({ source: data, target: folder, type: 'xfs', data: `${options}${dax}` })));
    const block = fs.openSync(data, 'r+');
    fs.writeSync(block, Buffer.alloc(4096), 0, 4096, 0);
    fs.fsyncSync(block);
    fs.closeSync(block);
    for (const dax of ['', ',dax=always'])
      ctx.prove(`no super block${dax}`, await ctx.expectError(`mounting a device without a super block${dax}`, ['EINVAL', 'EUCLEAN'], () => native.mountAsync({ source: data, target: folder, type: 'xfs', data: `${devices}${dax}` })));
  },
});

function write(ctx: Context, kind: string, file: string): void {
  const fd = fs.openSync(file, 'wx+');
  try {
    if (kind === 'realtime') native.changeInodeFlags(fd, { set: ['realtime'] });
    fs.writeSync(fd, patternBytes(MiB, pattern), 0, MiB, 0);
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
  look(ctx, kind, file);
}

function look(ctx: Context, what: string, file: string): void {
  const check = verifyBytes(fs.readFileSync(file), pattern);
  ctx.expect(check.ok, `${what}: the file should hold what was written`, check);
  const fd = fs.openSync(file, 'r+');
  try {
    using mapping = Mapping.map({ fd, length: MiB });
    const mapped = mapping.verify(0, MiB, pattern);
    ctx.expect(mapped.ok, `${what}: a mapping should show what was written`, mapped);
    ctx.expect(native.statx(fd).dax !== true, `${what}: a file on a device without DAX should not claim it`);
  } finally {
    fs.closeSync(fd);
  }
}
