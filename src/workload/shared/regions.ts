// Regions without labels, all up at once as fsdax, since a neighbour in the same memory section is what padding is for: their info
// blocks against what is predicted, their mappings against their block devices, and one taken away from beside the others.
import fs from 'node:fs';
import path from 'node:path';
import { ndNumber, type NdRegion } from '../../device/nd.js';
import { SystemError } from '../../errors.js';
import { makeFileSystem, mountDax, resourceOf } from '../../device/provision.js';
import { SECTION, lintRegions, type PadPrediction } from '../../kernel/memmap.js';
import * as native from '../../native.js';
import { Mapping, type Pattern } from '../../native.js';
import { MiB, hex, roundUp } from '../../units.js';
import { expectBlocks, withBlockDevice, writeBlocks } from './block.js';
import { PAGE, PMD, mapped } from './huge.js';
import { padded, parseInfoBlock, readInfoBlock, writeInfoBlock, type InfoBlock } from './info-block.js';
import { allNamespaces, asRawBytes, spareNamespace, type Spare } from './namespaces.js';
import type { Context } from '../types.js';

/** What is mapped at each place, across the border where there is one. */
const PIECE = 4 * PAGE;
/** How far from where it should be a place may lie: the file system needs some of the device for itself. */
const NEAR = MiB;

interface Place {
  /** On the block device, and in the file. */
  physical: number;
  logical: number;
}

interface One {
  spare: Spare;
  /** First physical byte, and bytes, of the raw namespace. */
  raw: { start: number; size: number };
  /** The same of the block device. */
  start: number;
  size: number;
  device: string;
  info: InfoBlock | undefined;
  mountPoint: string;
  mounted: boolean;
  file: string;
  places: Place[];
  seed: number;
}

/** What `daxrig memmap` says of the regions under a kernel. */
export const predictPads = (regions: readonly NdRegion[], kernelVersion: string): PadPrediction[] =>
  lintRegions({
    iomem: fs.readFileSync('/proc/iomem', 'utf8'),
    regions: regions.map(({ dev, size }) => ({ start: ndNumber(dev, 'resource'), end: ndNumber(dev, 'resource') + size - 1 })),
    kernelVersion,
  }).startPad ?? [];

interface Making {
  map: string;
  /** As a kernel before 5.3 would have made it. */
  old: boolean;
  predicted: readonly PadPrediction[];
  seed: number;
}

/** Has all regions made fsdax, with `old` as a kernel before 5.3 would have left them, and mounted; and all they must agree in. */
export async function expectAgreement(ctx: Context, regions: readonly NdRegion[], how: Omit<Making, 'seed'>): Promise<void> {
  ctx.prove('predicted', how.predicted);
  const all: One[] = [];
  for (const [i, region] of regions.entries()) all.push(await make(ctx, region, { ...how, seed: 600 + 10 * i }));
  for (const one of all) {
    ctx.step(`${one.device} mounted`);
    await makeFileSystem('ext4', one.device, { bare: true });
    await mount(ctx, one);
    fill(ctx, one);
  }
  for (const one of all) agree(ctx, one);
  await offAndOn(ctx, all);
}

/** Makes a region's namespace fsdax, and looks at what describes it. */
async function make(ctx: Context, region: NdRegion, { map, old, predicted, seed }: Making): Promise<One> {
  ctx.step(`${region.dev} made fsdax`);
  const spare = await spareNamespace(ctx, region);
  const { path: device } = await spare.remake({ mode: 'fsdax', map, align: '2M' });
  const raw = { start: ndNumber(spare.dev, 'resource'), size: ndNumber(spare.dev, 'size') };
  // What needs no padding is not predicted.
  const pads = predicted.find(({ start }) => start === hex(raw.start)) ?? { startPad: 0, endTrunc: 0 };
  const served = allNamespaces().find(({ dev }) => dev === spare.dev)!.holder !== '';
  const bytes = served ? await asRawBytes(spare, (node) => (old ? pad(node, raw, pads) : readFrom(node))) : readFrom(device);
  if (served) await spare.enable(device);
  const block = parseInfoBlock(bytes);
  const known = block.signature === 'NVDIMM_PFN_INFO' && block.checksumOk;
  ctx.expect(known === served, `${spare.dev} should have an info block if a pfn device serves it, and none else`, { served, block });
  const paddedSo = !served || (block.startPad === pads.startPad && block.endTrunc === pads.endTrunc);
  ctx.expect(paddedSo, `${spare.dev} should be padded as predicted`, { block, predicted: pads });

  const mountPoint = path.join(ctx.folder, region.dev);
  fs.mkdirSync(mountPoint);
  const one: One = {
    spare, raw, device, mountPoint, seed, mounted: false, places: [], file: path.join(mountPoint, 'file'), info: served ? block : undefined,
    start: resourceOf(`/sys/block/${path.basename(device)}/device`, device), size: withBlockDevice(device, (_, size) => size),
  };
  ctx.cleanup(async () => {
    if (one.mounted) await native.umountAsync(mountPoint);
  });
  expectDescribed(ctx, one);
  return one;
}

/** Pads a namespace by its raw bytes, and gives its info block. */
const pad = (node: string, raw: One['raw'], pads: { startPad: number; endTrunc: number }): Buffer =>
  withBlockDevice(node, (fd) => {
    writeInfoBlock(fd, padded(readInfoBlock(fd), raw, pads));
    return readInfoBlock(fd);
  });

const readFrom = (device: string): Buffer => withBlockDevice(device, (fd) => readInfoBlock(fd));

/** Expects DAX to be on, and the block device to be just what its info block says; all of the namespace without one. */
function expectDescribed(ctx: Context, { spare, raw, start, size, device, info }: One): void {
  const dax = fs.readFileSync(`/sys/block/${path.basename(device)}/queue/dax`, 'utf8').trim();
  ctx.prove(spare.dev, { device, raw: { start: hex(raw.start), size: raw.size }, start: hex(start), size, dax, info: info ?? 'none' });
  ctx.expect(dax === '1', `${device} should offer DAX`, { dax });
  const { dataOffset, startPad, endTrunc } = info ?? { dataOffset: 0, startPad: 0, endTrunc: 0 };
  ctx.expect(start === raw.start + startPad + dataOffset, `${device} should begin at the data offset behind the padding`, { start: hex(start), raw: hex(raw.start), startPad, dataOffset });
  ctx.expect(size === raw.size - startPad - dataOffset - endTrunc, `${device} should reach to the truncated end`, { size, raw: raw.size, startPad, dataOffset, endTrunc });
  if (info === undefined) return;
  ctx.expect(info.mode === 'pmem' && info.align === PMD && start % PMD === 0, 'the info block should say what was asked for, and the data be aligned', info);
  ctx.expect(info.version.startsWith('1.') && info.pages === size / PAGE, 'the info block should count the pages of the data', { ...info, size });
}

async function mount(ctx: Context, one: One): Promise<void> {
  try {
    await mountDax(one.device, one.mountPoint, 'ext4');
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    ctx.expect(false, `ext4 on ${one.device} should be mounted with DAX`, error.code);
  }
  one.mounted = true;
}

/** One file takes the device; the places to look at are where its blocks lie at both ends and around each section border. */
function fill(ctx: Context, one: One): void {
  // Kept back for writers that come late (fs/ext4/super.c: ext4_calculate_resv_clusters), wherever they are.
  fs.writeFileSync(`/sys/fs/ext4/${path.basename(one.device)}/reserved_clusters`, '0');
  const fd = fs.openSync(one.file, 'wx+');
  try {
    const { bavail, bsize } = fs.statfsSync(one.mountPoint);
    native.fallocate(fd, 'allocate', 0, bavail * bsize - SPARE);
    fs.fsyncSync(fd);
    const runs = runsOf(native.fiemap(fd));
    const borders: number[] = [];
    for (let border = roundUp(one.start + PIECE, SECTION); border < one.start + one.size - PIECE; border += SECTION) borders.push(border - one.start - PIECE / 2);
    const wanted = [0, ...borders, one.size - PIECE];
    one.places = wanted.map((at) => nearest(runs, at));
    const off = one.places.map(({ physical }, i) => physical - wanted[i]!);
    ctx.prove(`${one.device}: places`, one.places.map(({ physical }, i) => ({ at: hex(one.start + physical), off: off[i] })));
    ctx.expect(off.every((bytes) => Math.abs(bytes) <= NEAR), `the file on ${one.device} should have blocks at both ends and at each section border`, off);
  } finally {
    fs.closeSync(fd);
  }
}

/** Room for the extents into which a fallocated file is split by writing to it. */
const SPARE = 8 * PAGE;

/** Extents joined where they go on both in the file and on the device. */
function runsOf(extents: readonly native.Extent[]): { logical: number; physical: number; length: number }[] {
  const runs: { logical: number; physical: number; length: number }[] = [];
  for (const { logical, physical, length } of extents) {
    const last = runs.at(-1);
    if (last && last.logical + last.length === logical && last.physical + last.length === physical) last.length += length;
    else runs.push({ logical, physical, length });
  }
  return runs.filter(({ length }) => length >= PIECE);
}

/** Where in the runs a piece lies nearest to `at` on the device. */
function nearest(runs: readonly { logical: number; physical: number; length: number }[], at: number): Place {
  const places = runs.map(({ logical, physical, length }) => {
    const inside = Math.min(Math.max(at, physical), physical + length - PIECE);
    return { physical: inside, logical: logical + inside - physical };
  });
  return places.reduce((best, place) => (Math.abs(place.physical - at) < Math.abs(best.physical - at) ? place : best));
}

const patternOf = ({ seed }: One, step: number): Extract<Pattern, { kind: 'words' }> => ({ kind: 'words', seed: seed + step });

/** Each place of the file, mapped on its own, until the workload ends or it is closed. */
function openPlaces(ctx: Context, { file, places }: One): Mapping[] {
  const fd = fs.openSync(file, 'r+');
  try {
    return places.map(({ logical }) => mapped(ctx, Mapping.map({ fd, offset: logical, length: PIECE })));
  } finally {
    fs.closeSync(fd);
  }
}

/** What is stored through mappings is on the block device, and the other way round; each page frame is the one of that byte. */
function agree(ctx: Context, one: One): void {
  ctx.step(`${one.device}: mappings against blocks`);
  const mappings = openPlaces(ctx, one);
  const offsets = one.places.map(({ physical }) => physical);
  const stored = patternOf(one, 0);
  // From the end on: frames that are told too low have struct pages there still, and at the start none, which is an oops.
  for (const [i, mapping] of [...mappings.entries()].reverse()) {
    const filled = mapping.fill(0, PIECE, { ...stored, base: offsets[i]! });
    ctx.expect(filled.signal === undefined, `storing at byte ${offsets[i]} of ${one.device} should succeed`, filled);
    mapping.msync(0, PIECE);
    expectFrames(ctx, one, mapping, offsets[i]!, 'stored through a mapping');
  }
  expectBlocks(ctx, one.device, offsets, PIECE, stored, 'stored through a mapping');
  writeBlocks(ctx, one.device, offsets, PIECE, patternOf(one, 1));
  expectMapped(ctx, one, mappings, 'written to the block device');
  mappings.forEach((mapping) => mapping.close());
}

/** Expects the bytes that agree() has left, in the page frames that hold them. */
function expectMapped(ctx: Context, one: One, mappings: readonly Mapping[], when: string): void {
  mappings.forEach((mapping, i) => {
    const { physical } = one.places[i]!;
    const check = mapping.verify(0, PIECE, { ...patternOf(one, 1), base: physical });
    ctx.expect(check.ok, `${when}: a mapping of byte ${physical} of ${one.device} should show what the block device holds`, check);
    expectFrames(ctx, one, mapping, physical, when);
  });
}

/** Expects a mapping to have the page frames that the block device has its bytes from `physical` on in. */
function expectFrames(ctx: Context, { start, device }: One, mapping: Mapping, physical: number, when: string): void {
  const frames = mapping.pagemap(0, PIECE / PAGE).map(({ pfn }) => pfn * PAGE);
  const address = start + physical;
  ctx.expect(frames.every((frame, page) => frame === address + page * PAGE), `${when}: the page frames mapped should be those of byte ${physical} of ${device}`, { frames: frames.map(hex), address: hex(address) });
}

/** One that has a neighbour in a section, if any has, goes off and comes back while all others are mapped. */
async function offAndOn(ctx: Context, all: readonly One[]): Promise<void> {
  const shares = (one: One): boolean => all.some((other) => other !== one && sections(one).some((section) => sections(other).includes(section)));
  const one = all.find(shares) ?? all[0]!;
  const others = all.filter((other) => other !== one);
  const held = others.map((other) => openPlaces(ctx, other));
  const look = (when: string): void => others.forEach((other, i) => expectMapped(ctx, other, held[i]!, when));
  ctx.prove('off and on', { off: one.spare.dev, mapped: others.map(({ spare }) => spare.dev), sharesSection: shares(one) });
  look('before');

  ctx.step(`${one.spare.dev} off and on`);
  await native.umountAsync(one.mountPoint);
  one.mounted = false;
  await one.spare.disable();
  look(`${one.spare.dev} off`);
  await one.spare.enable(one.device);
  look(`${one.spare.dev} on again`);
  await mount(ctx, one);
  expectMapped(ctx, one, openPlaces(ctx, one), 'on again');
}

/** The sections that a namespace begins and ends in. */
const sections = ({ raw }: One): number[] => [raw.start, raw.start + raw.size - 1].map((address) => Math.floor(address / SECTION));
