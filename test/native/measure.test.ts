// Timed rounds: what is timed, what is counted, what ends them.
import { describe, expect, it } from 'vitest';
import { Mapping, flushInstructions, measure, measureAsync, type MeasureStep } from '../../src/native.js';
import { MiB } from '../../src/units.js';
import { codeThrown, scratchFile } from './support.js';

describe('timed rounds', () => {
  it('takes one sample per round of each timed step, and counts faults per step', () => {
    using file = scratchFile(MiB);
    const { rounds, steps, signal } = measure(4, [
      { op: 'map', fd: file.fd, length: MiB, timed: true },
      { op: 'touch', length: MiB, stride: 4096, access: 'write', timed: true },
      { op: 'msync', length: MiB },
      { op: 'unmap', timed: true },
    ]);
    expect({ rounds, signal }).toEqual({ rounds: 4, signal: undefined });
    expect(steps.map(({ op, runs }) => [op, runs])).toEqual([['map', 4], ['touch', 4], ['msync', 4], ['unmap', 4]]);
    expect(steps.map(({ samples }) => samples?.length)).toEqual([4, 4, undefined, 4]);
    for (const sample of [...steps[0]!.samples!, ...steps[1]!.samples!, ...steps[3]!.samples!]) expect(sample).toBeGreaterThan(0);
    // One per page in each round, as each round maps anew.
    expect(steps[1]!.minorFaults + steps[1]!.majorFaults).toBe(4 * 256);
    expect(steps[3]!.minorFaults).toBe(0);
  });

  it('times the step asked for, not what is around it', () => {
    using mapping = Mapping.anonymous({ length: 64 * MiB });
    mapping.fill(0, 64 * MiB, { kind: 'byte', value: 1 });
    const { steps } = measure(5, [{ op: 'load', mapping, length: 64 * MiB, timed: true }, { op: 'touch', mapping, length: 8, timed: true }]);
    const middle = (samples: Float64Array): number => [...samples].sort((a, b) => a - b)[2]!;
    expect(middle(steps[1]!.samples!)).toBeLessThan(middle(steps[0]!.samples!) / 100);
  });

  it('moves on with every round', () => {
    using mapping = Mapping.anonymous({ length: 16 * 4096 });
    const { steps } = measure(16, [{ op: 'touch', mapping, length: 8, advance: 4096, access: 'write' }]);
    expect(steps[0]!.minorFaults).toBe(16);
    expect(measure(16, [{ op: 'touch', mapping, length: 8, advance: 4096 }]).steps[0]!.minorFaults).toBe(0);
  });

  it('does memory work in several threads, each on its share', () => {
    using mapping = Mapping.anonymous({ length: MiB });
    const all = { mapping, length: MiB, threads: 4 };
    expect(measure(2, [{ op: 'store', ...all, timed: true }, { op: 'copy', ...all, timed: true }]).rounds).toBe(2);
    expect(mapping.read(0, MiB).bytes.every((byte) => byte !== 0)).toBe(true);
    const chase = measure(2, [{ op: 'chain', ...all }, { op: 'chase', ...all, timed: true }]);
    expect(chase.steps[1]!.samples!.every((sample) => sample > 0)).toBe(true);
  });

  it('writes what it says it writes', () => {
    using mapping = Mapping.anonymous({ length: 8192 });
    measure(1, [{ op: 'store-past', mapping, length: 8192 }]);
    expect(mapping.read(8, 8).bytes.readBigUInt64LE()).toBe(8n);
    for (const instruction of flushInstructions()) expect(measure(1, [{ op: 'flush', mapping, length: 8192, instruction }]).rounds).toBe(1);
  });

  it('a fault ends the rounds, unless it is what is measured', () => {
    using file = scratchFile(8192);
    using mapping = Mapping.map({ fd: file.fd, length: 8192 });
    file.truncate(4096);
    const touch: MeasureStep = { op: 'touch', mapping, at: 4096, length: 8, timed: true };
    expect(measure(3, [touch])).toMatchObject({ rounds: 0, signal: { signal: 'SIGBUS', code: 'BUS_ADRERR', offset: 4096 } });
    const { rounds, steps, signal } = measure(3, [{ ...touch, mayFault: true }]);
    expect({ rounds, signals: steps[0]!.signals, code: signal?.code }).toEqual({ rounds: 3, signals: 3, code: 'BUS_ADRERR' });
    expect(steps[0]!.samples!.every((sample) => sample > 0)).toBe(true);
  });

  it('a signal in one of several threads is data, too', () => {
    using file = scratchFile(4 * 4096);
    using mapping = Mapping.map({ fd: file.fd, length: 4 * 4096 });
    file.truncate(3 * 4096);
    expect(measure(1, [{ op: 'load', mapping, length: 4 * 4096, threads: 4 }])).toMatchObject({ rounds: 0, signal: { offset: 3 * 4096 } });
  });

  it('transfers and forks', async () => {
    using file = scratchFile(8192);
    using mapping = Mapping.anonymous({ length: 8192 });
    mapping.fill(0, 8192, { kind: 'byte', value: 9 });
    const { steps } = await measureAsync(3, [
      { op: 'pwrite', mapping, fd: file.fd, length: 4096, timed: true },
      { op: 'pread', mapping, at: 4096, fd: file.fd, length: 4096, timed: true },
      { op: 'fsync', fd: file.fd, timed: true },
      { op: 'fork', timed: true },
    ]);
    for (const { samples } of steps) expect(samples!.every((sample) => sample > 0)).toBe(true);
    expect(mapping.verify(4096, 4096, { kind: 'byte', value: 9 }).ok).toBe(true);
  });

  it('says which call failed, and a transfer that is cut short is one', () => {
    using file = scratchFile(0);
    using mapping = Mapping.anonymous({ length: 4096 });
    expect(codeThrown(() => measure(1, [{ op: 'pread', mapping, fd: file.fd, length: 4096 }]))).toBe('EIO');
    expect(codeThrown(() => measure(1, [{ op: 'fallocate', fd: file.fd, length: 4096, mode: 'collapse-range' }]))).toMatch(/EINVAL|EOPNOTSUPP/);
  });

  const refused: [string, (mapping: Mapping, fd: number) => MeasureStep[]][] = [
    ['nothing mapped', () => [{ op: 'touch', length: 8 }]],
    ['unmapped before', (_, fd) => [{ op: 'map', fd, length: 4096 }, { op: 'unmap' }, { op: 'touch', length: 8 }]],
    ['past the end of its own', (_, fd) => [{ op: 'map', fd, length: 4096 }, { op: 'touch', at: 4096, length: 8 }]],
    ['past the end in a later round', (mapping) => [{ op: 'touch', mapping, length: 8, advance: 8192 }]],
    ['moving a mapping of the caller', (mapping) => [{ op: 'move', mapping }]],
    ['no length', (mapping) => [{ op: 'load', mapping }]],
    ['no fd', () => [{ op: 'fsync' }]],
    ['lines cut', (mapping) => [{ op: 'load', mapping, length: 200 }]],
    ['threads touching', (mapping) => [{ op: 'touch', mapping, length: 8, threads: 2 }]],
    ['no steps', () => []],
  ];
  it.each(refused)('refuses: %s', (_, program) => {
    using file = scratchFile(8192);
    using mapping = Mapping.anonymous({ length: 8192 });
    expect(() => measure(2, program(mapping, file.fd))).toThrow(RangeError);
  });
});
