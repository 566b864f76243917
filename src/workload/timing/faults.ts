// Measures faults on files, one by one: first and again, read and write, on written and unwritten extents and on holes, with
// MAP_SYNC (dax_finish_sync_fault), private (dax_iomap_cow_copy) and after msync (dax_pfn_mkwrite). The counts are proven, the times kept.
import fs from 'node:fs';
import path from 'node:path';
import { Mapping, syncfs } from '../../native.js';
import { MiB } from '../../units.js';
import { PAGE, PMD, mapped, openHugeFile, type HugeFile } from '../shared/huge.js';
import { tookFaults } from '../shared/faults.js';
import { duration } from '../shared/timing.js';
import { trace } from '../shared/trace.js';
import { defineWorkload, type Context } from '../types.js';

const EXTENTS = ['written', 'unwritten', 'hole'] as const;
type Extent = (typeof EXTENTS)[number];
const ACCESSES = ['read', 'write'] as const;
const EVENTS = { pte: ['fs_dax/dax_pte_fault', 'fs_dax/dax_insert_pfn_mkwrite'], pmd: ['fs_dax/dax_pmd_fault'] } as const;

export default defineWorkload({
  name: 'timing/faults',
  about: 'time per fault of 4 KiB and 2 MiB on a file: written, unwritten, hole; read, write; first, again; MAP_SYNC, private, after msync',
  guards: ['fault latency of fs/dax.c and of the file systems\' iomap_begin'],
  needs: { dax: 'fsdax', size: 64 * PMD },
  params: { fs: ['ext4', 'xfs'], level: ['pte', 'pmd'] },
  metrics: [
    ...EXTENTS.flatMap((extent) => ACCESSES.map((access) => duration(`${extent}, ${access}`))),
    ...['written, write after read', 'written, write after msync', 'written, read again', 'written, write again'].map(duration),
    ...['MAP_SYNC written, write', 'MAP_SYNC unwritten, write', 'private written, write'].map(duration),
    { name: 'page faults', unit: 'count', better: 'lower' },
    { name: 'fs_dax tracepoints', unit: 'count', better: 'lower' },
  ],
  timeout: 120,
  onRequest: true,
  run(ctx: Context) {
    const level = String(ctx.params.level) as 'pte' | 'pmd';
    const bench = new Bench(ctx, level === 'pte' ? { step: PAGE, count: 256, alignSkew: PAGE } : { step: PMD, count: 16, alignSkew: 0 });
    for (const extent of EXTENTS) for (const access of ACCESSES) bench.first(extent, access);
    bench.later();
    for (const extent of ['written', 'unwritten'] as const) bench.synchronous(extent);
    bench.privately();
    ctx.metric('page faults', bench.faults);
    traced(ctx, bench, level);
  },
});

interface Shape {
  step: number;
  count: number;
  /** Of the address: a page past a multiple of 2 MiB no huge entry can serve. */
  alignSkew: number;
}

class Bench {
  readonly faults: number[] = [];
  #files = 0;

  constructor(
    readonly ctx: Context,
    readonly shape: Shape,
  ) {}

  get length(): number {
    return this.shape.count * this.shape.step;
  }

  /** Lends a new file: blocks with data, blocks without, or none. Its DAX entries are not there yet. */
  withFile(extent: Extent, work: (file: HugeFile) => void): void {
    const file = this.#open(extent);
    try {
      // Its space is free again for the next one.
      fs.unlinkSync(file.path);
      work(file);
    } finally {
      fs.closeSync(file.fd);
      // Now, and not with some later commit of the journal: the next file needs aligned space.
      const folder = fs.openSync(this.ctx.fsdax.folder, 'r');
      syncfs(folder);
      fs.closeSync(folder);
    }
  }

  #open(extent: Extent): HugeFile {
    const name = `${extent}-${this.#files++}`;
    if (extent === 'hole') {
      const file = path.join(this.ctx.fsdax.folder, name);
      const fd = fs.openSync(file, 'wx+');
      fs.ftruncateSync(fd, this.length);
      return { fd, path: file, offset: 0, length: this.length };
    }
    const file = openHugeFile(this.ctx, this.length, name);
    const data = Buffer.alloc(MiB, 0x5a);
    for (let at = 0; extent === 'written' && at < this.length; at += MiB) fs.writeSync(file.fd, data, 0, Math.min(MiB, this.length - at), file.offset + at);
    // What mke2fs, fallocate and write left to do must not be done during a fault.
    fs.fsyncSync(file.fd);
    return file;
  }

  map(file: HugeFile, share: 'shared' | 'sync' | 'private' = 'shared'): Mapping {
    return mapped(this.ctx, Mapping.map({ fd: file.fd, offset: file.offset, length: this.length, share, align: PMD, alignSkew: this.shape.alignSkew }));
  }

  /** One access per entry, each a fault. */
  touch(mapping: Mapping, access: 'read' | 'write', metric?: string): void {
    const { count, step } = this.shape;
    const what = metric ?? `${access}, not kept`;
    this.ctx.step(what);
    const touched = mapping.touch({ count, stride: step, access, value: 1, timed: true });
    const faults = touched.minorFaults + touched.majorFaults;
    this.ctx.expect(touched.signal === undefined && touched.done === count, `${what}: all ${count} accesses should succeed`, touched.signal);
    this.ctx.expect(tookFaults(faults, count, count), `${what}: ${count} accesses should take ${count} faults`, faults);
    this.faults.push(faults);
    if (metric !== undefined) this.ctx.metric(metric, [...touched.samples!]);
  }

  first(extent: Extent, access: 'read' | 'write'): void {
    this.withFile(extent, (file) => {
      using mapping = this.map(file);
      this.touch(mapping, access, `${extent}, ${access}`);
      this.ctx.prove(`${extent}, ${access}`, mapping.pageLevel(0).level);
    });
  }

  /** What the entries that are there already save. */
  later(): void {
    this.withFile('written', (file) => {
      {
        using mapping = this.map(file);
        this.touch(mapping, 'read');
        this.touch(mapping, 'write', 'written, write after read');
        mapping.msync(0, this.length);
        this.touch(mapping, 'write', 'written, write after msync');
      }
      for (const access of ACCESSES) {
        using mapping = this.map(file);
        this.touch(mapping, access, `written, ${access} again`);
      }
    });
  }

  synchronous(extent: Extent): void {
    this.withFile(extent, (file) => {
      using mapping = this.map(file, 'sync');
      this.touch(mapping, 'write', `MAP_SYNC ${extent}, write`);
    });
  }

  /** A private write copies a page, by 4 KiB whatever maps the file. */
  privately(): void {
    this.withFile('written', (file) => {
      using mapping = this.map(file, 'private');
      this.touch(mapping, 'write', 'private written, write');
    });
  }
}

/** The kernel's own count, apart from the timed ones: tracepoints cost instructions. */
function traced(ctx: Context, bench: Bench, level: 'pte' | 'pmd'): void {
  const lens = trace(ctx, EVENTS[level]);
  if (!lens) return ctx.prove('tracepoints', 'none here');
  bench.withFile('written', (file) => {
    using mapping = bench.map(file);
    bench.touch(mapping, 'read');
    bench.touch(mapping, 'write');
  });
  const count = lens.lines().filter((line) => line.includes('dax_')).length;
  ctx.metric('fs_dax tracepoints', [count]);
}
