// The pfn info block of fsdax and devdax namespaces: 4 KiB at byte 4096 of the raw namespace (drivers/nvdimm/pfn.h:
// struct nd_pfn_sb). Read and written through the namespace's raw device, never through what it describes.
import { MiB, roundUp } from '../../units.js';
import { readBytes, writeBytes } from './block.js';

export const INFO_OFFSET = 4096;
export const INFO_LENGTH = 4096;
const CHECKSUM = 4088;

export interface InfoBlock {
  signature: string;
  version: string;
  /** Of the data, from the start of the namespace, bytes; start_pad included by no kernel since 5.3. */
  dataOffset: number;
  pages: number;
  mode: 'none' | 'ram' | 'pmem' | number;
  startPad: number;
  endTrunc: number;
  align: number;
  checksumOk: boolean;
}

/** Fletcher's sum as nd_sb_checksum() takes it: of the block with its checksum (at byte `at`) zeroed, by words of 4 bytes. */
export function checksumOf(block: Buffer, at = CHECKSUM): bigint {
  const copy = Buffer.from(block);
  copy.writeBigUInt64LE(0n, at);
  let low = 0;
  let high = 0n;
  for (let word = 0; word < copy.length; word += 4) {
    low = (low + copy.readUInt32LE(word)) >>> 0;
    high = (high + BigInt(low)) & 0xffff_ffff_ffff_ffffn;
  }
  // high counts in 64 bits in the kernel, and only its low half survives the shift.
  return ((high << 32n) | BigInt(low)) & 0xffff_ffff_ffff_ffffn;
}

export function parseInfoBlock(block: Buffer): InfoBlock {
  const mode = block.readUInt32LE(72);
  return {
    signature: block.toString('latin1', 0, 16).replace(/\0+$/, ''),
    version: `${block.readUInt16LE(52)}.${block.readUInt16LE(54)}`,
    dataOffset: Number(block.readBigUInt64LE(56)),
    pages: Number(block.readBigUInt64LE(64)),
    mode: (['none', 'ram', 'pmem'] as const)[mode] ?? mode,
    startPad: block.readUInt32LE(76),
    endTrunc: block.readUInt32LE(80),
    align: block.readUInt32LE(84),
    checksumOk: isWhole(block),
  };
}

/** The block as it stands on the raw namespace, whose descriptor is open for direct transfers. */
export const readInfoBlock = (fd: number): Buffer => readBytes(fd, INFO_OFFSET, INFO_LENGTH);

export const writeInfoBlock = (fd: number, block: Buffer): void => writeBytes(fd, INFO_OFFSET, block);

/** Whether a block has the checksum that it says, at byte `at`. */
export const isWhole = (block: Buffer, at = CHECKSUM): boolean => checksumOf(block, at) === block.readBigUInt64LE(at);

/** Puts the right checksum on a block that was changed. */
export function sealed(block: Buffer): Buffer {
  const copy = Buffer.from(block);
  copy.writeBigUInt64LE(checksumOf(copy), CHECKSUM);
  return copy;
}

/** The same block as nd_pfn_init() wrote it before 5.3, version 1.2, for a namespace of `size` bytes at `start`. */
export function padded(block: Buffer, { start, size }: { start: number; size: number }, { startPad, endTrunc }: { startPad: number; endTrunc: number }): Buffer {
  const { align } = parseInfoBlock(block);
  const usable = size - startPad - endTrunc;
  const map = roundUp((64 * (usable - 8192)) / 4096, HUGE);
  const dataOffset = roundUp(start + startPad + 8192 + map, align) - start - startPad;
  const copy = Buffer.from(block);
  copy.writeUInt16LE(2, 54);
  copy.writeBigUInt64LE(BigInt(dataOffset), 56);
  copy.writeBigUInt64LE(BigInt((usable - dataOffset) / 4096), 64);
  copy.writeUInt32LE(startPad, 76);
  copy.writeUInt32LE(endTrunc, 80);
  copy.fill(0, 88, CHECKSUM); // of later versions
  return sealed(copy);
}

/** A page map takes whole huge pages. */
const HUGE = 2 * MiB;
