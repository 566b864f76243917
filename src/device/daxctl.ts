// Regions of the dax bus and the devices they are divided into, by daxctl and sysfs (Documentation/ABI/testing/sysfs-bus-dax).
import fs from 'node:fs';
import path from 'node:path';
import { BrokenError } from '../errors.js';
import { tool } from './tool.js';

const BUS = '/sys/bus/dax/devices';

/** A piece of physical memory that a dax device has; `end` is exclusive, `pageOffset` where it begins in the device, in pages of 4 KiB. */
export interface DaxRange {
  start: number;
  end: number;
  pageOffset: number;
}

export interface DaxRegion {
  id: number;
  /** Its folder in sysfs, with the region's own attributes in dax_region/. */
  folder: string;
  size: number;
  align: number;
  /** Bytes that no device has. */
  available(): number;
  /** Names of the devices, dax0.0 the first. */
  devices(): string[];
}

const read = (file: string): string => fs.readFileSync(file, 'utf8').trim();
const numberOf = (file: string): number => Number(read(file));

/** The folder of a dax device, for its attributes. */
export const daxFolder = (device: string): string => path.join(BUS, device);

/** Regions that can be divided: those that tell how much of them is free. */
export function dynamicRegions(): DaxRegion[] {
  if (!fs.existsSync(BUS)) return [];
  const folders = new Set(fs.readdirSync(BUS).map((device) => path.dirname(fs.realpathSync(path.join(BUS, device)))));
  return [...folders].sort().flatMap((folder) => {
    const attribute = (name: string): string => path.join(folder, 'dax_region', name);
    if (!fs.existsSync(attribute('create'))) return []; // a region of a namespace is one device for good
    return [{
      id: numberOf(attribute('id')), folder, size: numberOf(attribute('size')), align: numberOf(attribute('align')),
      available: () => numberOf(attribute('available_size')),
      devices: () => fs.readdirSync(folder).filter((name) => /^dax\d+\.\d+$/.test(name)).sort((a, b) => Number(a.split('.')[1]) - Number(b.split('.')[1])),
    }];
  });
}

/** What a device has of physical memory, in the order of the device. */
export function daxRanges(device: string): DaxRange[] {
  const folder = daxFolder(device);
  return fs.readdirSync(folder).filter((name) => /^mapping\d+$/.test(name))
    .map((name) => ({ start: numberOf(path.join(folder, name, 'start')), end: numberOf(path.join(folder, name, 'end')) + 1, pageOffset: numberOf(path.join(folder, name, 'page_offset')) }))
    .sort((a, b) => a.pageOffset - b.pageOffset);
}

export const daxSize = (device: string): number => numberOf(path.join(daxFolder(device), 'size'));
export const daxAlign = (device: string): number => numberOf(path.join(daxFolder(device), 'align'));

/** Makes a device of `size` bytes, wherever the region has them; gives its name. */
export async function createDaxDevice(region: DaxRegion, size: number, align?: number): Promise<string> {
  const text = await tool('daxctl', ['create-device', '-r', String(region.id), '-s', String(size), ...(align === undefined ? [] : ['-a', String(align)])]);
  const made = (JSON.parse(text) as { chardev?: string }[])[0]?.chardev;
  if (made === undefined) throw new BrokenError(`daxctl create-device said nothing about what it made: ${text.slice(0, 200)}`);
  return made;
}

export const destroyDaxDevice = async (device: string): Promise<void> => {
  await tool('daxctl', ['disable-device', device]);
  await tool('daxctl', ['destroy-device', device]);
};

/** Changes the size of a device, bytes; it is disabled meanwhile, and enabled again unless it has none left. */
export async function resizeDaxDevice(device: string, size: number): Promise<void> {
  await tool('daxctl', ['disable-device', device]);
  await tool('daxctl', ['reconfigure-device', '-s', String(size), device]);
}
