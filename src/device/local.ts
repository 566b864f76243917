// What a user named by --device: recognised, and refused where daxrig could do harm or has nothing to test.
import fs from 'node:fs';
import path from 'node:path';
import { BrokenError, UsageError, codeOf, messageOf } from '../errors.js';
import * as native from '../native.js';
import { pmemRanges } from './iomem.js';
import { mountOf, mounts } from './mounts.js';
import { chardevOf, namespaces, type Namespace } from './ndctl.js';
import type { FsdaxPlace } from './place.js';
import { UnmetNeed, devdaxPlace, type Provisioned } from './provision.js';
import { toolPath } from './tool.js';

export type LocalDevice =
  | { kind: 'devdax'; path: string }
  | { kind: 'folder'; path: string; fs: string }
  | { kind: 'file'; path: string; fs: string };

/**
 * Says what a --device path is. Throws UsageError, before anything is started, for what does not exist, is no DAX
 * device, or lies on a file system without DAX; and for a device that is in use.
 */
export function identifyDevice(given: string): LocalDevice {
  const stat = fs.statSync(given, { throwIfNoEntry: false });
  if (!stat) throw new UsageError(`--device ${given}: does not exist`);
  const real = fs.realpathSync(given);
  if (stat.isCharacterDevice()) {
    const { rdev } = native.statx(real);
    const subsystem = fs.existsSync(`/sys/dev/char/${rdev.major}:${rdev.minor}/subsystem`) ? path.basename(fs.realpathSync(`/sys/dev/char/${rdev.major}:${rdev.minor}/subsystem`)) : '';
    if (subsystem !== 'dax') throw new UsageError(`--device ${given}: is no DAX device (its subsystem is ${subsystem || 'unknown'}); name a /dev/daxX.Y`);
    refuseBusyCharacterDevice(given, real);
    return { kind: 'devdax', path: real };
  }
  if (stat.isBlockDevice()) return refuseBlockDevice(given, real);
  const mount = mountOf(real);
  const kind = stat.isDirectory() ? 'folder' : stat.isFile() ? 'file' : undefined;
  if (kind === undefined) throw new UsageError(`--device ${given}: neither a DAX device nor a file or folder`);
  if (!mount || !isDax(real, kind, mount.options))
    throw new UsageError(`--device ${given}: lies on ${mount?.type ?? 'a file system'} at ${mount?.mountPoint ?? '?'}, which is not mounted with DAX; mount -o dax, or name a /dev/daxX.Y`);
  return { kind, path: real, fs: mount.type };
}

function isDax(real: string, kind: 'folder' | 'file', options: readonly string[]): boolean {
  if (options.includes('dax=never')) return false;
  if (options.some((word) => word === 'dax' || word === 'dax=always')) return true;
  return kind === 'file' && native.statx(real).dax === true;
}

/** Whoever has the device open could lose what we overwrite: the kernel's list of open files tells. */
function refuseBusyCharacterDevice(given: string, real: string): void {
  const holders = openBy(real);
  if (holders.length > 0) throw new UsageError(`--device ${given}: is open in process ${holders.join(', ')}; close it first`);
}

/** Processes that have a device open or mapped. */
function openBy(real: string): string[] {
  const holders: string[] = [];
  for (const pid of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    if (Number(pid) === process.pid) continue;
    try {
      const fds = fs.readdirSync(`/proc/${pid}/fd`).some((fd) => linkOf(`/proc/${pid}/fd/${fd}`) === real);
      if (fds || fs.readFileSync(`/proc/${pid}/maps`, 'utf8').includes(` ${real}\n`)) holders.push(`${pid} (${fs.readFileSync(`/proc/${pid}/comm`, 'utf8').trim()})`);
    } catch (error) {
      if (!['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(codeOf(error) ?? '')) throw error; // gone meanwhile, or not ours to see
    }
  }
  return holders;
}

function linkOf(file: string): string | undefined {
  try {
    return fs.readlinkSync(file);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function refuseBlockDevice(given: string, real: string): never {
  const { rdev } = native.statx(real);
  const dev = `${rdev.major}:${rdev.minor}`;
  const mount = mounts().find((candidate) => candidate.dev === dev || candidate.source === real);
  if (mount) throw new UsageError(`--device ${given}: is mounted at ${mount.mountPoint}; name a folder there, or unmount it`);
  try {
    fs.closeSync(fs.openSync(real, fs.constants.O_RDONLY | fs.constants.O_EXCL));
  } catch (error) {
    throw new UsageError(codeOf(error) === 'EBUSY' ? `--device ${given}: is in use (by a mount, RAID, LVM or swap)` : `--device ${given}: ${messageOf(error)}`);
  }
  if (fs.readFileSync(`/sys/dev/block/${dev}/queue/dax`, 'utf8').trim() !== '1') throw new UsageError(`--device ${given}: is no DAX device (its queue has dax=0)`);
  const kind = signatureOf(real);
  if (kind !== undefined) throw new UsageError(`--device ${given}: carries ${kind}; mount it with -o dax and name a folder on it`);
  throw new UsageError(`--device ${given}: a bare pmem block device; make a file system, mount it with -o dax and name a folder on it, or reconfigure its namespace to devdax`);
}

/** The best-known file system signatures, so that a forgotten one is named. */
export function signatureOf(device: string): string | undefined {
  const fd = fs.openSync(device, 'r');
  try {
    const head = Buffer.alloc(70 * 1024);
    fs.readSync(fd, head, 0, head.length, 0);
    if (head.toString('latin1', 0, 4) === 'XFSB') return 'an xfs file system';
    if (head.readUInt16LE(1024 + 56) === 0xef53) return 'an ext2, ext3 or ext4 file system';
    if (head.toString('latin1', 65536 + 64, 65536 + 72) === '_BHRfS_M') return 'a btrfs file system';
    if (head.toString('latin1', 512, 520) === 'EFI PART' || head.readUInt16LE(510) === 0xaa55) return 'a partition table';
    return undefined;
  } finally {
    fs.closeSync(fd);
  }
}

/** The namespace that is this device alone; undefined where ndctl is missing, or the namespace has several devices. */
async function namespaceBehind(device: string): Promise<Namespace | undefined> {
  if (toolPath('ndctl') === undefined) return undefined;
  return (await namespaces()).find((namespace) => chardevOf(namespace) === path.basename(device) && (namespace.daxregion?.devices?.length ?? 1) === 1);
}

/** The place that a local path is, for a workload of one mode. Throws UnmetNeed when it is the other kind. */
export async function findPlace(given: string, mode: 'fsdax' | 'devdax'): Promise<Provisioned> {
  const device = identifyDevice(given);
  if (device.kind === 'devdax') {
    if (mode !== 'devdax') throw new UnmetNeed(`${given} is a devdax device; this workload needs a folder on a DAX mount`);
    return { place: devdaxPlace(device.path, await namespaceBehind(device.path)), restore: async () => {} };
  }
  if (mode !== 'fsdax') throw new UnmetNeed(`${given} is on a DAX file system; this workload needs a /dev/daxX.Y`);
  if (device.kind === 'file') throw new UnmetNeed(`${given} is one file; this workload makes files of its own: name the folder`);
  const mount = mountOf(device.path);
  if (!mount) throw new BrokenError(`${given}: is no longer mounted`);
  const folder = fs.mkdtempSync(path.join(device.path, '.daxrig-'));
  const place: FsdaxPlace = { kind: 'fsdax', folder, fs: device.fs, blockDevice: mount.source, ranges: pmemRanges(), align: 2 * 1024 * 1024 };
  return { place, restore: () => Promise.resolve(fs.rmSync(folder, { recursive: true, force: true })) };
}
