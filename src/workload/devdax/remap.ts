// Guards mremap out of a devdax mapping, which the device refuses to have split (drivers/dax/device.c: may_split).
import { levelOf, mapDevdax, openDevdax } from '../shared/devdax-map.js';
import { PMD } from '../shared/huge.js';
import { remapOut } from '../shared/remap.js';
import { defineWorkload, type Context } from '../types.js';

export default defineWorkload({
  name: 'devdax/remap',
  about: 'mremap of 4 KiB out of a devdax mapping onto ordinary memory: right data, or a clean refusal',
  guards: ['ndctl device-dax: test_dax_remap'],
  needs: { dax: 'devdax', size: 4 * PMD },
  params: { map: ['mem', 'dev'], align: ['2M', '4K', '1G'] },
  thorough: { align: ['4K', '1G'] },
  run(ctx: Context) {
    const { align } = ctx.devdax;
    const fd = openDevdax(ctx);
    remapOut(ctx, ctx.devdax, mapDevdax(ctx, fd, 0, Math.max(PMD, align)), levelOf(align));
  },
});
