// Measures the memory itself through a mapping that no longer faults: streams by one and by several threads, random reads one
// after another, writing cache lines back. On hardware these are the device's; in a guest that counts instructions, the loops'.
import os from 'node:os';
import { flushInstructions, FLUSH_INSTRUCTIONS, type MeasureOp } from '../../native.js';
import { MiB } from '../../units.js';
import { PMD, hugeFile, mapFile } from '../shared/huge.js';
import { duration, per, rounds } from '../shared/timing.js';
import { defineWorkload, type Context } from '../types.js';

const LENGTH = 16 * MiB;
const LINE = 64;
const ROUNDS = 16;
const STREAMS: readonly (readonly [name: string, op: MeasureOp, bytes: number])[] = [
  ['read', 'load', LENGTH], ['write', 'store', LENGTH], ['write past the caches', 'store-past', LENGTH], ['copy', 'copy', LENGTH / 2],
];
const THREADS = [1, 2, 4, 8, 16, 32] as const;
const stream = (name: string, threads: number): string => `${name}, ${threads} thread${threads === 1 ? '' : 's'}`;

export default defineWorkload({
  name: 'timing/memory',
  about: 'ns per MiB read, written, written past the caches and copied by 1, 2, 4... threads; ns per random read; ns per MiB flushed',
  guards: ['bandwidth and latency of what is mapped'],
  needs: { dax: 'fsdax', size: 64 * PMD },
  params: { fs: ['ext4'] },
  metrics: [
    ...STREAMS.flatMap(([name]) => THREADS.map((threads) => duration(stream(name, threads)))),
    ...FLUSH_INSTRUCTIONS.map((name) => duration(`flush by ${name}`)),
    duration('random read'),
  ],
  timeout: 180,
  onRequest: true,
  run(ctx: Context) {
    using mapping = mapFile(ctx, hugeFile(ctx, LENGTH));
    mapping.fill(0, LENGTH, { kind: 'words', seed: 71 });
    const all = { mapping, length: LENGTH };
    for (const threads of THREADS.filter((count) => count <= os.cpus().length))
      for (const [name, op, bytes] of STREAMS) {
        const what = stream(name, threads);
        const { steps } = rounds(ctx, what, ROUNDS, [{ op, ...all, threads, timed: true }]);
        ctx.expect(steps[0]!.minorFaults + steps[0]!.majorFaults === 0 || threads > 1, `${what}: nothing should fault any more`, steps[0]);
        ctx.metric(what, per(steps[0]!.samples!, bytes / MiB));
      }
    for (const instruction of flushInstructions()) {
      const what = `flush by ${instruction}`;
      const { steps } = rounds(ctx, what, ROUNDS, [{ op: 'store', ...all }, { op: 'flush', ...all, instruction, timed: true }]);
      ctx.metric(what, per(steps[1]!.samples!, LENGTH / MiB));
    }
    const { steps } = rounds(ctx, 'random read', ROUNDS, [{ op: 'chain', ...all }, { op: 'chase', ...all, timed: true }]);
    ctx.metric('random read', per(steps[1]!.samples!, LENGTH / LINE));
  },
});
