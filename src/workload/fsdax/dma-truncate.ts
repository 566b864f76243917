// Guards report R2's other half: while a device reads or writes the pages of a DAX mapping, truncate and hole punch must
// wait (fs/dax.c: dax_layout_busy_page; ext4_break_layouts, xfs_break_dax_layouts), or the blocks go to another file in the
// middle of the transfer. Each file and each round has a pattern of its own: a word that strayed says where it came from.
import fs from 'node:fs';
import path from 'node:path';
import { SystemError } from '../../errors.js';
import * as native from '../../native.js';
import { Mapping, patternBytes, verifyBytes, type Pattern } from '../../native.js';
import { PAGE, PMD, hugeFile, mapFile, mapped, type HugeFile } from '../shared/huge.js';
import { defineWorkload, type Context } from '../types.js';

const ROUNDS = 24;

type Release = 'truncate' | 'punch-hole';
type Direction = 'to disk' | 'from disk';

export default defineWorkload({
  name: 'fsdax/dma-truncate',
  about: 'O_DIRECT from and to mapped pages against truncate and hole punch, while another file takes the blocks: no data strays, nothing hangs',
  guards: ['R2: DMA to DAX pages holds off truncate and hole punch', 'kernel dax_layout_busy_page, ext4_break_layouts, xfs_break_layouts'],
  needs: { dax: 'fsdax', size: 64 * PMD, tools: ['losetup'] },
  params: { fs: ['ext4', 'xfs'] },
  async run(ctx: Context) {
    const file = hugeFile(ctx, PMD);
    const disk = fs.openSync(await ctx.blockDevice(2 * PMD), fs.constants.O_RDWR | fs.constants.O_DIRECT);
    ctx.cleanup(() => fs.closeSync(disk));
    const buffer = mapped(ctx, Mapping.anonymous({ length: PMD, align: PMD }));
    const tally = { overlapped: 0, complete: 0, short: 0, refused: 0 };
    for (let round = 0; round < ROUNDS; round++) {
      const direction: Direction = round % 2 === 0 ? 'to disk' : 'from disk';
      const release: Release = round % 4 < 2 ? 'truncate' : 'punch-hole';
      if (round < 4) ctx.step(`${direction} against ${release}`);
      await collide(ctx, { file, disk, buffer, round, direction, release, tally });
    }
    ctx.prove('rounds', { rounds: ROUNDS, ...tally });
    ctx.expect(tally.overlapped > 0, 'some transfers should have met a release of their blocks', tally);
  },
});

interface Collision {
  file: HugeFile;
  disk: number;
  buffer: Mapping;
  round: number;
  direction: Direction;
  release: Release;
  tally: { overlapped: number; complete: number; short: number; refused: number };
}

const old = (round: number): Pattern => ({ kind: 'words', seed: 3000 + round });
const ours = (round: number): Pattern => ({ kind: 'words', seed: 1000 + round });
const theirs = (round: number): Pattern => ({ kind: 'words', seed: 2000 + round });

async function collide(ctx: Context, { file, disk, buffer, round, direction, release, tally }: Collision): Promise<void> {
  // The file whole, all its pages mapped, its contents this round's; the disk's are this round's, too.
  native.fallocate(file.fd, 'allocate', file.offset, PMD);
  using mapping = mapFile(ctx, file);
  mapping.fill(0, PMD, ours(round));
  buffer.fill(0, PMD, old(round));
  ctx.expect(buffer.writeTo(disk, 0, 0, PMD) === PMD, 'the disk should take the old pattern');

  const span = { from: 0, to: 0 };
  const transfer = async (): Promise<number> => {
    span.from = performance.now();
    try {
      return await (direction === 'to disk' ? mapping.writeToAsync(disk, 0, 0, PMD) : mapping.readFromAsync(disk, 0, 0, PMD));
    } catch (error) {
      if (!(error instanceof SystemError) || error.code !== 'EFAULT') throw error;
      return -1; // the pages were gone before they could be pinned
    } finally {
      span.to = performance.now();
    }
  };
  const other = path.join(ctx.fsdax.folder, `other-${round}`);
  const bytes = patternBytes(PMD, theirs(round));
  /** Gives the blocks away, and has another file take and fill as much at once. */
  const giveAway = async (): Promise<[number, number]> => {
    const from = performance.now();
    if (release === 'truncate') await fs.promises.truncate(file.path, file.offset);
    else await native.fallocateAsync(file.fd, 'punch-hole', file.offset, PMD);
    const to = performance.now();
    await fs.promises.writeFile(other, bytes);
    return [from, to];
  };
  // By turns the transfer or the release sets out first.
  const [done, [from, to]] = round % 8 < 4 ? await Promise.all([transfer(), giveAway()]) : ((await Promise.all([giveAway(), transfer()])).reverse() as [number, [number, number]]);
  if (from < span.to && to > span.from) tally.overlapped++;
  tally[done === PMD ? 'complete' : done < 0 ? 'refused' : 'short']++;
  const what = `round ${round}, ${direction} against ${release}`;

  const there = verifyBytes(fs.readFileSync(other), theirs(round));
  ctx.expect(there.ok, `${what}: the file that took the blocks should hold its own data alone`, there);
  if (direction === 'to disk') {
    buffer.readFrom(disk, 0, 0, PMD);
    pages(ctx, buffer, [ours(round), old(round), { kind: 'byte', value: 0 }], `${what}: each page on the disk should be the file's, zeros of its hole, or what was there before`);
  } else {
    const left = fs.fstatSync(file.fd).size >= file.offset + PMD;
    if (left) pages(ctx, mapping, [old(round), ours(round), { kind: 'byte', value: 0 }], `${what}: each page of the file should be the disk's, its own, or zeros`);
  }
  fs.rmSync(other);
}

function pages(ctx: Context, mapping: Mapping, allowed: readonly Pattern[], what: string): void {
  for (let at = 0; at < PMD; at += PAGE) {
    const found = allowed.some((pattern) => mapping.verify(at, PAGE, pattern.kind === 'words' ? { ...pattern, base: at } : pattern).ok);
    if (!found) ctx.expect(false, what, { at, is: mapping.verify(at, PAGE, allowed[0]!), bytes: mapping.read(at, 32).bytes.toString('hex') });
  }
}
