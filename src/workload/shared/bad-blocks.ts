// Bad blocks of pmem: places that the kernel knows to be lost, by sectors of 512 bytes.
import fs from 'node:fs';
import { ndAttribute, ndBusOf } from '../../device/nd.js';
import { canReportMemoryErrors, reportMemoryError } from '../../inject/mce.js';
import { loadModule } from './modules.js';
import type { Context } from '../types.js';

export interface BadRange {
  sector: number;
  count: number;
}

/** The list that a disk or a region keeps in sysfs. */
export const badRanges = (file: string): BadRange[] =>
  fs.readFileSync(file, 'utf8').split('\n').filter(Boolean).map((line) => {
    const [sector, count] = line.split(' ').map(Number);
    return { sector: sector!, count: count! };
  });

/** Why a region cannot be given bad blocks here; undefined where it can. They come from machine checks, which the NFIT driver alone listens to. */
export async function noBadBlocks(region: string): Promise<string | undefined> {
  if (ndAttribute(ndBusOf(region), 'provider') !== 'ACPI.NFIT') return 'needs pmem on an ACPI NFIT bus, whose driver takes memory errors for bad blocks; try --layout nfit';
  if (!(await loadModule('mce_inject')) || !canReportMemoryErrors()) return 'needs the module mce-inject and debugfs; build the kernel with CONFIG_X86_MCE_INJECT';
  return undefined;
}

/** Reports the memory at a physical address as lost, and waits until the list in `file` has its sector there. */
export async function makeBad(ctx: Context, address: number, file: string, sector: number): Promise<void> {
  reportMemoryError(address);
  for (const deadline = Date.now() + 5000; !covers(badRanges(file), sector); ) {
    ctx.expect(Date.now() < deadline, `a memory error at 0x${address.toString(16)} should become a bad block, sector ${sector}`, badRanges(file));
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export const covers = (ranges: readonly BadRange[], sector: number): boolean => ranges.some((range) => sector >= range.sector && sector < range.sector + range.count);
