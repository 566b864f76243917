// Direct reads and writes of a block device, compared by the byte.
import fs from 'node:fs';
import { Mapping, blockDevice, type Pattern } from '../../native.js';
import { MiB } from '../../units.js';
import type { Context } from '../types.js';

/** Opens a block device for direct transfers, for as long as `work` takes. */
export function withBlockDevice<Result>(device: string, work: (fd: number, size: number) => Result): Result {
  const fd = fs.openSync(device, fs.constants.O_RDWR | fs.constants.O_DIRECT | fs.constants.O_SYNC);
  try {
    return work(fd, blockDevice(fd).size);
  } finally {
    fs.closeSync(fd);
  }
}

/** Bytes of a descriptor that is open for direct transfers; offset and length are whole sectors. */
export function readBytes(fd: number, offset: number, length: number): Buffer {
  using buffer = Mapping.anonymous({ length });
  buffer.readFrom(fd, offset, 0, length);
  return buffer.read(0, length).bytes;
}

export function writeBytes(fd: number, offset: number, bytes: Buffer): void {
  using buffer = Mapping.anonymous({ length: bytes.length });
  buffer.write(0, bytes);
  buffer.writeTo(fd, offset, 0, bytes.length);
}

/** The start, the middle and the end of `size` bytes: offsets of pieces of `length`, whole 4 KiB. */
export const spots = (size: number, length: number): number[] => [0, Math.floor(size / 2 / 4096) * 4096, Math.floor((size - length) / 4096) * 4096];

/**
 * Offsets of pieces of `length` bytes at multiples of `step`, spread evenly over `size` bytes so that they cover `span` bytes
 * together: at least both ends and the middle, at most all there is.
 */
export function places(size: number, step: number, length: number, span: number): number[] {
  const last = Math.floor(size / step) - 1;
  const count = Math.min(last + 1, Math.max(3, Math.floor(span / length)));
  if (count < 2) return last < 0 ? [] : [0];
  return [...new Set(Array.from({ length: count }, (_, i) => Math.floor((i * last) / (count - 1)) * step))];
}

export function writeBlocks(ctx: Context, device: string, offsets: readonly number[], length: number, pattern: Extract<Pattern, { kind: 'words' }>): void {
  withBlockDevice(device, (fd) => {
    using buffer = Mapping.anonymous({ length });
    for (const offset of offsets) {
      buffer.fill(0, length, { ...pattern, base: offset });
      const sent = buffer.writeTo(fd, offset, 0, length);
      ctx.expect(sent === length, `${device} should take ${length} bytes at ${offset}`, { sent });
    }
  });
}

export function expectBlocks(ctx: Context, device: string, offsets: readonly number[], length: number, pattern: Extract<Pattern, { kind: 'words' }>, when: string): void {
  withBlockDevice(device, (fd) => {
    using buffer = Mapping.anonymous({ length });
    for (const offset of offsets) {
      buffer.fill(0, length, { kind: 'byte', value: 0x77 });
      const got = buffer.readFrom(fd, offset, 0, length);
      const check = buffer.verify(0, length, { ...pattern, base: offset });
      ctx.expect(got === length && check.ok, `${when}: byte ${offset} of ${device} should be what was written`, { got, ...check });
    }
  });
}

export const PIECE = MiB;
