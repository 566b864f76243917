// Ordinary file systems, on block devices without DAX.
import fs from 'node:fs';
import path from 'node:path';
import { makeFileSystem } from '../../device/provision.js';
import { SystemError } from '../../errors.js';
import { mountAsync, umountAsync, type MountOptions } from '../../native.js';
import { MiB } from '../../units.js';
import type { Context } from '../types.js';

export interface OrdinaryFileSystem {
  kind: string;
  device: string;
  /** An empty folder to mount it on. */
  folder: string;
}

/** A new one of 512 MiB, not mounted. Skips where the kernel does not know it: `needs.filesystems` is of all values of a parameter alike. */
export async function ordinaryFileSystem(ctx: Context, kind: string): Promise<OrdinaryFileSystem> {
  if (!new RegExp(`\\b${kind}$`, 'm').test(fs.readFileSync('/proc/filesystems', 'utf8'))) ctx.skip(`this kernel has no ${kind}; load its module or enable CONFIG_${kind.toUpperCase()}_FS`);
  const device = await ctx.blockDevice(512 * MiB);
  const folder = path.join(ctx.folder, 'mnt');
  fs.mkdirSync(folder);
  await makeFileSystem(kind, device);
  return { kind, device, folder };
}

type Wanted = Pick<MountOptions, 'flags' | 'data'>;

/** Mounts, works, and unmounts however the work ends. */
export async function whileMounted({ kind, device, folder }: OrdinaryFileSystem, wanted: Wanted, work: () => Promise<void> | void): Promise<void> {
  await mountAsync({ source: device, target: folder, type: kind, ...wanted });
  await thenUnmount(folder, work);
}

/**
 * The same, asking for DAX by `option`, which the device has not: ext4 refuses (ext4_fill_super), and serves as ext2 in most kernels; ext2's
 * own driver and xfs turn DAX off (xfs_setup_dax_always), and the work is done. Keeps what it was under the option's name if it was refused.
 */
export async function whileAskingForDax(ctx: Context, { kind, device, folder }: OrdinaryFileSystem, option: string, wanted: Wanted, work: () => Promise<void> | void): Promise<void> {
  try {
    await mountAsync({ source: device, target: folder, type: kind, ...wanted, data: option });
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    ctx.prove(`-o ${option}`, `refused: ${error.code}`);
    ctx.expect(kind !== 'xfs' && error.code === 'EINVAL', `-o ${option} on a device without DAX: ${kind} should ${kind === 'xfs' ? 'come up with DAX off' : 'refuse it with EINVAL'}`, error.code);
    return;
  }
  await thenUnmount(folder, () => {
    ctx.expect(kind !== 'ext4', `-o ${option} on a device without DAX: ${kind} should refuse it`);
    return work();
  });
}

async function thenUnmount(folder: string, work: () => Promise<void> | void): Promise<void> {
  try {
    await work();
  } finally {
    await umountAsync(folder);
  }
}
