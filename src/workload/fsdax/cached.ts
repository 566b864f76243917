// Guards that files on DAX are mapped as cached memory (fs/dax.c; mm/memremap.c, and the memory type that track_pfn_insert gives user
// space): reads of them cost what those of ordinary memory do.
import { CACHED_LENGTH, expectCached } from '../shared/cached.js';
import { PMD, hugeFile, mapFile } from '../shared/huge.js';
import { defineWorkload, type Context } from '../types.js';

export default defineWorkload({
  name: 'fsdax/cached',
  about: 'a file on DAX read twice, against ordinary memory in the same rounds: an uncached mapping would take 50 times as long. Needs real caches',
  guards: ['ndctl device-dax: cached mappings, of files', 'kernel track_pfn_insert on DAX files'],
  needs: { dax: 'fsdax', caches: true, size: 64 * PMD },
  params: { fs: ['ext4', 'xfs'], map: ['mem', 'dev'] },
  thorough: { fs: ['xfs'], map: ['dev'] }, // the memory type is the device's
  run(ctx: Context) {
    expectCached(ctx, mapFile(ctx, hugeFile(ctx, CACHED_LENGTH)));
  },
});
