// The label area of a DIMM, taken apart from its raw bytes (drivers/nvdimm/label.h: struct nd_namespace_index and
// nd_namespace_label; UEFI 2.7, 13.19): two index blocks of which the newer valid one counts, and its slots.
import { isWhole } from './info-block.js';

export interface Label {
  name: string;
  uuid: string;
  /** Where it begins on the DIMM, and how much of it it has, bytes. */
  dpa: number;
  rawsize: number;
  slot: number;
}

interface Index {
  sequence: number;
  labelSize: number;
  labelsAt: number;
  slots: number;
  /** Of slots: one bit each, set where the slot is free. */
  free: Buffer;
}

const SIGNATURE = 'NAMESPACE_INDEX\0';
const INDEX_CHECKSUM = 64;
const FREE_MAP = 72;

/** The index block at `offset`, if it is whole. */
function indexAt(area: Buffer, offset: number): Index | undefined {
  if (offset + FREE_MAP > area.length || area.toString('latin1', offset, offset + 16) !== SIGNATURE) return undefined;
  const size = Number(area.readBigUInt64LE(offset + 32));
  const block = area.subarray(offset, offset + size);
  if (block.length !== size || !isWhole(block, INDEX_CHECKSUM)) return undefined;
  // Its size stands as a power of two of 128 bytes since version 1.2; before, it is 0.
  return { sequence: block.readUInt32LE(20) & 3, labelSize: 128 << block.readUInt8(19), labelsAt: Number(block.readBigUInt64LE(48)), slots: block.readUInt32LE(56), free: block.subarray(FREE_MAP) };
}

/** Sequence numbers go 1, 2, 3, 1...: the later of two that differ by one step. */
const newer = (a: Index, b: Index): Index => ((a.sequence % 3) + 1 === b.sequence ? b : a);

/** The labels in use, by slot; undefined where neither index block is whole. */
export function parseLabelArea(area: Buffer): Label[] | undefined {
  const first = indexAt(area, 0);
  // The second follows the first, whose size is a multiple of 256 bytes.
  let second: Index | undefined;
  for (let offset = 256; offset < area.length / 2 && !second; offset += 256) second = indexAt(area, offset);
  const index = first && second ? newer(first, second) : (first ?? second);
  if (!index) return undefined;
  return Array.from({ length: index.slots }, (_, slot) => slot).flatMap((slot) => {
    if ((index.free[slot >> 3]! >> (slot & 7)) & 1) return [];
    const label = area.subarray(index.labelsAt + slot * index.labelSize);
    return [{
      name: label.toString('utf8', 16, 80).replace(/\0.*$/s, ''), uuid: uuidText(label.subarray(0, 16)),
      dpa: Number(label.readBigUInt64LE(104)), rawsize: Number(label.readBigUInt64LE(112)), slot: label.readUInt32LE(120),
    }];
  });
}

/** As the kernel prints it: byte by byte. */
const uuidText = (bytes: Buffer): string => bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
