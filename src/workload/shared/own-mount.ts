// The mount below an fsdax place, for workloads that take it down and bring it up again. Only a mount that was made for
// the workload may be: a user's own is left alone, which is a skip.
import { enableNamespace, disableNamespace } from '../../device/ndctl.js';
import { mountOf } from '../../device/mounts.js';
import { mountDax, waitForFile } from '../../device/provision.js';
import * as native from '../../native.js';
import type { Context } from '../types.js';

export interface OwnMount {
  device: string;
  mountPoint: string;
  fs: string;
  /** What it was mounted with, for mount(2): dax=always, or dax on older kernels. */
  data: string;
  /** Unmounts; `between` runs while nothing is mounted; mounts again, by default with DAX on for all files. */
  remount(data?: string, between?: () => Promise<void>): Promise<void>;
  /** Mounts it again if somebody else unmounted it. */
  ensure(): Promise<void>;
  /** For between: disables and enables the namespace. */
  reenable(): Promise<void>;
}

export function ownMount(ctx: Context): OwnMount {
  const { namespace, blockDevice: device, folder, fs: kind } = ctx.fsdax;
  const mount = mountOf(folder);
  if (namespace === undefined || device === undefined || !mount) return ctx.skip('needs a file system that may be unmounted: run it in a guest');
  const { mountPoint } = mount;
  let mounted = true;
  // What comes after expects the mount to be there, however the workload ends.
  ctx.cleanup(async () => {
    if (mountOf(folder)?.mountPoint !== mountPoint) await mountDax(device, mountPoint, kind);
  });
  return {
    device, mountPoint, fs: kind,
    data: mount.options.find((option) => /^dax(=always)?$/.test(option)) ?? 'dax=always',
    async ensure() {
      if (mountOf(folder)?.mountPoint !== mountPoint) await mountDax(device, mountPoint, kind);
    },
    async remount(data, between) {
      if (mounted) await native.umountAsync(mountPoint);
      mounted = false;
      await between?.();
      if (data === undefined) await mountDax(device, mountPoint, kind);
      else await native.mountAsync({ source: device, target: mountPoint, type: kind, data });
      mounted = true;
    },
    async reenable() {
      await disableNamespace(namespace);
      await enableNamespace(namespace);
      await waitForFile(device);
    },
  };
}
