// Regions and namespaces as sysfs shows them, for what is decided before a workload begins: ndctl tells more, but takes a
// tenth of a second in an emulated guest. Source: Documentation/ABI/testing/sysfs-bus-nvdimm, drivers/nvdimm/region_devs.c,
// namespace_devs.c.
import fs from 'node:fs';
import path from 'node:path';

const DEVICES = '/sys/bus/nd/devices';

export interface NdRegion {
  /** For example region0. */
  dev: string;
  /** Bytes. */
  size: number;
  /** First physical byte; undefined where the kernel does not tell. */
  resource: number | undefined;
  /** Those of some size; a labelled region has an empty one more, the seed of the next. */
  namespaces: NdNamespace[];
}

export interface NdNamespace {
  /** For example namespace0.0. */
  dev: string;
  /** Bytes. */
  size: number;
  /** The kernel's word, under which `memory` is a block device with DAX; raw, dax, sector (safe) are the others. */
  mode: string;
  /** The pfn, dax or btt device that claims it; empty without one. */
  holder: string;
  /** Its block device, or that of its holder. */
  blockdev: string | undefined;
}

/** All regions of persistent memory, by number. Empty where the kernel has no libnvdimm, or no pmem. */
export function ndRegions(root = DEVICES): NdRegion[] {
  const names = fs.existsSync(root) ? fs.readdirSync(root) : [];
  const read = (dev: string, name: string): string => readAttribute(path.join(root, dev, name));
  const byNumber = (pattern: RegExp): string[] => names.filter((name) => pattern.test(name)).sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  return byNumber(/^region\d+$/).map((dev) => {
    const namespaces = byNumber(new RegExp(`^namespace${dev.slice('region'.length)}\\.\\d+$`)).map((name) => {
      const holder = read(name, 'holder');
      return { dev: name, size: Number(read(name, 'size')) || 0, mode: read(name, 'mode'), holder, blockdev: blockDeviceOf(path.join(root, holder || name)) };
    });
    return { dev, size: Number(read(dev, 'size')) || 0, resource: Number(read(dev, 'resource')) || undefined, namespaces: namespaces.filter(({ size }) => size > 0) };
  });
}

/** The uuid in a namespace's label; empty without labels. */
export const ndUuid = (dev: string, root = DEVICES): string => readAttribute(path.join(root, dev, 'uuid'));

/** The folder of an nvdimm device of any kind: bus, DIMM, region, namespace, seed. */
export const ndFolder = (dev: string): string => path.join(DEVICES, dev);

/** What sysfs keeps of one, without the line's end. Throws what reading it does. */
export const ndAttribute = (dev: string, name: string): string => fs.readFileSync(path.join(ndFolder(dev), name), 'utf8').replace(/\n$/, '');

/** The same as a number. */
export const ndNumber = (dev: string, name: string): number => Number(ndAttribute(dev, name));

export const setNdAttribute = (dev: string, name: string, value: string): void => fs.writeFileSync(path.join(ndFolder(dev), name), value);

/** The bus that a region is on, for example ndbus0. */
export const ndBusOf = (region: string): string => path.basename(path.dirname(fs.realpathSync(ndFolder(region))));

/** Binds a namespace that nothing claims to the driver of block devices. Throws what the driver's probe says. */
export const bindNamespace = (dev: string): void => fs.writeFileSync('/sys/bus/nd/drivers/nd_pmem/bind', dev);

/** Takes the driver away from it. */
export const unbindNamespace = (dev: string): void => fs.writeFileSync('/sys/bus/nd/drivers/nd_pmem/unbind', dev);

/** Empty for an attribute that is not there, or has no value now (ENXIO). */
function readAttribute(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
}

function blockDeviceOf(folder: string): string | undefined {
  const block = path.join(folder, 'block');
  return fs.existsSync(block) ? fs.readdirSync(block)[0] : undefined;
}
