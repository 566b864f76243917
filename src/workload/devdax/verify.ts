// Guards that a devdax device shows the bytes of its namespace: what the block device wrote is read at the same offsets,
// and the other way round; and that mappings which a devdax device cannot serve are refused (drivers/dax/device.c).
import fs from 'node:fs';
import { Mapping } from '../../native.js';
import { places } from '../shared/block.js';
import { PMD, proveLevel } from '../shared/huge.js';
import { levelOf, mapDevdax } from '../shared/devdax-map.js';
import { defineWorkload, type Context } from '../types.js';
import type { Pattern } from '../../native.js';

export default defineWorkload({
  name: 'devdax/verify',
  about: 'bytes written through the block device are read through /dev/daxX.Y at the same offsets, and back; wrong maps refused',
  guards: ['ndctl device-dax: verify_data, private and misaligned maps', 'R3: data offset'],
  needs: { dax: 'devdax', size: 8 * PMD },
  params: { map: ['mem', 'dev'], align: ['2M', '4K', '1G'] },
  thorough: { map: ['dev'], align: ['4K', '1G'] },
  quick: { map: ['mem'] },
  async run(ctx: Context) {
    const { devdax } = ctx;
    if (!devdax.asBlockDevice) ctx.skip(`${devdax.path}: has no namespace that could be lent as a block device`);
    const step = devdax.align;
    const length = Math.min(step, PMD);
    const offsets = places(devdax.size, step, length, ctx.span);
    ctx.prove('offsets', offsets.length > 8 ? { count: offsets.length, first: offsets[0], last: offsets.at(-1) } : offsets);

    ctx.step('writing through the block device');
    await devdax.asBlockDevice((device, start) => {
      ctx.prove('data offset on the block device', start);
      ctx.expect(ctx.params.map !== 'dev' || start === 0, 'with the page map on the device, block and character device should begin at the same byte', start);
      writeBlocks(device, start, offsets, length, forward);
    });
    ctx.step('reading through the character device');
    const fd = fs.openSync(devdax.path, 'r+');
    try {
      for (const offset of offsets) {
        using mapping = mapDevdax(ctx, fd, offset, step);
        const check = mapping.verify(0, length, { ...forward, base: offset } as Pattern);
        ctx.expect(check.ok, `byte ${offset} of the block device should be byte ${offset} of ${devdax.path}`, check);
        if (offset === offsets[0] || offset === offsets.at(-1)) proveLevel(ctx, devdax, mapping, 0, levelOf(devdax.align), `offset ${offset}`);
        mapping.fill(0, length, { ...backward, base: offset } as Pattern);
      }
      await refusals(ctx, fd);
    } finally {
      fs.closeSync(fd); // a namespace cannot be reconfigured while its device is open
    }
    ctx.step('reading back through the block device');
    await devdax.asBlockDevice((device, start) => readBlocks(ctx, device, start, offsets, length, backward));
  },
});

const forward: Pattern = { kind: 'words', seed: 21, base: 0 };
const backward: Pattern = { kind: 'words', seed: 22, base: 0 };

function withBlocks(device: string, work: (fd: number, buffer: Mapping) => void, length: number): void {
  const fd = fs.openSync(device, fs.constants.O_RDWR | fs.constants.O_DIRECT | fs.constants.O_SYNC);
  try {
    using buffer = Mapping.anonymous({ length });
    work(fd, buffer);
  } finally {
    fs.closeSync(fd);
  }
}

function writeBlocks(device: string, start: number, offsets: number[], length: number, pattern: Pattern): void {
  withBlocks(device, (fd, buffer) => {
    for (const offset of offsets) {
      buffer.fill(0, length, { ...pattern, base: offset } as Pattern);
      buffer.writeTo(fd, start + offset, 0, length);
    }
  }, length);
}

function readBlocks(ctx: Context, device: string, start: number, offsets: number[], length: number, pattern: Pattern): void {
  withBlocks(device, (fd, buffer) => {
    for (const offset of offsets) {
      buffer.readFrom(fd, start + offset, 0, length);
      const check = buffer.verify(0, length, { ...pattern, base: offset } as Pattern);
      ctx.expect(check.ok, `byte ${offset} of ${ctx.devdax.path} should be byte ${offset} of the block device`, check);
    }
  }, length);
}

/** Mappings that a devdax device must refuse with EINVAL (drivers/dax/device.c: check_vma). */
async function refusals(ctx: Context, fd: number): Promise<void> {
  const { align } = ctx.devdax;
  const private_ = await ctx.expectError('MAP_PRIVATE of a devdax device', ['EINVAL'], () => Mapping.map({ fd, length: align, prot: 'rw', share: 'private', align }).close());
  ctx.prove('MAP_PRIVATE', private_);
  if (align > 4096) {
    // The address, not the offset, is wrong here: half an alignment off. The kernel checks it at mmap or at the fault.
    const skewed = await ctx.expectError('a mapping that is not aligned to the device', ['EINVAL', 'SIGBUS'], () => {
      using mapping = Mapping.map({ fd, length: align, prot: 'r', share: 'shared', align, alignSkew: align / 2 });
      const { signal } = mapping.touch({ offset: 0, count: 1, stride: 4096, access: 'read' });
      if (signal) throw Object.assign(new Error('fault refused'), { code: signal.signal });
    });
    ctx.prove('misaligned map', skewed);
  }
}
