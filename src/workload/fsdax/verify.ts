// Guards that all ways to a file's bytes agree: write(2) and read(2), O_DIRECT, mappings, and the block device below
// (fs/dax.c: dax_iomap_rw, dax_writeback_mapping_range; report R3: block and mmap must agree at every offset). Also
// after the file system was unmounted and after its namespace was taken away and came back.
import fs from 'node:fs';
import path from 'node:path';
import * as native from '../../native.js';
import { Mapping, patternBytes } from '../../native.js';
import { MiB, roundUp } from '../../units.js';
import { places } from '../shared/block.js';
import { PAGE, PMD, mapped } from '../shared/huge.js';
import { ownMount } from '../shared/own-mount.js';
import { defineWorkload, type Context } from '../types.js';

const LENGTH = 2 * PMD + 3 * PAGE + 1234;

export default defineWorkload({
  name: 'fsdax/verify',
  about: 'write, read, O_DIRECT, mappings and the block device agree on every byte, also after a remount and after the namespace came back',
  guards: ['R3: block I/O and mmap agree at every offset', 'ndctl dax.sh, mmap.sh: data integrity', 'kernel dax_iomap_rw, dax_writeback_mapping_range'],
  needs: { dax: 'fsdax', size: 64 * PMD, tools: ['ndctl'] },
  params: { fs: ['ext4', 'xfs'], map: ['mem', 'dev'] },
  thorough: { map: ['dev'] },
  async run(ctx: Context) {
    const file = path.join(ctx.fsdax.folder, 'file');
    const model = Buffer.alloc(LENGTH);
    const fd = fs.openSync(file, 'wx+');
    try {
      writes(ctx, file, fd, model);
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
    await ends(ctx);

    const mount = ownMount(ctx);
    ctx.step('across umount and mount');
    await mount.remount();
    allAgree(ctx, file, model, 'after a remount');
    ctx.step('across disabling and enabling the namespace');
    await mount.remount(undefined, () => mount.reenable());
    allAgree(ctx, file, model, 'after the namespace came back');
  },
});

/** The file as read(2), O_DIRECT and a new mapping show it, against what was written. */
function allAgree(ctx: Context, file: string, model: Buffer, when: string): void {
  same(ctx, fs.readFileSync(file), model, `${when}: read(2)`);
  const fd = fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_DIRECT);
  try {
    const whole = roundUp(model.length, PAGE);
    using buffer = Mapping.anonymous({ length: whole });
    const got = buffer.readFrom(fd, 0, 0, whole);
    ctx.expect(got === model.length, `${when}: O_DIRECT should read to the end of the file`, { got });
    same(ctx, buffer.read(0, got).bytes, model, `${when}: O_DIRECT`);
    using mapping = Mapping.map({ fd, length: whole, align: PMD });
    same(ctx, mapping.read(0, model.length).bytes, model, `${when}: a mapping`);
    const tail = mapping.verify(roundUp(model.length, 8), roundUp(model.length, PAGE) - roundUp(model.length, 8), { kind: 'byte', value: 0 });
    ctx.expect(tail.ok, `${when}: behind the end of the file the last page should be zeros`, tail);
  } finally {
    fs.closeSync(fd);
  }
}

function same(ctx: Context, got: Uint8Array, wanted: Buffer, what: string): void {
  if (wanted.equals(got)) return;
  const at = wanted.findIndex((byte, i) => got[i] !== byte);
  ctx.expect(false, `${what} should give the bytes that were written`, { length: got.length, wanted: wanted.length, firstDifference: at, byte: got[at], should: wanted[at] });
}

/** Writes by each way at aligned and at odd offsets, across pages and across huge pages; reads by the others. */
function writes(ctx: Context, file: string, fd: number, model: Buffer): void {
  let seed = ctx.seed * 100;
  const fresh = (length: number): Buffer => patternBytes(roundUp(length, 8), { kind: 'words', seed: ++seed }).subarray(0, length);
  const put = (at: number, bytes: Buffer): void => void bytes.copy(model, at);

  ctx.step('write(2), read by a mapping');
  const all = fresh(LENGTH);
  fs.writeSync(fd, all, 0, LENGTH, 0);
  put(0, all);
  using mapping = mapped(ctx, Mapping.map({ fd, length: roundUp(LENGTH, PAGE), align: PMD }));
  same(ctx, mapping.read(0, LENGTH).bytes, model, 'a mapping after write(2)');
  for (const [at, length] of [[PAGE - 1, 2], [3 * PAGE - 100, PAGE + 200], [PMD - 13, 26], [PMD - PAGE - 1, 2 * PAGE + 2], [LENGTH - 7, 7]] as const) {
    const bytes = fresh(length);
    fs.writeSync(fd, bytes, 0, length, at); // the page is mapped already: the mapping must show it at once
    put(at, bytes);
    same(ctx, mapping.read(0, LENGTH).bytes, model, `a mapping after write(2) of ${length} bytes at ${at}`);
  }
  ctx.step('stores, read by read(2)');
  for (const [at, length] of [[0, 1], [PAGE - 3, 7], [PMD - 5, 11], [PMD + 17, 3 * PAGE], [LENGTH - 9, 9]] as const) {
    const bytes = fresh(length);
    const { signal } = mapping.write(at, bytes);
    ctx.expect(signal === undefined, `storing ${length} bytes at ${at} should succeed`, signal);
    put(at, bytes);
  }
  allAgree(ctx, file, model, 'after stores');

  ctx.step('O_DIRECT, read by a mapping and by read(2)');
  const direct = fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_DIRECT);
  try {
    using buffer = Mapping.anonymous({ length: PMD });
    for (const [at, length] of [[0, PAGE], [5 * PAGE, 64 * 1024], [PMD - 4 * PAGE, 8 * PAGE]] as const) {
      const bytes = fresh(length);
      buffer.write(0, bytes);
      const sent = buffer.writeTo(direct, at, 0, length);
      ctx.expect(sent === length, `O_DIRECT should write all ${length} bytes at ${at}`, { sent });
      put(at, bytes);
    }
  } finally {
    fs.closeSync(direct);
  }
  same(ctx, mapping.read(0, LENGTH).bytes, model, 'a mapping after O_DIRECT');
  allAgree(ctx, file, model, 'after O_DIRECT');

  ctx.step('a mapping as the source and target of read(2) and write(2)');
  const sent = mapping.writeTo(fd, PMD, 0, 2 * PAGE); // from the file's own pages
  ctx.expect(sent === 2 * PAGE, 'write(2) from a DAX mapping into its own file should take all bytes', { sent });
  model.copyWithin(PMD, 0, 2 * PAGE);
  const got = mapping.readFrom(fd, 0, PMD + PAGE, PAGE);
  ctx.expect(got === PAGE, 'read(2) into a DAX mapping of the same file should give all bytes', { got });
  model.copyWithin(PMD + PAGE, 0, PAGE);
  const copied = native.copyFileRange({ from: fd, fromOffset: 0, to: fd, toOffset: PMD + 8 * PAGE, length: 4 * PAGE });
  model.copyWithin(PMD + 8 * PAGE, 0, copied);
  ctx.prove('bytes compared, and ways', { length: LENGTH, copied });
  allAgree(ctx, file, model, 'after copies');
}

/** Takes all free space, and works in its first and its last blocks on the device: the mapping against the block device. */
async function ends(ctx: Context): Promise<void> {
  const { blockDevice, folder } = ctx.fsdax;
  if (blockDevice === undefined || ctx.fsdax.namespace === undefined) return ctx.prove('ends of the device', 'not on a file system that is shared with others');
  ctx.step('both ends of the device');
  const filler = path.join(folder, 'filler');
  const fd = fs.openSync(filler, 'wx+');
  const block = fs.openSync(blockDevice, fs.constants.O_RDONLY | fs.constants.O_DIRECT);
  try {
    const { bavail, bsize } = fs.statfsSync(folder);
    native.fallocate(fd, 'allocate', 0, Math.floor((bavail * bsize * 0.97) / MiB) * MiB);
    const extents = native.fiemap(fd).filter(({ length }) => length >= 2 * PAGE);
    const byPlace = [...extents].sort((a, b) => a.physical - b.physical);
    const chosen = spread(byPlace, ctx.span);
    const size = native.blockDevice(block).size;
    ctx.prove('ends of the device', { size, places: chosen.length, physical: [chosen[0], chosen.at(-1)].map((place) => place?.physical) });
    ctx.expect(chosen.at(-1)!.physical > size * 0.9, 'free space should reach the last tenth of the device', chosen.at(-1));
    using buffer = Mapping.anonymous({ length: 2 * PAGE });
    for (const { logical, physical } of chosen) {
      using mapping = Mapping.map({ fd, offset: logical, length: 2 * PAGE });
      const pattern = { kind: 'words', seed: 71, base: physical } as const;
      const filled = mapping.fill(0, 2 * PAGE, pattern);
      ctx.expect(filled.signal === undefined, `storing at byte ${physical} of the device should succeed`, filled.signal);
      mapping.msync(0, 2 * PAGE);
      buffer.readFrom(block, physical, 0, 2 * PAGE);
      const check = buffer.verify(0, 2 * PAGE, pattern);
      ctx.expect(check.ok, `byte ${physical} of ${blockDevice} should be what was stored through the file`, check);
    }
  } finally {
    fs.closeSync(block);
    fs.closeSync(fd);
    fs.rmSync(filler);
  }
}

/** Places of two pages in the extents, by physical address: the first, the last, and evenly between them what `span` bytes allow. */
function spread(extents: readonly { logical: number; physical: number; length: number }[], span: number): { logical: number; physical: number }[] {
  const total = extents.reduce((sum, { length }) => sum + Math.floor(length / (2 * PAGE)), 0);
  // A page is where mapping and block device could differ: no more than a few of each huge page.
  return places(total, 1, PMD, span).map((index) => {
    let left = index;
    for (const { logical, physical, length } of extents) {
      const pieces = Math.floor(length / (2 * PAGE));
      if (left < pieces) return { logical: logical + left * 2 * PAGE, physical: physical + left * 2 * PAGE };
      left -= pieces;
    }
    throw new RangeError('a place behind the last extent');
  });
}
