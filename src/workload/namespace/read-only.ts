// Guards a region that is set read-only (drivers/nvdimm/region_devs.c: read_only_store, revalidate_read_only; bus.c:
// nvdimm_check_and_set_ro; pmem.c: pmem_revalidate_region): nothing may write to it, everything may be read, and once it is
// writable again it is as if nothing had been.
import fs from 'node:fs';
import path from 'node:path';
import { ndAttribute, setNdAttribute } from '../../device/nd.js';
import { makeFileSystem, mountDax } from '../../device/provision.js';
import * as native from '../../native.js';
import { Mapping, blockDevice } from '../../native.js';
import { PMD, mapped } from '../shared/huge.js';
import { PIECE, expectBlocks, spots, withBlockDevice, writeBlocks } from '../shared/block.js';
import { spareNamespace, type Spare } from '../shared/namespaces.js';
import { defineWorkload, type Context } from '../types.js';

const pattern = { kind: 'words', seed: 96 } as const;
const filePattern = { kind: 'words', seed: 97 } as const;

export default defineWorkload({
  name: 'namespace/read-only',
  about: 'a region set read-only: writes, write mounts and writable mappings refused, all reads right, and back again',
  guards: ['kernel read_only_store, nvdimm_check_and_set_ro, pmem_revalidate_region'],
  needs: { guest: true, tools: ['ndctl', 'mke2fs'], files: ['/sys/bus/nd/devices'], filesystems: ['ext4'] },
  async run(ctx: Context) {
    const spare = await spareNamespace(ctx);
    ctx.cleanup(() => setNdAttribute(spare.region, 'read_only', '0'));
    const raw = await spare.remake({ mode: 'raw' });
    const offsets = withBlockDevice(raw.path, (_, size) => spots(size, PIECE));
    writeBlocks(ctx, raw.path, offsets, PIECE, pattern);
    await setReadOnly(ctx, spare, raw.path, true);
    await ctx.expectError('a write to a read-only device', ['EPERM', 'EACCES', 'EROFS'], () => writeBlocks(ctx, raw.path, offsets, PIECE, { kind: 'words', seed: 98 }));
    readBack(ctx, raw.path, offsets, 'read-only');
    await setReadOnly(ctx, spare, raw.path, false);
    expectBlocks(ctx, raw.path, offsets, PIECE, pattern, 'writable again');
    writeBlocks(ctx, raw.path, offsets, PIECE, pattern);

    await fileSystem(ctx, spare);
  },
});

/** Sets the region, and waits for what the block device makes of it: newer kernels tell at once, older ones when it is enabled again. */
async function setReadOnly(ctx: Context, spare: Spare, device: string, on: boolean): Promise<void> {
  ctx.step(on ? 'read-only' : 'writable again');
  setNdAttribute(spare.region, 'read_only', on ? '1' : '0');
  ctx.expect(ndAttribute(spare.region, 'read_only') === (on ? '1' : '0'), 'the region should say what was set', ndAttribute(spare.region, 'read_only'));
  const atOnce = isReadOnly(device) === on;
  ctx.prove(on ? 'read-only' : 'writable', atOnce ? 'at once' : 'when enabled again');
  if (!atOnce) {
    await spare.disable();
    await spare.enable(device);
  }
  ctx.expect(isReadOnly(device) === on, `the block device should be ${on ? 'read-only' : 'writable'} as its region is`, { readOnly: isReadOnly(device) });
}

function isReadOnly(device: string): boolean {
  const fd = fs.openSync(device, 'r');
  try {
    return blockDevice(fd).readOnly;
  } finally {
    fs.closeSync(fd);
  }
}

function readBack(ctx: Context, device: string, offsets: readonly number[], when: string): void {
  const fd = fs.openSync(device, fs.constants.O_RDONLY | fs.constants.O_DIRECT);
  try {
    using buffer = Mapping.anonymous({ length: PIECE });
    for (const offset of offsets) {
      const got = buffer.readFrom(fd, offset, 0, PIECE);
      const check = buffer.verify(0, PIECE, { ...pattern, base: offset });
      ctx.expect(got === PIECE && check.ok, `${when}: byte ${offset} should be what was written before`, { got, ...check });
    }
  } finally {
    fs.closeSync(fd);
  }
}

/** A file system on it: only mounted read-only, its DAX files mapped for reading alone. */
async function fileSystem(ctx: Context, spare: Spare): Promise<void> {
  ctx.step('a file system');
  const { path: device } = await spare.remake({ mode: 'fsdax', map: 'dev', align: '2M' });
  await makeFileSystem('ext4', device, { huge: true });
  const folder = path.join(ctx.folder, 'mnt');
  fs.mkdirSync(folder);
  await mountDax(device, folder, 'ext4');
  try {
    const fd = fs.openSync(path.join(folder, 'file'), 'w+');
    native.fallocate(fd, 'allocate', 0, 2 * PMD);
    using mapping = Mapping.map({ fd, length: 2 * PMD, align: PMD });
    mapping.fill(0, 2 * PMD, filePattern);
    mapping.msync(0, 2 * PMD);
    fs.closeSync(fd);
  } finally {
    await native.umountAsync(folder);
  }
  await setReadOnly(ctx, spare, device, true);
  ctx.prove('a write mount', await ctx.expectError('mounting a read-only device for writing', ['EACCES', 'EROFS'], () => mountDax(device, folder, 'ext4')));
  await native.mountAsync({ source: device, target: folder, type: 'ext4', flags: ['ro'], data: 'dax' });
  try {
    const file = path.join(folder, 'file');
    ctx.prove('opening for writing', await ctx.expectError('opening a file of a read-only mount for writing', ['EROFS'], () => fs.closeSync(fs.openSync(file, 'r+'))));
    const fd = fs.openSync(file, 'r');
    try {
      ctx.prove('a writable mapping', await ctx.expectError('a writable shared mapping of it', ['EACCES'], () => Mapping.map({ fd, length: PMD, align: PMD }).close()));
      using mapping = mapped(ctx, Mapping.map({ fd, length: 2 * PMD, prot: 'r', align: PMD }));
      const check = mapping.verify(0, 2 * PMD, filePattern);
      ctx.expect(check.ok, 'a mapping for reading should show the file', check);
      const { signal } = mapping.touch({ offset: 0, count: 1, access: 'write' });
      ctx.expect(signal?.signal === 'SIGSEGV', 'a store to it should be SIGSEGV', signal ?? 'no signal');
    } finally {
      fs.closeSync(fd);
    }
  } finally {
    await native.umountAsync(folder);
  }
  await setReadOnly(ctx, spare, device, false);
  await mountDax(device, folder, 'ext4');
  await native.umountAsync(folder);
}
