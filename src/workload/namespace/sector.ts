// Guards the block translation table (drivers/nvdimm/btt.c: btt_map_read and write, btt_rw_integrity-free paths,
// freelist_init and log_set_indices when it comes up again): single sectors, rewritten again and again in any order, must
// be found after the table was read back from media; and a device whose blocks move must not be offered for DAX.
import fs from 'node:fs';
import path from 'node:path';
import { makeFileSystem, waitForFile } from '../../device/provision.js';
import { mountOf } from '../../device/mounts.js';
import { SystemError } from '../../errors.js';
import * as native from '../../native.js';
import { Mapping, patternBytes, verifyBytes } from '../../native.js';
import { MiB } from '../../units.js';
import { withBlockDevice } from '../shared/block.js';
import { spareNamespace } from '../shared/namespaces.js';
import { defineWorkload, type Context } from '../types.js';

const SPOTS = 96;
const WRITES = 400;

export default defineWorkload({
  name: 'namespace/sector',
  about: 'a sector (BTT) namespace: sectors rewritten at random, found again after re-enabling; a file system on it; DAX refused',
  guards: ['ndctl btt-check.sh, btt-errors.sh, btt-pad-compat.sh: data', 'kernel nd_btt'],
  needs: { guest: true, tools: ['ndctl', 'mke2fs'], files: ['/sys/bus/nd/devices'] },
  // 520: 512 bytes with 8 of metadata, which the kernel keeps beside them (btt_rw_integrity).
  params: { sector: [4096, 512, 520] },
  thorough: { sector: [512, 520] },
  expectsLog: ['dax-off'],
  async run(ctx: Context) {
    const sectorSize = Number(ctx.params.sector);
    const sector = sectorSize >= 4096 ? 4096 : 512;
    const spare = await spareNamespace(ctx);
    const { path: device } = await spare.remake({ mode: 'sector', sectorSize });
    const random = randomNumbers(ctx.seed);
    /** What each spot holds: the number of its last write. */
    const last = new Map<number, number>();
    const offsets = withBlockDevice(device, (_, size) => {
      ctx.prove('device', { device, size, sector: sectorSize });
      const sectors = Math.floor(size / sector);
      return Array.from({ length: SPOTS }, (_, i) => (i === 0 ? 0 : i === 1 ? sectors - 1 : Math.floor(random() * sectors)) * sector);
    });

    ctx.step(`${WRITES} writes of one sector`);
    withBlockDevice(device, (fd) => {
      using buffer = Mapping.anonymous({ length: 4096 });
      for (let n = 1; n <= WRITES; n++) {
        const offset = offsets[n <= SPOTS ? n - 1 : Math.floor(random() * SPOTS)]!;
        buffer.fill(0, sector, { kind: 'words', seed: n, base: offset });
        const sent = buffer.writeTo(fd, offset, 0, sector);
        ctx.expect(sent === sector, `a write of one sector at ${offset} should be taken whole`, { sent });
        last.set(offset, n);
      }
    });
    const compare = (when: string): void =>
      withBlockDevice(device, (fd) => {
        using buffer = Mapping.anonymous({ length: 4096 });
        for (const [offset, n] of last) {
          buffer.readFrom(fd, offset, 0, sector);
          const check = buffer.verify(0, sector, { kind: 'words', seed: n, base: offset });
          ctx.expect(check.ok, `${when}: the sector at ${offset} should hold its last write`, check);
        }
      });
    compare('after writing');
    ctx.step('disabled and enabled');
    await spare.disable();
    await spare.enable(device);
    compare('after the table was read back');

    await fileSystem(ctx, device, async () => {
      await spare.disable();
      await spare.enable(device);
    });
  },
});

async function fileSystem(ctx: Context, device: string, reenable: () => Promise<void>): Promise<void> {
  ctx.step('a file system on it');
  await waitForFile(device);
  await makeFileSystem('ext4', device);
  const folder = path.join(ctx.folder, 'mnt');
  fs.mkdirSync(folder);
  const pattern = { kind: 'words', seed: 93 } as const;
  await native.mountAsync({ source: device, target: folder, type: 'ext4' });
  try {
    fs.writeFileSync(path.join(folder, 'file'), patternBytes(2 * MiB, pattern), { flush: true } as fs.WriteFileOptions);
    ctx.expect(native.statx(path.join(folder, 'file')).dax !== true, 'a file on a sector namespace should not claim DAX');
  } finally {
    await native.umountAsync(folder);
  }
  await reenable();
  for (const data of ['', 'dax=always']) {
    try {
      await native.mountAsync({ source: device, target: folder, type: 'ext4', data });
    } catch (error) {
      if (data === '' || !(error instanceof SystemError)) throw error;
      ctx.prove(data, `refused: ${error.code}`);
      ctx.expect(['EINVAL', 'EOPNOTSUPP'].includes(error.code), 'dax=always on a sector namespace should be refused with EINVAL or EOPNOTSUPP, if at all', error.code);
      continue;
    }
    try {
      if (data !== '') ctx.prove(data, `mounted: ${mountOf(folder)?.options.join()}`);
      const check = verifyBytes(fs.readFileSync(path.join(folder, 'file')), pattern);
      ctx.expect(check.ok, 'the file should be there after the namespace came back', check);
      ctx.expect(native.statx(path.join(folder, 'file')).dax !== true, 'a file on a sector namespace should not be DAX', { data });
    } finally {
      await native.umountAsync(folder);
    }
  }
}

/** mulberry32: numbers in [0, 1) that follow from the seed. */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
