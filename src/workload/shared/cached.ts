// Whether a mapping is cached, as device-dax.c and the file systems mean it to be (pgprot of devm_memremap_pages: write-back): its reads
// against those of ordinary memory of the same machine, round by round, and never against a number of nanoseconds.
import { flushInstructions, Mapping } from '../../native.js';
import { median } from '../../regress/order.js';
import { KiB } from '../../units.js';
import { PMD, mapped } from './huge.js';
import { rounds } from './timing.js';
import type { Context } from '../types.js';

/** Bytes that are read, through either. */
export const CACHED_LENGTH = 2 * PMD;
const PROBE = 256 * KiB;
const ROUNDS = 8;

/** Reads past the caches cost 50 to 100 times as much; slow memory behind caches, and small pages for huge ones, nowhere near this. */
export const MOST = 10;
/** Reads of lines that were just flushed, one after another, cost many times those of cached lines: at least this, or the caches do not show. */
export const LEAST_SHOWN = 3;

export interface ReadTimes {
  /** ns of each round, all read in the same rounds: the DAX mapping and ordinary memory, each read just before. */
  dax: ArrayLike<number>;
  ordinary: ArrayLike<number>;
  /** A chain through ordinary memory, cached and just flushed: what this machine makes of its caches. */
  warm: ArrayLike<number>;
  flushed: ArrayLike<number>;
}

export interface Cachedness {
  verdict: 'cached' | 'uncached' | 'cannot tell';
  /** Medians over the rounds: DAX to ordinary memory, flushed to warm. */
  ratio: number;
  shown: number;
}

const ratioOf = (above: ArrayLike<number>, below: ArrayLike<number>): number => median(Array.from(above, (ns, i) => ns / Math.max(1, below[i]!)));

/** Judges only where the times show that there are caches: an emulated CPU has none, and reads all memory alike. */
export function judgeCached({ dax, ordinary, warm, flushed }: ReadTimes): Cachedness {
  const ratio = ratioOf(dax, ordinary);
  const shown = ratioOf(flushed, warm);
  return { verdict: shown < LEAST_SHOWN ? 'cannot tell' : ratio > MOST ? 'uncached' : 'cached', ratio, shown };
}

/** Expects a mapping of CACHED_LENGTH bytes or more to be cached. Skips where no read says whether anything is. */
export function expectCached(ctx: Context, mapping: Mapping): void {
  const [instruction] = flushInstructions().filter((name) => name !== 'clwb'); // which may leave the line where it is
  if (instruction === undefined) ctx.skip('needs a CPU that can flush a line from its caches (CLFLUSH), to see what a read past them costs');
  const own = (length: number): Mapping => mapped(ctx, Mapping.anonymous({ length, align: PMD }));
  const ordinary = own(CACHED_LENGTH);
  for (const memory of [mapping, ordinary]) memory.fill(0, CACHED_LENGTH, { kind: 'words', seed: 107 });
  const probe = { mapping: own(PMD), length: PROBE };
  const twice = (memory: Mapping) => [{ op: 'load', mapping: memory, length: CACHED_LENGTH }, { op: 'load', mapping: memory, length: CACHED_LENGTH, timed: true }] as const;
  const { steps } = rounds(ctx, 'reading the mapping and ordinary memory in turn', ROUNDS, [
    ...twice(ordinary), ...twice(mapping),
    { op: 'chain', ...probe }, { op: 'chase', ...probe }, { op: 'chase', ...probe, timed: true },
    { op: 'flush', ...probe, instruction }, { op: 'chase', ...probe, timed: true },
  ]);
  const [ofOrdinary, ofDax, warm, flushed] = steps.flatMap(({ samples }) => samples ?? []);
  const found = judgeCached({ dax: ofDax!, ordinary: ofOrdinary!, warm: warm!, flushed: flushed! });
  ctx.prove('ns per read of all, median', { dax: median(ofDax!), ordinary: median(ofOrdinary!), ratio: found.ratio });
  ctx.prove('ns per chain, median', { warm: median(warm!), flushed: median(flushed!), ratio: found.shown });
  if (found.verdict === 'cannot tell')
    ctx.skip(`needs caches that show in the time of reads: lines just flushed take ${found.shown.toFixed(1)} times as long as cached ones here, as on an emulated CPU; run it on hardware or with KVM`);
  ctx.expect(found.verdict === 'cached', `reads of the mapping should cost no more than ${MOST} times those of ordinary memory, as cached ones do`, found);
}
