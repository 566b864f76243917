// Measures what a mapping costs apart from its faults: mmap, munmap, mremap, fork with it, at both page sizes and untouched.
import { MiB } from '../../units.js';
import { tookFaults } from '../shared/faults.js';
import { PAGE, PMD, hugeFile } from '../shared/huge.js';
import { duration, rounds } from '../shared/timing.js';
import { defineWorkload, type Context } from '../types.js';

const LENGTH = 16 * MiB;
const ROUNDS = 32;

export default defineWorkload({
  name: 'timing/mappings',
  about: 'time of mmap, munmap, mremap and fork with 16 MiB of a file: untouched, by huge entries, by small entries',
  guards: ['cost of dax_mmap, zap of DAX entries, move_page_tables, dup_mmap'],
  needs: { dax: 'fsdax', size: 48 * PMD },
  params: { fs: ['ext4', 'xfs'] },
  metrics: ['mmap', 'munmap, untouched', 'munmap, huge entries', 'munmap, small entries', 'mremap, huge entries', 'mremap, small entries', 'mmap MAP_SYNC', 'fork, no mapping', 'fork, huge entries', 'fork, small entries'].map(duration),
  onRequest: true,
  run(ctx: Context) {
    const { fd, offset: fileAt } = hugeFile(ctx, LENGTH);
    const map = { op: 'map', fd, fileAt, length: LENGTH } as const;
    const huge = { op: 'touch', length: LENGTH, stride: PMD, access: 'write' } as const;
    // A page off in the file, at an address that is not: no huge entry fits both.
    const smallMap = { op: 'map', fd, fileAt: fileAt + PAGE, length: 4 * MiB } as const;
    const small = { op: 'touch', length: 4 * MiB, stride: PAGE, access: 'write' } as const;
    const move = { op: 'move', timed: true } as const;
    const unmap = { op: 'unmap', timed: true } as const;
    rounds(ctx, 'untouched', ROUNDS, [{ ...map, timed: true }, unmap], ['mmap', 'munmap, untouched']);
    rounds(ctx, 'MAP_SYNC', ROUNDS, [{ ...map, share: 'sync', timed: true }, { op: 'unmap' }], ['mmap MAP_SYNC']);
    const entries = (what: string, first: Parameters<typeof rounds>[3][number], touch: Parameters<typeof rounds>[3][number], count: number): void => {
      const { steps } = rounds(ctx, what, ROUNDS, [first, touch, move, unmap], [`mremap, ${what}`, `munmap, ${what}`]);
      const faults = steps[1]!.minorFaults + steps[1]!.majorFaults;
      ctx.expect(tookFaults(faults, count * ROUNDS, count * ROUNDS), `${what}: touching should take ${count} faults in each of ${ROUNDS} rounds`, faults);
    };
    entries('huge entries', map, huge, LENGTH / PMD);
    entries('small entries', smallMap, small, (4 * MiB) / PAGE);
    const fork = { op: 'fork', timed: true } as const;
    rounds(ctx, 'fork', ROUNDS, [fork], ['fork, no mapping']);
    rounds(ctx, 'fork with huge entries', ROUNDS, [map, huge, fork, { op: 'unmap' }], ['fork, huge entries']);
    rounds(ctx, 'fork with small entries', ROUNDS, [smallMap, small, fork, { op: 'unmap' }], ['fork, small entries']);
  },
});
