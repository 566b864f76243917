// Guards that a damaged info block is refused and nothing else suffers (drivers/nvdimm/pfn_devs.c: nd_pfn_validate,
// nd_pfn_probe): a page map put in the wrong place would write struct pages over data. A block of the right checksum
// with impossible contents is the harder half. Put right again, the namespace must come back with its data.
import fs from 'node:fs';
import path from 'node:path';
import type { NdNamespace } from '../../device/nd.js';
import { BrokenError } from '../../errors.js';
import { patternBytes } from '../../native.js';
import { PIECE, expectBlocks, spots, withBlockDevice, writeBlocks } from '../shared/block.js';
import { parseInfoBlock, readInfoBlock, sealed, writeInfoBlock } from '../shared/info-block.js';
import { expectOnlyLog } from '../shared/log.js';
import { allNamespaces, asRawBytes, blockDeviceOf, spareNamespace, type Spare } from '../shared/namespaces.js';
import { defineWorkload, type Context } from '../types.js';

/** Each damage is done to a good block; `seal`: with the checksum put right, so that the contents are judged. */
const DAMAGES: readonly { name: string; seal: boolean; damage: (block: Buffer) => void }[] = [
  { name: 'one bit flipped', seal: false, damage: (block) => block.writeUInt8(block.readUInt8(60) ^ 4, 60) },
  { name: 'another signature', seal: true, damage: (block) => block.write('NVDIMM_PFN_INF?', 0, 'latin1') },
  { name: 'overwritten', seal: false, damage: (block) => patternBytes(block.length, { kind: 'words', seed: 94 }).copy(block) },
  { name: 'data behind the end', seal: true, damage: (block) => block.writeBigUInt64LE(1n << 60n, 56) },
  { name: 'an alignment that its data has not', seal: true, damage: (block) => block.writeUInt32LE(1 << 30, 84) },
  { name: 'an unknown mode', seal: true, damage: (block) => block.writeUInt32LE(77, 72) },
];

export default defineWorkload({
  name: 'namespace/info-block',
  about: 'info blocks damaged in six ways are refused, other namespaces stay, and the repaired one comes back with its data',
  guards: ['R3: info block', 'ndctl pfn-meta-errors.sh, infoblock tests', 'kernel nd_pfn_validate'],
  needs: { guest: true, tools: ['ndctl'], files: ['/sys/bus/nd/devices'] },
  expectsLog: ['dax-off', 'warning'], // "bad offset, dax disabled" and "probe of namespace0.0 failed" are what is wanted
  async run(ctx: Context) {
    const spare = await spareNamespace(ctx);
    const made = await spare.remake({ mode: 'fsdax', map: 'dev', align: '2M' });
    const pattern = { kind: 'words', seed: 95 } as const;
    const offsets = withBlockDevice(made.path, (_, size) => spots(size, PIECE));
    writeBlocks(ctx, made.path, offsets, PIECE, pattern);
    const others = look(made.dev);
    const besides = others.flatMap(({ dev }) => blockDeviceOf(dev) ?? []).map((name) => `/dev/${name}`);
    ctx.prove('other namespaces', besides.length > 0 ? besides : 'none on this machine');
    const theirs = (device: string): number[] => withBlockDevice(device, (_, size) => spots(size, PIECE));
    const elsewhere = { kind: 'words', seed: 96 } as const;
    for (const device of besides) writeBlocks(ctx, device, theirs(device), PIECE, elsewhere);

    const good = await asRawBytes(spare, (device) => withBlockDevice(device, (fd) => readInfoBlock(fd)));
    const info = parseInfoBlock(good);
    ctx.prove('info block', info);
    ctx.expect(info.signature === 'NVDIMM_PFN_INFO' && info.checksumOk && info.mode === 'pmem', 'the kernel\'s own info block should parse, with its checksum right', info);

    for (const { name, seal, damage } of DAMAGES) {
      ctx.step(name);
      const bad = Buffer.from(good);
      damage(bad);
      await asRawBytes(spare, (device) => withBlockDevice(device, (fd) => writeInfoBlock(fd, seal ? sealed(bad) : bad)));
      const became = await afterEnabling(spare);
      ctx.prove(name, became);
      ctx.expect(became !== 'pfn', `${name}: the info block should be refused, and the namespace not come up by it`, { became });
      const now = look(made.dev);
      ctx.expect(JSON.stringify(now) === JSON.stringify(others), `${name}: other namespaces should be as before`, { before: others, now });
      for (const device of besides) expectBlocks(ctx, device, theirs(device), PIECE, elsewhere, `${name}, another namespace`);
    }

    ctx.step('repaired');
    await asRawBytes(spare, (device) => withBlockDevice(device, (fd) => writeInfoBlock(fd, good)));
    const became = await afterEnabling(spare);
    ctx.expect(became === 'pfn', 'with its info block put right the namespace should come up by it again', { became });
    expectBlocks(ctx, made.path, offsets, PIECE, pattern, 'repaired');
    expectOnlyLog(ctx, /^nd_pmem: probe failed$|^DAX turned off/);
  },
});

/** All other namespaces, by what they are. */
const look = (but: string): NdNamespace[] => allNamespaces().filter(({ dev }) => dev !== but);

/**
 * What serves the namespace's bytes: the device that the info block describes (pfn), all of them (raw), or nothing. The
 * mode that ndctl tells is no help: a legacy region has pages, and is called fsdax, with or without an info block.
 */
async function afterEnabling(spare: Spare): Promise<'pfn' | 'raw' | 'refused'> {
  try {
    await spare.enable();
  } catch (error) {
    if (!(error instanceof BrokenError)) throw error;
    return 'refused';
  }
  const device = blockDeviceOf(spare.dev);
  if (device === undefined) return 'refused';
  return path.basename(fs.realpathSync(`/sys/block/${device}/device`)).startsWith('pfn') ? 'pfn' : 'raw';
}
