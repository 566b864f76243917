// Guards the division of one dax region into devices (drivers/dax/bus.c: alloc_dev_dax_range, dev_dax_shrink, adjust_dev_dax_range,
// size_store, mapping_store; drivers/dax/device.c: dax_pgoff_to_phys over several ranges): a device shows the memory that its
// mappings name and no other, whatever is made, resized or destroyed beside it, and what is taken away is free again.
import fs from 'node:fs';
import path from 'node:path';
import { createDaxDevice, daxAlign, daxFolder, daxRanges, daxSize, destroyDaxDevice, dynamicRegions, resizeDaxDevice, type DaxRange, type DaxRegion } from '../../device/daxctl.js';
import { softReservedRanges } from '../../device/iomem.js';
import { waitForFile } from '../../device/provision.js';
import { tool } from '../../device/tool.js';
import { Mapping, deleteModuleAsync, type Pattern } from '../../native.js';
import { MiB, hex } from '../../units.js';
import { PAGE, PMD } from '../shared/huge.js';
import { onlineMemory, keepMemoryOffline } from '../shared/hotplug.js';
import { loadModule } from '../shared/modules.js';
import { defineWorkload, type Context } from '../types.js';

const STEP = 32 * MiB;

export default defineWorkload({
  name: 'devdax/subdivide',
  about: 'a soft-reserved region as several devices by daxctl: made, grown, shrunk, destroyed, made of given ranges, used as system-ram; each shows its own memory alone',
  guards: ['ndctl daxctl-create.sh, daxctl-devices.sh', 'kernel alloc_dev_dax_range, dev_dax_shrink, mapping_store, dax_pgoff_to_phys'],
  needs: { guest: true, memory: 'soft-reserved', tools: ['daxctl'], kconfig: ['DEV_DAX_HMEM'] },
  timeout: 120,
  metrics: [{ name: 'create', unit: 'ns', better: 'lower' }, { name: 'destroy', unit: 'ns', better: 'lower' }],
  async run(ctx: Context) {
    const { region, bounds } = await emptyRegion(ctx);
    const owners = new Owners(ctx, region, bounds);

    ctx.step('three devices');
    const [a, b, c] = [await owners.create(2 * STEP), await owners.create(STEP, PAGE), await owners.create(STEP)] as const;
    ctx.expect(daxAlign(a) === PMD && daxAlign(b) === PAGE, 'each device should have the alignment that was asked for', { [a]: daxAlign(a), [b]: daxAlign(b) });
    owners.verify('three devices');

    ctx.step('a device in two pieces');
    await owners.destroy(b);
    const d = await owners.create(3 * STEP);
    ctx.expect(daxRanges(d).length === 2, 'a device larger than the hole that was left should be in two pieces', daxRanges(d));
    owners.verify('a device in two pieces');

    ctx.step('resized');
    await owners.resize(d, 2 * STEP);
    await owners.resize(c, 3 * STEP);
    await owners.resize(a, STEP);
    owners.verify('resized');

    ctx.step('refused');
    await refusals(ctx, region, c);
    owners.verify('refused');

    ctx.step('the same memory again');
    await sameRanges(ctx, region, owners, d);

    ctx.step('one of them as system-ram');
    await asMemory(ctx, region, owners);
    owners.verify('after system-ram');

    for (const device of owners.devices()) await owners.destroy(device);
    owners.metrics();
    ctx.expect(region.available() === region.size, 'with all devices gone all of the region should be free', { available: region.available(), size: region.size });
    await reload(ctx, region);
  },
});

/** The soft-reserved region, with its first device shrunk to nothing. Skips where there is none. */
async function emptyRegion(ctx: Context): Promise<{ region: DaxRegion; bounds: { start: number; end: number } }> {
  if (!(await loadModule('dax_hmem'))) ctx.skip('needs the module dax_hmem; install it, or build it with CONFIG_DEV_DAX_HMEM');
  const reserved = softReservedRanges();
  const [region] = dynamicRegions();
  if (!region) return ctx.skip('needs soft-reserved memory; try --layout hmem, or boot with memmap=1G%4G-1+0xefffffff');
  // At first one device has it all; not every kernel tells the region's own address.
  const [whole] = region.devices().flatMap(daxRanges);
  const bounds = { start: whole?.start ?? 0, end: whole?.end ?? 0 };
  ctx.expect(bounds.end - bounds.start === region.size, 'the first device should have all of the region', { whole, size: region.size });
  ctx.prove('region', { id: region.id, start: hex(bounds.start), size: region.size, align: region.align, reserved });
  // 7.3 lists what dax_hmem has taken by its devices only.
  ctx.expect(reserved.length === 0 || reserved.some(({ start, end }) => start === bounds.start && end === bounds.end), 'the region should be what /proc/iomem calls soft reserved', { bounds, reserved });
  // The device that a region begins with stays for good: without size it is out of the way.
  for (const device of region.devices()) if (daxSize(device) > 0) await resizeDaxDevice(device, 0);
  ctx.expect(region.available() === region.size, 'a region whose devices have no size should be free as a whole', { available: region.available(), size: region.size });
  return { region, bounds };
}

/** Who has which memory, by sysfs; and what was stored there. Every device is filled with a pattern of its own, by physical address. */
class Owners {
  readonly #seeds = new Map<string, number>();
  #next = 300;
  readonly #times: Record<'create' | 'destroy', number[]> = { create: [], destroy: [] };

  constructor(
    private readonly ctx: Context,
    private readonly region: DaxRegion,
    private readonly bounds: { start: number; end: number },
  ) {}

  devices = (): string[] => [...this.#seeds.keys()];

  async create(size: number, align?: number): Promise<string> {
    const free = this.region.available();
    const device = await this.#timed('create', () => createDaxDevice(this.region, size, align));
    await waitForFile(`/dev/${device}`);
    this.ctx.expect(daxSize(device) === size, `${device} should have the size that was asked for`, { size: daxSize(device), asked: size });
    this.ctx.expect(free - this.region.available() === size, `${device} should have taken its size from the region`, { before: free, after: this.region.available(), size });
    this.adopt(device);
    return device;
  }

  /** Bytes of the smallest part of the region that nobody has, between the others or behind them. */
  smallestHole(): number {
    const taken = this.region.devices().flatMap(daxRanges).sort((x, y) => x.start - y.start);
    const { start, end } = this.bounds;
    const holes = [...taken, { start: end }].map((next, i) => next.start - (i === 0 ? start : taken[i - 1]!.end));
    return Math.min(...holes.filter((bytes) => bytes > 0));
  }

  /** Fills a device that is new. */
  adopt(device: string): void {
    this.#seeds.set(device, this.#next++);
    this.#everyPiece(device, (mapping, { start, end }, pattern) => {
      const filled = mapping.fill(0, end - start, pattern);
      this.ctx.expect(filled.signal === undefined, `${device} should take data at ${hex(start)}`, filled);
    });
  }

  seedOf = (device: string): number => this.#seeds.get(device)!;

  async destroy(device: string): Promise<void> {
    const free = this.region.available();
    const size = daxSize(device);
    // The first of a region is kept by the kernel; its memory is given up all the same.
    await (device.endsWith('.0') ? resizeDaxDevice(device, 0) : this.#timed('destroy', () => destroyDaxDevice(device)));
    this.#seeds.delete(device);
    this.ctx.expect(this.region.available() - free === size, `the memory of ${device} should be free again`, { before: free, after: this.region.available(), size });
  }

  /** Grown or shrunk; what is left of the old content must be there, and what came is filled. */
  async resize(device: string, size: number): Promise<void> {
    const before = daxRanges(device);
    const old = daxSize(device);
    await resizeDaxDevice(device, size);
    await tool('daxctl', ['enable-device', device]).catch((error: unknown) => {
      if (!fs.existsSync(path.join(daxFolder(device), 'driver'))) throw error; // 76.1 enables it by itself
    });
    await waitForFile(`/dev/${device}`);
    this.ctx.expect(daxSize(device) === size, `${device} should have its new size`, { size: daxSize(device), asked: size });
    const after = daxRanges(device);
    this.ctx.expect(after[0]!.start === before[0]!.start, `${device} should begin where it began`, { before, after });
    this.#verifyOne(device, Math.min(old, size), 'resized');
    this.adopt(device);
  }

  /** All devices show their own data at their own physical pages, and no piece of memory has two owners. */
  verify(when: string): void {
    const pieces = this.region.devices().flatMap((device) => daxRanges(device).map((range) => ({ device, ...range }))).sort((x, y) => x.start - y.start);
    this.ctx.prove(when, pieces.map(({ device, start, end }) => `${device} ${hex(start)}-${hex(end - 1)}`));
    pieces.forEach((piece, i) => this.ctx.expect(i === 0 || pieces[i - 1]!.end <= piece.start, `${when}: two devices should never have the same memory`, { one: pieces[i - 1], other: piece }));
    const sum = pieces.reduce((total, { start, end }) => total + end - start, 0);
    this.ctx.expect(sum + this.region.available() === this.region.size, `${when}: what devices have and what is free should be the region`, { sum, available: this.region.available(), size: this.region.size });
    for (const device of this.devices()) this.#verifyOne(device, daxSize(device), when);
  }

  #verifyOne(device: string, bytes: number, when: string): void {
    this.#everyPiece(device, (mapping, { start, end, pageOffset }, pattern) => {
      const length = Math.min(end - start, bytes - pageOffset * PAGE);
      if (length <= 0) return;
      const check = mapping.verify(0, length, pattern);
      this.ctx.expect(check.ok, `${when}: ${device} should hold its own data at ${hex(start)}`, check);
      for (const offset of [0, length - PAGE]) {
        const [page] = mapping.pagemap(offset, 1);
        this.ctx.expect(page?.pfn === (start + offset) / PAGE, `${when}: ${device} should be mapped to the memory that its mapping names`, { page, wanted: hex(start + offset) });
      }
    });
  }

  #everyPiece(device: string, work: (mapping: Mapping, range: DaxRange, pattern: Pattern) => void): void {
    const seed = this.seedOf(device);
    const fd = fs.openSync(`/dev/${device}`, 'r+');
    try {
      for (const range of daxRanges(device)) {
        using mapping = Mapping.map({ fd, offset: range.pageOffset * PAGE, length: range.end - range.start, align: PMD });
        work(mapping, range, { kind: 'words', seed, base: range.start });
      }
    } finally {
      fs.closeSync(fd);
    }
  }

  async #timed<Result>(what: 'create' | 'destroy', work: () => Promise<Result>): Promise<Result> {
    const started = process.hrtime.bigint();
    const result = await work();
    this.#times[what].push(Number(process.hrtime.bigint() - started));
    return result;
  }

  metrics(): void {
    for (const [what, samples] of Object.entries(this.#times)) this.ctx.metric(what, samples);
  }
}

/** With the driver unloaded the region is gone; loaded again it is there, whole. */
async function reload(ctx: Context, region: DaxRegion): Promise<void> {
  ctx.step('the driver unloaded and loaded');
  await deleteModuleAsync('dax_hmem');
  ctx.expect(!fs.existsSync(path.join(region.folder, 'dax_region')), 'with dax_hmem unloaded its region should be gone');
  ctx.expect(await loadModule('dax_hmem'), 'dax_hmem should load again');
  const [again] = dynamicRegions();
  ctx.expect(again?.size === region.size, 'with dax_hmem loaded again the region should be there, whole', again);
}

/** Sizes and ranges that no device can have. */
async function refusals(ctx: Context, region: DaxRegion, device: string): Promise<void> {
  const before = { available: region.available(), ranges: daxRanges(device) };
  const [owned] = before.ranges;
  const seed = region.devices()[0]!;
  const write = (name: string, value: string) => (): void => fs.writeFileSync(path.join(daxFolder(seed), name), value);
  const refuse = async (what: string, codes: readonly string[], call: () => void): Promise<void> => ctx.prove(what, await ctx.expectError(what, codes, call));
  await refuse('more than is free', ['ENOSPC'], write('size', String(region.available() + PMD)));
  await refuse('a size that is no multiple of the alignment', ['EINVAL'], write('size', String(PMD + PAGE)));
  await refuse('an alignment that no page has', ['EINVAL', 'ENXIO'], write('align', String(3 * PAGE)));
  await refuse('resizing a device that is in use', ['EBUSY'], () => fs.writeFileSync(path.join(daxFolder(device), 'size'), '0'));
  if (fs.existsSync(path.join(daxFolder(seed), 'mapping'))) {
    await refuse('memory of another device', ['EBUSY', 'ENOSPC', 'EINVAL', 'ENOMEM'], write('mapping', rangeText(owned!)));
    await refuse('memory outside of the region', ['EINVAL', 'ENXIO', 'ENOSPC', 'EBUSY', 'ENOMEM'], write('mapping', rangeText({ start: 0, end: PMD })));
  }
  const after = { available: region.available(), ranges: daxRanges(device) };
  ctx.expect(JSON.stringify(after) === JSON.stringify(before), 'what is refused should change nothing', { before, after });
}

const rangeText = ({ start, end }: { start: number; end: number }): string => `${start.toString(16)}-${(end - 1).toString(16)}`;

/** A device destroyed and made again of the very ranges that it had shows the old data: the kernel did not touch them. */
async function sameRanges(ctx: Context, region: DaxRegion, owners: Owners, device: string): Promise<void> {
  if (!fs.existsSync(path.join(daxFolder(device), 'mapping'))) return ctx.prove('the same memory again', 'this kernel takes no ranges (before 5.11)');
  const ranges = daxRanges(device);
  const pattern = { kind: 'words', seed: owners.seedOf(device) } as const;
  await owners.destroy(device);
  fs.writeFileSync(path.join(region.folder, 'dax_region', 'create'), '1');
  const made = region.devices().find((name) => daxSize(name) === 0 && !name.endsWith('.0'))!;
  for (const range of ranges) fs.writeFileSync(path.join(daxFolder(made), 'mapping'), rangeText(range));
  await tool('daxctl', ['enable-device', made]);
  await waitForFile(`/dev/${made}`);
  const now = daxRanges(made);
  ctx.expect(JSON.stringify(now) === JSON.stringify(ranges), 'a device made of given ranges should have those', { ranges, now });
  const fd = fs.openSync(`/dev/${made}`, 'r');
  try {
    for (const { start, end, pageOffset } of now) {
      using mapping = Mapping.map({ fd, offset: pageOffset * PAGE, length: end - start, align: PMD, prot: 'r' });
      const check = mapping.verify(0, end - start, { ...pattern, base: start });
      ctx.expect(check.ok, `made again of the same memory, ${made} should show what was there`, check);
    }
  } finally {
    fs.closeSync(fd);
  }
  ctx.prove('the same memory again', { device: made, ranges: now.map(({ start, end }) => `${hex(start)}-${hex(end - 1)}`) });
  owners.adopt(made);
}

/** One of several devices becomes memory and comes back; its neighbours keep their data. Memory comes in blocks: a piece must hold a whole one. */
async function asMemory(ctx: Context, region: DaxRegion, owners: Owners): Promise<void> {
  if (!(await loadModule('kmem'))) return ctx.prove('system-ram', 'needs the module kmem');
  keepMemoryOffline(ctx);
  const block = parseInt(fs.readFileSync('/sys/devices/system/memory/block_size_bytes', 'utf8'), 16);
  // What is free between the others would be pieces too small for a block.
  while (owners.smallestHole() < 2 * block) await owners.create(owners.smallestHole());
  const size = 2 * block;
  if (region.available() < size) return ctx.prove('system-ram', `needs ${size} bytes in one piece; ${region.available()} are free`);
  const device = await createDaxDevice(region, size);
  const before = onlineMemory();
  await tool('daxctl', ['reconfigure-device', '--mode=system-ram', device]);
  const grown = onlineMemory() - before;
  ctx.prove('system-ram', { device, ranges: daxRanges(device), grown });
  ctx.expect(grown >= block / 2 && grown <= size, 'whole memory blocks of the device should have become memory', { grown, block, size });
  owners.verify('beside system-ram');
  await tool('daxctl', ['reconfigure-device', '--force', '--mode=devdax', device]);
  ctx.expect(onlineMemory() <= before, 'the memory should be gone from the system', { before, now: onlineMemory() });
  await waitForFile(`/dev/${device}`);
  await destroyDaxDevice(device);
}
