// Guards report R2's other half: while a device reads or writes the pages of a DAX mapping, truncate and hole punch must
// wait (fs/dax.c: dax_layout_busy_page; ext4_break_layouts, xfs_break_dax_layouts), or the blocks go to another file in the
// middle of the transfer. Each file and each round has a pattern of its own: a word that strayed says where it came from.
import fs from 'node:fs';
import path from 'node:path';
import { SystemError } from '../../errors.js';
import * as native from '../../native.js';
import { Mapping, patternBytes, verifyBytes, type Pattern } from '../../native.js';
import { PAGE, PMD, hugeFile, mapFile, mapped, type HugeFile } from '../shared/huge.js';
import { ExpectationError, defineWorkload, type Context } from '../types.js';

const ROUNDS = 16;
/** Milliseconds; a round takes some ten. */
const HANG = 6_000;

type Release = 'truncate' | 'punch-hole';
type Direction = 'to disk' | 'from disk';

export default defineWorkload({
  name: 'fsdax/dma-truncate',
  about: 'O_DIRECT from and to mapped pages against truncate and hole punch, while another file takes the blocks: no data strays, nothing hangs',
  guards: ['R2: DMA to DAX pages holds off truncate and hole punch', 'kernel dax_layout_busy_page, ext4_break_layouts, xfs_break_layouts'],
  needs: { dax: 'fsdax', size: 64 * PMD, tools: ['losetup'] },
  params: { fs: ['ext4', 'xfs'] },
  expectsLog: ['boot-stall'], // it says nothing to the log for as long as a slow machine takes
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
  const what = `round ${round}, ${direction} against ${release}`;
  const both = round % 8 < 4 ? Promise.all([transfer(), giveAway()]) : Promise.all([giveAway(), transfer()]).then(([span, count]) => [count, span] as const);
  const [done, [from, to]] = await within(ctx, both, what);
  if (from < span.to && to > span.from) tally.overlapped++;
  tally[done === PMD ? 'complete' : done < 0 ? 'refused' : 'short']++;

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

/** A hang is told with where each thread of this process waits, while it can still be seen. */
async function within<Result>(ctx: Context, work: Promise<Result>, what: string): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const stacks = fs.readdirSync('/proc/self/task').map((task) => `${task}: ${fs.readFileSync(`/proc/self/task/${task}/stack`, 'utf8').split('\n').map((line) => line.replace(/^\[<0>\] /, '')).slice(0, 6).join(' < ')}`);
      ctx.prove('waiting in', stacks);
      reject(new ExpectationError(`${what}: transfer and release should both end`, stacks.filter((stack) => !/futex|epoll|ep_poll/.test(stack))));
    }, HANG);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function pages(ctx: Context, mapping: Mapping, allowed: readonly Pattern[], what: string): void {
  if (allowed.some((pattern) => mapping.verify(0, PMD, pattern).ok)) return; // mostly all of it is of one kind
  for (let at = 0; at < PMD; at += PAGE) {
    const found = allowed.some((pattern) => mapping.verify(at, PAGE, pattern.kind === 'words' ? { ...pattern, base: at } : pattern).ok);
    if (!found) ctx.expect(false, what, { at, is: mapping.verify(at, PAGE, allowed[0]!), bytes: mapping.read(at, 32).bytes.toString('hex') });
  }
}
