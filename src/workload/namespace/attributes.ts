// Guards what sysfs says of pmem and dax devices (drivers/nvdimm: bus.c, dimm_devs.c, region_devs.c, namespace_devs.c, pfn_devs.c,
// btt_devs.c; drivers/acpi/nfit; drivers/dax/bus.c): every attribute can be read, says the same twice, holds no trace of a
// kernel pointer; those that matter agree with ndctl and with each other; and nonsense written to one is refused and changes nothing.
import fs from 'node:fs';
import path from 'node:path';
import { daxRanges } from '../../device/daxctl.js';
import { ndAttribute, ndBusOf, ndFolder, ndNumber, setNdAttribute } from '../../device/nd.js';
import { tool } from '../../device/tool.js';
import { codeOf } from '../../errors.js';
import { blockDevice } from '../../native.js';
import { spareNamespace } from '../shared/namespaces.js';
import { defineWorkload, type Context } from '../types.js';

const BUSES = ['/sys/bus/nd/devices', '/sys/bus/dax/devices'];

export default defineWorkload({
  name: 'namespace/attributes',
  about: 'every sysfs attribute of buses, DIMMs, regions, namespaces and dax devices: readable, stable, equal to what ndctl says; nonsense refused',
  guards: ['ndctl\'s and daxctl\'s view of sysfs', 'kernel sysfs-bus-nvdimm, sysfs-bus-nfit, sysfs-bus-dax'],
  needs: { guest: true, tools: ['ndctl'], files: ['/sys/bus/nd/devices'] },
  params: { mode: ['fsdax', 'devdax', 'sector'] },
  thorough: { mode: ['sector'] },
  async run(ctx: Context) {
    const mode = ctx.params.mode as 'fsdax' | 'devdax' | 'sector';
    const spare = await spareNamespace(ctx);
    const made = await spare.remake(mode === 'sector' ? { mode } : { mode, map: 'dev', align: '2M' });

    ctx.step('every attribute, twice');
    const first = everything();
    const second = everything();
    const differing = Object.keys({ ...first, ...second }).filter((name) => first[name] !== second[name]);
    ctx.prove('attributes', { read: Object.values(first).filter((value) => !REFUSED.test(value)).length, refused: Object.entries(first).filter(([, value]) => REFUSED.test(value)).length });
    ctx.expect(differing.length === 0, 'an attribute that nobody changes should say the same twice', differing.map((name) => [name, first[name], second[name]]));
    const odd = Object.entries(first).filter(([name, value]) => isOdd(name, value));
    ctx.expect(odd.length === 0, 'an attribute should be short lines without kernel pointers, or be refused for want of a value', odd.slice(0, 5));

    ctx.step('against ndctl');
    const buses = JSON.parse(await tool('ndctl', ['list', '-BDRNXivM'])) as Bus[];
    const facts = buses.flatMap(factsOfBus);
    const wrong = facts.filter(({ sysfs, ndctl }) => sysfs !== ndctl);
    ctx.prove('compared with ndctl', facts.length);
    ctx.expect(facts.length >= 10, 'there should be enough to compare', facts.length);
    ctx.expect(wrong.length === 0, 'sysfs and ndctl should say the same', wrong);

    ctx.step('against each other');
    if (mode === 'devdax') characterDevice(ctx, made.path, spare.dev);
    else blockDeviceFacts(ctx, made.path, spare.dev, mode);

    ctx.step('what can be set');
    settable(ctx, spare.region);
    await scrub(ctx, buses.find(({ regions }) => regions?.some(({ dev }) => dev === spare.region))!.dev);
    ctx.step('nonsense');
    await nonsense(ctx, spare.region);
  },
});

/** What a read that failed is noted as. */
const REFUSED = /^refused: (\w+)$/;
/** A seed device has no size yet, a DIMM no labels: these are their ways to say so. */
const NO_VALUE = ['EIO', 'ENXIO', 'ENOTTY', 'EOPNOTSUPP', 'EACCES', 'EBUSY', 'EINVAL'];
/** Counts and times that go on by themselves. */
const MOVING = /\/(power|block|msg|statistics|events|driver|subsystem|uevent)$/;

/** Every attribute below the two buses, by its path: its text, or how reading was refused. */
function everything(): Record<string, string> {
  const found: Record<string, string> = {};
  const visit = (folder: string): void => {
    for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
      const file = path.join(folder, entry.name);
      if (MOVING.test(file)) continue;
      // A folder with a subsystem is a device of its own, and visited by its own name.
      if (entry.isDirectory() && !fs.existsSync(path.join(file, 'subsystem'))) visit(file);
      else if (entry.isFile() && (fs.statSync(file).mode & 0o444) !== 0) found[file] = read(file);
    }
  };
  for (const bus of BUSES.filter((name) => fs.existsSync(name))) for (const device of fs.readdirSync(bus)) visit(fs.realpathSync(path.join(bus, device)));
  return found;
}

function read(file: string): string {
  try {
    return fs.readFileSync(file, 'latin1');
  } catch (error) {
    if (codeOf(error) === undefined) throw error;
    return `refused: ${codeOf(error)}`;
  }
}

function isOdd(name: string, value: string): boolean {
  const refused = REFUSED.exec(value);
  if (refused) return !NO_VALUE.includes(refused[1]!);
  return value.length > 4096 || /\bffff[89a-f][0-9a-f]{11}\b|\(null\)|[^\x09\x0a\x20-\x7e]/.test(value) || (value !== '' && !value.endsWith('\n') && !/\/badblocks$/.test(name));
}

interface Bus {
  dev: string;
  provider: string;
  dimms?: { dev: string; id?: string; handle?: number; phys_id?: number }[];
  regions?: ListedRegion[];
}
interface ListedRegion {
  dev: string;
  size: number;
  align?: number;
  available_size: number;
  max_available_extent?: number;
  numa_node?: number;
  target_node?: number;
  mappings?: { dimm: string; offset: number; length: number; position: number }[];
  namespaces?: { dev: string; mode: string; name?: string; raw_uuid?: string; numa_node?: number; badblock_count?: number }[];
}
interface Fact {
  of: string;
  sysfs: string | number;
  ndctl: string | number;
}

/** Each value that both know; ndctl leaves out what it does not know. */
function factsOfBus(bus: Bus): Fact[] {
  const number = (dev: string, name: string, ndctl: number | undefined): Fact[] => (ndctl === undefined || !has(dev, name) ? [] : [{ of: `${dev}/${name}`, sysfs: ndNumber(dev, name), ndctl }]);
  const text = (dev: string, name: string, ndctl: string | undefined): Fact[] => (ndctl === undefined || !has(dev, name) ? [] : [{ of: `${dev}/${name}`, sysfs: ndAttribute(dev, name), ndctl }]);
  return [
    ...text(bus.dev, 'provider', bus.provider),
    ...(bus.dimms ?? []).flatMap(({ dev, id, handle, phys_id }) => [
      ...text(dev, 'devtype', 'nvdimm'), ...text(dev, 'nfit/id', id), ...number(dev, 'nfit/handle', handle), ...number(dev, 'nfit/phys_id', phys_id),
    ]),
    ...(bus.regions ?? []).flatMap((region) => [
      ...number(region.dev, 'size', region.size), ...number(region.dev, 'align', region.align), ...number(region.dev, 'numa_node', region.numa_node),
      ...number(region.dev, 'target_node', region.target_node), ...text(region.dev, 'devtype', 'nd_pmem'), ...text(region.dev, 'read_only', '0'),
      ...number(region.dev, 'mappings', region.mappings?.length ?? 0), ...text(region.dev, 'badblocks', ''),
      ...(region.mappings ?? []).flatMap(({ dimm, offset, length, position }, i) => text(region.dev, `mapping${i}`, [dimm, offset, length, position].join())),
      ...(region.namespaces ?? []).flatMap(({ dev, name, raw_uuid, numa_node, badblock_count }) => [
        ...text(dev, 'alt_name', name), ...text(dev, 'uuid', raw_uuid), ...number(dev, 'numa_node', numa_node), ...text(dev, 'force_raw', '0'),
        { of: `${dev}: bad blocks`, sysfs: 0, ndctl: badblock_count ?? 0 },
      ]),
    ]),
  ];
}

const has = (dev: string, name: string): boolean => fs.existsSync(path.join(ndFolder(dev), name));

/** The device that holds a namespace, its block device and the namespace itself fit into each other. */
function blockDeviceFacts(ctx: Context, node: string, namespace: string, mode: string): void {
  const disk = `/sys/block/${path.basename(node)}`;
  const holder = path.basename(fs.realpathSync(`${disk}/device`));
  const number = (name: string): number => Number(fs.readFileSync(path.join(disk, name), 'utf8'));
  const fd = fs.openSync(node, 'r');
  const { size } = blockDevice(fd);
  fs.closeSync(fd);
  const facts = { holder, size, namespace: ndNumber(namespace, 'size'), sectors: number('size'), said: ndNumber(holder, 'size') };
  ctx.prove('block device', facts);
  ctx.expect(ndAttribute(namespace, 'holder') === holder && ndAttribute(holder, 'namespace') === namespace, 'a namespace and its holder should name each other', { holder: ndAttribute(namespace, 'holder'), namespace: ndAttribute(holder, 'namespace') });
  ctx.expect(facts.sectors * 512 === size && size < facts.namespace, 'the block device should be what its size says, and smaller than the namespace', facts);
  ctx.expect(facts.said === size, 'the holder should say the size of its block device', facts);
  if (mode !== 'fsdax') return ctx.expect(ndNumber(holder, 'sector_size') === 4096 || /\[\d+\]/.test(ndAttribute(holder, 'sector_size')), 'one sector size should be the chosen one', ndAttribute(holder, 'sector_size'));
  const start = ndNumber(holder, 'resource');
  ctx.expect(start > ndNumber(namespace, 'resource') && start + size <= ndNumber(namespace, 'resource') + facts.namespace, 'the data should lie inside of the namespace', { start, ...facts });
  writeCache(ctx, path.join(disk, 'dax/write_cache'));
}

/** Whether stores must be flushed can be set, says so, and is put back. */
function writeCache(ctx: Context, file: string): void {
  if (!fs.existsSync(file)) return ctx.prove('write cache', 'not told here');
  const was = fs.readFileSync(file, 'utf8').trim();
  ctx.cleanup(() => fs.writeFileSync(file, was));
  for (const value of [was === '0' ? '1' : '0', was]) {
    fs.writeFileSync(file, value);
    ctx.expect(fs.readFileSync(file, 'utf8').trim() === value, 'the write cache should be as it was set', { value, says: fs.readFileSync(file, 'utf8') });
  }
  ctx.prove('write cache', was);
}

function characterDevice(ctx: Context, node: string, namespace: string): void {
  const { rdev } = fs.statSync(node);
  const folder = fs.realpathSync(`/sys/dev/char/${rdev >> 8}:${rdev & 255}`);
  const size = Number(fs.readFileSync(path.join(folder, 'size'), 'utf8'));
  const start = Number(fs.readFileSync(path.join(folder, 'resource'), 'utf8'));
  const around = { start: ndNumber(namespace, 'resource'), size: ndNumber(namespace, 'size') };
  ctx.prove('character device', { start, size, around });
  ctx.expect(start > around.start && start + size <= around.start + around.size, 'the data should lie inside of the namespace', { start, size, around });
  if (!fs.existsSync(path.join('/sys/bus/dax/devices', path.basename(node)))) return;
  const ranges = daxRanges(path.basename(node));
  if (ranges.length > 0) ctx.expect(ranges.length === 1 && ranges[0]!.start === start && ranges[0]!.end === start + size, 'its one mapping should be the device', ranges);
}

/** A flush of the region's buffers, where it has any; and what an NFIT bus does after a memory error. */
function settable(ctx: Context, region: string): void {
  if (has(region, 'deep_flush') && ndAttribute(region, 'deep_flush') === '1') setNdAttribute(region, 'deep_flush', '1');
  const bus = ndBusOf(region);
  if (!has(bus, 'nfit/hw_error_scrub')) return;
  const was = ndAttribute(bus, 'nfit/hw_error_scrub');
  ctx.cleanup(() => setNdAttribute(bus, 'nfit/hw_error_scrub', was));
  for (const value of [was === '0' ? '1' : '0', was]) {
    setNdAttribute(bus, 'nfit/hw_error_scrub', value);
    ctx.expect(ndAttribute(bus, 'nfit/hw_error_scrub') === value, 'scrubbing after errors should be as it was set', { value, says: ndAttribute(bus, 'nfit/hw_error_scrub') });
  }
}

/** An address range scrub that is asked for is done or refused; where it is done, its count goes up and it ends. */
async function scrub(ctx: Context, bus: string): Promise<void> {
  if (!has(bus, 'nfit/scrub')) return ctx.prove('scrub', 'not offered by this bus');
  const count = (): number => parseInt(ndAttribute(bus, 'nfit/scrub'), 10);
  const before = count();
  try {
    setNdAttribute(bus, 'nfit/scrub', '1');
  } catch (error) {
    const code = codeOf(error);
    ctx.expect(code !== undefined && ['ENOTTY', 'EBUSY', 'EINVAL', 'EOPNOTSUPP', 'ENXIO'].includes(code), 'a scrub should be done or refused', code);
    return ctx.prove('scrub', code);
  }
  for (const deadline = Date.now() + 5000; ndAttribute(bus, 'nfit/scrub').endsWith('+'); ) {
    ctx.expect(Date.now() < deadline, 'a scrub of emulated memory should end within seconds', ndAttribute(bus, 'nfit/scrub'));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  ctx.prove('scrub', { before, after: count() });
  ctx.expect(count() >= before, 'the count of scrubs should not go down', { before, after: count() });
}

/** Values that no attribute can take: refused, and the old value stays. */
async function nonsense(ctx: Context, region: string): Promise<void> {
  const seeds = ['pfn_seed', 'btt_seed', 'dax_seed'].filter((name) => has(region, name)).map((name) => ndAttribute(region, name)).filter((dev) => dev !== '' && dev !== 'nil' && has(dev, 'devtype'));
  const tries: readonly (readonly [dev: string, name: string, value: string])[] = [
    [region, 'read_only', 'perhaps'], [region, 'deep_flush', '7'], [region, 'align', '12345'],
    ...seeds.flatMap((dev) => ['mode', 'align', 'uuid', 'sector_size', 'namespace'].map((name) => [dev, name, name === 'align' || name === 'sector_size' ? '3' : 'zebra'] as const)),
  ];
  for (const [dev, name, value] of tries.filter(([device, attribute]) => has(device, attribute) && (fs.statSync(path.join(ndFolder(device), attribute)).mode & 0o200) !== 0)) {
    const file = path.join(ndFolder(dev), name);
    const before = read(file);
    const code = await ctx.expectError(`${value} written to ${dev}/${name}`, ['EINVAL', 'ENODEV', 'ENXIO', 'EBUSY', 'ENOTTY', 'EOPNOTSUPP'], () => fs.writeFileSync(file, value));
    ctx.prove(`${dev}/${name} = ${value}`, code);
    ctx.expect(read(file) === before, `${dev}/${name} should stay as it was`, { before, now: read(file) });
  }
}
