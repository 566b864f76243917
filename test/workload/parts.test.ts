// The parts of workloads that need no kernel: info blocks, modules.dep, the declarations themselves.
import { describe, expect, test } from 'vitest';
import { INFO_LENGTH, checksumOf, padded, parseInfoBlock, sealed } from '../../src/workload/shared/info-block.js';
import { LOG_GROUP, mapWord, newestLogEntry, parseBttInfo, readMapEntry } from '../../src/workload/shared/btt.js';
import { moduleFiles } from '../../src/workload/shared/modules.js';
import { parseLabelArea } from '../../src/workload/shared/labels.js';
import { LEAST_SHOWN, MOST, judgeCached } from '../../src/workload/shared/cached.js';
import { places, spots } from '../../src/workload/shared/block.js';
import { sumVmas } from '../../src/workload/shared/walks.js';
import { workloads } from '../../src/workload/index.js';

function block(): Buffer {
  const bytes = Buffer.alloc(INFO_LENGTH);
  bytes.write('NVDIMM_PFN_INFO', 0, 'latin1');
  bytes.writeUInt16LE(1, 52);
  bytes.writeUInt16LE(4, 54);
  bytes.writeBigUInt64LE(18n << 20n, 56);
  bytes.writeBigUInt64LE(257536n, 64);
  bytes.writeUInt32LE(2, 72);
  bytes.writeUInt32LE(64 << 20, 76);
  bytes.writeUInt32LE(16 << 20, 80);
  bytes.writeUInt32LE(2 << 20, 84);
  return bytes;
}

test('an info block is read by its fields', () => {
  expect(parseInfoBlock(sealed(block()))).toEqual({
    signature: 'NVDIMM_PFN_INFO', version: '1.4', dataOffset: 18 << 20, pages: 257536, mode: 'pmem',
    startPad: 64 << 20, endTrunc: 16 << 20, align: 2 << 20, checksumOk: true,
  });
});

test('a bit anywhere spoils the checksum, which does not count itself', () => {
  const good = sealed(block());
  expect(checksumOf(good)).toBe(checksumOf(block()));
  for (const at of [0, 60, 1000, 4087]) {
    const bad = Buffer.from(good);
    bad.writeUInt8(bad.readUInt8(at) ^ 1, at);
    expect(parseInfoBlock(bad).checksumOk).toBe(false);
  }
});

test('the checksum is the kernel\'s: sums of words of 4 bytes, the second of 64 bits cut by the shift', () => {
  const bytes = Buffer.alloc(INFO_LENGTH);
  bytes.writeUInt32LE(1, 0);
  // 1 once, then 1023 times the running sum of 1: low 1, high 1024.
  expect(checksumOf(bytes)).toBe((1024n << 32n) | 1n);
});

test('modules.dep gives what a module needs, farthest first, by either spelling', () => {
  const dep = 'kernel/drivers/dax/kmem.ko:\nkernel/drivers/nvdimm/nd_pmem.ko.xz: kernel/drivers/nvdimm/nd_btt.ko.xz kernel/drivers/nvdimm/libnvdimm.ko.xz\nkernel/a/dax-pmem.ko.zst:\n';
  expect(moduleFiles('kmem', dep)).toEqual(['kernel/drivers/dax/kmem.ko']);
  expect(moduleFiles('nd_pmem', dep)).toEqual(['kernel/drivers/nvdimm/libnvdimm.ko.xz', 'kernel/drivers/nvdimm/nd_btt.ko.xz', 'kernel/drivers/nvdimm/nd_pmem.ko.xz']);
  expect(moduleFiles('dax_pmem', dep)).toEqual(['kernel/a/dax-pmem.ko.zst']);
  expect(moduleFiles('pmem', dep)).toBeUndefined();
});

test('spots lie at both ends and in the middle, on whole pages', () => {
  const places = spots((1 << 30) + 12345, 1 << 20);
  expect(places[0]).toBe(0);
  expect(places.every((place) => place % 4096 === 0 && place + (1 << 20) <= (1 << 30) + 12345)).toBe(true);
  expect(places[2]! + (1 << 20)).toBeGreaterThan((1 << 30) + 12345 - 4096);
});

test('every workload says what it guards, has a name of its own and unique metrics', () => {
  expect(new Set(workloads.map(({ name }) => name)).size).toBe(workloads.length);
  for (const { name, about, guards, metrics = [] } of workloads) {
    expect(name).toMatch(/^[\w-]+\/[\w-]+$/);
    expect(about.length, name).toBeGreaterThan(20);
    expect(guards.length, name).toBeGreaterThan(0);
    expect(new Set(metrics.map((metric) => metric.name)).size, name).toBe(metrics.length);
  }
});

/** A label area of four slots; `used` ones hold a label, and the index says so. */
function labelArea(used: number[], sequences: [number, number] = [1, 2]): Buffer {
  const area = Buffer.alloc(512 + 4 * 256);
  for (const slot of [0, 1, 2, 3]) {
    const at = 512 + slot * 256;
    Buffer.from('00112233445566778899aabbccddeeff', 'hex').copy(area, at);
    area.write(`name ${slot}`, at + 16, 'utf8');
    area.writeBigUInt64LE(BigInt(slot) << 24n, at + 104);
    area.writeBigUInt64LE(1n << 24n, at + 112);
    area.writeUInt32LE(slot, at + 120);
  }
  for (const [i, sequence] of sequences.entries()) {
    const index = area.subarray(i * 256, (i + 1) * 256);
    index.write('NAMESPACE_INDEX\0', 0, 'latin1');
    index.writeUInt8(1, 19);
    index.writeUInt32LE(sequence, 20);
    index.writeBigUInt64LE(256n, 32);
    index.writeBigUInt64LE(512n, 48);
    index.writeUInt32LE(4, 56);
    // The second block is the newer state; the first knows of no label yet.
    index.writeUInt8(i === 1 ? 0xff & ~used.reduce((bits, slot) => bits | (1 << slot), 0) : 0xff, 72);
    index.writeBigUInt64LE(checksumOf(index, 64), 64);
  }
  return area;
}

test('labels are read by the newer whole index block, free slots left out', () => {
  expect(parseLabelArea(labelArea([0, 2]))).toEqual([
    { name: 'name 0', uuid: '00112233-4455-6677-8899-aabbccddeeff', dpa: 0, rawsize: 1 << 24, slot: 0 },
    { name: 'name 2', uuid: '00112233-4455-6677-8899-aabbccddeeff', dpa: 2 << 24, rawsize: 1 << 24, slot: 2 },
  ]);
  expect(parseLabelArea(labelArea([1], [3, 1]))).toHaveLength(1);
  expect(parseLabelArea(labelArea([1], [1, 3]))).toHaveLength(0);
});

test('a damaged index block leaves the other one to count, and none where both are', () => {
  const area = labelArea([1]);
  area.writeUInt8(9, 256 + 100);
  expect(parseLabelArea(area)).toHaveLength(0);
  area.writeUInt8(9, 100);
  expect(parseLabelArea(area)).toBeUndefined();
});

test('a map entry keeps its block and what is said of it', () => {
  for (const state of ['as numbered', 'error', 'zero', 'normal'] as const) expect(readMapEntry(mapWord({ block: 0x3fff_fffe, state }))).toEqual({ block: 0x3fff_fffe, state });
  expect(readMapEntry(0xc000_0005)).toEqual({ block: 5, state: 'normal' });
});

/** A log group whose two entries have these sequence numbers. */
function logGroup(first: number, second: number): Buffer {
  const group = Buffer.alloc(LOG_GROUP);
  [first, second].forEach((sequence, i) => [i, 10 + i, 20 + i, sequence].forEach((word, at) => group.writeUInt32LE(word, i * 16 + at * 4)));
  return group;
}

test.each([[1, 0, 0], [1, 2, 1], [3, 2, 0], [1, 3, 0], [3, 1, 1]])('of the log entries %i and %i the newer is number %i', (first, second, newer) => {
  expect(newestLogEntry(logGroup(first, second))?.sector).toBe(newer);
});

test('a log group that nobody wrote has no entry', () => expect(newestLogEntry(Buffer.alloc(LOG_GROUP))).toBeUndefined());

test('an info block is padded as kernels before 5.3 did', () => {
  const MiB = 1 << 20;
  const block = Buffer.alloc(INFO_LENGTH, 0);
  block.write('NVDIMM_PFN_INFO', 0, 'latin1');
  block.writeUInt16LE(1, 52);
  block.writeUInt16LE(4, 54);
  block.writeUInt32LE(2, 72);
  block.writeUInt32LE(2 * MiB, 84);
  block.writeUInt32LE(4096, 88); // of version 1.4
  const old = padded(sealed(block), { start: 0x1_5c00_0000, size: 512 * MiB }, { startPad: 64 * MiB, endTrunc: 64 * MiB });
  // 384 MiB are left, whose page map of 6 MiB begins behind 8 KiB.
  expect(parseInfoBlock(old)).toEqual({
    signature: 'NVDIMM_PFN_INFO', version: '1.2', dataOffset: 8 * MiB, pages: (376 * MiB) / 4096, mode: 'pmem', startPad: 64 * MiB, endTrunc: 64 * MiB, align: 2 * MiB, checksumOk: true,
  });
  expect(old.readUInt32LE(88)).toBe(0);
});

test('the info block of a translation table is known by its checksum', () => {
  const info = Buffer.alloc(4096);
  info.write('BTT_ARENA_INFO', 0, 'latin1');
  info.writeUInt16LE(2, 52);
  [4096, 1000, 4096, 1256, 256].forEach((value, i) => info.writeUInt32LE(value, 56 + 4 * i));
  [0x1000, 0x2000, 0x3000, 0x4000].forEach((value, i) => info.writeBigUInt64LE(BigInt(value), 88 + 8 * i));
  expect(parseBttInfo(sealed(info))).toEqual({ version: '2.0', sectorSize: 4096, sectors: 1000, blockSize: 4096, spare: 256, dataAt: 0x1000, mapAt: 0x2000, logAt: 0x3000, backupAt: 0x4000 });
  expect(parseBttInfo(info)).toBeUndefined();
});

test('places have both ends and the middle, and no more bytes than the span, on a device of any size', () => {
  const huge = 2 ** 21;
  expect(places(64 * huge, huge, huge, 6 * 2 ** 20)).toEqual([0, 31 * huge, 63 * huge]);
  const wide = places(2 ** 39, huge, huge, 2 ** 30);
  expect([wide.length, wide[0], wide.at(-1)]).toEqual([512, 0, 2 ** 39 - huge]);
  expect(Math.max(...wide.map((at, i) => (i === 0 ? 0 : at - wide[i - 1]!)))).toBeLessThan(2 ** 39 / 500);
  expect(places(4 * huge, huge, huge, 2 ** 40)).toEqual([0, huge, 2 * huge, 3 * huge]);
  expect([places(huge, huge, huge, 1), places(100, huge, huge, 1)]).toEqual([[0], []]);
});

test('smaps is summed over the VMAs of one file in a range, whatever lies between and around', () => {
  const vma = (range: string, path: string, size: number, rss: number): string =>
    `${range} rw-s 00000000 00:06 12    ${path}\nSize:           ${String(size).padStart(8)} kB\nKernelPageSize:        4 kB\nRss:            ${String(rss).padStart(8)} kB\nReferenced:            4 kB\nVmFlags: rd wr sh mr mw me ms mm hg\n`;
  const smaps = [
    vma('7f0000000000-7f0000200000', '/dev/dax0.0', 2048, 4), // another mapping of it
    vma('7f0000400000-7f0000600000', '/dev/dax0.0', 2048, 4),
    '7f0000600000-7f0000800000 ---p 00000000 00:00 0 \nSize:               2048 kB\nRss:                   8 kB\n',
    vma('7f0000800000-7f0000c00000', '/dev/dax0.0', 4096, 8),
    vma('7f0000c00000-7f0000e00000', '/dev/dax0.1', 2048, 16),
  ].join('');
  expect(sumVmas(smaps, 0x7f0000400000n, 0x7f0000e00000n, '/dev/dax0.0')).toEqual({ start: '7f0000400000', size: 6144 * 1024, rss: 12 * 1024, referenced: 8 * 1024 });
  expect(sumVmas(smaps, 0x7f0000400000n, 0x7f0000e00000n, '/dev/dax1.0')).toBeUndefined();
});

describe('whether a mapping is cached', () => {
  const real = { ordinary: [100, 110, 90], warm: [10, 11, 9], flushed: [100, 90, 110] };

  test.each([
    ['as ordinary memory', { ...real, dax: [100, 110, 90] }, 'cached'],
    ['slow memory behind the same caches', { ...real, dax: [400, 500, 350] }, 'cached'],
    ['past the caches', { ...real, dax: [5000, 6000, 9000] }, 'uncached'],
    ['past the caches, while one round was disturbed', { ...real, ordinary: [100, 6000, 90], dax: [5000, 6000, 9000] }, 'uncached'],
    ['one slow round among many', { ...real, dax: [100, 11000, 90] }, 'cached'],
    ['slow, where nothing shows caches', { ...real, flushed: real.warm, dax: [5000, 6000, 9000] }, 'cannot tell'],
    ['an emulated CPU', { dax: [7, 7, 7], ordinary: [7, 7, 7], warm: [5, 5, 5], flushed: [5, 5, 6] }, 'cannot tell'],
    ['a clock that stands still', { dax: [0, 0], ordinary: [0, 0], warm: [0, 0], flushed: [0, 0] }, 'cannot tell'],
  ] as const)('%s', (_, times, verdict) => expect(judgeCached(times).verdict).toBe(verdict));

  test('turns at its bounds', () => {
    const at = (ratio: number, shown: number): string => judgeCached({ dax: [100 * ratio], ordinary: [100], warm: [100], flushed: [100 * shown] }).verdict;
    expect([at(MOST, LEAST_SHOWN), at(MOST + 0.1, LEAST_SHOWN), at(MOST + 0.1, LEAST_SHOWN - 0.1)]).toEqual(['cached', 'uncached', 'cannot tell']);
  });
});
