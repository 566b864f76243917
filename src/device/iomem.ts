// The live /proc/iomem, as this machine shows it. Addresses are zeros for all but root.
import fs from 'node:fs';

/** Physical ranges of persistent memory, from firmware or memmap=; `end` is exclusive. Empty without root. */
export function pmemRanges(text = fs.readFileSync('/proc/iomem', 'utf8')): { start: number; end: number }[] {
  return [...text.matchAll(/^([0-9a-f]+)-([0-9a-f]+) : Persistent Memory/gm)]
    .map((match) => ({ start: parseInt(match[1]!, 16), end: parseInt(match[2]!, 16) + 1 }))
    .filter(({ start, end }) => start > 0 && end > start);
}
