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
  params: { map: ['mem', 'dev'], align: ['2M', '4K', '1G'] },
  thorough: { align: ['4K', '1G'] },
  async run(ctx: Context) {
    const fd = openDevdax(ctx);
    const { align } = ctx.devdax;
    // Of 1 GiB a part is transferred, across the 2 MiB of a smaller entry.
    const length = align > PMD ? 2 * PMD : PMD;
    await directIo(ctx, { place: ctx.devdax, level: levelOf(align), length, map: (prot) => mapDevdax(ctx, fd, 0, Math.max(length, align), prot) });
  },
});
