// The places that workloads work on: a folder on a DAX file system, or a devdax character device.
import type { Mapping } from '../native.js';

export type FileSystem = 'ext4' | 'xfs';

export interface FsdaxPlace {
  kind: 'fsdax';
  /** An empty folder on the DAX file system; files in it are the workload's own. */
  folder: string;
  fs: string;
  /** The pmem block device below, where known. */
  blockDevice?: string;
  /** The namespace below, where known. */
  namespace?: string;
  /** Physical ranges that pages of this place may have; empty when they cannot be known. */
  ranges: { start: number; end: number }[];
  /** The alignment of the namespace: the largest page that a mapping can have. */
  align: number;
}

export interface DevdaxPlace {
  kind: 'devdax';
  path: string;
  /** Bytes. */
  size: number;
  /** Bytes: mappings and faults have this size. */
  align: number;
  namespace?: string;
  ranges: { start: number; end: number }[];
  /**
   * Turns the device into a pmem block device, hands that to `work`, and turns it back. `offset` is where on the block
   * device the character device's first byte lies: 0 where both carry an info block, else the size of what precedes
   * the data. Undefined where lending is not possible (no namespace behind it, or not allowed to touch it).
   */
  asBlockDevice?: (work: (blockDevice: string, offset: number) => Promise<void> | void) => Promise<void>;
}

export type Place = FsdaxPlace | DevdaxPlace;

/** True when a pfn lies in one of the place's physical ranges. */
export const inRanges = (place: Place, pfn: number): boolean => place.ranges.some(({ start, end }) => pfn * 4096 >= start && pfn * 4096 < end);

export type { Mapping };
