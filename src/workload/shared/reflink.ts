// xfs with shared blocks under DAX, which kernels allow from 6.0 on: file systems made anew for one workload.
import fs from 'node:fs';
import { makeFileSystem, mountDax } from '../../device/provision.js';
import { SystemError } from '../../errors.js';
import * as native from '../../native.js';
import { ownMount } from './own-mount.js';
import type { Context } from '../types.js';

/** Makes the fsdax place an xfs with reflink and rmapbt, and a plain one again afterwards; skips where DAX excludes it. */
export async function reflinkFileSystem(ctx: Context): Promise<void> {
  const { device, mountPoint } = ownMount(ctx);
  await native.umountAsync(mountPoint);
  let made = false;
  ctx.cleanup(async () => {
    if (made) await native.umountAsync(mountPoint);
    await makeFileSystem('xfs', device, { huge: true });
    await mountDax(device, mountPoint, 'xfs');
  });
  await makeFileSystem('xfs', device, { huge: true, reflink: true });
  try {
    await mountDax(device, mountPoint, 'xfs');
  } catch (error) {
    if (error instanceof SystemError && error.code === 'EINVAL') return ctx.skip('needs a kernel that allows DAX and reflink together on xfs (6.0 and later)');
    throw error;
  }
  made = true;
  fs.mkdirSync(ctx.fsdax.folder, { recursive: true });
}
