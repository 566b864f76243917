// The face of the addon with a fake behind it: what reaches the addon, what never does, and what becomes of its answers.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BrokenError, SystemError } from '../src/errors.js';
import {
  KPAGE_FLAGS, Mapping, copyFileRange, kpageScan, levelOfVma, mount, nothing, patternBytes, processVmRead, setAddonForTests, statx,
  umountAsync, verifyBytes, vmaFields,
} from '../src/native.js';
import type { NativeAddon } from '../src/native.js';
import { GiB, MiB } from '../src/units.js';

type Answer = (...args: unknown[]) => unknown;

/** Answers with what a test gives it, else with nothing, and keeps the calls. */
function fakeAddon(answers: Record<string, Answer> = {}): { addon: NativeAddon; calls: [string, ...unknown[]][] } {
  const calls: [string, ...unknown[]][] = [];
  const all: Record<string, Answer> = {
    map: () => ({ handle: 7, address: 0x7f0000200000n }),
    statx: () => ({ mode: 0o100644, dax: false }),
    ...answers,
  };
  const call = (name: string): Answer => (...args) => {
    calls.push([name, ...args]);
    return all[name]?.(...args);
  };
  const later = new Proxy({}, { get: (_, name: string) => async (...args: unknown[]) => call(name)(...args) });
  const addon = new Proxy({}, { get: (_, name: string) => (name === 'async' ? later : name === 'pageSize' ? 4096 : call(name)) });
  return { addon: addon as NativeAddon, calls };
}

let calls: [string, ...unknown[]][] = [];
function use(answers: Record<string, Answer> = {}): void {
  const fake = fakeAddon(answers);
  calls = fake.calls;
  setAddonForTests(fake.addon);
}
/** The calls without those that belong to making a mapping. */
const since = (): [string, ...unknown[]][] => calls.filter(([name]) => name !== 'map' && name !== 'statx');

beforeEach(() => use());
afterEach(() => setAddonForTests(undefined));

const mapped = (length = MiB): Mapping => Mapping.map({ fd: 3, length });
const failure = (code: string, errno: number, syscall: string): Error => Object.assign(new Error(`${syscall}: ${code}`), { code, errno, syscall });

describe('mapping', () => {
  it('gives the addon defaults and flags by position', () => {
    mapped(4096);
    Mapping.map({ fd: 3, length: 4096, offset: 8192, prot: 'r', share: 'sync', align: 2 * MiB, alignSkew: 4096, populate: true });
    Mapping.anonymous({ length: 4096, hugetlb: GiB, noreserve: true, share: 'shared' });
    expect(calls.filter(([name]) => name === 'map')).toEqual([
      ['map', 3, 4096, 0, 'rw', 'shared', 0, 0, 0, false, false],
      ['map', 3, 4096, 8192, 'r', 'sync', 2 * MiB, 4096, 0, true, false],
      ['map', -1, 4096, 0, 'rw', 'shared', 0, 0, 30, false, true],
    ]);
  });

  it.each([
    [{ length: 0 }, /length must be a whole number from 1/],
    [{ length: 4096, align: 3 << 20 }, /align must be a power of two/],
    [{ length: 4096, alignSkew: 4096 }, /alignSkew must be less than align/],
    [{ length: 4096, align: 4096, alignSkew: 4096 }, /alignSkew must be less than align/],
    [{ length: 4096, hugetlb: 3 }, /hugetlb must be a power of two/],
  ])('refuses %j', (options, message) => {
    expect(() => Mapping.anonymous(options)).toThrow(RangeError);
    expect(() => Mapping.anonymous(options)).toThrow(message);
    expect(calls).toEqual([]);
  });

  it('says in a message what was wrong, and with what', () => {
    const mapping = mapped(4096);
    expect(() => mapping.read(4000, 97)).toThrow('offset 4000 + length 97 is past the end of a mapping of 4096 bytes');
    expect(() => mapping.madvise(0, 8, 'dontmind' as never)).toThrow(/advice must be one of normal, random,.* not "dontmind"/);
    expect(() => mapping.touch({ count: 1, stride: 4 })).toThrow('stride must be a multiple of 8, not 4');
    expect(() => mapping.fill(4, 8, { kind: 'words', seed: 1 })).toThrow('offset must be a multiple of 8 for a pattern of words, not 4');
    expect(() => mapping.fill(0, 8, { kind: 'byte', value: 256 })).toThrow('pattern.value must be a whole number from 0 to 255, not 256');
    expect(() => mapping.read('0' as never, 8)).toThrow('offset must be a number, not string');
    expect(since()).toEqual([]);
  });

  it('closes once, and nothing reaches the addon afterwards', () => {
    const mapping = mapped();
    {
      using same = mapping;
      expect(same.closed).toBe(false);
    }
    mapping.close();
    expect(() => mapping.read(0, 8)).toThrow(SystemError);
    expect(() => mapping.read(0, 8)).toThrow('mapping: EBADF (the mapping is closed)');
    expect(since()).toEqual([['close', 7]]);
  });

  it('finds addresses in itself', () => {
    const mapping = mapped(4096);
    expect(mapping.offsetOf(mapping.address + 5n)).toBe(5);
    expect(mapping.offsetOf(mapping.address - 1n)).toBeUndefined();
    expect(mapping.offsetOf(mapping.address + 4096n)).toBeUndefined();
  });
});

describe('touch', () => {
  it('is untimed, sequential and by pages unless told', () => {
    const raw = { done: 2, minorFaults: 2, majorFaults: 0, totalNs: 100 };
    use({ touch: () => raw });
    expect(mapped().touch({ count: 2 })).toEqual(raw);
    expect(since()).toEqual([['touch', 7, 0, 2, 4096, 'read', 0n, 'none', false, 0n]]);
  });

  it('names the unit of its samples', () => {
    use({ touch: () => ({ done: 1, minorFaults: 0, majorFaults: 0, totalNs: 1, samples: new Float64Array(1) }) });
    expect(mapped().touch({ count: 1, timed: true }).unit).toBe('ns');
    expect(mapped().touch({ count: 1, timed: true, clock: 'tsc', order: 'random', seed: 5, value: 2n ** 64n - 1n }).unit).toBe('ticks');
    expect(since().at(-1)).toEqual(['touch', 7, 0, 1, 4096, 'read', 2n ** 64n - 1n, 'tsc', true, 5n]);
  });

  it('reaches to its last word and no further', () => {
    use({ touch: () => ({}) });
    mapped(8192).touch({ offset: 4088, count: 2 });
    expect(() => mapped(8192).touch({ offset: 4096, count: 2 })).toThrow(RangeError);
    mapped(8192).touch({ offset: 8192, count: 0 });
  });

  it('counts faults by touching', () => {
    use({ touch: () => ({ done: 512, minorFaults: 1, majorFaults: 0, totalNs: 5 }) });
    expect(mapped(2 * MiB).countFaults({ offset: 0, length: 2 * MiB })).toEqual({ touches: 512, minorFaults: 1, majorFaults: 0 });
    expect(since()).toEqual([['touch', 7, 0, 512, 4096, 'read', 0n, 'none', false, 0n]]);
  });
});

describe('outcomes', () => {
  it('keep system calls, arguments and faults apart', () => {
    use({
      msync: () => {
        throw failure('EIO', 5, 'msync');
      },
      mlock: () => {
        throw new RangeError('of the addon');
      },
      verify: () => ({ done: 8, mismatches: 0, signal: { signal: 'SIGBUS', code: 'BUS_MCEERR_AR', offset: 8, lsb: 12 } }),
    });
    const mapping = mapped();
    expect(() => mapping.msync(0, 8)).toThrow(new SystemError('EIO', 5, 'msync'));
    expect(() => mapping.mlock(0, 8)).toThrow(new RangeError('of the addon'));
    expect(mapping.verify(0, 16, { kind: 'byte', value: 0 })).toEqual({
      ok: false,
      done: 8,
      mismatches: 0,
      signal: { signal: 'SIGBUS', code: 'BUS_MCEERR_AR', offset: 8, lsb: 12 },
    });
  });

  it('are the same on other threads', async () => {
    use({
      umount: () => {
        throw failure('EBUSY', 16, 'umount2');
      },
    });
    await expect(umountAsync('/mnt', ['force'])).rejects.toThrow(new SystemError('EBUSY', 16, 'umount2', '/mnt'));
    await expect(umountAsync('/mnt', ['farce' as never])).rejects.toThrow(RangeError);
    await expect(mapped(8).readAsync(0, 9)).rejects.toThrow(RangeError);
    expect(since()).toEqual([['umount', '/mnt', ['force']]]);
  });

  it.each([
    [{ finished: true, exitSignal: 0, mismatches: 0, done: 8 }, { outcome: 'equal' }],
    [{ finished: true, exitSignal: 0, mismatches: 1, done: 8, first: { offset: 0 } }, { outcome: 'different', firstDifference: { offset: 0 } }],
    [{ finished: false, exitSignal: 9, mismatches: 0, done: 0 }, { outcome: 'signal', signalName: 'SIGKILL' }],
    [
      { finished: true, exitSignal: 0, mismatches: 0, done: 0, signal: { signal: 'SIGBUS' } },
      { outcome: 'signal', signalName: 'SIGBUS', signal: { signal: 'SIGBUS' } },
    ],
  ])('of a fork %j', (raw, expected) => {
    use({ forkVerify: () => ({ forkNs: 5, ...raw }) });
    expect(mapped().forkVerify(0, 8, { kind: 'byte', value: 0 })).toEqual({
      forkNs: 5,
      done: raw.done,
      mismatches: raw.mismatches,
      ...expected,
    });
  });
});

describe('patterns', () => {
  it('are taken apart for the addon', () => {
    use({ verifyBytes: () => ({ done: 8, mismatches: 0 }) });
    patternBytes(5, { kind: 'byte', value: 255 });
    patternBytes(8, { kind: 'words', seed: 2n ** 64n - 1n, base: 4096 });
    expect(verifyBytes(Buffer.alloc(8), { kind: 'words', seed: 1 }).ok).toBe(true);
    expect(calls).toEqual([
      ['patternBytes', 5, 255, 0n, 0],
      ['patternBytes', 8, -1, 2n ** 64n - 1n, 4096],
      ['verifyBytes', Buffer.alloc(8), -1, 1n, 0],
    ]);
    expect(() => patternBytes(5, { kind: 'words', seed: 1 })).toThrow(/length must be a multiple of 8/);
  });
});

describe('other calls', () => {
  it('pass their arguments by position', async () => {
    use({ kpageScan: () => ({}) });
    statx('/a');
    statx(5);
    mount({ source: 's', target: 't', type: 'ext4', flags: ['ro'], data: 'dax=always' });
    copyFileRange({ from: 3, to: 4, toOffset: 8, length: 9 });
    processVmRead(1, 5n, 6);
    await kpageScan({ path: '/p', startPfn: 1, endPfn: 2 });
    nothing();
    expect(calls).toEqual([
      ['statx', -1, '/a'],
      ['statx', 5, ''],
      ['mount', 's', 't', 'ext4', ['ro'], 'dax=always'],
      ['copyFileRange', 3, 0, 4, 8, 9],
      ['processVmRead', 1, 5n, 6],
      ['kpageScan', '/p', 1, 2, 65536, false],
      ['nothing'],
    ]);
  });

  it('name page flags by their bits', () => {
    expect(KPAGE_FLAGS).toHaveLength(64);
    expect([0, 15, 19, 20, 26, 32].map((bit) => KPAGE_FLAGS[bit])).toEqual([
      'locked', 'compound_head', 'hwpoison', 'nopage', 'pgtable', 'reserved',
    ]);
  });

  it('say how to get a missing addon', () => {
    setAddonForTests(undefined);
    const before = process.env['DAXRIG_ADDON'];
    process.env['DAXRIG_ADDON'] = '/nonexistent/daxrig.node';
    try {
      expect(nothing).toThrow(BrokenError);
      expect(nothing).toThrow(/^the native addon cannot be loaded \(.*\); build it with: node scripts\/build-addon.mjs$/);
    } finally {
      if (before === undefined) delete process.env['DAXRIG_ADDON'];
      else process.env['DAXRIG_ADDON'] = before;
    }
  });
});

describe('levels from smaps', () => {
  const smaps = (...fields: string[]): string =>
    ['7f0000000000-7f0000200000 rw-s 00000000 00:00 0', ...fields, '7f0000200000-7f0000400000 rw-p 00000000 00:00 0', 'Rss: 77 kB', ''].join('\n');
  const fields = (...lines: string[]): Map<string, string> | undefined => vmaFields(smaps(...lines), 0x7f0000000000n);

  it('read the fields of one area only', () => {
    expect(Object.fromEntries(fields('Rss:            2048 kB', 'VmFlags: rd wr hg ')!)).toEqual({ Rss: '2048 kB', VmFlags: 'rd wr hg' });
    expect(vmaFields(smaps('Rss: 1 kB'), 0x7f0000001000n)).toBeUndefined();
  });

  it.each([
    ['an anonymous huge page', false, 0, ['AnonHugePages: 2048 kB', 'VmFlags: rd wr'], 'pmd'],
    ['a huge page of shared memory', false, 0, ['ShmemPmdMapped: 2048 kB', 'VmFlags: rd wr'], 'pmd'],
    ['512 small pages', false, 0, ['Rss: 2048 kB', 'AnonHugePages: 0 kB', 'VmFlags: rd wr hg'], 'pte'],
    ['a device-dax PMD', true, 0, ['Rss: 2048 kB', 'VmFlags: rd wr mm hg'], 'pmd'],
    ['a PMD of a DAX file', true, 0, ['Rss: 4 kB', 'VmFlags: rd wr hg'], 'pmd'],
    ['single DAX pages', true, 0, ['Rss: 0 kB', 'VmFlags: rd wr mm hg'], 'pte'],
    ['hugetlb pages of 2 MiB', false, 2 * MiB, ['Rss: 0 kB'], 'pmd'],
    ['hugetlb pages of 1 GiB', false, GiB, ['Rss: 0 kB'], 'pud'],
  ] as const)('know %s', (_name, dax, hugetlb, lines, level) => {
    expect(levelOfVma(fields(...lines), hugetlb, dax)).toBe(level);
  });

  it('take no area for no huge page', () => {
    expect(levelOfVma(undefined, 0, true)).toBe('pte');
  });
});
