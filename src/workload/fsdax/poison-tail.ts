// Guards the signal for a process that maps a small page out of a huge DAX entry: the memory failure handler has to
// look for the page itself, not for the head of the huge page it belongs to, which this process never mapped
// (mm/memory-failure.c: mf_generic_kill_procs, collect_procs).
import type { Pattern } from '../../native.js';
import { PAGE, PMD, hugeFile, mapFile, proveLevel } from '../shared/huge.js';
import { poisonOnce } from '../shared/poison.js';
import { defineWorkload, type Context } from '../types.js';

export default defineWorkload({
  name: 'fsdax/poison-tail',
  about: 'memory failure on a 4 KiB mapping of a page inside a huge DAX entry that was made by another mapping',
  guards: ['R4: memory failure where a PTE maps what the file holds as a PMD entry'],
  needs: { dax: 'fsdax', size: 64 * PMD, kconfig: ['MEMORY_FAILURE'] },
  params: { fs: ['ext4', 'xfs'], map: ['mem', 'dev'] },
  thorough: { map: ['dev'] },
  expectsLog: ['memory-failure', 'mce'],
  async run(ctx: Context) {
    const file = hugeFile(ctx, PMD);
    const pattern: Pattern = { kind: 'words', seed: 51, base: 0 };
    {
      using huge = mapFile(ctx, file);
      huge.fill(0, file.length, pattern);
      proveLevel(ctx, ctx.fsdax, huge, 0, 'pmd', 'first mapping');
    }
    using mapping = mapFile(ctx, file, { align: PMD, alignSkew: PAGE });
    const at = 5 * PAGE;
    mapping.touch({ offset: at, count: 1, stride: PAGE, access: 'rmw' });
    proveLevel(ctx, ctx.fsdax, mapping, at, 'pte', 'second mapping');
    await poisonOnce(ctx, mapping, at, 12, 'a tail page');
  },
});
