// Makes the place a workload needs out of a namespace: configures it, makes and mounts a file system, and takes all
// down again in reverse order.
import fs from 'node:fs';
import path from 'node:path';
import { BrokenError, SystemError } from '../errors.js';
import { GiB, MiB, formatSize, hex, parseSize } from '../units.js';
import * as native from '../native.js';
import { ndRegions, ndUuid, type NdNamespace, type NdRegion } from './nd.js';
import { chardevOf, createNamespace, type Namespace } from './ndctl.js';
import type { DevdaxPlace, FsdaxPlace, Place } from './place.js';
import { pmemRanges } from './iomem.js';
import { tool } from './tool.js';

/** Where nothing else is asked for. */
export const DEFAULT_FILE_SYSTEM = 'ext4';

export interface PlaceRequest {
  mode: 'fsdax' | 'devdax';
  /** Where struct pages live: RAM (mem) or the device itself (dev); absent: wherever they are, by default on the device. */
  map?: string;
  /** Largest page, for example 2M. */
  align?: string;
  fs?: string;
  /** Which region of several, by index; default the first. */
  region?: number;
}

/** The same request with what it leaves open filled in by what provision() does then; `legacy`: all regions are memmap='s. */
export function filledIn({ map, align, fs: kind, ...rest }: PlaceRequest, legacy: boolean): PlaceRequest {
  const found = rest.mode === 'fsdax' && legacy && align === undefined && map !== 'dev';
  return { ...rest, map: map ?? (found ? 'mem' : 'dev'), align: align ?? '2M', ...(rest.mode === 'fsdax' ? { fs: kind ?? DEFAULT_FILE_SYSTEM } : {}) };
}

/** Something made that has to be taken down. */
export interface Provisioned<T extends Place = Place> {
  place: T;
  restore: () => Promise<void>;
}

/** What a request cannot have here: becomes a skip. */
export class UnmetNeed extends Error {
  override name = 'UnmetNeed';
}

/** Configures a region's namespace as asked. Destroys its content: for guests, or devices given up by their owner. */
export async function provision(request: PlaceRequest, folder: string): Promise<Provisioned> {
  const namespace = await configure(request);
  return request.mode === 'fsdax' ? mountFsdax(request, namespace, folder) : devdaxOf(namespace, request);
}

async function configure(request: PlaceRequest): Promise<Namespace> {
  const known = ndRegions();
  const region = known[request.region ?? 0];
  if (!region) throw new UnmetNeed(known.length === 0 ? 'no pmem region on this machine; boot with memmap=nn!ss, or use a guest layout with pmem' : `no pmem region ${request.region}: this machine has ${known.length}`);
  checkRoom(region, request.align ?? '2M');
  const existing = region.namespaces[0];
  if (existing && isAsAsked(existing, request)) return { dev: existing.dev, mode: 'fsdax', map: 'mem', size: existing.size, blockdev: existing.blockdev! };
  const target = existing ? { namespace: existing.dev } : { region: region.dev };
  return createNamespace(target, { mode: request.mode, ...(request.map ? { map: request.map } : {}), align: request.align ?? '2M' });
}

/**
 * A legacy region's namespace comes up with DAX, its page map in memory, and no info block: remaking it so would make the same again, and
 * who names no place for the page map takes it as it is.
 */
const isAsAsked = (found: NdNamespace, { mode, map, align }: PlaceRequest): boolean =>
  mode === 'fsdax' && map !== 'dev' && align === undefined && found.mode === 'memory' && found.holder === '' && found.blockdev !== undefined;

/** A namespace begins with an info block, and its data at the next multiple of the alignment (drivers/nvdimm/pfn_devs.c). */
function checkRoom(region: NdRegion, align: string): void {
  const step = parseSize(align);
  const start = region.resource ?? 0;
  const data = Math.ceil((start + 8192) / step) * step;
  if (data + step > start + region.size)
    throw new UnmetNeed(`an alignment of ${align} needs a region that holds ${align} at a multiple of ${align} behind its info block; ${region.dev} is ${formatSize(region.size)} at ${hex(start)} (try --layout huge)`);
}

export interface FileSystemOptions {
  /** Aligns extents to huge pages of 2 MiB. */
  huge?: boolean;
  /** xfs with shared extents, and the reverse map that memory failures in them need. */
  reflink?: boolean;
  /** ext4 without journal and copies of its superblock: files can take all of the device but its first megabytes. */
  bare?: boolean;
}

const BARE_EXT4 = ['-m', '0', '-N', '64', '-O', '^has_journal,^resize_inode,sparse_super2'];

/** Makes an ext4, ext2 or xfs file system. Destroys the device's content. Throws UnmetNeed where the device is too small. */
export async function makeFileSystem(kind: string, device: string, { huge = false, reflink = false, bare = false }: FileSystemOptions = {}): Promise<void> {
  switch (kind) {
    case 'ext4':
      // lazy_itable_init=0: no background writer that would go on during the workload.
      return void (await tool('mke2fs', ['-t', 'ext4', '-F', '-q', '-b', '4096', ...(bare ? BARE_EXT4 : []), '-E', `lazy_itable_init=0,lazy_journal_init=0,nodiscard${huge ? ',stride=512,stripe_width=512' : ''}${bare ? ',num_backup_sb=0' : ''}`, device]));
    case 'ext2':
      return void (await tool('mke2fs', ['-t', 'ext2', '-F', '-q', '-b', '4096', '-E', 'nodiscard', device]));
    case 'xfs':
      // Reflink with DAX is refused by kernels before 5.18.
      return void (await tool('mkfs.xfs', ['-f', '-q', '-K', ...xfsData(device, huge), '-m', reflink ? 'reflink=1,rmapbt=1' : 'reflink=0', device]));
    default:
      throw new BrokenError(`no way to make a ${kind} file system`);
  }
}

/** mkfs.xfs's own lower limit, xfsprogs 6.0 and later. */
const SMALLEST_XFS = 300 * MiB;

/** A log of 64 MiB, the least that mkfs.xfs makes, must fit into an allocation group: on less than 1 GiB there are fewer of them. */
function xfsData(device: string, huge: boolean): string[] {
  const file = `/sys/class/block/${path.basename(device)}/size`;
  const size = fs.existsSync(file) ? Number(fs.readFileSync(file, 'utf8')) * 512 : Infinity;
  if (size < SMALLEST_XFS) throw new UnmetNeed(`xfs needs ${formatSize(SMALLEST_XFS)}; ${device} has ${formatSize(size)}`);
  const words = [...(huge ? ['su=2m', 'sw=1'] : []), ...(size < GiB ? ['agcount=2'] : [])];
  return words.length > 0 ? ['-d', words.join(',')] : [];
}

/** Mounts with DAX on for all files: dax=always, or plain dax on kernels before 5.8. */
export async function mountDax(device: string, folder: string, kind: string): Promise<void> {
  try {
    await native.mountAsync({ source: device, target: folder, type: kind, data: 'dax=always' });
  } catch (error) {
    if (!(error instanceof SystemError) || error.code !== 'EINVAL') throw error;
    await native.mountAsync({ source: device, target: folder, type: kind, data: 'dax' });
  }
}

async function mountFsdax(request: PlaceRequest, namespace: Namespace, folder: string): Promise<Provisioned<FsdaxPlace>> {
  const kind = request.fs ?? DEFAULT_FILE_SYSTEM;
  if (!namespace.blockdev) throw new BrokenError(`${namespace.dev}: fsdax without a block device`);
  const device = `/dev/${namespace.blockdev}`;
  await waitForFile(device);
  await makeFileSystem(kind, device, { huge: true });
  const mountPoint = path.join(folder, 'dax');
  fs.mkdirSync(mountPoint);
  await mountDax(device, mountPoint, kind);
  const work = path.join(mountPoint, 'daxrig');
  fs.mkdirSync(work);
  const place: FsdaxPlace = { kind: 'fsdax', folder: work, fs: kind, blockDevice: device, namespace: namespace.dev, ranges: pmemRanges(), align: namespace.align ?? parseSize(request.align ?? '2M') };
  return { place, restore: () => native.umountAsync(mountPoint) };
}

async function devdaxOf(namespace: Namespace, request: PlaceRequest): Promise<Provisioned<DevdaxPlace>> {
  const chardev = chardevOf(namespace);
  if (chardev === undefined) throw new BrokenError(`${namespace.dev}: devdax without a character device`);
  await waitForFile(`/dev/${chardev}`);
  return { place: devdaxPlace(`/dev/${chardev}`, namespace, request.map), restore: async () => {} };
}

/** A devdax device as a place; with its namespace known, it can be lent as a block device. */
export function devdaxPlace(device: string, namespace?: Namespace, map?: string): DevdaxPlace {
  const place: DevdaxPlace = { kind: 'devdax', path: device, ...devdaxGeometry(device), ranges: pmemRanges() };
  if (!namespace) return place;
  return { ...place, namespace: namespace.dev, asBlockDevice: (work) => lendAsBlockDevice(namespace, device, map, work) };
}

/** Size and alignment of a devdax character device, bytes, from sysfs (Documentation/ABI/testing/sysfs-bus-dax). */
export function devdaxGeometry(device: string): { size: number; align: number } {
  const folder = characterFolder(device);
  const read = (name: string): number | undefined => (fs.existsSync(path.join(folder, name)) ? Number(fs.readFileSync(path.join(folder, name), 'utf8')) : undefined);
  const size = read('size');
  if (size === undefined) throw new BrokenError(`${device}: sysfs does not know its size`);
  return { size, align: read('align') ?? read('device/align') ?? read('../../dax_region/align') ?? 2 * MiB };
}

/** First physical byte of a device's data, from sysfs. Needs root. */
export function resourceOf(folder: string, what: string): number {
  const file = path.join(folder, 'resource');
  const start = fs.existsSync(file) ? Number(fs.readFileSync(file, 'utf8')) : NaN;
  if (!Number.isSafeInteger(start) || start === 0) throw new BrokenError(`${what}: sysfs does not tell where its data begins (${file})`);
  return start;
}

/** First physical byte of a devdax character device. Needs root. */
export const devdaxStart = (device: string): number => resourceOf(characterFolder(device), device);

const characterFolder = (device: string): string => {
  const { rdev } = native.statx(device);
  return `/sys/dev/char/${rdev.major}:${rdev.minor}`;
};

/**
 * The same bytes as a block device. With the page map on the device both have an info block of equal shape, and the
 * data at the same offset (drivers/nvdimm/pfn_devs.c); with the map in RAM ndctl makes a legacy region's block device
 * without an info block, and its data begins earlier. Physical addresses tell which.
 */
async function lendAsBlockDevice(namespace: Namespace, device: string, asked: string | undefined, work: (blockDevice: string, offset: number) => Promise<void> | void): Promise<void> {
  const start = devdaxStart(device);
  // With labels ndctl gives the namespace a uuid each time, a new one or the one that it is told, which must not be the one that
  // it has (drivers/nvdimm: nd_is_uuid_unique). What ndctl lists is the uuid of the info block, which is always new.
  const uuid = ndUuid(namespace.dev);
  const map = namespace.map ?? asked;
  const shape = { ...(map ? { map } : {}), align: namespace.align ?? devdaxGeometry(device).align, ...(namespace.name ? { name: namespace.name } : {}) };
  const block = await createNamespace({ namespace: namespace.dev }, { mode: 'fsdax', ...shape });
  try {
    if (!block.blockdev) throw new BrokenError(`${namespace.dev}: fsdax without a block device`);
    await waitForFile(`/dev/${block.blockdev}`);
    await work(`/dev/${block.blockdev}`, start - resourceOf(`/sys/block/${block.blockdev}/device`, block.blockdev));
  } finally {
    const back = await createNamespace({ namespace: namespace.dev }, { mode: 'devdax', ...shape, ...(uuid ? { uuid } : {}) });
    await waitForFile(`/dev/${chardevOf(back)}`);
  }
}

/** devtmpfs makes nodes at once, udev a little later. */
export async function waitForFile(file: string, ms = 10_000): Promise<void> {
  for (const deadline = Date.now() + ms; !fs.existsSync(file); ) {
    if (Date.now() > deadline) throw new BrokenError(`${file} did not appear within ${ms / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
