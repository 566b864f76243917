// The live /proc/iomem, as this machine shows it. Addresses are zeros for all but root.
import fs from 'node:fs';
import { parseIomem, pmemRanges as rangesIn } from '../kernel/iomem.js';

/** Physical ranges of persistent memory, from firmware or memmap=; `end` is exclusive. Empty without root. */
export function pmemRanges(): { start: number; end: number }[] {
  if (process.getuid?.() !== 0) return [];
  return rangesIn(parseIomem(fs.readFileSync('/proc/iomem', 'utf8'))).map(({ start, end }) => ({ start, end: end + 1 }));
}
