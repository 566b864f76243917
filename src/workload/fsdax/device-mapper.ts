// Guards DAX through the device mapper (drivers/md/dm-linear.c: linear_dax_direct_access, drivers/md/dm-table.c:
// dm_table_supports_dax): a pmem device whose halves change places keeps DAX, every page frame and every byte where the table
// puts them; and a table of which one target has no DAX has none (the commit "dax: require 'struct page' by default" and ndctl's dm.sh).
import fs from 'node:fs';
import path from 'node:path';
import { makeFileSystem, mountDax, resourceOf, waitForFile } from '../../device/provision.js';
import { tool } from '../../device/tool.js';
import { SystemError } from '../../errors.js';
import * as native from '../../native.js';
import { Mapping } from '../../native.js';
import { MiB, roundDown } from '../../units.js';
import { withBlockDevice } from '../shared/block.js';
import { PAGE, PMD, mapped } from '../shared/huge.js';
import { loadModule } from '../shared/modules.js';
import { spareNamespace } from '../shared/namespaces.js';
import { defineWorkload, type Context } from '../types.js';

const SECTOR = 512;
const FILE = 4 * PMD;
const PIECE = 64 * 1024;
const PLAIN = 64 * MiB;

/** One line of a table: so many sectors of a device, from there on. */
interface Segment {
  sectors: number;
  device: string;
  from: number;
}

export default defineWorkload({
  name: 'fsdax/device-mapper',
  about: 'DAX through a linear table that swaps the halves of a device: frames and bytes where it says; none where a part has no DAX',
  guards: ['ndctl dm.sh', 'kernel linear_dax_direct_access, dm_table_supports_dax'],
  needs: { guest: true, tools: ['ndctl', 'dmsetup', 'losetup', 'mke2fs', 'mkfs.xfs'], files: ['/sys/bus/nd/devices'], kconfig: ['BLK_DEV_DM'] },
  params: { fs: ['ext4', 'xfs'] },
  thorough: { fs: ['xfs'] },
  expectsLog: ['dax-off'],
  async run(ctx: Context) {
    if (!(await loadModule('dm_mod')) && !fs.existsSync('/sys/class/misc/device-mapper')) ctx.skip('needs the device mapper; load or build dm-mod (CONFIG_BLK_DEV_DM)');
    const kind = String(ctx.params.fs);
    const spare = await spareNamespace(ctx);
    const { path: pmem } = await spare.remake({ mode: 'fsdax', map: 'mem', align: '2M' });
    const size = withBlockDevice(pmem, (_, bytes) => bytes);
    const half = roundDown(size / 2, PMD);
    ctx.step('the halves of the device, swapped');
    const swapped = await makeTable(ctx, 'daxrig-swapped', [{ sectors: half / SECTOR, device: pmem, from: half / SECTOR }, { sectors: half / SECTOR, device: pmem, from: 0 }]);
    await makeFileSystem(kind, swapped.device, { huge: true });
    const mountPoint = path.join(ctx.folder, 'swapped');
    fs.mkdirSync(mountPoint);
    await mountDax(swapped.device, mountPoint, kind);
    let mounted = true;
    const umount = async (): Promise<void> => {
      if (mounted) await native.umountAsync(mountPoint);
      mounted = false;
    };
    ctx.cleanup(umount);
    underTheTable(ctx, path.join(mountPoint, 'file'), pmem, half);
    await umount();
    await swapped.remove();

    ctx.step('a part without DAX');
    const mixed = await makeTable(ctx, 'daxrig-mixed', [{ sectors: half / SECTOR, device: pmem, from: 0 }, { sectors: PLAIN / SECTOR, device: await ctx.blockDevice(PLAIN), from: 0 }]);
    await makeFileSystem(kind, mixed.device);
    await withoutDax(ctx, mixed.device, mountPoint, kind);
    await mixed.remove();
  },
});

/** A mapped device by that name; it is removed when the workload ends, if not before. */
async function makeTable(ctx: Context, name: string, segments: readonly Segment[]): Promise<{ device: string; remove(): Promise<void> }> {
  const table = path.join(ctx.folder, name);
  let at = 0;
  fs.writeFileSync(table, segments.map(({ sectors, device, from }) => {
    const line = `${at} ${sectors} linear ${device} ${from}\n`;
    at += sectors;
    return line;
  }).join(''));
  await tool('dmsetup', ['create', name, '--noudevsync', table]);
  let there = true;
  const remove = async (): Promise<void> => {
    if (there) await tool('dmsetup', ['remove', '--noudevsync', name]);
    there = false;
  };
  ctx.cleanup(remove);
  // /dev/mapper is udev's doing; the kernel's own node has a number.
  const node = fs.readdirSync('/sys/block').find((disk) => disk.startsWith('dm-') && fs.readFileSync(`/sys/block/${disk}/dm/name`, 'utf8').trim() === name);
  ctx.expect(node !== undefined, `the device mapper should have a disk of the name ${name}`);
  await waitForFile(`/dev/${node}`);
  return { device: `/dev/${node}`, remove };
}

/** Stores to a file through the table: each page's frame, and its bytes on the device, are where the table says. */
function underTheTable(ctx: Context, file: string, pmem: string, half: number): void {
  const fd = fs.openSync(file, 'wx+');
  try {
    native.fallocate(fd, 'allocate', 0, FILE);
    fs.fsyncSync(fd);
    const { dax } = native.statx(fd);
    ctx.expect(dax !== false, 'statx should say that DAX is on', { dax });
    const mapping = mapped(ctx, Mapping.map({ fd, length: FILE, align: PMD }));
    const pattern = { kind: 'words', seed: 141 } as const;
    const filled = mapping.fill(0, FILE, pattern);
    ctx.expect(filled.signal === undefined, 'storing through the table should succeed', filled.signal);
    mapping.msync(0, FILE);

    const start = resourceOf(`/sys/block/${path.basename(pmem)}/device`, pmem);
    const frames = mapping.pagemap(0, FILE / PAGE);
    const below = (at: number): number => (at < half ? at + half : at - half);
    let compared = 0;
    const whole: number[] = []; // huge pages of the file that are whole ones of the device, too
    withBlockDevice(pmem, (block) => {
      using buffer = Mapping.anonymous({ length: PIECE });
      for (const { logical, physical, length } of native.fiemap(fd)) {
        const end = Math.min(logical + length, FILE);
        for (let at = logical; at < end; ) {
          const above = physical + at - logical;
          const on = below(above);
          // Not past the end of the extent, nor past where the table goes on elsewhere.
          const bytes = Math.min(PIECE, end - at, above < half ? half - above : Infinity);
          const astray = frames.slice(at / PAGE, (at + bytes) / PAGE).findIndex(({ pfn }, i) => pfn !== (start + on) / PAGE + i);
          ctx.expect(astray < 0, `page ${at / PAGE + astray} of the file should be at byte ${on + astray * PAGE} of ${pmem}`, frames[at / PAGE + astray]);
          buffer.readFrom(block, on, 0, bytes);
          const check = buffer.verify(0, bytes, { ...pattern, base: at });
          ctx.expect(check.ok, `byte ${on} of ${pmem} should be what was stored at byte ${at} of the file`, check);
          compared += bytes / PAGE;
          if (at % PMD === 0 && (start + on) % PMD === 0 && at + PMD <= end && (above >= half || above + PMD <= half)) whole.push(at);
          at += bytes;
        }
      }
    });
    const levels = whole.map((at) => mapping.pageLevel(at).level);
    ctx.prove('through the table', { pages: compared, of: FILE / PAGE, levels });
    ctx.expect(levels.every((level) => level === 'pmd'), 'what is aligned in the file and on the device should be mapped by huge entries through the table, too', { whole, levels });
    ctx.expect(compared === FILE / PAGE, 'every page of the file should have been compared', { compared });
    mapping.close();
  } finally {
    fs.closeSync(fd);
  }
}

/** dax=always is refused, or the file system comes up without: never DAX on a device that has it only in part. */
async function withoutDax(ctx: Context, device: string, mountPoint: string, kind: string): Promise<void> {
  try {
    await mountDax(device, mountPoint, kind);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    ctx.prove('a part without DAX', { refused: error.code });
    return ctx.expect(['EINVAL', 'EOPNOTSUPP'].includes(error.code), 'dax=always should be refused with EINVAL', error.code);
  }
  try {
    const file = path.join(mountPoint, 'plain');
    fs.writeFileSync(file, Buffer.alloc(PMD, 1));
    const { dax } = native.statx(file);
    ctx.prove('a part without DAX', { dax });
    ctx.expect(dax !== true, 'a file system on a device with DAX in one part only should have none', { dax });
  } finally {
    await native.umountAsync(mountPoint);
  }
}
