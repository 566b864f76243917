// Measures making stores durable by size: msync and fsync of so many dirty bytes, by small and by huge entries
// (dax_writeback_mapping_range: every dirty entry is flushed and write-protected again).
import { MiB, formatSize } from '../../units.js';
import { tookFaults } from '../shared/faults.js';
import { PAGE, PMD, hugeFile, mapFile } from '../shared/huge.js';
import { duration, rounds } from '../shared/timing.js';
import { defineWorkload, type Context } from '../types.js';

const SIZES = { 'small entries': [PAGE, 16 * PAGE, MiB], 'huge entries': [PMD, 16 * MiB] } as const;
const CALLS = ['msync', 'fsync'] as const;
const ROUNDS = 24;
const metric = (call: string, size: number, entries: string): string => `${call} ${formatSize(size)}, ${entries}`;

export default defineWorkload({
  name: 'timing/sync',
  about: 'time of msync and fsync by dirty size, 4 KiB to 16 MiB, by small and huge entries; of a clean file',
  guards: ['cost of dax_writeback_mapping_range and of the file systems\' fsync'],
  needs: { dax: 'fsdax', size: 64 * PMD },
  params: { fs: ['ext4', 'xfs'] },
  metrics: [...Object.entries(SIZES).flatMap(([entries, sizes]) => sizes.flatMap((size) => CALLS.map((call) => duration(metric(call, size, entries))))), ...CALLS.map((call) => duration(`${call}, clean`))],
  onRequest: true,
  run(ctx: Context) {
    for (const [entries, sizes] of Object.entries(SIZES)) {
      const huge = entries === 'huge entries';
      const file = hugeFile(ctx, 16 * MiB, huge ? 'huge' : 'small');
      using mapping = mapFile(ctx, file, huge ? {} : { align: PMD, alignSkew: PAGE });
      const sync = { msync: { op: 'msync', mapping, length: file.length, timed: true }, fsync: { op: 'fsync', fd: file.fd, timed: true } } as const;
      const stride = huge ? PMD : PAGE;
      // Blocks are allocated and entries made before what is measured.
      for (let at = 0; at < Math.max(...sizes); at += stride) mapping.fill(at, PAGE, { kind: 'byte', value: 1 });
      mapping.msync(0, file.length);
      for (const call of CALLS) {
        if (!huge) rounds(ctx, `${call}, clean`, ROUNDS, [sync[call]], [`${call}, clean`]);
        for (const size of sizes) {
          const name = metric(call, size, entries);
          const { steps } = rounds(ctx, name, ROUNDS, [{ op: 'touch', mapping, length: size, stride, access: 'write' }, sync[call]], [name]);
          // Each round must find the entries write-protected again: else the call before it did nothing.
          const faults = steps[0]!.minorFaults + steps[0]!.majorFaults;
          ctx.expect(tookFaults(faults, (ROUNDS * size) / stride, (ROUNDS * size) / stride), `${name}: every dirty entry should have been cleaned by the call before`, { faults });
        }
      }
    }
  },
});
