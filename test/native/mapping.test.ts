// Mapping on the real addon: placement, contents, faults as data, holes, moves, forks, and life beside other threads.
import { closeSync, constants, openSync, readFileSync, readSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { SystemError } from '../../src/errors.js';
import { Mapping, patternBytes, verifyBytes, processVmRead } from '../../src/native.js';
import type { Pattern } from '../../src/native.js';
import { GiB, KiB, MiB } from '../../src/units.js';
import { codeRejected, codeThrown, scratchFile } from './support.js';

/** Of the browser's types, which the project does not take in, only what is used here. */
declare const WebAssembly: {
  Module: new (code: Buffer) => object;
  Instance: new (module: object) => { exports: unknown };
  RuntimeError: new () => Error;
};

const PAGE = 4 * KiB;
/** Under ASan accesses take faults of their own, in its shadow memory, and mlock does nothing. */
const sanitized = process.env['DAXRIG_ADDON'] !== undefined;
const words = (seed: number, base = 0): Pattern => ({ kind: 'words', seed, base });
const bytes = (value: number): Pattern => ({ kind: 'byte', value });

describe('placement', () => {
  it.each([[PAGE], [2 * MiB], [GiB]])('puts memory at a multiple of %i', (align) => {
    using mapping = Mapping.anonymous({ length: 3 * PAGE, align });
    expect(mapping.address % BigInt(align)).toBe(0n);
    expect(mapping.fill(0, mapping.length, bytes(7))).toEqual({ done: mapping.length });
  });

  it('puts memory beside a multiple on purpose', () => {
    using mapping = Mapping.anonymous({ length: PAGE, align: 2 * MiB, alignSkew: 3 * PAGE });
    expect(mapping.address % BigInt(2 * MiB)).toBe(BigInt(3 * PAGE));
  });

  it('leaves nothing mapped beside an aligned mapping', () => {
    const sizeInKiB = (): number => Number(/^VmSize:\s*(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]);
    const before = sizeInKiB();
    using mapping = Mapping.anonymous({ length: PAGE, align: GiB });
    expect(mapping.closed).toBe(false);
    expect((sizeInKiB() - before) * KiB).toBeLessThan(512 * MiB);
  });

  it('takes a length that is no whole page', () => {
    using mapping = Mapping.anonymous({ length: 100 });
    expect(mapping.fill(0, 100, bytes(1)).done).toBe(100);
    expect(() => mapping.fill(0, 101, bytes(1))).toThrow(RangeError);
  });

  it('maps a file from an offset, shared or private', () => {
    using file = scratchFile(4 * PAGE);
    using shared = Mapping.map({ fd: file.fd, length: PAGE, offset: 2 * PAGE });
    using own = Mapping.map({ fd: file.fd, length: PAGE, offset: 2 * PAGE, share: 'private' });
    shared.fill(0, PAGE, words(1));
    own.fill(0, PAGE, words(2));
    const inFile = Buffer.alloc(PAGE);
    readSync(file.fd, inFile, 0, PAGE, 2 * PAGE);
    expect(verifyBytes(inFile, words(1)).ok).toBe(true);
    expect(own.verify(0, PAGE, words(2)).ok).toBe(true);
  });

  it('passes on what the kernel refuses', () => {
    using file = scratchFile(PAGE);
    expect(codeThrown(() => Mapping.map({ fd: file.fd, length: PAGE, offset: 1 }))).toBe('EINVAL');
    expect(codeThrown(() => Mapping.map({ fd: 9999, length: PAGE }))).toBe('EBADF');
    // A page-cache file cannot promise what MAP_SYNC asks for.
    expect(codeThrown(() => Mapping.map({ fd: file.fd, length: PAGE, share: 'sync' }))).toBe('EOPNOTSUPP');
    expect(codeThrown(() => Mapping.map({ fd: file.fd, length: PAGE, share: 'sync', align: 2 * MiB }))).toBe('EOPNOTSUPP');
    expect(codeThrown(() => Mapping.anonymous({ length: 2 ** 46 }))).toMatch(/ENOMEM/);
  });

  it.skipIf(sanitized)('populates on request', () => {
    using lazy = Mapping.anonymous({ length: 16 * PAGE });
    using full = Mapping.anonymous({ length: 16 * PAGE, populate: true });
    lazy.madvise(0, lazy.length, 'nohugepage');
    expect(lazy.countFaults({ offset: 0, length: lazy.length }).minorFaults).toBe(16);
    expect(full.countFaults({ offset: 0, length: full.length }).minorFaults).toBe(0);
  });
});

describe('contents', () => {
  it('reads what was written', () => {
    using mapping = Mapping.anonymous({ length: 3 * PAGE });
    const data = Buffer.from(Array.from({ length: 5000 }, (_, i) => i % 251));
    expect(mapping.write(4090, data)).toEqual({ done: 5000 });
    expect(mapping.read(4090, 5000).bytes.equals(data)).toBe(true);
    expect(mapping.read(0, 0)).toEqual({ bytes: Buffer.alloc(0) });
  });

  it('counts words from the start of the call and the base', () => {
    using mapping = Mapping.anonymous({ length: 4 * PAGE });
    mapping.fill(0, 4 * PAGE, words(5));
    expect(mapping.verify(PAGE, PAGE, words(5, PAGE))).toEqual({ ok: true, done: PAGE, mismatches: 0 });
    expect(mapping.read(0, 4 * PAGE).bytes.equals(patternBytes(4 * PAGE, words(5)))).toBe(true);
    expect(patternBytes(64, words(5)).equals(patternBytes(64, words(6)))).toBe(false);
  });

  it('says which word is wrong, and where a misplaced one belongs', () => {
    using mapping = Mapping.anonymous({ length: 4 * PAGE });
    mapping.fill(0, 4 * PAGE, words(5));
    mapping.write(2 * PAGE, mapping.read(PAGE + 8, 16).bytes);
    const verdict = mapping.verify(PAGE, 3 * PAGE, words(5, PAGE));
    expect(verdict).toMatchObject({ ok: false, done: 3 * PAGE, mismatches: 2 });
    expect(verdict.first).toEqual({
      offset: 2 * PAGE,
      expected: patternBytes(4 * PAGE, words(5)).readBigUInt64LE(2 * PAGE),
      actual: patternBytes(4 * PAGE, words(5)).readBigUInt64LE(PAGE + 8),
      belongsAt: PAGE + 8,
    });
    mapping.write(PAGE, Buffer.alloc(8));
    expect(mapping.verify(PAGE, PAGE, words(5, PAGE)).first).not.toHaveProperty('belongsAt');
  });

  it.each([[0, 64], [1, 63], [7, 2], [4093, 9], [3, 4090]])('compares bytes from %i, %i long', (offset, length) => {
    using mapping = Mapping.anonymous({ length: 4 * PAGE });
    mapping.fill(0, 4 * PAGE, bytes(0xa5));
    mapping.fill(offset, length, bytes(0x5a));
    expect(mapping.verify(offset, length, bytes(0x5a))).toEqual({ ok: true, done: length, mismatches: 0 });
    expect(mapping.verify(0, 4 * PAGE, bytes(0xa5))).toMatchObject({
      ok: false,
      mismatches: length,
      first: { offset, expected: 0xa5n, actual: 0x5an },
    });
    expect(mapping.verify(0, offset, bytes(0xa5)).ok).toBe(true);
    expect(mapping.verify(offset + length, PAGE, bytes(0xa5)).ok).toBe(true);
  });

  it('judges buffers at any alignment', () => {
    const buffer = Buffer.concat([Buffer.from([0]), patternBytes(64, words(3, 800))]).subarray(1);
    expect(verifyBytes(buffer, words(3, 800))).toEqual({ ok: true, done: 64, mismatches: 0 });
    expect(verifyBytes(buffer, words(3))).toMatchObject({ ok: false, mismatches: 8, first: { offset: 0, belongsAt: 800 } });
    expect(verifyBytes(Buffer.alloc(0), words(3)).ok).toBe(true);
  });
});

describe('touch', () => {
  it.skipIf(sanitized)('takes one fault per page, and none again', () => {
    using mapping = Mapping.anonymous({ length: 64 * PAGE });
    mapping.madvise(0, mapping.length, 'nohugepage');
    expect(mapping.touch({ count: 64, access: 'write', timed: true })).toMatchObject({ done: 64, minorFaults: 64, majorFaults: 0 });
    expect(mapping.touch({ count: 64, access: 'rmw' })).toMatchObject({ done: 64, minorFaults: 0, majorFaults: 0 });
  });

  it('times each access of a file', () => {
    using file = scratchFile(64 * PAGE);
    using mapping = Mapping.map({ fd: file.fd, length: 64 * PAGE });
    const first = mapping.touch({ count: 64, access: 'rmw', timed: true });
    expect(first).toMatchObject({ done: 64, unit: 'ns' });
    // A file system may map several pages of a large folio by one fault, but never takes more than one fault per page.
    expect(first.minorFaults + first.majorFaults).toBeGreaterThan(0);
    expect(first.minorFaults + first.majorFaults).toBeLessThanOrEqual(64);
    expect(first.samples).toHaveLength(64);
    expect(Math.min(...first.samples!)).toBeGreaterThan(0);
    expect(first.samples!.reduce((sum, ns) => sum + ns)).toBeLessThanOrEqual(first.totalNs);
  });

  it.each(['raw', 'monotonic', 'tsc'] as const)('reads clock %s', (clock) => {
    using mapping = Mapping.anonymous({ length: 8 * PAGE });
    const result = mapping.touch({ count: 8, timed: true, clock });
    expect(result.unit).toBe(clock === 'tsc' ? 'ticks' : 'ns');
    expect(result.samples!.every((sample) => sample >= 0)).toBe(true);
  });

  it('stores only where asked, in any order', () => {
    using mapping = Mapping.anonymous({ length: 16 * PAGE });
    mapping.touch({ offset: 8, count: 16, stride: PAGE, access: 'write', value: 0x1122334455667788n, order: 'random', seed: 3 });
    mapping.touch({ count: 16, access: 'rmw' });
    mapping.touch({ count: 16, access: 'read' });
    for (let page = 0; page < 16; page++) {
      const { bytes: read } = mapping.read(page * PAGE, PAGE);
      expect(read.readBigUInt64LE(8)).toBe(0x1122334455667788n);
      expect(read.filter((byte) => byte !== 0)).toHaveLength(8);
    }
  });

  it('shuffles by the seed', () => {
    using file = scratchFile(64 * PAGE);
    using mapping = Mapping.map({ fd: file.fd, length: 64 * PAGE });
    file.truncate(32 * PAGE);
    const stoppedAt = (seed: number): number =>
      mapping.touch({ count: 64, access: 'rmw', order: 'random', seed }).signal!.offset;
    expect(stoppedAt(1)).toBe(stoppedAt(1));
    expect(new Set([1, 2, 3, 4, 5, 6].map(stoppedAt)).size).toBeGreaterThan(1);
  });

  it('knows how far it came in any order', () => {
    using file = scratchFile(64 * PAGE);
    using mapping = Mapping.map({ fd: file.fd, length: 64 * PAGE });
    file.truncate(63 * PAGE);
    for (const order of ['sequential', 'random'] as const) {
      const { done, samples, signal } = mapping.touch({ offset: 16, count: 64, stride: PAGE, access: 'rmw', timed: true, order, seed: 2 });
      expect(signal?.offset).toBe(63 * PAGE + 16);
      expect(samples!.findIndex((sample) => sample === 0)).toBe(done);
      if (order === 'sequential') expect(done).toBe(63);
    }
    expect(mapping.touch({ offset: 63 * PAGE, count: 5, stride: 0 })).toMatchObject({ done: 0, signal: { offset: 63 * PAGE } });
    expect(mapping.touch({ offset: 62 * PAGE, count: 1024, stride: 8 }).done).toBe(512);
  });

  it('accepts nothing to do and the very last word', () => {
    using mapping = Mapping.anonymous({ length: PAGE });
    expect(mapping.touch({ offset: PAGE, count: 0 }).done).toBe(0);
    expect(mapping.touch({ offset: PAGE - 8, count: 1 }).done).toBe(1);
    expect(mapping.touch({ count: 1000, stride: 0, access: 'rmw' }).done).toBe(1000);
    expect(() => mapping.touch({ offset: PAGE - 8, count: 2, stride: 8 })).toThrow(RangeError);
  });
});

describe('faults', () => {
  it('are data past the end of the file, for every kind of access', async () => {
    using file = scratchFile(4 * PAGE);
    using mapping = Mapping.map({ fd: file.fd, length: 4 * PAGE });
    mapping.fill(0, 4 * PAGE, words(1));
    file.truncate(2 * PAGE);
    const signal = { signal: 'SIGBUS', code: 'BUS_ADRERR', offset: 2 * PAGE };
    for (let round = 0; round < 3; round++) {
      expect(mapping.verify(0, 4 * PAGE, words(1))).toEqual({ ok: false, done: 2 * PAGE, mismatches: 0, signal });
      expect(mapping.fill(0, 4 * PAGE, words(1))).toEqual({ done: 2 * PAGE, signal });
      expect(mapping.touch({ count: 4 })).toMatchObject({ done: 2, signal });
      expect(mapping.touch({ count: 4, access: 'rmw', timed: true })).toMatchObject({ done: 2, signal });
      expect(mapping.write(0, Buffer.alloc(4 * PAGE))).toEqual({ done: 2 * PAGE, signal });
      const read = mapping.read(PAGE, 3 * PAGE);
      expect(read.signal).toEqual(signal);
      expect(read.bytes.equals(Buffer.alloc(PAGE))).toBe(true);
      expect(mapping.forkVerify(PAGE, 2 * PAGE, bytes(0))).toMatchObject({ outcome: 'signal', signalName: 'SIGBUS', done: PAGE, signal });
      expect(await mapping.verifyAsync(PAGE, 2 * PAGE, bytes(0))).toEqual({ ok: false, done: PAGE, mismatches: 0, signal });
      mapping.fill(0, 2 * PAGE, words(1));
    }
    file.truncate(4 * PAGE);
    expect(mapping.verify(2 * PAGE, 2 * PAGE, bytes(0)).ok).toBe(true);
  });

  it('are data where protection forbids', () => {
    using mapping = Mapping.anonymous({ length: 4 * PAGE });
    mapping.mprotect(PAGE, PAGE, 'r');
    mapping.mprotect(2 * PAGE, PAGE, 'none');
    const signal = (offset: number) => ({ signal: 'SIGSEGV', code: 'SEGV_ACCERR', offset });
    expect(mapping.touch({ count: 4, access: 'read' })).toMatchObject({ done: 2, signal: signal(2 * PAGE) });
    expect(mapping.touch({ count: 4, access: 'rmw' })).toMatchObject({ done: 1, signal: signal(PAGE) });
    mapping.mprotect(0, mapping.length, 'rw');
    expect(mapping.touch({ count: 4, access: 'rmw' }).done).toBe(4);
  });

  it('leave WebAssembly its own', () => {
    // V8 finds out-of-bounds accesses by SIGSEGV with a handler of its own, which ours must go on to.
    using mapping = Mapping.anonymous({ length: PAGE, prot: 'none' });
    expect(mapping.touch({ count: 1 }).signal?.signal).toBe('SIGSEGV');
    // (module (memory 1) (func (export "load") (param i32) (result i32) local.get 0 i32.load))
    const module = Buffer.from(
      '0061736d0100000001060160017f017f03020100050301000107080104' + '6c6f616400000a0901070020002802000b',
      'hex',
    );
    const { load } = new WebAssembly.Instance(new WebAssembly.Module(module)).exports as { load(at: number): number };
    expect(load(0)).toBe(0);
    expect(() => load(0x7fff0000)).toThrow(WebAssembly.RuntimeError);
    expect(mapping.touch({ count: 1 }).signal?.signal).toBe('SIGSEGV');
  });
});

describe('holes and moves', () => {
  it('unmaps a part and keeps its place', () => {
    using mapping = Mapping.anonymous({ length: 4 * PAGE });
    mapping.fill(0, mapping.length, words(1));
    mapping.unmap(PAGE, 2 * PAGE);
    expect(mapping.touch({ offset: 2 * PAGE, count: 1 }).signal).toEqual({ signal: 'SIGSEGV', code: 'SEGV_ACCERR', offset: 2 * PAGE });
    expect(mapping.verify(3 * PAGE, PAGE, words(1, 3 * PAGE)).ok).toBe(true);
    // Whatever is mapped next must not land in the hole.
    const others = Array.from({ length: 64 }, () => Mapping.anonymous({ length: PAGE }));
    expect(others.filter((other) => mapping.offsetOf(other.address) !== undefined)).toEqual([]);
    others.forEach((other) => other.close());
    expect(codeThrown(() => mapping.unmap(1, PAGE))).toBe('EINVAL');
  });

  it('moves pages onto another mapping', () => {
    using from = Mapping.anonymous({ length: 4 * PAGE });
    using onto = Mapping.anonymous({ length: 4 * PAGE });
    from.fill(0, from.length, words(1));
    onto.fill(0, onto.length, words(2));
    from.remapOnto(PAGE, PAGE, onto, 2 * PAGE);
    expect(onto.verify(2 * PAGE, PAGE, words(1, PAGE)).ok).toBe(true);
    expect(onto.verify(0, 2 * PAGE, words(2)).ok).toBe(true);
    expect(onto.verify(3 * PAGE, PAGE, words(2, 3 * PAGE)).ok).toBe(true);
    expect(from.touch({ offset: PAGE, count: 1 }).signal?.signal).toBe('SIGSEGV');
    from.close();
    expect(onto.verify(2 * PAGE, PAGE, words(1, PAGE)).ok).toBe(true);
  });

  it('moves within a mapping, but not onto itself', () => {
    using mapping = Mapping.anonymous({ length: 4 * PAGE });
    mapping.fill(0, PAGE, words(1));
    mapping.remapOnto(0, PAGE, mapping, 3 * PAGE);
    expect(mapping.verify(3 * PAGE, PAGE, words(1)).ok).toBe(true);
    expect(codeThrown(() => mapping.remapOnto(PAGE, 2 * PAGE, mapping, 2 * PAGE))).toBe('EINVAL');
    expect(mapping.verify(3 * PAGE, PAGE, words(1)).ok).toBe(true);
  });

  it('survives a refused move', () => {
    using from = Mapping.anonymous({ length: 4 * PAGE });
    using onto = Mapping.anonymous({ length: 4 * PAGE });
    onto.fill(0, onto.length, words(2));
    from.unmap(PAGE, PAGE);
    // Spans three VMAs: mremap moves one at a time before 6.17, and may move them all since.
    const code = codeThrown(() => from.remapOnto(0, 3 * PAGE, onto, 0));
    expect(['EFAULT', 'nothing']).toContain(code);
    expect(codeThrown(() => from.remapOnto(1, PAGE, onto, 0))).toBe('EINVAL');
    for (const mapping of [from, onto]) {
      mapping.touch({ count: 4 });
      const others = Array.from({ length: 64 }, () => Mapping.anonymous({ length: PAGE }));
      expect(others.filter((other) => mapping.offsetOf(other.address) !== undefined)).toEqual([]);
      others.forEach((other) => other.close());
    }
  });

  it('refuses to move under a running operation', async () => {
    using from = Mapping.anonymous({ length: 64 * MiB });
    using onto = Mapping.anonymous({ length: PAGE });
    const running = from.fillAsync(0, from.length, words(1));
    expect(codeThrown(() => from.remapOnto(0, PAGE, onto, 0))).toBe('EBUSY');
    expect(codeThrown(() => onto.remapOnto(0, PAGE, from, 0))).toBe('EBUSY');
    await running;
    from.remapOnto(0, PAGE, onto, 0);
    expect(onto.verify(0, PAGE, words(1)).ok).toBe(true);
  });
});

describe('life', () => {
  it('ends once', () => {
    const mapping = Mapping.anonymous({ length: PAGE });
    expect(mapping.closed).toBe(false);
    mapping.close();
    mapping.close();
    mapping[Symbol.dispose]();
    expect(mapping.closed).toBe(true);
    expect(codeThrown(() => mapping.touch({ count: 1 }))).toBe('EBADF');
    expect(codeThrown(() => mapping.read(0, 1))).toBe('EBADF');
  });

  it('really unmaps', () => {
    using file = scratchFile(PAGE);
    const mapping = Mapping.map({ fd: file.fd, length: PAGE });
    const mapped = (): boolean => readFileSync('/proc/self/maps', 'utf8').includes(file.path);
    expect(mapped()).toBe(true);
    mapping.close();
    expect(mapped()).toBe(false);
  });

  it('ends after the operations that run on it', async () => {
    using file = scratchFile(16 * MiB);
    const mapping = Mapping.map({ fd: file.fd, length: 16 * MiB });
    const running = [mapping.fillAsync(0, mapping.length, words(9)), mapping.touchAsync({ count: 4096 })];
    mapping.close();
    expect(await codeRejected(mapping.verifyAsync(0, 8, words(9)))).toBe('EBADF');
    expect((await running[0])!.done).toBe(16 * MiB);
    await running[1];
    expect(readFileSync('/proc/self/maps', 'utf8')).not.toContain(file.path);
    using again = Mapping.map({ fd: file.fd, length: 16 * MiB });
    expect(again.verify(0, 16 * MiB, words(9)).ok).toBe(true);
  });

  it('runs many operations beside each other', async () => {
    using mapping = Mapping.anonymous({ length: 16 * MiB });
    const part = MiB;
    await Promise.all(Array.from({ length: 16 }, (_, i) => mapping.fillAsync(i * part, part, words(i))));
    const verdicts = await Promise.all(Array.from({ length: 16 }, (_, i) => mapping.verifyAsync(i * part, part, words(i))));
    expect(verdicts.every((verdict) => verdict.ok)).toBe(true);
  });

  it('can lose parts while operations run', async () => {
    using mapping = Mapping.anonymous({ length: 32 * MiB });
    const running = mapping.fillAsync(0, mapping.length, words(1));
    mapping.unmap(16 * MiB, 16 * MiB);
    expect((await running).done).toBe(16 * MiB);
  });

  it('rejects what it would throw', async () => {
    using mapping = Mapping.anonymous({ length: PAGE });
    await expect(mapping.readAsync(0, PAGE + 1)).rejects.toThrow(RangeError);
    await expect(mapping.fillAsync(0, 8, { kind: 'byte', value: 256 })).rejects.toThrow(RangeError);
    await expect(mapping.madviseAsync(1, PAGE - 1, 'dontneed')).rejects.toThrow(SystemError);
  });
});

describe('advice, sync and locks', () => {
  it('drops and keeps', () => {
    using file = scratchFile(4 * PAGE);
    using shared = Mapping.map({ fd: file.fd, length: 4 * PAGE });
    shared.fill(0, 4 * PAGE, words(1));
    expect(shared.madvise(0, 4 * PAGE, 'dontneed')).toEqual({});
    expect(shared.verify(0, 4 * PAGE, words(1)).ok).toBe(true);
    shared.msync(0, 4 * PAGE);
    shared.msync(0, 4 * PAGE, 'async');
    shared.mlock(0, PAGE);
    if (!sanitized) expect(codeThrown(() => shared.msync(0, PAGE, 'invalidate'))).toBe('EBUSY');
    shared.munlock(0, PAGE);
    shared.msync(0, PAGE, 'invalidate');
    expect(codeThrown(() => shared.madvise(8, 8, 'dontneed'))).toBe('EINVAL');
    expect(codeThrown(() => shared.msync(8, 8))).toBe('EINVAL');
    expect(codeThrown(() => shared.mprotect(8, 8, 'r'))).toBe('EINVAL');
  });

  it('binds memory to a node', () => {
    using mapping = Mapping.anonymous({ length: 4 * PAGE });
    const result = codeThrown(() => mapping.bindToNode(0, 4 * PAGE, 0));
    expect(['nothing', 'ENOSYS', 'EPERM']).toContain(result); // no NUMA, or not allowed
    expect(mapping.fill(0, 4 * PAGE, words(1)).signal).toBeUndefined();
    if (result === 'nothing') expect(codeThrown(() => mapping.bindToNode(0, 4 * PAGE, 1023))).toBe('EINVAL');
    expect(() => mapping.bindToNode(0, PAGE, 1024)).toThrow(RangeError);
  });

  it('punches through a mapping', () => {
    using file = scratchFile(4 * PAGE);
    using shared = Mapping.map({ fd: file.fd, length: 4 * PAGE });
    shared.fill(0, 4 * PAGE, bytes(1));
    shared.madvise(PAGE, PAGE, 'remove');
    expect(shared.verify(PAGE, PAGE, bytes(0)).ok).toBe(true);
    expect(shared.verify(2 * PAGE, PAGE, bytes(1)).ok).toBe(true);
  });

  it('refuses memory failures where there is no memory', () => {
    // Lengths of 0 reach madvise(2) and harm nothing; a reservation without pages has nothing to lose.
    using mapping = Mapping.anonymous({ length: PAGE, prot: 'none' });
    for (const advice of ['hwpoison', 'soft-offline'] as const)
      expect(['EINVAL', 'EPERM', 'nothing']).toContain(codeThrown(() => mapping.madvise(0, 0, advice)));
    expect(['EINVAL', 'EPERM']).toContain(codeThrown(() => mapping.madvise(8, 0, 'hwpoison')));
  });
});

describe('forks', () => {
  it('compare in the child', () => {
    using mapping = Mapping.anonymous({ length: 4 * PAGE });
    mapping.fill(0, 4 * PAGE, words(1));
    expect(mapping.forkVerify(0, 4 * PAGE, words(1))).toMatchObject({ outcome: 'equal', done: 4 * PAGE, mismatches: 0 });
    mapping.write(PAGE, Buffer.alloc(8));
    const verdict = mapping.forkVerify(0, 4 * PAGE, words(1));
    expect(verdict).toMatchObject({ outcome: 'different', mismatches: 1, firstDifference: { offset: PAGE, actual: 0n } });
    expect(verdict.forkNs).toBeGreaterThan(0);
  });

  it('write to shared memory and to nobody else', () => {
    using shared = Mapping.anonymous({ length: PAGE, share: 'shared' });
    using own = Mapping.anonymous({ length: PAGE });
    expect(shared.forkWrite(0, PAGE, words(1))).toMatchObject({ outcome: 'written', done: PAGE });
    expect(own.forkWrite(0, PAGE, words(1))).toMatchObject({ outcome: 'written', done: PAGE });
    expect(shared.verify(0, PAGE, words(1)).ok).toBe(true);
    expect(own.verify(0, PAGE, bytes(0)).ok).toBe(true);
  });

  it('meet what the child may not see', () => {
    using mapping = Mapping.anonymous({ length: 2 * PAGE });
    mapping.fill(0, 2 * PAGE, words(1));
    mapping.madvise(PAGE, PAGE, 'dontfork');
    expect(mapping.forkVerify(0, 2 * PAGE, words(1))).toMatchObject({
      outcome: 'signal',
      signalName: 'SIGSEGV',
      done: PAGE,
      signal: { code: 'SEGV_MAPERR', offset: PAGE },
    });
  });

  it('work from other threads, many at once, and leave no child behind', async () => {
    using mapping = Mapping.anonymous({ length: MiB });
    mapping.fill(0, MiB, words(1));
    const verdicts = await Promise.all(Array.from({ length: 12 }, () => mapping.forkVerifyAsync(0, MiB, words(1))));
    expect(verdicts.every((verdict) => verdict.outcome === 'equal')).toBe(true);
    const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim();
    expect(children).toBe('');
  });
});

describe('transfers', () => {
  it('move between a file and a mapping without the page cache', async () => {
    using file = scratchFile(4 * PAGE);
    using buffer = Mapping.anonymous({ length: 4 * PAGE });
    const direct = openSync(file.path, constants.O_RDWR | constants.O_DIRECT);
    try {
      buffer.fill(0, 4 * PAGE, words(4));
      expect(buffer.writeTo(direct, PAGE, 0, 2 * PAGE)).toBe(2 * PAGE);
      buffer.fill(0, 4 * PAGE, bytes(0));
      expect(await buffer.readFromAsync(direct, 0, 0, 4 * PAGE)).toBe(4 * PAGE);
      expect(buffer.verify(PAGE, 2 * PAGE, words(4)).ok).toBe(true);
      expect(buffer.verify(0, PAGE, bytes(0)).ok).toBe(true);
      expect(codeThrown(() => buffer.readFrom(direct, 1, 0, PAGE))).toBe('EINVAL');
    } finally {
      closeSync(direct);
    }
  });

  it('go by io_uring, in several requests at once', async (context) => {
    using file = scratchFile(5 * PAGE);
    using mapping = Mapping.anonymous({ length: 8 * PAGE });
    mapping.fill(0, 8 * PAGE, words(5));
    const transfer = { fd: file.fd, length: 5 * PAGE, parts: 3 };
    try {
      mapping.ringTransfer({ fd: file.fd, length: PAGE, direction: 'from-file' });
    } catch (error) {
      if (error instanceof SystemError && error.syscall === 'io_uring_setup') context.skip(`no io_uring here: ${error.code}`);
      throw error;
    }
    mapping.fill(0, 8 * PAGE, words(5));
    expect(await mapping.ringTransferAsync({ ...transfer, direction: 'to-file' })).toBe(5 * PAGE);
    expect(mapping.ringTransfer({ ...transfer, direction: 'to-file', fileOffset: 5 * PAGE, registered: true })).toBe(5 * PAGE);
    mapping.fill(0, 8 * PAGE, bytes(0));
    expect(mapping.ringTransfer({ ...transfer, direction: 'from-file', registered: true, parts: 256 })).toBe(5 * PAGE);
    expect(mapping.verify(0, 5 * PAGE, words(5)).ok).toBe(true);
    // At the end of a file a request comes out short, past it empty.
    expect(mapping.ringTransfer({ fd: file.fd, length: 8 * PAGE, fileOffset: 7 * PAGE, direction: 'from-file', parts: 4 })).toBe(3 * PAGE);
    mapping.unmap(0, PAGE);
    expect(codeThrown(() => mapping.ringTransfer({ ...transfer, direction: 'to-file' }))).toBe('EFAULT');
    expect(codeThrown(() => mapping.ringTransfer({ ...transfer, direction: 'to-file', registered: true }))).toBe('EFAULT');
    expect(codeThrown(() => mapping.ringTransfer({ fd: 9999, offset: PAGE, length: PAGE, direction: 'to-file' }))).toBe('EBADF');
  });

  it('stop at the end of the file and at holes', () => {
    using file = scratchFile(PAGE + 100);
    using mapping = Mapping.anonymous({ length: 4 * PAGE });
    expect(mapping.readFrom(file.fd, 0, 0, 4 * PAGE)).toBe(PAGE + 100);
    expect(mapping.readFrom(file.fd, 2 * PAGE, 0, PAGE)).toBe(0);
    mapping.unmap(0, PAGE);
    expect(codeThrown(() => mapping.readFrom(file.fd, 0, 0, PAGE))).toBe('EFAULT');
    expect(codeThrown(() => mapping.writeTo(file.fd, 0, 0, PAGE))).toBe('EFAULT');
    expect(codeThrown(() => mapping.readFrom(9999, 0, PAGE, PAGE))).toBe('EBADF');
  });

  it('read another process, or this one, by address', () => {
    using mapping = Mapping.anonymous({ length: 2 * PAGE });
    mapping.fill(0, 2 * PAGE, words(1));
    expect(verifyBytes(processVmRead(process.pid, mapping.address, PAGE), words(1)).ok).toBe(true);
    mapping.unmap(PAGE, PAGE);
    expect(processVmRead(process.pid, mapping.address, 2 * PAGE)).toHaveLength(PAGE);
    expect(codeThrown(() => processVmRead(process.pid, mapping.address + BigInt(PAGE), PAGE))).toBe('EFAULT');
  });
});
