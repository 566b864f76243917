// Mapping a devdax device, shared by the devdax workloads.
import fs from 'node:fs';
import { Mapping } from '../../native.js';
import { formatSize } from '../../units.js';
import { PAGE, PMD, mapped } from './huge.js';
import type { Peer } from './peer.js';
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

/**
 * Expects SIGBUS of each page of a mapping whose device is gone, and of the same in another process, whether the page was faulted before (below
 * `step`) or not.
 */
export async function expectGone(ctx: Context, mapping: Mapping, step: number, when: string, peer?: Peer): Promise<void> {
  for (const [what, offset] of [['faulted', 0], ['faulted', PMD - PAGE], ['unfaulted', step], ['unfaulted', 2 * step - PAGE]] as const)
    for (const access of ['read', 'rmw'] as const) {
      const touched = [['this process', mapping.touch({ offset, count: 1, access })], ['another process', await peer?.ask({ do: 'touch', offset, count: 1, access })]] as const;
      for (const [who, found] of touched) {
        if (found === undefined) continue;
        const { signal, done } = found;
        ctx.prove(`${when}, ${who}: ${what}, ${access}`, signal ?? 'data');
        ctx.expect(signal?.signal === 'SIGBUS', `${when}, ${who}: ${access} of a page that was ${what} should be SIGBUS in a mapping from before`, { offset, signal, done });
      }
    }
}
