// Measures O_DIRECT transfers between a mapping and a device without DAX, where the kernel pins the mapped pages: by small and
// huge entries, with the entries there, and where the transfer itself must make them.
import fs from 'node:fs';
import { MiB, formatSize } from '../../units.js';
import { PAGE, PMD, hugeFile, mapFile } from '../shared/huge.js';
import { duration, rounds } from '../shared/timing.js';
import { defineWorkload, type Context } from '../types.js';

const SIZES = [PAGE, PMD] as const;
const CALLS = [['from the mapping', 'pwrite'], ['into the mapping', 'pread']] as const;
const ROUNDS = 24;
const metric = (size: number, where: string, fresh: boolean): string => `${formatSize(size)} ${where}${fresh ? ', not faulted' : ''}`;

export default defineWorkload({
  name: 'timing/direct-io',
  about: 'time of O_DIRECT transfers of 4 KiB and 2 MiB from and into a mapping, faulted and not',
  guards: ['cost of get_user_pages on DAX entries'],
  needs: { dax: 'fsdax', size: 64 * PMD, tools: ['losetup'] },
  params: { fs: ['ext4', 'xfs'] },
  metrics: SIZES.flatMap((size) => CALLS.flatMap(([where]) => [false, true].map((fresh) => duration(metric(size, where, fresh))))),
  onRequest: true,
  async run(ctx: Context) {
    const file = hugeFile(ctx, 2 * PMD);
    const disk = fs.openSync(await ctx.blockDevice(8 * MiB), fs.constants.O_RDWR | fs.constants.O_DIRECT);
    ctx.cleanup(() => fs.closeSync(disk));
    using mapping = mapFile(ctx, file);
    mapping.fill(0, file.length, { kind: 'byte', value: 3 });
    for (const size of SIZES)
      for (const [where, op] of CALLS) {
        const transfer = { op, mapping, fd: disk, length: size, timed: true } as const;
        rounds(ctx, metric(size, where, false), ROUNDS, [transfer], [metric(size, where, false)]);
        const drop = { op: 'madvise', mapping, length: PMD, advice: 'dontneed' } as const;
        rounds(ctx, metric(size, where, true), ROUNDS, [drop, transfer], [metric(size, where, true)]);
      }
  },
});
