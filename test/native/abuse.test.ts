// No value from JavaScript crashes the process: a table of every entry point against bad values, and random calls in a child.
import { execFileSync, spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { SystemError } from '../../src/errors.js';
import * as native from '../../src/native.js';
import { Mapping } from '../../src/native.js';
import { MiB } from '../../src/units.js';
import { codeThrown, root, scratchFolder } from './support.js';

type Kind = 'size' | 'fd' | 'name' | 'text' | 'word' | 'bytes' | 'pattern' | 'names' | 'mapping';

const notNumbers = ['1', null, {}, [], Symbol('s'), true, () => 1];
const detached = new Uint8Array(new ArrayBuffer(8));
structuredClone(detached.buffer, { transfer: [detached.buffer] });

const BAD: Record<Kind, unknown[]> = {
  size: [...notNumbers, 1n, NaN, -1, 0.5, Infinity, -Infinity, 2 ** 53, 1e300],
  fd: [...notNumbers, undefined, NaN, -1, 0.5, Infinity, 2 ** 31, 2 ** 53],
  name: [undefined, null, 1, {}, [], '', 'nonsense', 'read\0', 'constructor'],
  text: [undefined, null, 1, {}, [], 'a\0b'],
  word: [undefined, null, '1', {}, NaN, -1, 0.5, 2 ** 53, -1n, 2n ** 64n],
  bytes: [undefined, null, 'x', 1, [], {}, new ArrayBuffer(8), new Float64Array(1), new DataView(new ArrayBuffer(8))],
  pattern: [
    undefined, null, 1, 'byte', {}, { kind: 'nonsense' }, { kind: 'byte' }, { kind: 'byte', value: 256 }, { kind: 'byte', value: -1 },
    { kind: 'byte', value: NaN }, { kind: 'words' }, { kind: 'words', seed: 1.5 }, { kind: 'words', seed: 1, base: 4 },
    { kind: 'words', seed: 2n ** 64n }, { kind: 'words', seed: 1, base: -8 },
  ],
  names: [1, 'dax', {}, ['nonsense'], [1], [null]],
  mapping: [undefined, null, 1, {}, Object.create(Mapping.prototype)],
};

/** An entry point: how it is called, good arguments, and what kind each is. */
type Row = [name: string, call: (...args: never[]) => unknown, good: unknown[], kinds: Kind[]];

const rows = (mapping: Mapping): Row[] => {
  const row = (name: string, call: (...args: never[]) => unknown, ...args: [unknown, Kind][]): Row => [
    name, call, args.map(([value]) => value), args.map(([, kind]) => kind),
  ];
  const method = (name: keyof Mapping & string, ...args: [unknown, Kind][]): Row =>
    row(name, (...given: never[]) => (mapping[name] as (...all: never[]) => unknown)(...given), ...args);
  const part: [unknown, Kind][] = [[0, 'size'], [4096, 'size']];
  const pattern: [unknown, Kind] = [{ kind: 'byte', value: 1 }, 'pattern'];
  const NOWHERE = 0x7fffffff;
  return [
    row('map', (fd, length, offset, prot, share, align, skew) => Mapping.map({ fd, length, offset, prot, share, align, alignSkew: skew }),
      [NOWHERE, 'fd'], [4096, 'size'], [0, 'size'], ['rw', 'name'], ['shared', 'name'], [4096, 'size'], [0, 'size']),
    row('anonymous', (length, align, hugetlb) => Mapping.anonymous({ length, align, hugetlb }), [4096, 'size'], [4096, 'size'], [2 * MiB, 'size']),
    row('touch', (offset, count, stride, access, value, clock, order, seed) =>
      mapping.touch({ offset, count, stride, access, value, timed: true, clock, order, seed }),
      [0, 'size'], [1, 'size'], [8, 'size'], ['read', 'name'], [0, 'word'], ['raw', 'name'], ['random', 'name'], [0, 'word']),
    row('countFaults', (offset, length, step) => mapping.countFaults({ offset, length, step }), ...part, [4096, 'size']),
    method('read', ...part),
    method('write', [0, 'size'], [Buffer.alloc(8), 'bytes']),
    method('fill', ...part, pattern),
    method('verify', ...part, pattern),
    method('forkVerify', ...part, pattern),
    method('forkWrite', ...part, pattern),
    method('madvise', ...part, ['normal', 'name']),
    method('msync', ...part, ['sync', 'name']),
    method('mprotect', ...part, ['rw', 'name']),
    method('mlock', ...part),
    method('munlock', ...part),
    method('bindToNode', ...part, [0, 'size']),
    method('unmap', ...part),
    method('remapOnto', ...part, [mapping, 'mapping'], [8192, 'size']),
    method('readFrom', [NOWHERE, 'fd'], [0, 'size'], ...part),
    method('writeTo', [NOWHERE, 'fd'], [0, 'size'], ...part),
    row('ringTransfer', (fd, fileOffset, offset, length, direction, parts) => mapping.ringTransfer({ fd, fileOffset, offset, length, direction, parts }),
      [NOWHERE, 'fd'], [0, 'size'], ...part, ['to-file', 'name'], [1, 'size']),
    method('pagemap', ...part),
    method('pagemapScan', ...part),
    method('pageLevel', [0, 'size'], ['smaps', 'name'], ['read', 'name']),
    row('patternBytes', native.patternBytes, [4096, 'size'], pattern),
    row('verifyBytes', native.verifyBytes, [Buffer.alloc(8), 'bytes'], pattern),
    row('fiemap', native.fiemap, [NOWHERE, 'fd']),
    row('fallocate', native.fallocate, [NOWHERE, 'fd'], ['allocate', 'name'], ...part),
    row('getInodeFlags', native.getInodeFlags, [NOWHERE, 'fd']),
    row('changeInodeFlags', (fd, set, clear) => native.changeInodeFlags(fd, { set, clear }), [NOWHERE, 'fd'], [[], 'names'], [[], 'names']),
    row('blockDevice', native.blockDevice, [NOWHERE, 'fd']),
    row('reflink', native.reflink, [NOWHERE, 'fd'], [NOWHERE, 'fd']),
    row('copyFileRange', (from, fromOffset, to, toOffset, length) => native.copyFileRange({ from, fromOffset, to, toOffset, length }),
      [NOWHERE, 'fd'], [0, 'size'], [NOWHERE, 'fd'], [0, 'size'], [0, 'size']),
    row('measure', (rounds, at, length, advance, stride, access, threads) => native.measure(rounds, [{ op: 'touch', mapping, at, length, advance, stride, access, threads }]),
      [2, 'size'], [0, 'size'], [4096, 'size'], [8, 'size'], [8, 'size'], ['read', 'name'], [1, 'size']),
    row('measure, calls', (fd, length, share) => native.measure(1, [{ op: 'map', fd, length, share }]), [NOWHERE, 'fd'], [4096, 'size'], ['shared', 'name']),
    row('measure, flags', (advice, how, mode, instruction) => {
      native.measure(1, [{ op: 'madvise', mapping, length: 4096, advice }]);
      native.measure(1, [{ op: 'msync', mapping, length: 4096, how }]);
      native.measure(1, [{ op: 'flush', mapping, length: 4096, instruction }]);
      native.measure(1, [{ op: 'fallocate', fd: NOWHERE, length: 4096, mode }]);
    }, ['normal', 'name'], ['sync', 'name'], ['allocate', 'name'], [native.flushInstructions()[0] ?? 'clwb', 'name']),
    row('syncfs', native.syncfs, [NOWHERE, 'fd']),
    row('mount', (source, target, type, flags, data) => native.mount({ source, target, type, flags, data }),
      ['none', 'text'], ['/nonexistent/target', 'text'], ['tmpfs', 'text'], [[], 'names'], ['', 'text']),
    row('umount', native.umount, ['/nonexistent/target', 'text'], [[], 'names']),
    row('setRealtime', native.setRealtime, [2n ** 63n, 'word']),
    row('addEntropy', native.addEntropy, [Buffer.alloc(70000), 'bytes']),
    row('prctlMceKill', native.prctlMceKill, ['default', 'name']),
    row('finitModule', native.finitModule, [NOWHERE, 'fd'], ['', 'text']),
    row('deleteModule', native.deleteModule, ['daxrig_no_such_module', 'text']),
    row('writeSecondSerialPort', native.writeSecondSerialPort, ['text', 'bytes']),
    row('reboot', native.reboot, ['nonsense', 'name']),
    row('processVmRead', native.processVmRead, [NOWHERE, 'fd'], [0n, 'word'], [8, 'size']),
    row('errnoName', native.errnoName, [1, 'fd']),
  ];
};

function problem(call: () => unknown): string | undefined {
  try {
    call();
    return 'accepted';
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError || error instanceof SystemError) return undefined;
    return `threw ${String(error)}`;
  }
}

const shown = (value: unknown): string => {
  try {
    return typeof value === 'symbol' ? 'a symbol' : (JSON.stringify(value) ?? String(value));
  } catch {
    return String(value);
  }
};

/** Optional ones take undefined for their default. */
const OPTIONAL = new Set(['map', 'anonymous', 'touch', 'msync', 'pageLevel', 'finitModule', 'mount', 'measure', 'measure, calls', 'measure, flags']);

describe('every entry point', () => {
  using probe = Mapping.anonymous({ length: MiB });
  it.each(rows(probe).map(([name], index) => [name, index] as const))('%s refuses bad values', (_name, index) => {
    using mapping = Mapping.anonymous({ length: MiB });
    const [name, call, good, kinds] = rows(mapping)[index]!;
    const problems: string[] = [];
    kinds.forEach((kind, position) => {
      for (const bad of BAD[kind]) {
        if (bad === undefined && OPTIONAL.has(name)) continue;
        const args = good.with(position, bad) as never[];
        const found = problem(() => call(...args));
        if (found !== undefined) problems.push(`argument ${position} = ${shown(bad)}: ${found}`);
      }
    });
    expect(problems).toEqual([]);
  });

  it('refuses everything once closed', () => {
    const mapping = Mapping.anonymous({ length: MiB });
    mapping.close();
    const methods = rows(mapping).filter(([name]) => name in Mapping.prototype);
    expect(methods.length).toBeGreaterThan(15);
    for (const [name, call, good] of methods) expect([name, codeThrown(() => call(...(good as never[])))]).toEqual([name, 'EBADF']);
  });

  it.each([[MiB + 1, 0], [0, MiB + 1], [MiB, 1], [MiB - 8, 16], [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER]])(
    'refuses offset %i, length %i of 1 MiB',
    (offset, length) => {
      using mapping = Mapping.anonymous({ length: MiB });
      const range = rows(mapping).filter(([name, , good]) => name in Mapping.prototype && good[0] === 0 && good[1] === 4096);
      expect(range.length).toBeGreaterThan(10);
      for (const [name, call, good] of range) {
        if (name === 'pagemap') continue; // counts pages
        expect(() => call(...([offset, length, ...good.slice(2)] as never[])), name).toThrow(RangeError);
      }
    },
  );

  it('takes a detached buffer for an empty one', () => {
    using mapping = Mapping.anonymous({ length: MiB });
    expect(mapping.write(0, detached)).toEqual({ done: 0 });
    expect(native.verifyBytes(detached, { kind: 'byte', value: 1 }).ok).toBe(true);
  });

  it('does not trust its own face', () => {
    const path = process.env['DAXRIG_ADDON'] ?? join(root, 'build/Release/daxrig.node');
    const addon = createRequire(import.meta.url)(path) as Record<string, (...args: unknown[]) => unknown> & { async: object };
    // Those that take nothing, and the one that any text is right for.
    for (const name of Object.keys(addon).filter((key) => typeof addon[key] === 'function' && !/nothing|clocks|drainSignals|flushInstructions|traceFinish|memoryFile/.test(key))) {
      expect(() => addon[name]!(), name).toThrow(/must be|mapping: EBADF/);
      for (const value of [NaN, -1, 2 ** 64, {}, 'x', Symbol('s'), null]) expect(problemOf(addon[name]!, value), name).toBeUndefined();
    }
    for (const value of [undefined, NaN, {}, 'a\0b', null]) expect(problemOf(addon['memoryFile']!, value), 'memoryFile').toBeUndefined();
  });

  /** Any Error will do here: the addon's own errors are not yet SystemErrors. */
  function problemOf(call: (...args: unknown[]) => unknown, value: unknown): string | undefined {
    try {
      call(...new Array<unknown>(10).fill(value));
      return 'accepted';
    } catch (error) {
      return error instanceof Error ? undefined : 'threw something else';
    }
  }
});

describe('random calls', () => {
  const path = process.env['DAXRIG_ADDON'] ?? join(root, 'build/Release/daxrig.node');
  const seeds = (process.env['DAXRIG_FUZZ_SEEDS'] ?? '1,2').split(',');
  const calls = process.env['DAXRIG_FUZZ_CALLS'] ?? '10000';

  it.each(seeds)('with seed %s do not end the process', (seed) => {
    using folder = scratchFolder();
    // No file grows past 64 MiB, be it one in memory: a random fallocate(2) would take all there is. Past it, the call fails.
    const limited = 'trap "" XFSZ; ulimit -f 65536; exec "$0" "$@"';
    const run = spawnSync('/bin/bash', ['-c', limited, process.execPath, join(root, 'test/native/fuzz.mjs'), path, folder.path, seed, calls], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    expect({ signal: run.signal, status: run.status, stderr: run.stderr.slice(-2000) }).toEqual({ signal: null, status: 0, stderr: '' });
    const counted = JSON.parse(run.stdout) as { calls: number; returned: number; threw: number };
    expect(counted.calls).toBe(Number(calls));
    // Both kinds in number: else the calls were all refused at the door, or none of them was bad.
    expect(counted.returned).toBeGreaterThan(counted.calls / 20);
    expect(counted.threw).toBeGreaterThan(counted.calls / 20);
  }, 70_000);

  it('would be noticed if they did', () => {
    expect(() => execFileSync(process.execPath, ['-e', 'process.kill(process.pid, "SIGSEGV")'], { stdio: 'ignore' })).toThrow();
  });
});
