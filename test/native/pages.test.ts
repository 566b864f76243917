// Page tables and pages on the real addon: pagemap, levels by each method, /proc/kpage* in bulk.
import { closeSync, openSync, readFileSync, readdirSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { SystemError } from '../../src/errors.js';
import { KPAGE_FLAGS, Mapping, kpageScan } from '../../src/native.js';
import type { LevelMethod } from '../../src/native.js';
import { KiB, MiB } from '../../src/units.js';
import { codeRejected, codeThrown, scratchFile, scratchFolder } from './support.js';

const PAGE = 4 * KiB;
const isRoot = process.getuid?.() === 0;

/** 2 MiB aligned memory behind one huge page, or undefined where this machine gives none. */
function hugeMemory(share: 'private' | 'shared'): Mapping | undefined {
  const mapping = Mapping.anonymous({ length: 4 * MiB, align: 2 * MiB, share });
  mapping.madvise(0, 2 * MiB, 'hugepage');
  mapping.touch({ count: 512, access: 'write' });
  try {
    mapping.madvise(0, 2 * MiB, 'collapse');
  } catch (error) {
    if (!(error instanceof SystemError)) throw error; // kernels before 6.1, or no huge page to be had
  }
  const fields = readFileSync('/proc/self/smaps', 'utf8').split('\n').filter((line) => /(AnonHuge|PmdMapped).*[1-9]\d* kB/.test(line));
  if (fields.length > 0) return mapping;
  mapping.close();
  return undefined;
}

function scanSupported(): boolean {
  using mapping = Mapping.anonymous({ length: PAGE });
  return codeThrown(() => mapping.pagemapScan(0, PAGE)) === 'nothing';
}

describe('pagemap', () => {
  it('tells touched pages from others', () => {
    using mapping = Mapping.anonymous({ length: 4 * PAGE });
    mapping.madvise(0, mapping.length, 'nohugepage');
    mapping.touch({ offset: PAGE, count: 1, access: 'write' });
    expect(mapping.pagemap(0, 4).map((page) => page.present)).toEqual([false, true, false, false]);
    expect(mapping.pagemap(PAGE + 17)).toHaveLength(1);
    expect(mapping.pagemap(0, 0)).toEqual([]);
    expect(() => mapping.pagemap(0, 5)).toThrow(RangeError);
    expect(mapping.pagemap(PAGE)[0]).toMatchObject({ swapped: false, filePage: false });
  });

  it.skipIf(!isRoot)('gives one file page the same pfn in two mappings', () => {
    using file = scratchFile(PAGE);
    using one = Mapping.map({ fd: file.fd, length: PAGE });
    using other = Mapping.map({ fd: file.fd, length: PAGE });
    for (const mapping of [one, other]) mapping.touch({ count: 1, access: 'rmw' });
    const [page] = one.pagemap(0);
    expect(page).toMatchObject({ present: true, filePage: true });
    expect(page!.pfn).toBeGreaterThan(0);
    expect(other.pagemap(0)[0]!.pfn).toBe(page!.pfn);
  });
});

describe('levels', () => {
  const methods: LevelMethod[] = [...(scanSupported() ? ['pagemap-scan' as const] : []), 'smaps'];

  it.each(methods)('are pte or none for single pages, by %s', (method) => {
    using mapping = Mapping.anonymous({ length: 4 * MiB, align: 2 * MiB });
    mapping.madvise(0, mapping.length, 'nohugepage');
    mapping.touch({ offset: PAGE, count: 1, access: 'write' });
    expect(mapping.pageLevel(0, method)).toEqual({ level: 'none', method });
    expect(mapping.pageLevel(PAGE + 100, method)).toEqual({ level: 'pte', method });
  });

  it.each(methods)('are pmd for huge pages, by %s', (method) => {
    using mapping = hugeMemory('private');
    if (mapping === undefined) return;
    expect(mapping.pageLevel(3 * PAGE, method)).toEqual({ level: 'pmd', method });
    expect(mapping.pageLevel(2 * MiB + PAGE, method).level).toBe('none');
    // Still whole after having been looked at.
    expect(mapping.pageLevel(2 * MiB - 1, method).level).toBe('pmd');
  });

  it('take the kernel at its word by default', () => {
    using mapping = Mapping.anonymous({ length: PAGE });
    mapping.touch({ count: 1, access: 'write' });
    expect(mapping.pageLevel(0)).toEqual({ level: 'pte', method: scanSupported() ? 'pagemap-scan' : 'smaps' });
  });

  it('are found by counting faults, without losing data', () => {
    using file = scratchFile(4 * MiB);
    using mapping = Mapping.map({ fd: file.fd, length: 4 * MiB, align: 2 * MiB });
    const pattern = { kind: 'words', seed: 1 } as const;
    mapping.fill(0, mapping.length, pattern);
    const { level, method } = mapping.pageLevel(MiB, 'fault-count', 'rmw');
    expect(method).toBe('fault-count');
    expect(['pte', 'pmd']).toContain(level); // a file system with large folios may map 2 MiB at once
    expect(mapping.verify(0, mapping.length, pattern).ok).toBe(true);
    file.truncate(MiB);
    expect(mapping.pageLevel(MiB, 'fault-count')).toMatchObject({ level: 'none', signal: { signal: 'SIGBUS', offset: MiB } });
    using own = Mapping.anonymous({ length: PAGE });
    expect(() => own.pageLevel(0, 'fault-count')).toThrow(/shared/);
  });

  it('are pmd by counting faults where a huge page is shared', () => {
    using mapping = hugeMemory('shared');
    if (mapping === undefined) return;
    expect(mapping.pageLevel(MiB, 'fault-count', 'rmw')).toEqual({ level: 'pmd', method: 'fault-count' });
  });

  // Under ASan accesses take faults of their own, in its shadow memory.
  it.skipIf(process.env['DAXRIG_ADDON'] !== undefined)('agree with the counted faults', () => {
    using mapping = Mapping.anonymous({ length: 2 * MiB, align: 2 * MiB, share: 'shared' });
    const first = mapping.countFaults({ offset: 0, length: 2 * MiB, access: 'rmw' });
    expect(first).toMatchObject({ touches: 512, majorFaults: 0 });
    expect(first.minorFaults).toBeGreaterThan(0);
    expect(mapping.countFaults({ offset: 0, length: 2 * MiB, access: 'rmw' })).toEqual({ touches: 512, minorFaults: 0, majorFaults: 0 });
  });
});

describe('kpage files', () => {
  /** Words in a file behave as pfns do. */
  function wordFile(words: bigint[]): { path: string } & Disposable {
    const folder = scratchFolder();
    const path = join(folder.path, 'words');
    const fd = openSync(path, 'w');
    writeSync(fd, Buffer.from(new BigUint64Array(words).buffer));
    closeSync(fd);
    return { path, [Symbol.dispose]: folder[Symbol.dispose] };
  }

  it('are counted by bit, whatever the chunk', async () => {
    const words = Array.from({ length: 1000 }, (_, i) => BigInt(i) | (i % 10 === 0 ? 1n << 63n : 0n));
    using file = wordFile(words);
    const whole = await kpageScan({ path: file.path, startPfn: 0, endPfn: 1000, values: true });
    expect(whole).toMatchObject({ read: 1000, nonZero: 1000, errors: [], errorCount: 0, max: (1n << 63n) | 990n });
    expect([...whole.values!]).toEqual(words);
    expect(whole.perBit[63]).toBe(100);
    expect(whole.perBit[0]).toBe(500);
    expect(whole).not.toHaveProperty('endedAt');
    const { values: _values, ...counts } = whole;
    expect(await kpageScan({ path: file.path, startPfn: 0, endPfn: 1000, chunk: 7 })).toEqual(counts);
  });

  it('end where they end', async () => {
    using file = wordFile([1n, 2n, 3n]);
    expect(await kpageScan({ path: file.path, startPfn: 1, endPfn: 100 })).toMatchObject({ read: 2, endedAt: 3, max: 3n });
    expect(await kpageScan({ path: file.path, startPfn: 5, endPfn: 5 })).toMatchObject({ read: 0, errorCount: 0 });
  });

  it('are read on behind what cannot be read', async () => {
    // A process's memory file fails with EIO where a page cannot be had: here one past the end of its file, between others.
    using file = scratchFile(PAGE);
    using pastEnd = Mapping.map({ fd: file.fd, length: 2 * PAGE });
    using mapping = Mapping.anonymous({ length: 3 * PAGE });
    mapping.fill(0, mapping.length, { kind: 'byte', value: 1 });
    pastEnd.remapOnto(PAGE, PAGE, mapping, PAGE);
    const startPfn = Number(mapping.address / 8n);
    const endPfn = startPfn + (3 * PAGE) / 8;
    const scan = await kpageScan({ path: '/proc/self/mem', startPfn, endPfn, chunk: 4096 });
    expect(scan).toMatchObject({ read: (2 * PAGE) / 8, errorCount: PAGE / 8, max: 0x0101010101010101n });
    expect(scan.errors[0]).toEqual({ pfn: startPfn + PAGE / 8, code: 'EIO' });
  });

  it.skipIf(!isRoot)('show real page flags', async () => {
    const scan = await kpageScan({ path: '/proc/kpageflags', startPfn: 0, endPfn: 65536 });
    expect(scan).toMatchObject({ read: 65536, errorCount: 0 });
    expect(scan.perBit[KPAGE_FLAGS.indexOf('nopage')]! + scan.perBit[KPAGE_FLAGS.indexOf('buddy')]!).toBeGreaterThan(0);
  });

  it('say what is missing', async () => {
    expect(await codeRejected(kpageScan({ path: '/nonexistent/kpage', startPfn: 0, endPfn: 1 }))).toBe('ENOENT');
    await expect(kpageScan({ path: '/dev/null', startPfn: 2, endPfn: 1 })).rejects.toThrow(RangeError);
    await expect(kpageScan({ path: '/dev/null', startPfn: 0, endPfn: 2 ** 21, values: true })).rejects.toThrow(RangeError);
  });

  it('close what they open', async () => {
    const open = (): number => readdirSync('/proc/self/fd').length;
    using file = wordFile([1n]);
    const before = open();
    for (let i = 0; i < 20; i++) await kpageScan({ path: file.path, startPfn: 0, endPfn: 1 });
    using mapping = Mapping.anonymous({ length: PAGE });
    for (let i = 0; i < 20; i++) mapping.pageLevel(0);
    expect(open()).toBe(before);
  });
});
