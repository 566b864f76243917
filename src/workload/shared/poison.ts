// Memory failure on DAX pages, the part that fsdax and devdax share: what the process that owns the page is told.
// Source: mm/memory-failure.c, memory_failure_dev_pagemap and dev_pagemap_mapping_shift.
import fs from 'node:fs';
import { drainSignals, type Mapping } from '../../native.js';
import { PAGE } from './huge.js';
import type { Context } from '../types.js';

/** Soft offline moves a page away: impossible for device memory, so it must be refused, whatever the errno. */
export async function expectSoftOfflineRefused(ctx: Context, mapping: Mapping, offset: number): Promise<void> {
  const { signal } = await refused(ctx, mapping, offset);
  ctx.expect(signal === undefined, 'a refused soft offline should raise no signal', signal);
}

async function refused(ctx: Context, mapping: Mapping, offset: number): Promise<{ signal?: unknown }> {
  let result: { signal?: unknown } = {};
  const code = await ctx.expectError('MADV_SOFT_OFFLINE of a DAX page', ['EIO', 'ENXIO', 'EOPNOTSUPP', 'EINVAL', 'EBUSY'], () => {
    result = mapping.madvise(offset, PAGE, 'soft-offline');
  });
  ctx.prove('soft offline', code);
  await refusedByAddress(ctx, mapping, offset);
  return result;
}

/** The same by physical address, which takes no mapping (Documentation/ABI/testing/sysfs-memory-page-offline). */
async function refusedByAddress(ctx: Context, mapping: Mapping, offset: number): Promise<void> {
  const file = '/sys/devices/system/memory/soft_offline_page';
  const page = mapping.pagemap(offset, 1)[0];
  if (!fs.existsSync(file) || !page?.present || page.pfn === 0) return ctx.prove('soft offline by address', 'not possible here');
  const code = await ctx.expectError('soft offline of a DAX page by its address', ['EIO', 'ENXIO', 'EOPNOTSUPP', 'EINVAL', 'EBUSY'], () => fs.writeFileSync(file, `0x${(page.pfn * PAGE).toString(16)}`));
  ctx.prove('soft offline by address', code);
}

/**
 * Poisons the page at `offset` and expects exactly one action-required SIGBUS at its address, with the size of the
 * mapping that held it (12, 21 or 30 bits), and the kernel's word that it recovered.
 */
export async function poisonOnce(ctx: Context, mapping: Mapping, offset: number, lsb: number, label: string): Promise<void> {
  ctx.step(`poisoning ${label}`);
  drainSignals();
  const before = ctx.inject.count;
  const { signal } = ctx.inject.hwpoison(mapping, offset);
  ctx.prove(`signal: ${label}`, signal ?? 'none');
  ctx.expect(signal !== undefined, `${label}: the process should get SIGBUS`);
  ctx.expect(signal.signal === 'SIGBUS' && signal.code === 'BUS_MCEERR_AR', `${label}: SIGBUS should be BUS_MCEERR_AR (action required)`, signal);
  ctx.expect(signal.lsb === lsb, `${label}: si_addr_lsb should be ${lsb}, the size of the mapping`, signal);
  // The address is the page's own, or the start of the block of 2^lsb bytes that was lost with it: for a compound
  // device-dax page the kernel knows the head's index alone (drivers/dax/device.c: dax_set_mapping).
  const block = 2 ** lsb;
  const told = [offset, Math.floor(offset / block) * block];
  ctx.expect(told.includes(Math.floor(signal.offset / PAGE) * PAGE), `${label}: si_addr should be the poisoned page, or the start of its block`, { signal, offset });
  const { signals: more } = drainSignals();
  ctx.expect(more.length === 0, `${label}: no second signal should come`, more);
  await recoveries(ctx, before + 1);
}

/** Waits for the kernel's "Recovered" for each poison so far, and expects no more of them. */
async function recoveries(ctx: Context, count: number): Promise<void> {
  const pattern = /recovery action for dax page: (\w+)/;
  await ctx.log.waitFor(pattern, '"recovery action for dax page: Recovered"');
  const said = ctx.log.lines().flatMap((line) => pattern.exec(line)?.[1] ?? []);
  ctx.expect(said.length === count && said.every((word) => word === 'Recovered'), `the kernel should have said Recovered ${count} time(s)`, said);
}
