// The live /proc/iomem, as this machine shows it. Addresses are zeros for all but root.
import fs from 'node:fs';
import { parseIomem, pmemRanges as pmemIn, softReserved as softReservedIn, systemRam as systemRamIn, type Resource } from '../kernel/iomem.js';

const ranges = (choose: (tree: readonly Resource[]) => Resource[]): { start: number; end: number }[] =>
  process.getuid?.() === 0 ? choose(parseIomem(fs.readFileSync('/proc/iomem', 'utf8'))).map(({ start, end }) => ({ start, end: end + 1 })) : [];

/** Physical ranges of persistent memory, from firmware or memmap=; `end` is exclusive. Empty without root. */
export const pmemRanges = (): { start: number; end: number }[] => ranges(pmemIn);

/** The same of memory that was set aside for a purpose, which dax_hmem makes into devdax. */
export const softReservedRanges = (): { start: number; end: number }[] => ranges(softReservedIn);

/** The same of the RAM that the kernel uses. */
export const systemRamRanges = (): { start: number; end: number }[] => ranges(systemRamIn);
