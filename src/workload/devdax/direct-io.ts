// Guards get_user_pages on devdax mappings (ndctl's test_dax_directio on a character device).
import { directIo } from '../shared/direct-io.js';
import { levelOf, mapDevdax, openDevdax } from '../shared/devdax-map.js';
import { PMD } from '../shared/huge.js';
import { defineWorkload, type Context } from '../types.js';

export default defineWorkload({
  name: 'devdax/direct-io',
  about: 'O_DIRECT to and from a mapped devdax device: unfaulted, read- and write-faulted, after fork',
  guards: ['ndctl device-dax: test_dax_directio'],
  needs: { dax: 'devdax', size: 8 * PMD, tools: ['losetup'] },
  params: { map: ['mem', 'dev'], align: ['2M'] },
  async run(ctx: Context) {
    const fd = openDevdax(ctx);
    const length = Math.max(PMD, ctx.devdax.align);
    await directIo(ctx, { place: ctx.devdax, level: levelOf(ctx.devdax.align), length, map: (prot) => mapDevdax(ctx, fd, 0, length, prot) });
  },
});
