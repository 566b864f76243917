// What the huge-page workloads share: a file that can be mapped by huge pages, and the proof that it is.
import fs from 'node:fs';
import path from 'node:path';
import { inRanges, type Place } from '../../device/place.js';
import * as native from '../../native.js';
import { Mapping } from '../../native.js';
import { GiB, MiB, formatSize, roundDown, roundUp } from '../../units.js';
import type { Context } from '../types.js';

export const PAGE = 4096;
export const PMD = 2 * MiB;

export interface HugeFile {
  fd: number;
  path: string;
  /** File offset of the first byte of the aligned part, a multiple of 2 MiB. */
  offset: number;
  /** Bytes, a multiple of 2 MiB. */
  length: number;
}

/**
 * A new file on the DAX file system whose bytes from `offset` on are allocated in 2 MiB extents aligned both in the
 * file and on the device, as a PMD mapping needs (fs/dax.c: dax_iomap_pmd_fault). Skips when the file system has none.
 * Its descriptor is closed when the workload ends.
 */
export function hugeFile(ctx: Context, length: number, name = 'huge'): HugeFile {
  const file = openHugeFile(ctx, length, name);
  ctx.cleanup(() => fs.closeSync(file.fd));
  return file;
}

/** The same, for a workload that closes the descriptor itself, because it unmounts. */
export function openHugeFile(ctx: Context, length: number, name = 'huge'): HugeFile {
  const file = path.join(ctx.fsdax.folder, name);
  const fd = fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL, 0o600);
  const wanted = roundUp(length, PMD);
  try {
    // The larger the request, the more an allocator cares for alignment; what it gives is looked at, not assumed.
    for (let size = wanted + 2 * PMD; size <= wanted + 32 * PMD; size *= 2) {
      // Begun as far into a huge page of the file as the first answer lay into one of the device, the next may fit.
      for (let shift = 0, tries = 0; tries < 3; tries++) {
        native.fallocate(fd, 'allocate', shift, roundUp(size, PMD));
        fs.fsyncSync(fd);
        const extents = native.fiemap(fd);
        for (const extent of extents) {
          const offset = extent.logical + ((PMD - (extent.physical % PMD)) % PMD);
          if (offset % PMD === 0 && extent.logical + extent.length >= offset + wanted) return { fd, path: file, offset, length: wanted };
        }
        fs.ftruncateSync(fd, 0);
        fs.fsyncSync(fd); // what was freed can be had again
        const longest = extents.reduce((best, extent) => (extent.length > best.length ? extent : best), { logical: 0, physical: 0, length: 0 });
        shift = (((longest.physical - longest.logical) % PMD) + PMD) % PMD;
      }
    }
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
  fs.closeSync(fd);
  return ctx.skip(`${ctx.fsdax.fs} gave no extent of ${formatSize(wanted)} aligned to 2 MiB in file and device; free some space on it`);
}

export const mapFile = (ctx: Context, file: HugeFile, options: { prot?: 'r' | 'rw'; share?: 'shared' | 'private' | 'sync'; align?: number; alignSkew?: number } = {}): Mapping =>
  mapped(ctx, Mapping.map({ fd: file.fd, offset: file.offset, length: file.length, prot: 'rw', share: 'shared', align: PMD, ...options }));

/** A mapping that is closed when the workload ends. */
export function mapped(ctx: Context, mapping: Mapping): Mapping {
  ctx.cleanup(() => {
    if (!mapping.closed) mapping.close();
  });
  return mapping;
}

/**
 * Expects the touched address to be backed at `level`, by the kernel's own word, and its page frame to lie in the
 * persistent memory that /proc/iomem shows, where a place is given. Both are kept with the result. A PUD of device-dax is told by
 * its faults alone: pagemap splits it by looking, so that it would show neither the level nor a frame.
 */
export function proveLevel(ctx: Context, place: Place | undefined, mapping: Mapping, offset: number, level: 'pte' | 'pmd' | 'pud', label: string): void {
  if (level === 'pud' && place) return provePud(ctx, mapping, offset, label);
  const found = mapping.pageLevel(offset);
  const page = mapping.pagemap(offset, 1)[0]!;
  const pfn = page.present ? page.pfn : undefined;
  ctx.prove(label, { level: found.level, method: found.method, ...(pfn === undefined ? {} : { pfn: `0x${pfn.toString(16)}` }) });
  ctx.expect(found.level === level, `${label}: the page should be mapped by a ${level.toUpperCase()}`, found);
  if (place && place.ranges.length > 0) ctx.expect(pfn !== undefined && inRanges(place, pfn), `${label}: the page frame should lie in persistent memory`, { pfn, ranges: place.ranges });
}

/** The entry that is there maps the far end of its 1 GiB as well, without a fault; so does one made anew. */
function provePud(ctx: Context, mapping: Mapping, offset: number, label: string): void {
  const end = roundDown(offset, GiB) + GiB - PAGE;
  const { signal, minorFaults, majorFaults } = mapping.touch({ offset: end, count: 1, access: 'read' });
  const found = mapping.pageLevel(offset, 'fault-count');
  ctx.prove(label, { level: found.level, method: found.method, faultsAtItsEnd: minorFaults + majorFaults });
  ctx.expect(signal === undefined && minorFaults + majorFaults === 0, `${label}: the end of the same 1 GiB should be mapped as well`, { signal, minorFaults, majorFaults });
  ctx.expect(found.level === 'pud', `${label}: the page should be mapped by a PUD`, found);
}
