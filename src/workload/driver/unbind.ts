// Guards a pmem device that is taken away under a mounted and mapped file system (drivers/nvdimm/pmem.c: pmem_release_disk;
// drivers/dax/super.c: kill_dax; xfs_dax_notify_failure with MF_MEM_PRE_REMOVE): nobody may crash, see other bytes or wait for
// ever, and what was synced must be there when the device is back.
import fs from 'node:fs';
import path from 'node:path';
import { BrokenError, SystemError, codeOf } from '../../errors.js';
import { mountDax, waitForFile } from '../../device/provision.js';
import * as native from '../../native.js';
import { Mapping, verifyBytes, type Pattern } from '../../native.js';
import { PAGE, PMD, mapFile, openHugeFile, proveLevel } from '../shared/huge.js';
import { expectOnlyLog } from '../shared/log.js';
import { panicOnOops } from '../shared/oops.js';
import { defineWorkload, type Context } from '../types.js';

const pattern: Pattern = { kind: 'words', seed: 131 };

export default defineWorkload({
  name: 'driver/unbind',
  about: 'nd_pmem unbound from a device that is mounted, and mapped or not: right data or an error, umount ends, the synced file is there after binding again',
  guards: ['R2: a file system\'s claim on its dax_device', 'kernel kill_dax, pmem_release_disk, xfs_dax_notify_failure'],
  needs: { dax: 'fsdax', size: 64 * PMD, guest: true },
  // Without a mapping no page of the device is in the file system's tables: that much every kernel survives.
  params: { fs: ['ext4', 'xfs'], use: ['mounted', 'mapped'] },
  // A file system that lost its device says so.
  expectsLog: ['bug', 'warning', 'memory-failure', 'dax-off'],
  async run(ctx: Context) {
    const { blockDevice, folder, fs: kind } = ctx.fsdax;
    if (blockDevice === undefined) ctx.skip('needs a pmem device of its own');
    const device = path.basename(fs.realpathSync(`/sys/block/${path.basename(blockDevice)}/device`));
    const driver = fs.realpathSync(`/sys/bus/nd/devices/${device}/driver`);
    const mountPoint = path.dirname(folder);
    panicOnOops(ctx);
    let mounted = true;
    let bound = true;
    ctx.cleanup(async () => {
      if (!bound) await fs.promises.writeFile(path.join(driver, 'bind'), device);
      if (!mounted) await mountDax(blockDevice, mountPoint, kind);
    });

    const { mapping, offset, fd } = ctx.params.use === 'mapped' ? mapSynced(ctx) : { mapping: undefined, ...writeSynced(ctx) };
    ctx.step(`unbinding ${device} from ${path.basename(driver)}`);
    const unbound = fs.promises.writeFile(path.join(driver, 'unbind'), device).then(() => true);
    bound = false;
    const within = await Promise.race([unbound, later(4000).then(() => false)]);
    ctx.prove('unbinding', within ? `done while ${String(ctx.params.use)}` : 'waits');

    if (mapping) useMapping(ctx, mapping);
    ctx.prove('write(2)', attempt(() => fs.writeSync(fd, Buffer.alloc(PAGE), 0, PAGE, offset + 2 * PMD)));
    ctx.prove('fsync(2)', attempt(() => fs.fsyncSync(fd)));
    mapping?.close();
    fs.closeSync(fd);

    ctx.step('umount');
    await native.umountAsync(mountPoint);
    mounted = false;
    ctx.expect(await Promise.race([unbound, later(10_000).then(() => false)]), 'with nothing mapped and mounted, unbinding should end');

    ctx.step('binding again');
    await fs.promises.writeFile(path.join(driver, 'bind'), device);
    bound = true;
    await waitForFile(blockDevice);
    await mountDax(blockDevice, mountPoint, kind);
    mounted = true;
    const bytes = Buffer.alloc(2 * PMD);
    const again = fs.openSync(path.join(folder, 'huge'), 'r+');
    try {
      fs.readSync(again, bytes, 0, bytes.length, offset);
      const check = verifyBytes(bytes, pattern);
      ctx.expect(check.ok, 'what was synced should be there after binding again', check);
      using fresh = Mapping.map({ fd: again, offset, length: PMD, align: PMD });
      ctx.expect(fresh.verify(0, PMD, pattern).ok, 'a new mapping should show what was synced');
    } finally {
      fs.closeSync(again);
    }
    expectOnlyLog(ctx, /^(XFS: (file system shut down|I\/O error)|JBD2: |journal aborted$|EXT4-fs( error |: I\/O error)|I\/O error on )/);
  },
});

/** A file of 3 huge pages with known data on media; two are mapped, the first is faulted. */
function mapSynced(ctx: Context): { mapping: Mapping; offset: number; fd: number } {
  const file = openHugeFile(ctx, 3 * PMD);
  {
    using all = mapFile(ctx, file);
    all.fill(0, file.length, pattern);
    all.msync(0, file.length);
  }
  fs.fsyncSync(file.fd);
  native.syncfs(file.fd);
  const mapping = Mapping.map({ fd: file.fd, offset: file.offset, length: 2 * PMD, align: PMD });
  mapping.touch({ offset: 0, count: 1, access: 'rmw' });
  proveLevel(ctx, ctx.fsdax, mapping, 0, 'pmd', 'before');
  return { mapping, offset: file.offset, fd: file.fd };
}

/** The same data by write(2) alone. */
function writeSynced(ctx: Context): { offset: number; fd: number } {
  const file = openHugeFile(ctx, 3 * PMD);
  fs.writeSync(file.fd, native.patternBytes(3 * PMD, pattern), 0, 3 * PMD, file.offset);
  fs.fsyncSync(file.fd);
  native.syncfs(file.fd);
  return { offset: file.offset, fd: file.fd };
}

/** What a mapping of a device that is gone may show: its data, or a signal. */
function useMapping(ctx: Context, mapping: Mapping): void {
  ctx.step('using what is mapped');
  for (const [what, offset] of [['faulted', 0], ['unfaulted', PMD]] as const) {
    const seen = mapping.verify(offset, PMD, { ...pattern, base: offset } as Pattern);
    ctx.prove(`the mapping, ${what}`, seen.signal ?? 'the data');
    ctx.expect(seen.ok || seen.signal?.signal === 'SIGBUS', `a mapping of a device that is gone, ${what}, should give its data or SIGBUS`, seen);
  }
}

function attempt(call: () => unknown): string {
  try {
    call();
    return 'success';
  } catch (error) {
    if (error instanceof SystemError || codeOf(error) !== undefined) return codeOf(error)!;
    throw new BrokenError(String(error), { cause: error });
  }
}

const later = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
