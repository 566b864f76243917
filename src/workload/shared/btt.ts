// The block translation table on media (drivers/nvdimm/btt.h: struct btt_sb, log_entry; Documentation/driver-api/nvdimm/btt.rst):
// what it says of itself, its map and its log, read and written through the namespace's raw bytes.
import { isWhole } from './info-block.js';

export const BTT_INFO_LENGTH = 4096;
/** Where the first info block may lie: at once in labelled namespaces (2.0), behind 4 KiB in others (1.1). */
export const BTT_INFO_OFFSETS = [0, 4096] as const;

export interface BttInfo {
  version: string;
  /** Sectors that users see, and their size with what belongs to them, bytes. */
  sectors: number;
  sectorSize: number;
  blockSize: number;
  /** Blocks more than sectors: as many writes can be under way. */
  spare: number;
  /** From the info block on, bytes. */
  dataAt: number;
  mapAt: number;
  logAt: number;
  backupAt: number;
}

/** An info block that is whole; undefined for anything else. */
export function parseBttInfo(block: Buffer): BttInfo | undefined {
  if (block.toString('latin1', 0, 16) !== 'BTT_ARENA_INFO\0\0' || !isWhole(block)) return undefined;
  return {
    version: `${block.readUInt16LE(52)}.${block.readUInt16LE(54)}`,
    sectorSize: block.readUInt32LE(56), sectors: block.readUInt32LE(60), blockSize: block.readUInt32LE(64), spare: block.readUInt32LE(72),
    dataAt: Number(block.readBigUInt64LE(88)), mapAt: Number(block.readBigUInt64LE(96)), logAt: Number(block.readBigUInt64LE(104)), backupAt: Number(block.readBigUInt64LE(112)),
  };
}

/** A map entry: the block of a sector, and what is said of it. */
export interface MapEntry {
  block: number;
  state: 'as numbered' | 'error' | 'zero' | 'normal';
}

const STATES = ['as numbered', 'error', 'zero', 'normal'] as const;
const BLOCK_MASK = 0x3fff_ffff;

export const readMapEntry = (word: number): MapEntry => ({ block: word & BLOCK_MASK, state: STATES[word >>> 30]! });
export const mapWord = ({ block, state }: MapEntry): number => ((STATES.indexOf(state) << 30) | block) >>> 0;

/** One write as its log has it: a sector's block before and after. */
export interface LogEntry {
  sector: number;
  before: number;
  after: number;
  sequence: number;
}

/** Bytes of the log that belong to one writer: room for four entries, of which two are used. */
export const LOG_GROUP = 64;

/** The newer of a group's two entries; undefined where the group was never written, or is not made as 4.15 and later make it. */
export function newestLogEntry(group: Buffer): LogEntry | undefined {
  const [first, second] = [0, 16].map((at) => ({ sector: group.readUInt32LE(at), before: group.readUInt32LE(at + 4) & BLOCK_MASK, after: group.readUInt32LE(at + 8) & BLOCK_MASK, sequence: group.readUInt32LE(at + 12) }));
  if (first!.sequence === 0 && second!.sequence === 0) return undefined;
  // Numbers go 1, 2, 3, 1...; the first entry of a new log is 1 with the other still 0.
  const newest = second!.sequence === 0 ? first! : first!.sequence === 0 ? second! : (first!.sequence % 3) + 1 === second!.sequence ? second! : first!;
  return newest.before === newest.after ? undefined : newest;
}
