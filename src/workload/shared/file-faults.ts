// The faults that a file on DAX takes, of one size: first ever (the DAX entry is made), a write after a read (the entry is
// made dirty), and in a second mapping (the entry is there). Shared by pte-fault and pmd-fault.
import fs from 'node:fs';
import { patternBytes, verifyBytes, type Mapping, type Pattern } from '../../native.js';
import { MiB } from '../../units.js';
import { faultMetric, faultsOf, proveLevels, storeFaultsOf, type FaultSubject } from './faults.js';
import { hugeFile, type HugeFile } from './huge.js';
import { trace } from './trace.js';
import type { Context } from '../types.js';

export const FILE_FAULT_METRICS = ['first read fault', 'write fault after read', 'read fault, mapped again', 'first write fault', 'write fault, mapped again'].map(faultMetric);

const pattern = (base: number): Pattern => ({ kind: 'words', seed: 61, base });

/** A file with known data, written by write(2): blocks are there, DAX entries are not. */
export function writtenFile(ctx: Context, length: number, name: string): HugeFile {
  const file = hugeFile(ctx, length, name);
  for (let at = 0; at < length; at += MiB) {
    const part = Math.min(MiB, length - at);
    fs.writeSync(file.fd, patternBytes(part, pattern(at)), 0, part, file.offset + at);
  }
  return file;
}

export interface FileFaults {
  level: 'pte' | 'pmd';
  step: number;
  count: number;
  /** A new mapping of the file's data. */
  map: (file: HugeFile) => Mapping;
  /** The tracepoint that ends each fault of this size. */
  event: string;
}

export function fileFaults(ctx: Context, { level, step, count, map, event }: FileFaults): void {
  const length = count * step;
  const subject: FaultSubject = { place: ctx.fsdax, level, step, count };
  const same = (file: HugeFile, mapping: Mapping, what: string): void => {
    const check = mapping.verify(0, length, pattern(0));
    ctx.expect(check.ok, `${what}: the mapping should show the file's data`, check);
    const bytes = Buffer.alloc(Math.min(length, MiB));
    for (const at of new Set([0, length - bytes.length])) {
      fs.readSync(file.fd, bytes, 0, bytes.length, file.offset + at);
      const read = verifyBytes(bytes, pattern(at));
      ctx.expect(read.ok, `${what}: read(2) should give the file's data at ${at}`, read);
    }
  };

  const first = writtenFile(ctx, length, 'read-first');
  {
    using mapping = map(first);
    faultsOf(ctx, subject, mapping, 'read', { what: 'first read', faults: count, metric: 'first read fault' });
    proveLevels(ctx, subject, mapping, 'first read');
    faultsOf(ctx, subject, mapping, 'read', { what: 'read again', faults: 0 });
    // A clean entry is write-protected, so that the write is noticed (dax_iomap_fault, dax_pfn_mkwrite).
    storeFaultsOf(ctx, subject, mapping, pattern(0), { what: 'write after read', faults: count, metric: 'write fault after read' });
    proveLevels(ctx, subject, mapping, 'write after read');
    storeFaultsOf(ctx, subject, mapping, pattern(0), { what: 'write again', faults: 0 });
    same(first, mapping, 'read first');
  }
  {
    using mapping = map(first);
    faultsOf(ctx, subject, mapping, 'read', { what: 'read in a second mapping', faults: count, metric: 'read fault, mapped again' });
  }
  const second = writtenFile(ctx, length, 'write-first');
  {
    using mapping = map(second);
    storeFaultsOf(ctx, subject, mapping, pattern(0), { what: 'first write', faults: count, metric: 'first write fault' });
    proveLevels(ctx, subject, mapping, 'first write');
    faultsOf(ctx, subject, mapping, 'read', { what: 'read after write', faults: 0 });
    same(second, mapping, 'write first');
    ctx.step('msync');
    mapping.msync(0, length); // cleans the entries: the next write must be noticed again
    storeFaultsOf(ctx, subject, mapping, pattern(0), { what: 'write after msync', faults: count });
  }
  {
    using mapping = map(second);
    storeFaultsOf(ctx, subject, mapping, pattern(0), { what: 'write in a second mapping', faults: count, metric: 'write fault, mapped again' });
    same(second, mapping, 'second mapping');
  }
  traced(ctx, subject, second, map, event);
}

/** The kernel's own count of faults by their result, apart from the timed ones. */
function traced(ctx: Context, { count }: FaultSubject, file: HugeFile, map: (file: HugeFile) => Mapping, event: string): void {
  const lens = trace(ctx, [event]);
  if (!lens) return ctx.prove('tracepoints', `no ${event} here`);
  ctx.step('counting by tracepoints');
  using mapping = map(file);
  mapping.touch({ offset: 0, count, stride: mapping.length / count, access: 'write' });
  const ino = `ino 0x${fs.fstatSync(file.fd).ino.toString(16)} `;
  const results = lens.lines().filter((line) => line.includes(ino)).map((line) => line.trim().split(' ').at(-1)!);
  const fallbacks = results.filter((result) => result.includes('FALLBACK')).length;
  ctx.prove('tracepoints', { [event]: results.length, fallbacks, results: [...new Set(results)] });
  ctx.expect(results.length === count && fallbacks === 0, `${event} should be reached ${count} times, without a fallback`, { reached: results.length, fallbacks });
}
