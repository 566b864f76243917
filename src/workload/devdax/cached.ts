// Guards that a devdax device is mapped as cached memory (drivers/dax/device.c; mm/memremap.c: PAGE_KERNEL, and the memory type that
// track_pfn_insert gives user space): reads of it cost what those of ordinary memory do.
import { CACHED_LENGTH, expectCached } from '../shared/cached.js';
import { mapDevdax, openDevdax } from '../shared/devdax-map.js';
import { PMD } from '../shared/huge.js';
import { defineWorkload, type Context } from '../types.js';

export default defineWorkload({
  name: 'devdax/cached',
  about: 'a devdax device read twice, against ordinary memory in the same rounds: an uncached mapping would take 50 times as long. Needs real caches',
  guards: ['ndctl device-dax: verify_data, cached mappings', 'kernel track_pfn_insert on devdax'],
  needs: { dax: 'devdax', caches: true, size: 8 * PMD },
  params: { map: ['mem', 'dev'], align: ['2M', '4K', '1G'] },
  thorough: { map: ['dev'], align: ['4K', '1G'] },
  run(ctx: Context) {
    expectCached(ctx, mapDevdax(ctx, openDevdax(ctx), 0, Math.max(CACHED_LENGTH, ctx.devdax.align)));
  },
});
