// Guards report R2's other half: while a device reads or writes the pages of a DAX mapping, truncate, hole punch and
// collapse must wait (fs/dax.c: dax_layout_busy_page; ext4_break_layouts, xfs_break_dax_layouts), or the blocks go to
// another file in the middle of the transfer. Each file has words of its own: one that strayed says where it came from.
import fs from 'node:fs';
import path from 'node:path';
import * as native from '../../native.js';
import { Mapping, patternBytes, type RaceResult } from '../../native.js';
import { PAGE, PMD, hugeFile, mapFile, mapped } from '../shared/huge.js';
import { SLICED_TIMEOUT, allowOnly, raceMetrics, runSlices } from '../shared/race.js';
import { defineWorkload, type Context } from '../types.js';

/** Bytes of one transfer, and how many of them a huge page has. */
const CHUNK = 64 * 1024;
const CHUNKS = PMD / CHUNK;
const SEEDS = { ours: 1000, theirs: 2000, disk: 3000 } as const;
/** Nanoseconds in which the kernel's own threads, who carry out the transfers, find the CPU free in a steered race. */
const NAP = 300_000;
/** Those of who is only there to take blocks and to write: the transfers shall have most of the time. */
const LONG_NAP = 3_000_000;
/** Rounds of a slice: few where it is brief, and a hundred or two where it takes its time, bounded by a second. */
const ROUNDS = { brief: 24, thorough: 192 } as const;

export default defineWorkload({
  name: 'fsdax/dma-truncate',
  about: 'O_DIRECT from and to mapped pages against truncate, hole punch and collapse, while another file takes the blocks: no data strays, nothing hangs',
  guards: ['R2: DMA to DAX pages holds off truncate and hole punch', 'kernel dax_layout_busy_page, ext4_break_layouts, xfs_break_layouts'],
  needs: { dax: 'fsdax', size: 64 * PMD, tools: ['losetup'] },
  params: { fs: ['ext4', 'xfs'] },
  metrics: raceMetrics,
  timeout: SLICED_TIMEOUT,
  async run(ctx: Context) {
    const file = hugeFile(ctx, PMD);
    const mapping = mapFile(ctx, file);
    const other = fs.openSync(path.join(ctx.fsdax.folder, 'other'), 'w+');
    ctx.cleanup(() => fs.closeSync(other));
    const disk = fs.openSync(await ctx.blockDevice(2 * PMD), fs.constants.O_RDWR | fs.constants.O_DIRECT);
    ctx.cleanup(() => fs.closeSync(disk));
    // The first half of the disk is written from the mapping, the second is read into it.
    const buffer = mapped(ctx, Mapping.anonymous({ length: PMD, align: PMD }));
    const prepare = (): void => {
      native.fallocate(file.fd, 'allocate', file.offset, PMD);
      mapping.fill(0, PMD, { kind: 'words', seed: SEEDS.ours });
      buffer.fill(0, PMD, { kind: 'words', seed: SEEDS.disk });
      for (const at of [0, PMD]) ctx.expect(buffer.writeTo(disk, at, 0, PMD) === PMD, 'the disk should take its own words');
    };
    prepare();
    const chunks = { unit: CHUNK, count: CHUNKS, random: true } as const;
    const pages = { base: file.offset, unit: PAGE, count: PMD / PAGE, random: true } as const;
    const sum = await runSlices(ctx, {
      rounds: ROUNDS[ctx.thorough ? 'thorough' : 'brief'],
      slices: 2,
      brief: 0.5,
      enough: ({ claimed, actors }) => claimed > 0 && actors.every(({ steps }) => steps.every(({ done }) => done > 0)),
      hangs: true,
      actors: [
        {
          name: 'transfer',
          steps: [
            { op: 'pwrite', mapping, at: chunks, fd: disk, fileAt: chunks, length: CHUNK, group: 1 },
            { op: 'pread', mapping, at: chunks, fd: disk, fileAt: { ...chunks, base: PMD }, length: CHUNK, group: 1 },
          ],
        },
        {
          name: 'owner',
          steps: [
            { op: 'fallocate', mode: 'punch-hole', fd: file.fd, fileAt: pages, length: PAGE, group: 2 },
            { op: 'truncate', fd: file.fd, fileAt: { ...pages, unit: CHUNK, count: CHUNKS }, every: 2, group: 2 },
            { op: 'nap', length: NAP },
            { op: 'fallocate', mode: 'allocate', fd: file.fd, fileAt: file.offset, length: PMD },
            { op: 'fallocate', mode: 'collapse-range', fd: file.fd, fileAt: pages, length: PAGE, every: 3, group: 2 },
            { op: 'nap', length: NAP },
          ],
        },
        {
          // Takes what the file gives back, at once, and has always just its own words.
          name: 'other',
          steps: [
            { op: 'truncate', fd: other, every: CHUNKS },
            { op: 'file-fill', fd: other, fileAt: { unit: CHUNK, count: CHUNKS }, length: CHUNK, pattern: { seed: SEEDS.theirs } },
            { op: 'file-check', fd: other, fileAt: { unit: CHUNK, count: CHUNKS }, length: CHUNK, pattern: { seed: SEEDS.theirs } },
            { op: 'nap', length: LONG_NAP },
          ],
        },
        {
          name: 'writer',
          steps: [
            { op: 'fill', mapping, at: { unit: PAGE, count: PMD / PAGE, random: true }, length: PAGE, pattern: { seed: SEEDS.ours } },
            { op: 'nap', length: LONG_NAP },
          ],
        },
      ],
      between: () => {
        ctx.step('looking at disk and files');
        theirsAlone(ctx, other);
        noneOfTheirs(ctx, 'the disk', readDirect(buffer, disk));
        const left = fs.readFileSync(file.path).subarray(file.offset);
        noneOfTheirs(ctx, 'the file', left);
        prepare();
      },
    });
    // Pages may be gone before they are pinned, and a collapse may be asked for behind the end.
    only(ctx, sum, 'transfer', ['EFAULT'], []);
    only(ctx, sum, 'owner', ['EINVAL'], []);
    only(ctx, sum, 'other', [], []);
    only(ctx, sum, 'writer', [], ['BUS_ADRERR']);
    for (const { name, steps } of sum.actors)
      for (const { op, runs, done } of steps) ctx.expect(done > 0, `${name}.${op}: some should have been done`, { runs, done });
    ctx.expect(sum.claimed > 0, 'some transfers should have met a release of their blocks', sum.pairs.slice(0, 5));
  },
});

const only = (ctx: Context, sum: RaceResult, name: string, errors: readonly string[], signals: readonly string[]): void =>
  allowOnly(ctx, { ...sum, actors: sum.actors.filter((actor) => actor.name === name) }, errors, signals);

function readDirect(buffer: Mapping, disk: number): Buffer {
  buffer.readFrom(disk, 0, 0, PMD);
  return buffer.read(0, PMD).bytes;
}

/** What the other file has written so far is its own, to the last word. */
function theirsAlone(ctx: Context, other: number): void {
  const { size } = fs.fstatSync(other);
  const bytes = Buffer.alloc(size);
  fs.readSync(other, bytes, 0, size, 0);
  const check = native.verifyBytes(bytes, { kind: 'words', seed: SEEDS.theirs });
  ctx.expect(check.ok, 'the file that took the blocks should hold its own data alone', check);
}

/** No page of these bytes begins or ends as one of the other file's does: blocks stray as a whole. */
function noneOfTheirs(ctx: Context, where: string, bytes: Buffer): void {
  const edges = (all: Buffer, page: number): bigint[] => [all.readBigUInt64LE(page), all.readBigUInt64LE(page + PAGE - 8)];
  const theirs = patternBytes(PMD, { kind: 'words', seed: SEEDS.theirs });
  const words = new Map<bigint, number>();
  for (let page = 0; page < PMD; page += PAGE) for (const word of edges(theirs, page)) words.set(word, page);
  for (let page = 0; page + PAGE <= bytes.length; page += PAGE)
    for (const word of edges(bytes, page)) ctx.expect(!words.has(word), `${where} should hold nothing of the file that took the blocks`, { at: page, their: words.get(word) });
}
