// Guards that all ways to a file's bytes agree: write(2) and read(2), O_DIRECT, mappings, and the block device below
// (fs/dax.c: dax_iomap_rw, dax_writeback_mapping_range; report R3: block and mmap must agree at every offset). Also
// after the file system was unmounted and after its namespace was taken away and came back.
import fs from 'node:fs';
import path from 'node:path';
import * as native from '../../native.js';
import { Mapping, patternBytes } from '../../native.js';
import { MiB, roundUp } from '../../units.js';
import { places, withBlockDevice } from '../shared/block.js';
import { PAGE, PMD, mapped } from '../shared/huge.js';
import { ownMount } from '../shared/own-mount.js';
import { defineWorkload, type Context } from '../types.js';

const LENGTH = 2 * PMD + 3 * PAGE + 1234;
/** Bytes at each place of the device. */
const PIECE = 2 * PAGE;

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
    const device = wholeDevice(ctx);
    // What is found of a user's file system holds for it as it is; it is not unmounted.
    if (ctx.fsdax.namespace === undefined) return ctx.prove('across umount and mount', 'not on a file system of the user\'s');

    const mount = ownMount(ctx);
    for (const [what, between] of [['umount and mount', undefined], ['disabling and enabling the namespace', () => mount.reenable()]] as const) {
      ctx.step(`across ${what}`);
      await mount.remount(undefined, between);
      allAgree(ctx, file, model, `across ${what}`);
      device.compare(`across ${what}`);
    }
    ctx.step('the block device written, read by a mapping');
    await mount.remount(undefined, () => Promise.resolve(device.rewrite()));
    device.compare('after the block device was written');
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
  ctx.expect(copied > 0, 'copy_file_range(2) within the file should copy something', { copied });
  model.copyWithin(PMD + 8 * PAGE, 0, copied);
  ctx.prove('bytes compared, and ways', { length: LENGTH, copied });
  allAgree(ctx, file, model, 'after copies');
}

/** A file with places all over the device, both ends of what was free included. */
interface WholeDevice {
  /** Each place through the file by a new mapping, and by the block device. */
  compare(when: string): void;
  /** Other words by the block device. Only while nothing has the file system mounted. */
  rewrite(): void;
}

/**
 * Takes free space (all of it on a device that is the workload's own, up to the span of one that is shared), and stores through a mapping at
 * places from the first to the last.
 */
function wholeDevice(ctx: Context): WholeDevice {
  const { blockDevice, folder, namespace } = ctx.fsdax;
  if (blockDevice === undefined || fs.statSync(blockDevice, { throwIfNoEntry: false })?.isBlockDevice() !== true) {
    ctx.prove('all over the device', 'not told which device this file system is on');
    return { compare: () => {}, rewrite: () => {} };
  }
  ctx.step('all over the device');
  const filler = path.join(folder, 'filler');
  const { bavail, bsize } = fs.statfsSync(folder);
  const free = bavail * bsize;
  const length = Math.floor((namespace === undefined ? Math.min(ctx.span, free / 2) : free * 0.97) / MiB) * MiB;
  const { chosen, size } = withFiles((fd, block) => {
    native.fallocate(fd, 'allocate', 0, length);
    fs.fsyncSync(fd);
    const extents = native.fiemap(fd).filter((extent) => extent.length >= PIECE);
    return { chosen: spread([...extents].sort((a, b) => a.physical - b.physical), ctx.span), size: native.blockDevice(block).size };
  });
  ctx.prove('all over the device', { size, places: chosen.length, physical: [chosen[0], chosen.at(-1)].map((place) => place?.physical) });
  ctx.expect(chosen.length > 0, 'free space should have whole pages');
  ctx.expect(namespace === undefined || chosen.at(-1)!.physical > size * 0.9, 'free space should reach the last tenth of the device', chosen.at(-1));
  let seed = 71;
  const words = (physical: number) => ({ kind: 'words', seed, base: physical }) as const;
  withFiles((fd) => {
    for (const { logical, physical } of chosen) {
      using mapping = Mapping.map({ fd, offset: logical, length: PIECE });
      const filled = mapping.fill(0, PIECE, words(physical));
      ctx.expect(filled.signal === undefined, `storing at byte ${physical} of the device should succeed`, filled.signal);
      mapping.msync(0, PIECE);
    }
  });
  const device: WholeDevice = {
    compare(when) {
      withFiles((fd, block) => {
        using buffer = Mapping.anonymous({ length: PIECE });
        for (const { logical, physical } of chosen) {
          using mapping = Mapping.map({ fd, offset: logical, length: PIECE });
          const seen = mapping.verify(0, PIECE, words(physical));
          ctx.expect(seen.ok, `${when}: byte ${physical} of ${blockDevice}, through the file, should be what was stored there`, seen);
          buffer.readFrom(block, physical, 0, PIECE);
          const below = buffer.verify(0, PIECE, words(physical));
          ctx.expect(below.ok, `${when}: byte ${physical} of ${blockDevice} should be what was stored there`, below);
        }
      });
    },
    rewrite() {
      seed++;
      withBlockDevice(blockDevice, (block) => {
        using buffer = Mapping.anonymous({ length: PIECE });
        for (const { physical } of chosen) {
          buffer.fill(0, PIECE, words(physical));
          const sent = buffer.writeTo(block, physical, 0, PIECE);
          ctx.expect(sent === PIECE, `the block device should take ${PIECE} bytes at ${physical}`, { sent });
        }
      });
    },
  };
  device.compare('after stores');
  return device;

  function withFiles<Result>(work: (fd: number, block: number) => Result): Result {
    const fd = fs.openSync(filler, fs.constants.O_RDWR | fs.constants.O_CREAT);
    const block = fs.openSync(blockDevice!, fs.constants.O_RDONLY | fs.constants.O_DIRECT);
    try {
      return work(fd, block);
    } finally {
      fs.closeSync(block);
      fs.closeSync(fd);
    }
  }
}

/** Places of two pages in the extents, by physical address: the first, the last, and evenly between them what `span` bytes allow. */
function spread(extents: readonly { logical: number; physical: number; length: number }[], span: number): { logical: number; physical: number }[] {
  const total = extents.reduce((sum, { length }) => sum + Math.floor(length / PIECE), 0);
  // A page is where mapping and block device could differ: no more than a few of each huge page.
  return places(total, 1, PMD, span).map((index) => {
    let left = index;
    for (const { logical, physical, length } of extents) {
      const pieces = Math.floor(length / PIECE);
      if (left < pieces) return { logical: logical + left * PIECE, physical: physical + left * PIECE };
      left -= pieces;
    }
    throw new RangeError('a place behind the last extent');
  });
}
