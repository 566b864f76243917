// The collector of function events, on ring buffer pages made by hand in the kernel's format.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { traceFinish, traceStart } from '../../src/native.js';
import { codeThrown, scratchFolder } from './support.js';

const FUNCTION = 1;

function event(id: number, ip: bigint): Buffer {
  const bytes = Buffer.alloc(4 + 24);
  bytes.writeUInt32LE(6 | (100 << 5), 0); // type_len 6: 24 bytes follow
  bytes.writeUInt16LE(id, 4);
  bytes.writeBigUInt64LE(ip, 4 + 8);
  return bytes;
}
const extend = (): Buffer => Buffer.from([30, 0, 0, 0, 1, 0, 0, 0]);
function long(id: number, ip: bigint): Buffer {
  const bytes = Buffer.alloc(8 + 120);
  bytes.writeUInt32LE(0, 0);
  bytes.writeUInt32LE(124, 4); // counts itself
  bytes.writeUInt16LE(id, 8);
  bytes.writeBigUInt64LE(ip, 8 + 8);
  return bytes;
}
function discarded(ip: bigint): Buffer {
  const bytes = Buffer.alloc(8 + 24);
  bytes.writeUInt32LE(29 | (5 << 5), 0);
  bytes.writeUInt32LE(28, 4);
  bytes.writeUInt16LE(FUNCTION, 8);
  bytes.writeBigUInt64LE(ip, 16);
  return bytes;
}
function page(events: Buffer[], flags = 0n): Buffer {
  const data = Buffer.concat(events);
  const bytes = Buffer.alloc(4096, 0xee);
  bytes.writeBigUInt64LE(12345n, 0);
  bytes.writeBigUInt64LE(BigInt(data.length) | flags, 8);
  data.copy(bytes, 16);
  return bytes;
}
/** What is collected from one page for each CPU. */
function collect(...pages: Buffer[]): { counts: Record<string, number>; missed: number } {
  using folder = scratchFolder();
  pages.forEach((bytes, cpu) => {
    mkdirSync(join(folder.path, `per_cpu/cpu${cpu}`), { recursive: true });
    writeFileSync(join(folder.path, `per_cpu/cpu${cpu}/trace_pipe_raw`), bytes);
  });
  traceStart(folder.path, FUNCTION, 8);
  const { functions, missed } = traceFinish();
  return { counts: Object.fromEntries(functions.map(({ address, hits }) => [address.toString(16), hits])), missed };
}

describe('function events', () => {
  it('are counted by address, over CPUs', () => {
    expect(collect(page([event(1, 0x10n), extend(), event(1, 0x20n), event(1, 0x10n)]), page([long(1, 0x10n), event(1, 0x30n)]))).toEqual({ counts: { 10: 3, 20: 1, 30: 1 }, missed: 0 });
  });
  it('are not taken from other events, discarded ones, or the empty rest of a page', () => {
    const rest = Buffer.from([29, 0, 0, 0]);
    expect(collect(page([event(2, 0x10n), discarded(0x20n), event(1, 0x40n), rest, event(1, 0x50n)]))).toEqual({ counts: { 40: 1 }, missed: 0 });
  });
  it('tell when the kernel dropped some', () => expect(collect(page([event(1, 0x10n)], 1n << 31n)).missed).toBe(1));
  it('survive pages that are cut off or no pages at all', () => {
    expect(collect(page([event(1, 0x10n)]).subarray(0, 30)).counts).toEqual({});
    expect(collect(Buffer.alloc(7)).counts).toEqual({});
    expect(collect(Buffer.alloc(4096, 0xff)).counts).toEqual({});
  });
  it('are collected once at a time', () => {
    using folder = scratchFolder();
    expect(codeThrown(() => traceStart(folder.path, FUNCTION, 8))).toBe('ENOENT');
    expect(codeThrown(() => traceFinish())).toBe('EINVAL');
    mkdirSync(join(folder.path, 'per_cpu/cpu0'), { recursive: true });
    writeFileSync(join(folder.path, 'per_cpu/cpu0/trace_pipe_raw'), '');
    traceStart(folder.path, FUNCTION, 8);
    expect(codeThrown(() => traceStart(folder.path, FUNCTION, 8))).toBe('EBUSY');
    traceFinish();
  });
});
