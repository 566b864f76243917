// Guards mremap across the boundary of a huge DAX entry of a file (ndctl's test_dax_remap; mm/mremap.c and
// __split_huge_pmd for DAX).
import { PMD, hugeFile, mapFile } from '../shared/huge.js';
import { remapOut } from '../shared/remap.js';
import { defineWorkload, type Context } from '../types.js';

export default defineWorkload({
  name: 'fsdax/remap',
  about: 'mremap of 4 KiB out of a 2 MiB mapping onto ordinary memory: right data, or a clean refusal',
  guards: ['ndctl dax-pmd: test_dax_remap'],
  needs: { dax: 'fsdax', size: 64 * PMD },
  params: { fs: ['ext4', 'xfs'], map: ['mem', 'dev'] },
  quick: { map: ['mem'] },
  run(ctx: Context) {
    remapOut(ctx, ctx.fsdax, mapFile(ctx, hugeFile(ctx, PMD)), 'pmd');
  },
});
