// Mapping a devdax device, shared by the devdax workloads.
import fs from 'node:fs';
import { Mapping } from '../../native.js';
import { formatSize } from '../../units.js';
import { PMD, mapped } from './huge.js';
import type { Context } from '../types.js';

export function openDevdax(ctx: Context): number {
  const fd = fs.openSync(ctx.devdax.path, 'r+');
  ctx.cleanup(() => fs.closeSync(fd));
  return fd;
}

/** Skips where the device is smaller: at 1 GiB two pages are more than most have. */
export function needRoom(ctx: Context, bytes: number): void {
  const { path, size } = ctx.devdax;
  if (size < bytes) ctx.skip(`needs ${formatSize(bytes)} of devdax; ${path} has ${formatSize(size)} (try --layout huge)`);
}

/** A shared mapping placed at the device's own alignment. */
export const mapDevdax = (ctx: Context, fd: number, offset: number, length: number, prot: 'r' | 'rw' = 'rw'): Mapping =>
  mapped(ctx, Mapping.map({ fd, offset, length, prot, share: 'shared', align: Math.max(PMD, ctx.devdax.align) }));

/** The page-table level that a devdax device of this alignment maps by. */
export const levelOf = (align: number): 'pte' | 'pmd' | 'pud' => (align >= 1 << 30 ? 'pud' : align >= PMD ? 'pmd' : 'pte');
