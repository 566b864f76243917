// What workloads that make ordinary file systems share.
import fs from 'node:fs';
import type { Context } from '../types.js';

/** Skips where the kernel does not know the file system that a parameter names: `needs.filesystems` is of all parameters alike. */
export function needFileSystem(ctx: Context, kind: string): void {
  if (!new RegExp(`\\b${kind}$`, 'm').test(fs.readFileSync('/proc/filesystems', 'utf8'))) ctx.skip(`this kernel has no ${kind}; load its module or enable CONFIG_${kind.toUpperCase()}_FS`);
}
