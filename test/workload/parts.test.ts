// The parts of workloads that need no kernel: info blocks, modules.dep, the declarations themselves.
import { expect, test } from 'vitest';
import { INFO_LENGTH, checksumOf, parseInfoBlock, sealed } from '../../src/workload/shared/info-block.js';
import { moduleFiles } from '../../src/workload/shared/modules.js';
import { spots } from '../../src/workload/shared/block.js';
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
